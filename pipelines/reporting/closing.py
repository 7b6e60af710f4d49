"""Places and commands as the reader of a job's last lines needs them: they work when pasted."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.redaction import redacted
from cluster.storage import local_path

if TYPE_CHECKING:  # enhancing takes its words from here too, and should not wait for these, nor need them
    from pipelines.tracking.runs import TrackedRun

PIPELINES = Path(__file__).parents[1]
IN_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set by Ray for what `ray job submit` started
SUBMIT = "ray job submit --working-dir . --"
SUBMIT_INSTALLED = "ray job submit --"


def command(job: str, *words: str) -> str:
    """A command line for one of `pipelines/`, or of `lle` where that was started, as its reader would have to type it
    where this job was started.

    Of a submitted job: from a copy of the repository, on any machine that may submit.
    """
    if Path(sys.argv[0]).name.startswith("lle "):  # lle_platform/command.py
        started = shlex.join(["lle", job, *words])
        return f"{SUBMIT_INSTALLED} {started}" if IN_A_JOB in os.environ else started
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
