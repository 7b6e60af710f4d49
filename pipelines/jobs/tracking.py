"""The record in MLflow: the driver opens and closes a run, rank 0 writes to it.

A tracking server that goes away never stops a training: what rank 0 writes waits in a queue until a thread of its own
has delivered it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import queue
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import Experiment, Metric, Param, RunStatus
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from cluster.redaction import redacted
from cluster.storage import SQLITE, StorageError, local_path, sqlite_path, sqlite_uri
from lle.config import TrainSettings
from pipelines.jobs.ingest import PhotoSet, TrainingPhotos

LOGGER = logging.getLogger(__name__)
RUN_ID = "mlflow_run_id"
PARAMETER_LENGTH = 6_000
QUEUE_LENGTH = 10_000
NOTHING = object()
PICTURES_WAITING = 32
NUMBERS_AT_ONCE = 1000  # MLflow's limit
LONGEST_PAUSE = 30.0  # s, between two attempts at a server that is gone
REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "PERMISSION_DENIED")


class TrackingError(RuntimeError):
    """The tracking server does not answer; the message names the setting."""


@dataclass(frozen=True)
class TrackedRun:
    """A run of MLflow, by values that can be sent to a worker."""

    uri: str
    run_id: str

    @property
    def client(self) -> MlflowClient:
        """A client of the run's server."""
        return MlflowClient(self.uri)


def tracking_uri(given: str, runs: str) -> str:
    """The URI that was given, else MLFLOW_TRACKING_URI, else SQLite in the folder of the runs.

    Paths become absolute, for workers have other working directories; a file is one of SQLite, a folder MLflow's own.

    Raises:
        TrackingError: a path that none can be.
    """
    uri = given or os.environ.get("MLFLOW_TRACKING_URI", "")
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


@contextmanager
def tracked_run(
    settings: TrainSettings, photos: TrainingPhotos, folder: Path, parent: str = ""
) -> Iterator[TrackedRun]:
    """A run for the length of a block: FINISHED at its end, KILLED when interrupted, FAILED on any error.

    Args:
        settings: the training's.
        photos: what it trains on, described in the run.
        folder: the run's folder, which remembers the run for a resumption.
        parent: id of the run that this one is a part of.

    Raises:
        TrackingError: the server does not answer at the start.
    """
    quieten()
    uri = tracking_uri(settings.tracking.uri, settings.runs)
    try:
        client = MlflowClient(uri)
        run = TrackedRun(uri, _open_run(client, settings, photos, folder / RUN_ID, uri, parent))
    except Exception as error:
        raise TrackingError(f"tracking.uri: MLflow does not answer at {redacted(uri)} ({first_line(error)})") from error
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


class Recorder:
    """Rank 0's pen: numbers and pictures into a run, from a thread, without ever raising or blocking.

    While the server is gone they wait: at most QUEUE_LENGTH sets of numbers (10 MB) and PICTURES_WAITING pictures, the
    largest a few MB each; what comes on top of that is dropped, and said.
    """

    def __init__(self, run: TrackedRun) -> None:
        quieten()
        self._run, self._client = run, run.client
        self._queue: queue.Queue[Any] = queue.Queue(QUEUE_LENGTH)
        self._pictures = threading.Semaphore(PICTURES_WAITING)
        self._closing = threading.Event()
        self._dropped = 0
        self._thread = threading.Thread(target=self._deliver, daemon=True)
        self._thread.start()

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Numbers by name at a step."""
        now = int(time.time() * 1000)
        self._put([Metric(name, value, now, step) for name, value in values.items()])

    def picture(self, step: int, key: str, picture: np.ndarray) -> None:
        """A picture, uint8 (H, W, 3), in the run's time slider."""
        if not self._pictures.acquire(blocking=False):
            self._dropped += 1
            return

        def send() -> None:
            self._client.log_image(self._run.run_id, picture, key=key, step=step)
            self._pictures.release()

        self._put(send)

    def table(self, name: str, values: dict[str, Any]) -> None:
        """Plain values as a JSON file of the run."""
        self._put(lambda: self._client.log_dict(self._run.run_id, values, name))

    def file(self, path: Path) -> None:
        """A small file, read now."""
        content, name = path.read_bytes(), path.name

        def send() -> None:
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, name).write_bytes(content)
                self._client.log_artifact(self._run.run_id, str(Path(folder, name)))

        self._put(send)

    def close(self, seconds: float = 30.0) -> None:
        """Deliver what waits, for so long at most."""
        self._put(None)
        self._thread.join(seconds)
        self._closing.set()
        if lost := self._dropped + self._queue.qsize():
            LOGGER.warning("MLflow at %s did not take %d records", redacted(self._run.uri), lost)

    def _put(self, job: Any) -> None:
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            self._dropped += 1

    def _deliver(self) -> None:
        job = self._queue.get()
        while job is not None:
            following = NOTHING
            if isinstance(job, list):
                job, following = self._joined(job)
            pause = 1.0
            while not self._delivered(job) and not self._closing.wait(pause):
                pause = min(2 * pause, LONGEST_PAUSE)
            job = self._queue.get() if following is NOTHING else following

    def _joined(self, numbers: list[Metric]) -> tuple[list[Metric], Any]:
        """Numbers with those that wait behind them, for one message; and the job that ends them, or NOTHING."""
        while len(numbers) < NUMBERS_AT_ONCE:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return numbers, NOTHING
            if not isinstance(job, list) or len(numbers) + len(job) > NUMBERS_AT_ONCE:
                return numbers, job
            numbers = numbers + job
        return numbers, NOTHING

    def _delivered(self, job: Any) -> bool:
        """Whether a job is done with: taken, or refused for what it holds."""
        try:
            if isinstance(job, list):
                self._client.log_batch(self._run.run_id, metrics=job)
            else:
                job()
        except Exception as error:
            if getattr(error, "error_code", "") not in REFUSALS:
                return False
            LOGGER.warning("MLflow did not take a record (%s)", first_line(error))
        return True


