"""The whole job as users run it: submitted, watched, killed, resumed."""

from __future__ import annotations

import gzip
import json
import re
import signal
from pathlib import Path

import mlflow
import numpy as np
import psutil
import pytest
import torch
from mlflow.tracking import MlflowClient

import lle
from lle.images import decode, encode, from_tensor, read, to_tensor
from pipelines.tracking.history import HISTORY, read_history
from pipelines.tracking.source import git_revision, source_hash
from pipelines.training.checkpoints import Checkpoints
from tests.integration.conftest import (
    Cluster,
    Trainings,
    free_port,
    mlflow_server,
    ray_command,
    run,
    submission,
    wait_for,
)

SUMMARY_KEYS = {
    "psnr_input", "psnr_enhanced", "ssim_input", "ssim_enhanced", "seconds", "steps", "images_per_second",
    "data_wait_share", "model", "mlflow_run_id",
}  # fmt: skip


def client_of(runs: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")


@pytest.fixture(scope="module")
def job(cluster: Cluster, tiny: Path, tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The folder of a training that was submitted and ran to its end; its output in `output.txt`."""
    runs = tmp_path_factory.mktemp("runs")
    arguments = ["--config", str(tiny), "--runs", str(runs), "--name", "job", "--profile"]
    submitted = run(submission(cluster, repository, *arguments), cluster.environment)
    assert submitted.returncode == 0, submitted.stdout[-4000:] + submitted.stderr[-4000:]
    (runs / "job" / "output.txt").write_text(submitted.stdout)
    return runs / "job"


def test_a_submitted_job_trains_records_and_registers(job: Path):
    output = (job / "output.txt").read_text()
    assert "round 2 enhancement" in output and "psnr" in output
    crowded = "worker processes have been started on node"  # what Ray says of four CPUs on a machine of two
    noise = rf"\r|Traceback|Warning|WARNING(?!.*{crowded})|\(RayTrainWorker|\(TrainController"
    assert [line for line in output.splitlines() if re.search(noise, line)] == []

    summary = json.loads((job / "summary.json").read_text())
    assert summary.keys() >= SUMMARY_KEYS
    assert summary["steps"] == {"prompt_init": 8, "reconstruction": 6, "enhancement": 20, "refinement": 6}
    assert read(job / "before_after.png").shape[2] == 3
    report = (job / "report.html").read_text()
    assert report.count("<figure") == report.count('data-left="exposure-shoulder"') == 8
    assert "PSNR, held-out photos" in report and "Loss, refining the prompts" in report

    client = client_of(job.parent)
    record = client.get_run(summary["mlflow_run_id"])
    assert record.info.status == "FINISHED"
    assert record.data.params["scaling.workers"] == "2" and record.data.params["objective.guidance.weight"] == "320.0"
    assert {
        "loss",
        "term/guidance",
        "lr/enhancer",
        "images_per_second",
        "data_wait_share",
    } <= record.data.metrics.keys()
    assert record.data.tags["data.dark.count"] == "44" and len(record.data.tags["data.dark.hash"]) == 64
    tags = record.data.tags
    assert tags["git.revision"].removesuffix("-dirty") == git_revision().removesuffix("-dirty") != "unknown"
    assert tags["source.hash"] == source_hash() and tags["mlflow.source.git.commit"] in tags["git.revision"]
    assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == ("pipelines/train.py", "JOB") and tags["ray.job"]
    inputs = {each.dataset.name: (each.tags[0].value, each.dataset.digest) for each in record.inputs.dataset_inputs}
    validated = ("validation", summary["validation_hash"][:32])
    assert inputs["dark"] == ("training", tags["data.dark.hash"][:32]) and inputs["pairs_dark"] == validated
    assert record.data.metrics[f"best/{summary['metric']}"] == summary["best_value"]
    files = {each.path for each in client.list_artifacts(summary["mlflow_run_id"])}
    assert {"report.html", "history.jsonl", "trace.json.gz"} <= files
    trace = gzip.decompress(Path(client.download_artifacts(summary["mlflow_run_id"], "trace.json.gz")).read_bytes())
    operations = {event["name"] for event in json.loads(trace)["traceEvents"]}
    assert {"aten::conv2d", "Optimizer.step#Adam.step"} <= operations
    losses = client.get_metric_history(summary["mlflow_run_id"], "loss")
    assert max(each.step for each in losses) == 40
    pictures = [each.path for each in client.list_artifacts(summary["mlflow_run_id"], "images")]
    assert len([each for each in pictures if "before_after" in each]) >= 4

    version = client.get_model_version_by_alias("lle-enhancer", "challenger")
    assert summary["model"] == f"models:/lle-enhancer/{version.version}"


def test_the_registered_model_takes_any_size_without_pickle(job: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    mlflow.set_tracking_uri(f"sqlite:///{job.parent / 'mlflow.db'}")
    uri = json.loads((job / "summary.json").read_text())["model"]
    saved, as_torch = lle.load(job / "model"), mlflow.pytorch.load_model(uri)
    as_function = mlflow.pyfunc.load_model(uri)
    for size in [(1, 3, 40, 56), (3, 3, 97, 64), (2, 3, 33, 150)]:
        images = torch.rand(size)
        with torch.no_grad():
            assert torch.equal(as_torch(images).detach(), saved(images))
        pictures = [from_tensor(image) for image in images]
        for picture, found in zip(pictures, as_function.predict([encode(each) for each in pictures]), strict=True):
            np.testing.assert_array_equal(decode(found), saved.enhance(picture))
    card = mlflow.MlflowClient().get_model_version("lle-enhancer", uri.rpartition("/")[2]).description
    assert "| dark | 44 |" in card and "Not stated (`tracking.terms`)" in card and "| enhanced |" in card
    photo = to_tensor(read(next((job / "photos" / "pairs" / "low").iterdir())))
    assert lle.enhance(saved, photo).mean() > photo.mean()


@pytest.mark.drill
def test_a_worker_whose_process_stands_still_is_replaced(trainings: Trainings):
    training = trainings.start("still", "--scaling.workers", "1", "--scaling.hang_limit", "20")
    training.wait_until("round 1 enhancement  step 2")
    [worker] = trainings.cluster.processes("RayTrainWorker")
    worker.send_signal(signal.SIGSTOP)
    assert training.wait() == 0, training.output[-4000:]
    summary = training.summary
    assert sum(summary["steps"].values()) == 8 + 6 + 2 * 10 + 6
    assert summary["worker_restarts"] == 1 and summary["steps_lost"] <= 5
    assert training.output.count("worker 0 failed: ") == 1, training.output[-4000:]
    history = read_history(training.folder / HISTORY)
    for name in ("loss", "validation/feature_gap"):
        points = client_of(trainings.runs).get_metric_history(summary["mlflow_run_id"], name)
        assert sorted(each.step for each in points) == [row["step"] for row in history if name in row]
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, 60, "its end")


@pytest.mark.drill
def test_a_stopped_job_saves_a_checkpoint_and_resumes_into_the_same_record(trainings: Trainings):
    longer = ("--schedule.enhancement.steps", "60")
    job = trainings.submit("stopped", *longer)
    folder = job.folder
    wait_for(lambda: len(read_history(folder / HISTORY)) > 14, 300, "some steps")
    stopped = trainings.stop("stopped")
    assert "was stopped" in stopped.stdout + stopped.stderr
    job.wait(60)
    assert "stopped; continue with --resume --name stopped" in job.output
    client = client_of(trainings.runs)
    run_id = (folder / "mlflow_run_id").read_text().strip()
    assert client.get_run(run_id).info.status == "KILLED"
    last = read_history(folder / HISTORY)[-1]["step"]
    assert Checkpoints(str(folder / "checkpoints")).found()[-1].step >= last
    report = (folder / "report.html").read_text()
    assert "Not finished: stopped by SIGTERM." in report and "--resume --name stopped" in report
    assert "Loss, enhancing" in report and "report.html" in [each.path for each in client.list_artifacts(run_id)]

    resumed = trainings.start("stopped", "--resume", *longer)
    assert resumed.wait() == 0, resumed.output[-4000:]
    assert "continuing from step" in resumed.output
    assert resumed.summary["mlflow_run_id"] == run_id
    assert client.get_run(run_id).info.status == "FINISHED"
    assert "Not finished" not in (resumed.folder / "report.html").read_text()
    assert sum(resumed.summary["steps"].values()) == 8 + 6 + 2 * 60 + 6


@pytest.mark.drill
def test_a_tracking_server_that_goes_away_does_not_stop_training_and_gets_the_model_when_it_is_back(
    trainings: Trainings,
):
    port = free_port()
    with mlflow_server(trainings.runs, port) as address:
        training = trainings.start("untracked", "--tracking.uri", address)
        training.wait_until("prompt_init  step 8")
    assert training.wait() == 0, training.output[-4000:]
    assert "MLflow did not take the model" in training.output
    before = training.summary
    assert before["model"] == "" and before["steps"]["enhancement"] == 20
    assert (training.folder / "model" / "model.safetensors").exists()

    with mlflow_server(trainings.runs, port) as address:
        resumed = trainings.start("untracked", "--resume", "--tracking.uri", address)
        assert resumed.wait() == 0, resumed.output[-4000:]
        client = MlflowClient(address)
        record = client.get_run(before["mlflow_run_id"]).info
        assert record.status == "FINISHED"
        assert f"{address}/#/experiments/{record.experiment_id}/runs/{record.run_id}" in resumed.output
        assert client.get_model_version_by_alias("lle-enhancer", "challenger").run_id == record.run_id
    assert "starting Ray" not in resumed.output
    assert resumed.summary == before | {"model": "models:/lle-enhancer/1"}


def test_a_dry_run_starts_nothing_and_without_the_token_nobody_gets_in(
    cluster: Cluster, repository: Path, tmp_path: Path
):
    command = [ray_command(), "job", "submit", "--address", cluster.dashboard, "--", "true"]
    wrong = {**cluster.environment, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "wrong")}
    (tmp_path / "wrong").write_text("0" * 64)
    none = {key: value for key, value in cluster.environment.items() if not key.startswith("RAY_AUTH")}
    dry = run(submission(cluster, repository, "--runs", str(tmp_path), "--dry-run"), cluster.environment)
    assert dry.returncode == 0 and "enhancement" in dry.stdout and not list(tmp_path.glob("*/settings.yaml"))
    for environment in (wrong, none):
        refused = run(command, environment, 120)
        said = refused.stdout + refused.stderr
        assert refused.returncode != 0 and any(word in said for word in ("token", "Unauthor", "401", "403")), said
