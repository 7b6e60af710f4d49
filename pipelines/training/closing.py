"""What a training says at its end: where everything lies, and commands for this very model."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster.redaction import redacted
from cluster.storage import local_path
from lle.config import DataSettings
from pipelines.config.train import RunSettings
from pipelines.data.manifest import is_prepared
from pipelines.data.photo_sets import holds_packed_photos
from pipelines.reporting.closing import command, record_of, shown, there
from pipelines.reporting.html_report import REPORT
from pipelines.tracking.runs import TrackedRun

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


def _next(data: DataSettings, run: TrackedRun, folder: Path, model: str) -> list[str]:
    """Commands that enhance with a model, measure it and propose it, on the photos that are at hand."""
    saved = shown(folder / "model")
    paired = bool(data.pairs_dark)
    measured = ["--data.dark", there(data.pairs_dark), "--data.truth", there(data.pairs_truth)] if paired else []
    measured = measured or ["--data.dark", next(map(there, data.dark), "PHOTOS")]
    photos = [there(uri) for uri in data.dark if not _is_packed(uri)]  # what is packed is not enhanced
    photos = photos or [there(data.pairs_dark) if paired else "PHOTOS"]
    enhance = ["--model", saved, "--input", *photos, "--output", shown(folder / "enhanced")]
    evaluate = ["--model", saved, *measured, "--output", shown(folder / "evaluation")]
    lines = [
        f"next        {command('enhance', *enhance)}",
        f"            {command('evaluate', *evaluate)}",
    ]
    if version := re.fullmatch(r"models:/([^/]+)/(\d+)", model):
        judge = [] if paired else ["--metric", "our_prior_well_lit", "--margin", WELL_LIT_MARGIN]
        place = ["--tracking.uri", run.uri] if redacted(run.uri) == run.uri else []
        good = ["--data.good", next(map(there, data.well_lit), "PHOTOS")]
        promote = ["--model", version[1], "--candidate", version[2], *measured, *good]
        lines.append(f"            {command('promote', *promote, *judge, *place)}")
    return [*lines, "            with your own photos in place of those; docs/ tells of each"]


def _is_packed(uri: str) -> bool:
    """Whether photos lie there in a prepared set or in tar files, and none as a file."""
    with suppress(OSError, ValueError):
        return is_prepared(uri) or holds_packed_photos(uri)
    return False
