"""The record in MLflow: the driver opens a run, writes to it what rank 0 tells, and closes it.

A tracking server that goes away never stops a training: numbers, and pictures and files, wait in a queue each until a
thread has delivered them. They wait on the driver, which outlives the workers, and which alone needs the server's keys.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import queue
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    LifecycleStage,
    Metric,
    Param,
    Run,
    RunInfo,
    RunStatus,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID

from cluster.redaction import redacted, without_password
from cluster.storage import SQLITE, StorageError, local_path, sqlite_path, sqlite_uri
from pipelines.config.train import RunSettings
from pipelines.data.ingest import PhotoSet, TrainingPhotos
from pipelines.job import FAILED, UserError
from pipelines.tracking.history import VALIDATION, Row, read_history
from pipelines.tracking.source import git_revision, program, source_hash, source_tags

LOGGER = logging.getLogger(__name__)
RUN_ID = "mlflow_run_id"
PARAMETER_LENGTH = 6_000
NUMBERS_WAITING = 200_000
FILES_WAITING = 32
NUMBERS_AT_ONCE = 1000  # MLflow's limit
LONGEST_PAUSE = 30.0  # s, between two attempts at a server that is gone
POLL_SECONDS = 0.2
OF_ONE_VALUE = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
REFUSALS = (*OF_ONE_VALUE, "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "PERMISSION_DENIED")
DIGEST_LENGTH = 32  # MLflow takes 36

GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # no such run; an id that is none


class TrackingError(UserError):
    """The tracking server does not answer; the message names the setting."""

    status = FAILED


@dataclass(frozen=True)
class TrackedRun:
    """A run of MLflow, by values that may be written down: the address has no password in it."""

    uri: str
    run_id: str
    experiment_id: str = ""

    @property
    def client(self) -> MlflowClient:
        """A client of the run's server."""
        return client_of(self.uri)


def tracking_uri(given: str, runs: str) -> str:
    """The URI that was given, else MLFLOW_TRACKING_URI, else SQLite in the folder of the runs; never with a password.

    Settings, records and notes of Tune repeat it; `reachable` adds the password again. Paths become absolute, for
    workers have other working directories; a file is one of SQLite, a folder MLflow's own.

    Raises:
        TrackingError: a path that none can be.
    """
    uri = given or without_password(os.environ.get("MLFLOW_TRACKING_URI", ""))
    try:
        if not uri:
            return sqlite_uri(f"{local_path(runs, 'runs')}/mlflow.db")
        if uri.startswith(SQLITE):
            return uri if "?" in uri or ":memory:" in uri else sqlite_uri(sqlite_path(uri))
        if uri.startswith("databricks") or ("://" in uri and not uri.startswith("file:")):
            return uri
        path = Path(local_path(uri))
    except StorageError as error:
        raise TrackingError(f"tracking: {error}") from error
    return sqlite_uri(str(path)) if path.suffix in (".db", ".sqlite") else path.as_uri()


def reachable(uri: str) -> str:
    """An address of `tracking_uri` with the password that this process's MLFLOW_TRACKING_URI has for it."""
    told = os.environ.get("MLFLOW_TRACKING_URI", "")
    return told if told and without_password(told) == uri else uri


def client_of(uri: str) -> MlflowClient:
    """A client of the server or data base at an address of `tracking_uri`."""
    return MlflowClient(reachable(uri))


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
        _quietly(lambda: client.set_terminated(run.run_id, RunStatus.to_string(status)), "the end of the run")


