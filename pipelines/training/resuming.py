"""A run that goes on: the settings it began with, and which of them may be others now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipelines.config.files import SettingsError
from pipelines.config.presets import WHOLE, read_settings
from pipelines.config.text import OF_ONE_RUN, RUN, flat, shown

RUN_SETTINGS = "settings.yaml"
LAST_GROUP = "cluster."  # of the files that hold every setting, as runs wrote them once

# Where a run goes on, how fast, what is told and what becomes of the model: nothing that changes its weights.
MAY_DIFFER = (
    *("name", "resume", "runs", "checkpoints", "cluster.", "scaling."),
    *("tracking.uri", "tracking.model_name", "tracking.alias", "tracking.register_model", "tracking.terms"),
    *("tracking.pictures", "loop.log_every", "loop.checkpoint_every", "loop.keep_checkpoints", "loop.profile"),
    *("loop.non_finite_limit", "data.decoders", "data.validation_hash"),
)


def remembered(name: str, runs: str, checkpoints: str) -> tuple[str, dict[str, Any]] | None:
    """The settings by path that a run began with, and where they were found; None where there is no such run.

    Args:
        name, runs, checkpoints: as in the settings.

    Raises:
        SettingsError: they are there and cannot be read.
    """
    from cluster.storage import StorageError, local_path  # takes seconds, and few runs need it

    try:
        folder = Path(local_path(runs, "runs")) / name
    except StorageError as error:
        raise SettingsError(str(error)) from error
    file = folder / RUN_SETTINGS
    if file.exists():
        values = _read_whole(file)
        return str(file), {path: value for path, value in values.items() if path not in OF_ONE_RUN}
    return _of_last_checkpoint(f"{checkpoints.rstrip('/')}/{name}" if checkpoints else str(folder / "checkpoints"))


def refuse_changes(began: Mapping[str, Any], now: Mapping[str, Any], given: Iterable[str], name: str) -> None:
    """Refuse settings that would make another run of it.

    Args:
        began, now: all settings by path.
        given: paths that were chosen now.
        name: of the run.

    Raises:
        SettingsError: with the first one that differs and may not.
    """
    for path in given:
        if now[path] != began[path] and not path.startswith(MAY_DIFFER):
            raise SettingsError(
                f"--resume: {path} was {shown(began[path])} when the run {name} began, and cannot become "
                f"{shown(now[path])}; leave that out, or begin another run with another --name, without --resume"
            )


def _read_whole(file: Path) -> dict[str, Any]:
    remedy = "mend it, or remove it: the checkpoints know the settings too"
    try:
        values = read_settings(file)
    except SettingsError as mistake:
        raise SettingsError(f"{mistake}; {remedy}") from None
    is_whole = file.read_text(encoding="utf-8").endswith(WHOLE)
    if not is_whole and not any(path.startswith(LAST_GROUP) for path in values):
        raise SettingsError(f"{file}: ends too early; {remedy}")
    return values


def _of_last_checkpoint(uri: str) -> tuple[str, dict[str, Any]] | None:
    from cluster.storage import StorageError  # these take seconds, and few runs need them
    from lle.training.checkpoint import CheckpointError
    from pipelines.training.checkpoints import Checkpoints

    try:
        newest = Checkpoints.of_run(uri).newest()
    except (StorageError, CheckpointError) as error:
        raise SettingsError(f"--resume: {error}") from None
    if newest is None:
        return None
    values = {RUN.now(path, f"{uri}: "): value for path, value in flat(newest.settings).items()}
    return uri, {path: value for path, value in values.items() if path in RUN.settings and path not in OF_ONE_RUN}
