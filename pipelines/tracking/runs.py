"""Runs of MLflow: where its server is, and what any job writes to a run; a server that goes away stops no job."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from cluster.redaction import redacted, without_password
from cluster.storage import SQLITE, sqlite_path
from pipelines.tracking.address import TrackingError
from pipelines.tracking.source import source_tags

LOGGER = logging.getLogger(__name__)
PARAMETER_LENGTH = 6_000
DIGEST_LENGTH = 32  # MLflow takes 36


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


def reachable(uri: str) -> str:
    """An address of `tracking_uri` with the password that this process's MLFLOW_TRACKING_URI has for it."""
    told = os.environ.get("MLFLOW_TRACKING_URI", "")
    return told if told and without_password(told) == uri else uri


def client_of(uri: str) -> MlflowClient:
    """A client of the server or data base at an address of `tracking_uri`."""
    return MlflowClient(reachable(uri))


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
        quietly(lambda: found.append(client_of(uri).get_run(run_id).info.experiment_id), f"a look at {run_id}")
    return TrackedRun(uri, run_id, *found)


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
        found = client.get_experiment_by_name(experiment) or created_experiment(client, experiment, uri)
        experiment_id = found.experiment_id
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
    quietly(lambda: run.client.log_artifact(run.run_id, str(path)), path.name)


def end_run(run: TrackedRun, status: str) -> None:
    """Give a run a status of MLflow, such as KILLED, from outside."""
    quietly(lambda: run.client.update_run(run.run_id, status=status), f"the end of run {run.run_id}")


def log_metrics(run: TrackedRun, values: dict[str, float], step: int = 0) -> None:
    """Add numbers to a run that no training writes to."""
    now = int(time.time() * 1000)
    numbers = [Metric(name, value, now, step) for name, value in values.items()]
    quietly(lambda: run.client.log_batch(run.run_id, metrics=numbers), ", ".join(values))


def tag_run(run: TrackedRun, tags: dict[str, str]) -> None:
    """Add tags to a run."""
    for name, value in tags.items():
        quietly(lambda name=name, value=value: run.client.set_tag(run.run_id, name, value), name)


def metric_history(run: TrackedRun, prefix: str) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of the metrics whose names begin so; empty where nobody answers."""
    found: dict[str, list[tuple[int, float]]] = {}

    def ask() -> None:
        for name in run.client.get_run(run.run_id).data.metrics:
            if name.startswith(prefix):
                found[name] = [(each.step, each.value) for each in run.client.get_metric_history(run.run_id, name)]

    quietly(ask, "the question for its metrics")
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


def created_experiment(client: MlflowClient, experiment: str, uri: str) -> Experiment:
    """An experiment that was not there, by now perhaps another job's. With SQLite, the pictures and models lie in a
    folder beside the data base.
    """
    database = sqlite_path(uri)
    artifacts = (Path(database).parent / "mlartifacts").as_uri() if database else None
    try:
        return client.get_experiment(client.create_experiment(experiment, artifact_location=artifacts))
    except MlflowException as error:
        found = client.get_experiment_by_name(experiment)
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS) or found is None:
            raise
        return found


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


def quietly(job: Any, what: str) -> None:
    """Do what a job can do without: where MLflow does not take it, a warning says so."""
    try:
        job()
    except Exception as error:
        LOGGER.warning("MLflow did not take %s (%s)", what, first_line(error))


def first_line(error: Exception) -> str:
    """What an error says, in one line of at most 200 characters, without passwords."""
    return redacted((str(error).strip() or type(error).__name__).splitlines()[0])[:200]
