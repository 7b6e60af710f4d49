"""`runs/NAME`, where a training leaves what it makes: begun, gone on with, removed again when nothing came of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cluster.storage import StorageError, local_path
from pipelines.config.loading import Loaded, of_a_run
from pipelines.config.train import RunSettings
from pipelines.tracking.address import tracking_uri
from pipelines.training import TrainingError
from pipelines.training.checkpoints import Checkpoints, Mark, TakenError, begin, forget, mark_of
from pipelines.training.resuming import RUN_SETTINGS

SETTINGS, SUMMARY = RUN_SETTINGS, "summary.json"
FREE_BYTES = 500 * 2**20


@contextmanager
def run_folder(settings: RunSettings) -> Iterator[Path]:
    """`runs/NAME`, new or, to resume, the one that is there; what is new is removed again when nothing came of it.

    Raises:
        TrainingError: it exists, does not exist, or there is no room for it.
    """
    folder, uri = folder_of(settings), checkpoints_uri(settings)
    if settings.resume and not is_begun(folder, uri):
        raise TrainingError(f"resume: {uri} holds no checkpoint; check name, runs and checkpoints")
    way_on = ", or continue it with --resume"
    made = new_folder(folder, settings.resume, lambda: way_on if is_begun(folder, uri) else "")
    mark: Mark | None = None
    try:
        if (free := shutil.disk_usage(folder).free) < FREE_BYTES:
            raise TrainingError(
                f"runs: {folder.parent} has {free // 2**20} MiB free, too few for checkpoints "
                f"({FREE_BYTES // 2**20} MiB); make room, or choose another folder with --runs"
            )
        if not settings.resume:
            mark = begun(uri, settings.name)
        yield folder
    except BaseException as error:
        if made and settings.resume and not (folder / SETTINGS).exists():
            shutil.rmtree(folder, ignore_errors=True)  # its checkpoints lie elsewhere
        elif made and not settings.resume and not (mark and came_to_something(folder, uri, error)):
            with suppress(StorageError):
                if mark:  # else what lies there is another run's
                    forget(uri)
                shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        if mark:
            Checkpoints(uri, run=mark.id).clear()


def folder_of(settings: RunSettings) -> Path:
    """Where a run leaves what it makes."""
    return Path(local_path(settings.runs, "runs")) / settings.name


def note_settings(settings: RunSettings, folder: Path, loaded: Loaded[RunSettings]) -> None:
    """Write down what a run began with, for when it goes on; once."""
    if not (folder / SETTINGS).exists():
        (folder / SETTINGS).write_text(of_a_run(settings, loaded), encoding="utf-8")


def is_begun(folder: Path, uri: str) -> bool:
    """Whether a run can be continued there: from a checkpoint or, had it none yet, from the beginning."""
    if (folder / SETTINGS).exists():
        return True
    if folder.is_dir() and all(each.name.startswith(".") for each in folder.iterdir()):  # empty but for a lease
        return True
    return mark_of(uri) is not None or bool(Checkpoints.of_run(uri).found())


def new_folder(folder: Path, may_exist: bool, way_on: Callable[[], str]) -> bool:
    """Make the folder of a run or a sweep; whether it was made.

    Args:
        folder: to be made.
        may_exist: whether one that is there is right, too.
        way_on: what can be done beside choosing another name, if it exists and should not.

    Raises:
        TrainingError: it exists and should not, or cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            if may_exist and folder.is_dir():
                return False
            raise TrainingError(f"name: {folder} exists; choose another --name{way_on()}")
        folder.mkdir()
    except StorageError:
        raise
    except OSError as error:
        raise TrainingError(f"runs: {folder} cannot be made ({error.strerror}); choose another folder") from error
    return True


def begun(uri: str, name: str) -> Mark:
    """`begin`, its refusal as one of the training's.

    Raises:
        TrainingError: another run's checkpoints lie there.
    """
    try:
        return begin(uri, name)
    except TakenError as error:
        raise TrainingError(f"name: {error}") from error


def came_to_something(folder: Path, uri: str, end: BaseException) -> bool:
    """Whether a run that was cut off has left something to go on from or, where it failed, to look at."""
    try:
        if Checkpoints.of_run(uri).found():
            return True
    except StorageError:  # who knows
        return True
    return (folder / SETTINGS).exists() and not isinstance(end, (KeyboardInterrupt, SystemExit))


def summary_of(settings: RunSettings) -> dict[str, Any] | None:
    """What summary.json of the run holds; None before there is a whole one."""
    try:
        summary: dict[str, Any] = json.loads((folder_of(settings) / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return summary if isinstance(summary, dict) and {"model", "mlflow_run_id"} <= summary.keys() else None


def written_places(settings: RunSettings) -> dict[str, str]:
    """All places that a training writes to, by their setting."""
    tracking = tracking_uri(settings.tracking.uri, settings.runs)
    return {"runs": settings.runs, "checkpoints": settings.checkpoints, "tracking.uri": tracking}


def checkpoints_uri(settings: RunSettings) -> str:
    """Where the checkpoints of a run lie."""
    if settings.checkpoints:
        return f"{settings.checkpoints.rstrip('/')}/{settings.name}"
    return str(folder_of(settings) / "checkpoints")
