"""What a job says at its end: where everything lies, and commands for this very model that work when pasted."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.redaction import redacted
from cluster.storage import local_path
from lle.config import DataSettings
from pipelines.config.train import RunSettings
from pipelines.data.manifest import is_prepared
from pipelines.reporting.page import REPORT

if TYPE_CHECKING:
    from pipelines.tracking.runs import TrackedRun  # and with it MLflow, which some jobs do without

PIPELINES = Path(__file__).parents[1]
IN_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set by Ray for what `ray job submit` started
SUBMIT = "ray job submit --working-dir . --"
WELL_LIT_MARGIN = "0.01"


def closing_lines(settings: RunSettings, run: TrackedRun, folder: Path, summary: dict[str, Any]) -> str:
    """Where everything of a training lies, and what to do next with its model.

    Args:
        settings: with their photos.
        run: its record.
        folder: of the run.
        summary: as in summary.json.
    """
    registered = f"{summary['model']}  (alias {settings.tracking.alias}), " if summary["model"] else ""
    lines = [
        f"model       {registered}saved in {shown(folder / 'model')}",
        f"report      {shown(folder / REPORT)}",
        f"summary     {shown(folder / 'summary.json')}",
        f"time        {summary['seconds']:.0f} s, {summary['images_per_second']:.0f} pictures/s, "
        f"{100 * summary['data_wait_share']:.1f} % of it waiting for data",
        "",
        f"MLflow      {record_of(run)}",
    ]
    return "\n".join([*lines, *_next(settings.data, run, folder, summary["model"])])


def resume_command(settings: RunSettings) -> str:
    """The command that continues a training."""
    place = ("--checkpoints", settings.checkpoints) if settings.checkpoints else ()
    runs = local_path(settings.runs, "runs")
    return command("train", "--resume", "--name", settings.name, "--runs", shown(Path(runs)), *place)


def command(job: str, *words: str) -> str:
    """A command line for one of `pipelines/`, as its reader would have to type it where this job was started.

    Of a submitted job: from a copy of the repository, on any machine that may submit.
    """
    if IN_A_JOB in os.environ:
        return f"{SUBMIT} python pipelines/{job}.py {shlex.join(words)}"
    return shlex.join([python(), shown(PIPELINES / f"{job}.py"), *words])


def python() -> str:
    """This interpreter: `python` where that finds it, else its path."""
    found = shutil.which("python")
    if found and Path(found).parent.resolve() == Path(sys.executable).parent.resolve():
        return "python"
    return shown(Path(sys.executable))


def shown(path: Path) -> str:
    """A path as it is best read: below the working directory without that, else whole; always whole in a job's log."""
    here = Path.cwd()
    if IN_A_JOB in os.environ or not path.is_relative_to(here):
        return str(path)
    return str(path.relative_to(here))


def record_of(run: TrackedRun) -> str:
    """Where a run's record is looked at: the page of a server, or the command that shows a database."""
    where = redacted(run.uri)
    if run.uri.startswith(("http://", "https://")):
        page = f"/#/experiments/{run.experiment_id}/runs/{run.run_id}" if run.experiment_id else ""
        return f"{where.rstrip('/')}{page}"
    is_shown = "://" in run.uri and where == run.uri  # a database whose address has a password is not
    return shlex.join([python(), "-m", "mlflow", "ui", "--backend-store-uri", where]) if is_shown else where


def there(photos: str) -> str:
    """Photos of the settings as a reader can find them."""
    return photos if "://" in photos else shown(Path(local_path(photos)))


def _next(data: DataSettings, run: TrackedRun, folder: Path, model: str) -> list[str]:
    """Commands that enhance with a model, measure it and propose it, on the photos that are at hand."""
    saved = shown(folder / "model")
    paired = bool(data.pairs_dark)
    measured = ["--data.dark", there(data.pairs_dark), "--data.truth", there(data.pairs_truth)] if paired else []
    measured = measured or ["--data.dark", there(data.dark)]
    photos = there(data.dark)
    if _is_prepared(data.dark):  # shards, which are not enhanced
        photos = there(data.pairs_dark) if paired else "PHOTOS"
    enhance = ["--model", saved, "--input", photos, "--output", shown(folder / "enhanced")]
    evaluate = ["--model", saved, *measured, "--output", shown(folder / "evaluation")]
    lines = [
        f"next        {command('enhance', *enhance)}",
        f"            {command('evaluate', *evaluate)}",
    ]
    if version := re.fullmatch(r"models:/([^/]+)/(\d+)", model):
        judge = [] if paired else ["--metric", "our_prior_well_lit", "--margin", WELL_LIT_MARGIN]
        place = ["--tracking.uri", run.uri] if redacted(run.uri) == run.uri else []
        good = ["--data.good", there(data.well_lit)]
        promote = ["--model", version[1], "--candidate", version[2], *measured, *good]
        lines.append(f"            {command('promote', *promote, *judge, *place)}")
    return [*lines, "            with your own photos in place of those; docs/ tells of each"]


def _is_prepared(uri: str) -> bool:
    with suppress(OSError, ValueError):
        return is_prepared(uri)
    return False
