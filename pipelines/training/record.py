"""The run of a training in MLflow: opened or gone on with by the driver, described, closed as the training ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mlflow.entities import DatasetInput, Experiment, LifecycleStage, Param, Run, RunInfo, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from cluster.redaction import redacted
from pipelines.config.text import flat
from pipelines.config.train import RunSettings
from pipelines.data.photo_sets import Photos, PhotoSet, names_hash
from pipelines.data.training_photos import TrainingPhotos
from pipelines.tracking.address import TrackingError, tracking_uri
from pipelines.tracking.runs import (
    PARAMETER_LENGTH,
    TrackedRun,
    client_of,
    created_experiment,
    dataset,
    first_line,
    one_after_another,
    quieten,
    quietly,
    tag_run,
)
from pipelines.tracking.source import git_revision, program, source_hash, source_tags

LOGGER = logging.getLogger(__name__)
RUN_ID = "mlflow_run_id"
GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # no such run; an id that is none


@contextmanager
def tracked_run(
    settings: RunSettings,
    photos: TrainingPhotos,
    folder: Path,
    parent: str = "",
    tell: Callable[[str], None] = LOGGER.warning,
) -> Iterator[TrackedRun]:
    """A run for the length of a block: FINISHED at its end, KILLED when interrupted, FAILED on any error.

    One that is resumed goes on in the run it had. If that is FINISHED it stays so; if it is gone, a new one takes over.

    Args:
        settings: the training's.
        photos: what it trains on, described in the run.
        folder: the run's folder, which remembers the run for a resumption.
        parent: id of the run that this one is a part of.
        tell: told if the run of a resumed training is gone.

    Raises:
        TrackingError: the server does not answer at the start.
    """
    quieten()
    uri = tracking_uri(settings.tracking.uri, settings.runs)
    try:
        with one_after_another(uri):
            client = client_of(uri)
            opened = _open_run(client, settings, photos, folder / RUN_ID, uri, parent, tell)
        run = TrackedRun(uri, opened.run_id, opened.experiment_id)
    except TrackingError:
        raise
    except Exception as error:
        raise TrackingError(f"tracking.uri: MLflow does not answer at {redacted(uri)} ({first_line(error)})") from error
    if opened.status == RunStatus.to_string(RunStatus.FINISHED):
        yield run
        return
    if settings.resume:  # by what may be another source than it began with
        tag_run(run, {"resumed.git.revision": git_revision(), "resumed.source.hash": source_hash()})
    status = RunStatus.FINISHED
    try:
        yield run
    except (KeyboardInterrupt, SystemExit):
        status = RunStatus.KILLED
        raise
    except BaseException:
        status = RunStatus.FAILED
        raise
    finally:
        quietly(lambda: client.set_terminated(run.run_id, RunStatus.to_string(status)), "the end of the run")


def _open_run(
    client: MlflowClient,
    settings: RunSettings,
    photos: TrainingPhotos,
    id_file: Path,
    uri: str,
    parent: str,
    tell: Callable[[str], None],
) -> RunInfo:
    """The run to write to: a new one, or the one a resumed training began with, RUNNING unless it was FINISHED."""
    name = settings.tracking.experiment
    experiment = client.get_experiment_by_name(name)
    if settings.resume and (before := _run_before(client, experiment, settings.name, id_file)):
        if before.info.status != RunStatus.to_string(RunStatus.FINISHED):
            client.update_run(before.info.run_id, status=RunStatus.to_string(RunStatus.RUNNING))
        return before.info
    if experiment and experiment.lifecycle_stage != LifecycleStage.ACTIVE:
        raise TrackingError(
            f"tracking.experiment: {name} was deleted from MLflow; restore it, or name another with "
            "--tracking.experiment"
        )
    if settings.resume:
        tell(f"MLflow at {redacted(uri)} has no run of {settings.name} to go on in; going on in a new one")
    experiment_id = (experiment or created_experiment(client, name, uri)).experiment_id
    tags = {MLFLOW_PARENT_RUN_ID: parent} if parent else {}
    info: RunInfo = client.create_run(experiment_id, run_name=settings.name, tags=tags).info
    _describe(client, info.run_id, settings, photos)
    id_file.write_text(info.run_id + "\n", encoding="utf-8")
    return info


def _run_before(client: MlflowClient, experiment: Experiment | None, name: str, id_file: Path) -> Run | None:
    """The run that a training had before, unless it is gone; by its name where the training's folder is on another
    machine.
    """
    if id_file.exists():
        try:
            found: Run = client.get_run(id_file.read_text(encoding="utf-8").strip())
        except MlflowException as error:
            if error.error_code not in GONE:
                raise
            return None
        return found if found.info.lifecycle_stage == LifecycleStage.ACTIVE else None
    if experiment is None:
        return None
    wanted = f"attributes.run_name = '{name}' and attributes.status != 'FINISHED'"
    runs = client.search_runs([experiment.experiment_id], wanted, max_results=1, order_by=["start_time DESC"])
    return runs[0] if runs else None


def _describe(client: MlflowClient, run_id: str, settings: RunSettings, photos: TrainingPhotos) -> None:
    parameters = [Param(name, str(value)[:PARAMETER_LENGTH]) for name, value in flat(settings.model_dump()).items()]
    for start in range(0, len(parameters), 100):
        client.log_batch(run_id, params=parameters[start : start + 100])
    for name, photo_set in (("dark", photos.dark), ("well_lit", photos.well_lit)):
        client.set_tag(run_id, f"data.{name}.count", len(photo_set.paths))
        client.set_tag(run_id, f"data.{name}.hash", names_hash(photo_set))
    client.set_tag(run_id, "data.validation.hash", photos.validation_hash)
    client.set_tag(run_id, "data.refused", len(photos.refused))
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in source_tags(program()).items()])
    client.log_inputs(run_id, datasets(photos))
    client.log_dict(run_id, {"refused": photos.refused}, "refused.json")


def datasets(photos: TrainingPhotos) -> list[DatasetInput]:
    """The photos of a training as MLflow shows them, each set with what it is for; of several, `dark_1` is the first.

    The digest of those to train on tells which photos they are (`names_hash`), that of those to validate on also what
    is in them.
    """
    training = {"dark": photos.dark, "well_lit": photos.well_lit}
    validation = {
        "held_out_dark": photos.held_out_dark,
        "held_out_well_lit": photos.held_out_well_lit,
        "pairs_dark": photos.pairs_dark,
        "pairs_truth": photos.pairs_truth,
    }
    return [
        *(dataset(name, "training", each.uri, names_hash(each), len(each.paths)) for name, each in _named(training)),
        *(
            dataset(name, "validation", each.uri, photos.validation_hash or names_hash(each), len(each.paths))
            for name, each in _named(validation)
        ),
    ]


def _named(photos: Mapping[str, Photos | None]) -> Iterator[tuple[str, PhotoSet]]:
    for name, chosen in photos.items():
        sets = chosen.sets if chosen else ()
        yield from ((f"{name}_{index}" if len(sets) > 1 else name, each) for index, each in enumerate(sets, start=1))