@contextmanager
def one_after_another(uri: str) -> Iterator[None]:
    """For a block that makes the tables of an SQLite file: two processes that make them at once fail."""
    if not uri.startswith(SQLITE):
        yield
        return
    with Path(f"{sqlite_path(uri)}.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the process, however that ends
        yield


def recorded_run(uri: str, run_id: str) -> TrackedRun:
    """A run that ended, by its id; its experiment, which only a server's pages need, is empty where nobody answers."""
    quieten()
    found: list[str] = []
    if uri.startswith("http"):
        _quietly(lambda: found.append(client_of(uri).get_run(run_id).info.experiment_id), f"a look at {run_id}")
    return TrackedRun(uri, run_id, *found)


class Recorder:
    """The driver's pen: numbers, and pictures and files, into a run from a thread each, without ever raising or
    blocking.

    While the server or its store of files is gone they wait: at most NUMBERS_WAITING numbers (some 100 MB) and
    FILES_WAITING pictures and files, the largest a few MB each. What comes on top of that is dropped, and said; dropped
    numbers are taken from the history later.

    Args:
        run: what to write to.
        history: the training's `history.jsonl`. Numbers in it that the run lacks are sent first: those of a training
            that is resumed and whose driver or server went away before.
        tell: takes a sentence about what MLflow does not take.
    """

    def __init__(
        self, run: TrackedRun, history: Path | None = None, tell: Callable[[str], None] = LOGGER.warning
    ) -> None:
        quieten()
        self._run, self._history, self._tell = run, history, tell
        self._client = run.client
        self._last: dict[str, int] = {}  # step of each number that the run has
        self._validations: dict[tuple[str, int], float] = {}
        complete = self._complete if history else None
        self._numbers = Delivery(self._send, NUMBERS_WAITING, NUMBERS_AT_ONCE, self._say("numbers"), complete)
        self._files = Delivery(lambda jobs: jobs[0](), FILES_WAITING, 1, self._say("pictures and files"))

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Numbers by name at a step."""
        now = int(time.time() * 1000)
        for name, value in values.items():
            self._numbers.put(Metric(name, value, now, step))

    def picture(self, step: int, key: str, picture: np.ndarray) -> None:
        """A picture, uint8 (H, W, 3), in the run's time slider."""
        client = self._client
        self._files.put(lambda: client.log_image(self._run.run_id, picture, key=key, step=step))

    def table(self, name: str, values: dict[str, Any]) -> None:
        """Plain values as a JSON file of the run."""
        self.file(name, (json.dumps(values, indent=2) + "\n").encode())

    def file(self, name: str, content: bytes) -> None:
        """A small file."""

        def send() -> None:
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, name).write_bytes(content)
                self._client.log_artifact(self._run.run_id, str(Path(folder, name)))

        self._files.put(send)

    def close(self, seconds: float = 30.0) -> None:
        """Deliver what waits, for so long at most, and say what was not delivered."""
        deadline = time.monotonic() + seconds
        for each in (self._numbers, self._files):
            each.end()
        numbers, files = (each.left(deadline) for each in (self._numbers, self._files))
        if numbers or files:
            lost = [f"{count} {what}" for count, what in ((numbers, "numbers"), (files, "pictures or files")) if count]
            kept = f"; the numbers are in {self._history}" if numbers and self._history else ""
            reason = self._numbers.reason if numbers else self._files.reason
            self._tell(
                f"MLflow at {redacted(self._run.uri)} did not take {' and '.join(lost)}"
                f" ({reason or 'too many waited'}){kept}"
            )

    def _say(self, what: str) -> Callable[[str], None]:
        return lambda reason: self._tell(
            f"MLflow at {redacted(self._run.uri)} does not take {what} ({reason}); the job goes on"
        )

    def _send(self, metrics: list[Metric]) -> None:
        """Numbers that the run lacks, each once.

        A step that was done again after a restart is sent again where a validation gave another value, for that chooses
        the model; MLflow would draw every other number twice.
        """
        new = [*{(each.key, each.step): each for each in metrics if not self._has(each)}.values()]
        self._log(new)
        self._note(new)

    def _log(self, metrics: list[Metric]) -> None:
        """One message; smaller ones where a number in it is refused, so that it takes no other with it."""
        if not metrics:
            return
        try:
            self._client.log_batch(self._run.run_id, metrics=metrics)
        except MlflowException as error:
            if error.error_code not in OF_ONE_VALUE:
                raise
            if len(metrics) == 1:
                self._numbers.refuse(error, 1)
                return
            self._log(metrics[: len(metrics) // 2])
            self._log(metrics[len(metrics) // 2 :])

    def _has(self, metric: Metric) -> bool:
        if metric.key.startswith(VALIDATION):
            return self._validations.get((metric.key, metric.step)) == metric.value
        return metric.step <= self._last.get(metric.key, -1)

    def _note(self, metrics: Iterable[Metric]) -> None:
        for each in metrics:
            self._last[each.key] = max(each.step, self._last.get(each.key, -1))
            if each.key.startswith(VALIDATION):
                self._validations[each.key, each.step] = each.value

    def _complete(self) -> None:
        """Ask the run what it has, and send it what the history has beyond that."""
        if self._history is None or not self._history.exists():
            return
        names = self._client.get_run(self._run.run_id).data.metrics
        there = [each for name in names for each in self._client.get_metric_history(self._run.run_id, name)]
        known, now = {(each.key, each.step) for each in there}, int(time.time() * 1000)
        missing = [
            Metric(name, value, now, row["step"])
            for row in read_history(self._history)
            for name, value in numbers_of(row).items()
            if (name, row["step"]) not in known
        ]
        for start in range(0, len(missing), NUMBERS_AT_ONCE):
            self._log(missing[start : start + NUMBERS_AT_ONCE])
        self._note(there)
        self._note(missing)


class Delivery:
    """Jobs that a thread delivers one after the other, each until it is taken or refused for what it holds.

    Args:
        send: delivers some jobs.
        waiting: jobs that may wait; more are dropped.
        at_once: jobs for one `send`.
        say: takes the reason why something is not delivered, once.
        begin: comes before the first job, and makes up for jobs that were dropped.
    """

    def __init__(
        self,
        send: Callable[[list[Any]], None],
        waiting: int,
        at_once: int,
        say: Callable[[str], None],
        begin: Callable[[], None] | None = None,
    ) -> None:
        self.reason = ""
        self._send, self._at_once, self._say, self._begin = send, at_once, say, begin
        self._queue: queue.Queue[Any] = queue.Queue(waiting)
        self._in_hand = self._dropped = self._refused = 0
        self._said = False
        self._ended, self._given_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, job: Any) -> None:
        """One more job."""
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            self._dropped += 1

    def end(self) -> None:
        """No more jobs come."""
        self._ended.set()

    def left(self, deadline: float) -> int:
        """Jobs that were not taken by a time of `time.monotonic`."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._given_up.set()
        return self._in_hand + self._queue.qsize() + self._dropped + self._refused

    def refuse(self, error: Exception, size: int) -> None:
        """Jobs that are given up for what they hold."""
        self._refused += size
        self._fail(error, aloud=True)

    def _fail(self, error: Exception, aloud: bool) -> None:
        self.reason = first_line(error)
        if aloud and not self._said:
            self._said = True
            self._say(self.reason)

    def _run(self) -> None:
        if self._begin:
            self._until_taken(self._begin, 0)
        while not self._given_up.is_set() and (jobs := self._next()):
            self._in_hand = len(jobs)
            if self._until_taken(partial(self._send, jobs), len(jobs)):
                self._in_hand = 0
            dropped = self._dropped
            if self._begin and dropped and self._queue.empty() and self._until_taken(self._begin, 0):
                self._dropped -= dropped

    def _next(self) -> list[Any]:
        """What waits, so much as may go at once; empty at the end."""
        while not (self._ended.is_set() and self._queue.empty()):
            with suppress(queue.Empty):
                jobs = [self._queue.get(timeout=POLL_SECONDS)]
                with suppress(queue.Empty):
                    while len(jobs) < self._at_once:
                        jobs.append(self._queue.get_nowait())
                return jobs
        return []

    def _until_taken(self, job: Callable[[], None], size: int) -> bool:
        """Whether so many jobs were taken or refused; False where they were given up."""
        pause, tries = 1.0, 0
        while not self._given_up.is_set():
            tries += 1
            try:
                job()
                return True
            except Exception as error:
                if getattr(error, "error_code", "") in REFUSALS:
                    self.refuse(error, size)
                    return True
                self._fail(error, aloud=tries > 1)
            if not self._ended.is_set():
                self._ended.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._given_up.wait(1.0)  # at the end there is no time for long pauses
        return False


def numbers_of(row: Row) -> dict[str, float]:
    """The numbers of a row of the history by MLflow's names; `step` and the time are no numbers of the training."""
    return {
        name: value for name, value in row.items() if name not in ("step", "time") and isinstance(value, int | float)
    }


def record_evaluation(
    uri: str,
    experiment: str,
    name: str,
    program: str,
    parameters: dict[str, str],
    metrics: dict[str, float],
    files: dict[str, bytes],
    datasets: Sequence[DatasetInput] = (),
) -> str:
    """A finished run with the numbers, files and data of an evaluation; its id.

    Args:
        uri: of the tracking server or data base.
        experiment, name: of the run.
        program: the entry point, such as pipelines/evaluate.py.
        parameters, metrics: by name.
        files: by path.
        datasets: of `dataset`.

    Raises:
        TrackingError: the server does not take it.
    """
    quieten()
    try:
        client = client_of(uri)
        found = client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else _create_experiment(client, experiment, uri)
        run_id = str(client.create_run(experiment_id, run_name=name).info.run_id)
        client.log_batch(
            run_id,
            metrics=[Metric(key, value, int(time.time() * 1000), 0) for key, value in metrics.items()],
            params=[Param(key, value[:PARAMETER_LENGTH]) for key, value in parameters.items()],
            tags=[RunTag(key, value) for key, value in source_tags(program).items()],
        )
        if datasets:
            client.log_inputs(run_id, datasets)
        with tempfile.TemporaryDirectory() as folder:
            for path, content in files.items():
                file = Path(folder, _artifact_name(path))
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            client.log_artifacts(run_id, folder)
        client.set_terminated(run_id, RunStatus.to_string(RunStatus.FINISHED))
    except Exception as error:
        raise TrackingError(
            f"tracking: MLflow at {redacted(uri)} does not take the numbers ({first_line(error)})"
        ) from error
    return run_id


def _artifact_name(path: str) -> str:
    """A path whose characters mean nothing in the URLs that MLflow makes of it; two never become one."""
    return re.sub(r"[%#?~\\\x00-\x1f]", lambda found: f"~{ord(found[0]):02x}", path)


def log_files(run: TrackedRun, folder: Path) -> None:
    """Attach the small files of a run folder (summary, settings, pictures, report)."""
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".jsonl", ".yaml", ".png", ".csv", ".html"):
            log_file(run, path)


def log_file(run: TrackedRun, path: Path) -> None:
    """Attach one file to a run."""
    _quietly(lambda: run.client.log_artifact(run.run_id, str(path)), path.name)


def end_run(run: TrackedRun, status: str) -> None:
    """Give a run a status of MLflow, such as KILLED, from outside."""
    _quietly(lambda: run.client.update_run(run.run_id, status=status), f"the end of run {run.run_id}")


def log_metrics(run: TrackedRun, values: dict[str, float], step: int = 0) -> None:
    """Add numbers to a run that no training writes to."""
    now = int(time.time() * 1000)
    numbers = [Metric(name, value, now, step) for name, value in values.items()]
    _quietly(lambda: run.client.log_batch(run.run_id, metrics=numbers), ", ".join(values))


def tag_run(run: TrackedRun, tags: dict[str, str]) -> None:
    """Add tags to a run."""
    for name, value in tags.items():
        _quietly(lambda name=name, value=value: run.client.set_tag(run.run_id, name, value), name)


def metric_history(run: TrackedRun, prefix: str) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of the metrics whose names begin so; empty where nobody answers."""
    found: dict[str, list[tuple[int, float]]] = {}

    def ask() -> None:
        for name in run.client.get_run(run.run_id).data.metrics:
            if name.startswith(prefix):
                found[name] = [(each.step, each.value) for each in run.client.get_metric_history(run.run_id, name)]

    _quietly(ask, "the question for its metrics")
    return found


def quieten() -> None:
    """MLflow waits seconds, not minutes, for a server that is gone, and logs only what matters."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # it holds the password of the server
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(
        logging.CRITICAL
    )  # its pages of what is raised, and told, anyway


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
    experiment_id = experiment.experiment_id if experiment else _create_experiment(client, name, uri)
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


def _create_experiment(client: MlflowClient, experiment: str, uri: str) -> str:
    """With SQLite, the pictures and models lie in a folder beside the data base."""
    if not (database := sqlite_path(uri)):
        return client.create_experiment(experiment)
    artifacts = Path(database).parent / "mlartifacts"
    return client.create_experiment(experiment, artifact_location=artifacts.as_uri())


def _describe(client: MlflowClient, run_id: str, settings: RunSettings, photos: TrainingPhotos) -> None:
    parameters = [
        Param(name, str(value)[:PARAMETER_LENGTH]) for name, value in flattened(settings.model_dump()).items()
    ]
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
    """The photos of a training as MLflow shows them, each set with what it is for.

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
        *(dataset(name, "training", each.uri, names_hash(each), len(each.paths)) for name, each in training.items()),
        *(
            dataset(name, "validation", each.uri, photos.validation_hash or names_hash(each), len(each.paths))
            for name, each in validation.items()
            if each
        ),
    ]


def dataset(name: str, context: str, uri: str, digest: str, count: int) -> DatasetInput:
    """A set of photos as MLflow shows it.

    Args:
        name: what it is called.
        context: training, validation or evaluation.
        uri: where it lies.
        digest: SHA-256 of what identifies it.
        count: photos in it.
    """
    kind = uri.partition("://")[0] if "://" in uri else "local"
    entity = Dataset(
        name,
        digest[:DIGEST_LENGTH],
        kind,
        json.dumps({"uri": redacted(uri)}),
        profile=json.dumps({"photos": count, "sha256": digest}),
    )
    return DatasetInput(entity, [InputTag(MLFLOW_DATASET_CONTEXT, context)])


def names_hash(photos: PhotoSet) -> str:
    """SHA-256 of a set's sorted paths: which photos, not what is in them; of a prepared set also that, for its shards
    are named after the versions of their files.
    """
    return hashlib.sha256(json.dumps(photos.paths).encode()).hexdigest()


def flattened(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of a settings tree by dotted path."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        leaves |= flattened(value, path + ".") if isinstance(value, dict) else {path: value}
    return leaves


def _quietly(job: Any, what: str) -> None:
    try:
        job()
    except Exception as error:
        LOGGER.warning("MLflow did not take %s (%s)", what, first_line(error))


def first_line(error: Exception) -> str:
    """What an error says, in one line of at most 200 characters, without passwords."""
    return redacted((str(error).strip() or type(error).__name__).splitlines()[0])[:200]