def record_evaluation(
    uri: str, experiment: str, name: str, parameters: dict[str, str], metrics: dict[str, float], files: dict[str, bytes]
) -> str:
    """A finished run with the numbers and files of an evaluation; its id.

    Raises:
        TrackingError: the server does not take it.
    """
    quieten()
    try:
        client = MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else _create_experiment(client, experiment, uri)
        run_id = str(client.create_run(experiment_id, run_name=name).info.run_id)
        client.log_batch(
            run_id,
            metrics=[Metric(key, value, int(time.time() * 1000), 0) for key, value in metrics.items()],
            params=[Param(key, value[:PARAMETER_LENGTH]) for key, value in parameters.items()],
        )
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
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in ("mlflow", "alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _open_run(
    client: MlflowClient, settings: TrainSettings, photos: TrainingPhotos, id_file: Path, uri: str, parent: str
) -> str:
    """The run to write to: a new one, or the one a resumed training began with."""
    experiment = client.get_experiment_by_name(settings.tracking.experiment)
    if settings.resume and (run_id := _run_before(client, experiment, settings.name, id_file)):
        client.update_run(run_id, status=RunStatus.to_string(RunStatus.RUNNING))
        return run_id
    experiment_id = (
        experiment.experiment_id if experiment else _create_experiment(client, settings.tracking.experiment, uri)
    )
    tags = {MLFLOW_PARENT_RUN_ID: parent} if parent else {}
    run_id = str(client.create_run(experiment_id, run_name=settings.name, tags=tags).info.run_id)
    _describe(client, run_id, settings, photos)
    id_file.write_text(run_id + "\n", encoding="utf-8")
    return run_id


def _run_before(client: MlflowClient, experiment: Experiment | None, name: str, id_file: Path) -> str:
    """The run that a training had before; by its name where the training's folder is on another machine."""
    if id_file.exists():
        return id_file.read_text(encoding="utf-8").strip()
    if experiment is None:
        return ""
    wanted = f"attributes.run_name = '{name}'"
    found = client.search_runs([experiment.experiment_id], wanted, max_results=1, order_by=["start_time DESC"])
    return str(found[0].info.run_id) if found else ""


def _create_experiment(client: MlflowClient, experiment: str, uri: str) -> str:
    """With SQLite, the pictures and models lie in a folder beside the data base."""
    if not (database := sqlite_path(uri)):
        return client.create_experiment(experiment)
    artifacts = Path(database).parent / "mlartifacts"
    return client.create_experiment(experiment, artifact_location=artifacts.as_uri())


def _describe(client: MlflowClient, run_id: str, settings: TrainSettings, photos: TrainingPhotos) -> None:
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
    client.set_tag(run_id, "git.revision", git_revision())
    client.log_dict(run_id, {"refused": photos.refused}, "refused.json")


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


def git_revision() -> str:
    """Commit of the source, with `-dirty` where it was changed; `unknown` outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def _quietly(job: Any, what: str) -> None:
    try:
        job()
    except Exception as error:
        LOGGER.warning("MLflow did not take %s (%s)", what, first_line(error))


def first_line(error: Exception) -> str:
    """What an error says, in one line of at most 200 characters, without passwords."""
    return redacted((str(error).strip() or type(error).__name__).splitlines()[0])[:200]
