"""A whole sweep: trials stopped early, a worker that dies, a driver that dies, and the sweep that goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipelines.config.loading import load_settings
from tests.integration.conftest import Cluster, wait_for

TRIALS = 5
SHORT = """
schedule:
  prompt_init: {steps: 4}
  reconstruction: {steps: 0}
  enhancement: {steps: 48, extend_by: 0}
  rounds: 1
optimiser: {ema_decay: 0}
loop: {log_every: 1, validate_every: 6, checkpoint_every: 6, metric: psnr}
scaling: {workers: 1, threads_per_worker: 1}
"""
SEARCH = """
optimiser.enhancer_lr: loguniform(1e-5, 1e-2)
objective.smoothness.weight: uniform(1, 100)
"""


@pytest.fixture
def command(cluster: Cluster, tiny: Path, tmp_path: Path, repository: Path):
    """Starts `tune.py` on two of the cluster's CPUs; ends it with the test."""
    (tmp_path / "search.yaml").write_text(SEARCH)
    (tmp_path / "short.yaml").write_text(SHORT)
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
        log = tmp_path / f"{len(started)}.log"
        command = [
            sys.executable, str(repository / "pipelines" / "tune.py"), "--runs", str(tmp_path),
            "--cluster.address", cluster.address, *arguments,
        ]  # fmt: skip
        with log.open("wb") as file:
            started.append(subprocess.Popen(command, env=cluster.environment, stdout=file, stderr=file, cwd=tmp_path))
        return started[-1], log

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait(30)


def told(log: Path, *words: str) -> list[str]:
    """Lines of a log that hold all the words."""
    return [
        line
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
        if all(word in line for word in words)
    ]


@pytest.mark.drill
def test_a_sweep_ends_by_itself_whoever_dies(cluster: Cluster, command, tiny: Path, tmp_path: Path):
    process, first = command(
        "--preset", str(tiny), "--config", str(tmp_path / "short.yaml"), "--search", str(tmp_path / "search.yaml"),
        "--trials", str(TRIALS), "--concurrent", "2", "--grace", "1", "--reduction", "4", "--name", "sweep",
    )  # fmt: skip

    def began(trial_log: Path) -> int:
        return trial_log.read_text(encoding="utf-8").count("with 1 workers") if trial_log.exists() else 0

    def ended() -> list[str]:
        return [line for line in told(first, "sweep-") if line.endswith((": finished", ": stopped early"))]

    folder = tmp_path / "sweep"
    wait_for(lambda: process.poll() is not None or any(map(began, folder.glob("*/log.txt"))), 300, f"a worker; {first}")
    hurt = next(log for log in folder.glob("*/log.txt") if began(log))
    cluster.processes("RayTrainWorker")[0].kill()
    wait_for(lambda: process.poll() is not None or ended(), 400, f"a trial that ended; see {first}")
    assert process.poll() is None, first.read_text()[-3000:]
    process.kill()  # the driver, without a chance to say anything
    process.wait(30)
    done = {path: path.read_text() for path in folder.glob("*/summary.json")}

    process, second = command("--resume", "--name", "sweep")
    assert process.wait(600) == 0, second.read_text()[-4000:]
    output = second.read_text()
    counts = told(second, "trials", "stopped early", "failed")[-1].split()
    assert counts[:2] == ["trials", str(TRIALS)] and counts[-2:] == ["failed", "0"], output
    stopped = int(counts[counts.index("early") + 1])
    assert stopped >= 1 and int(counts[3]) == TRIALS - stopped >= 1, output
    assert all(path.read_text() == text for path, text in done.items()), "a finished trial was trained again"
    for line in ended():
        assert not told(second, line.partition(":")[0], "step"), "a trial that had ended was trained again"
    assert sum(began(log) for log in folder.glob("*/log.txt")) > TRIALS and began(hurt) >= 1

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lle")
    parent, *rest = client.search_runs([experiment.experiment_id], "attributes.run_name = 'sweep'")
    assert not rest and parent.info.status == "FINISHED"
    assert parent.data.tags["mlflow.source.name"] == "pipelines/tune.py"
    validation = parent.data.tags["data.validation.hash"]
    children = client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    outcomes = [child.data.tags["sweep.outcome"] for child in children]
    assert len(children) == TRIALS and outcomes.count("stopped early") == stopped
    assert {child.info.status for child in children} == {"FINISHED"}
    assert len(validation) == 64 and {child.data.tags["data.validation.hash"] for child in children} == {validation}
    assert all("term/guidance" in child.data.metrics for child in children)
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"best.yaml", "parallel_coordinates.png", "importance.png", "terms.png"} <= files

    best = next(child for child in children if child.info.run_id == parent.data.tags["sweep.best_run_id"])
    settings = load_settings(["--config", str(folder / "best.yaml")]).settings
    assert str(settings.optimiser.enhancer_lr) == best.data.params["optimiser.enhancer_lr"] and settings.name == ""
    values = [json.loads(path.read_text())["psnr"] for path in folder.glob("*/summary.json")]
    assert json.loads((folder / best.info.run_name / "summary.json").read_text())["psnr"] == max(values)
    assert parent.data.metrics["best/psnr"] == best.data.metrics["best/psnr"] == max(values)


def test_a_sweep_that_does_not_fit_says_so(command, tiny: Path, tmp_path: Path):
    process, log = command("--preset", str(tiny), "--search", "light", "--name", "wide", "--concurrent", "3")
    assert process.wait(200) == 1
    assert told(log, "error: concurrent: 3 trials of 2 workers", "fit the cluster", "holds 1"), log.read_text()
    assert not (tmp_path / "wide").exists()
