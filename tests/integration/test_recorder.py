"""The pen of rank 0 and a real tracking server that goes away for a while."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from pipelines.jobs.tracking import Recorder, TrackedRun
from tests.integration.conftest import free_port, mlflow_server


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
    recorder.picture(150, "before_after", np.zeros((8, 8, 3), np.uint8))
    recorder.table("non_finite.json", {"dark": ["a.jpg"]})
    time.sleep(3)  # long enough for an attempt that fails
    with mlflow_server(tmp_path, port):
        recorder.close(60)
        client = MlflowClient(address)
        steps = [each.step for each in client.get_metric_history(run.run_id, "loss")]
        files = [each.path for each in client.list_artifacts(run.run_id)]
    assert sorted(steps) == list(range(1, 200))
    assert {"images", "non_finite.json"} <= set(files)
