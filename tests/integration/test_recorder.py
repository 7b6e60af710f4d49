"""The driver's pen, and a real tracking server or store of files that goes away for a while."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from cluster.storage import s3_client
from pipelines.tracking import recorder as tracking
from pipelines.tracking.history import note
from pipelines.tracking.recorder import Recorder
from pipelines.tracking.runs import TrackedRun
from tests.integration.conftest import Stack, free_port, mlflow_server, use_environment, wait_for
from tests.integration.unreliable import Trouble, UnreliableServer

PICTURE = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture
def run(on_stack: Stack, proxy: UnreliableServer, monkeypatch: pytest.MonkeyPatch) -> TrackedRun:
    """A run of the stack's server whose files go from here to S3, through the proxy."""
    proxy.calm()
    use_environment(monkeypatch, on_stack.environment | {"MLFLOW_S3_ENDPOINT_URL": proxy.url, "AWS_MAX_ATTEMPTS": "1"})
    client, name = MlflowClient(on_stack.environment["MLFLOW_TRACKING_URI"]), f"recorder-{time.time_ns()}"
    s3_client().create_bucket(Bucket=name)
    experiment = client.create_experiment(name, artifact_location=f"s3://{name}")
    return TrackedRun(on_stack.environment["MLFLOW_TRACKING_URI"], client.create_run(experiment).info.run_id)


def points(run: TrackedRun, name: str) -> list[tuple[int, float]]:
    """Step and value of a metric, as often as the run has them."""
    return sorted((each.step, each.value) for each in run.client.get_metric_history(run.run_id, name))


def test_numbers_do_not_wait_for_pictures_and_what_was_lost_is_told(run: TrackedRun, proxy: UnreliableServer):
    told: list[str] = []
    proxy.trouble = lambda request: Trouble(status=503)
    recorder = Recorder(run, tell=told.append)
    for step in range(1, 40):
        recorder.picture(step, "before_after", PICTURE)
        recorder.metrics(step, {"loss": 1.0 / step, "validation/psnr": float(step)})
    recorder.close(10)
    proxy.calm()
    assert points(run, "validation/psnr") == [(step, float(step)) for step in range(1, 40)]
    assert any("does not take pictures and files (" in each and each.endswith("; the job goes on") for each in told)
    assert re.fullmatch(r"MLflow at \S+ did not take 39 pictures or files \(.+\)", told[-1]), told


def test_pictures_come_when_the_store_is_back(run: TrackedRun, proxy: UnreliableServer):
    told: list[str] = []
    proxy.trouble = lambda request: Trouble(status=503)
    recorder = Recorder(run, tell=told.append)
    recorder.picture(3, "before_after", PICTURE)
    recorder.file("note.txt", b"good evening")
    time.sleep(1)
    proxy.calm()
    recorder.close(30)
    files = {each.path for each in run.client.list_artifacts(run.run_id)}
    assert {"images", "note.txt"} <= files and not [each for each in told if "did not take" in each]


def test_one_number_that_is_refused_takes_no_other_with_it(run: TrackedRun):
    told: list[str] = []
    recorder = Recorder(run, tell=told.append)
    for step in range(1, 20):
        recorder.metrics(step, {"loss": float(step)} | ({"no\nname": 1.0} if step == 7 else {}))
    recorder.close(30)
    assert points(run, "loss") == [(step, float(step)) for step in range(1, 20)]
    assert told and told[-1].startswith("MLflow at ") and "did not take 1 numbers (" in told[-1]


def test_a_resumed_training_sends_what_the_run_lacks_and_nothing_twice(run: TrackedRun, tmp_path: Path):
    history = tmp_path / "history.jsonl"
    for step in range(1, 31):
        note(history, {"step": step, "phase": "enhancement", "loss": 1.0 / step, "validation/psnr": float(step)})
    before = Recorder(run)  # its driver dies after ten steps
    for step in range(1, 11):
        before.metrics(step, {"loss": 1.0 / step, "validation/psnr": float(step)})
    before.close(30)
    resumed = Recorder(run, history)
    wait_for(lambda: len(points(run, "validation/psnr")) == 30, 60, "the numbers that the run lacks")
    for step in range(
        26, 36
    ):  # from the checkpoint of step 25: five steps are done again, and one comes out differently
        note(history, {"step": step, "loss": 1.0 / step, "validation/psnr": step + 0.5 * (step == 28)})
        resumed.metrics(step, {"loss": 1.0 / step, "validation/psnr": step + 0.5 * (step == 28)})
    resumed.close(30)
    assert points(run, "loss") == [(step, 1.0 / step) for step in range(1, 36)]
    assert points(run, "validation/psnr") == sorted([*((step, float(step)) for step in range(1, 36)), (28, 28.5)])


def test_numbers_that_were_too_many_to_wait_come_from_the_history(
    run: TrackedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tracking, "NUMBERS_WAITING", 5)
    history, told = tmp_path / "history.jsonl", list[str]()
    recorder = Recorder(run, history, told.append)
    for step in range(1, 60):
        note(history, {"step": step, "loss": float(step)})
        recorder.metrics(step, {"loss": float(step)})
    recorder.close(30)
    assert points(run, "loss") == [(step, float(step)) for step in range(1, 60)] and told == []


@pytest.mark.drill
def test_what_is_written_while_the_server_is_gone_is_delivered_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    port = free_port()
    with mlflow_server(tmp_path, port) as address:
        run = TrackedRun(address, MlflowClient(address).create_run("0").info.run_id)
        recorder = Recorder(run)
        recorder.metrics(1, {"loss": 0.5})
    for step in range(2, 200):
        recorder.metrics(step, {"loss": 1.0 / step})
    recorder.picture(150, "before_after", PICTURE)
    recorder.table("non_finite.json", {"dark": ["a.jpg"]})
    time.sleep(3)  # long enough for an attempt that fails
    with mlflow_server(tmp_path, port):
        recorder.close(60)
        client = MlflowClient(address)
        steps = [each.step for each in client.get_metric_history(run.run_id, "loss")]
        files = [each.path for each in client.list_artifacts(run.run_id)]
    assert sorted(steps) == list(range(1, 200))
    assert {"images", "non_finite.json"} <= set(files)
