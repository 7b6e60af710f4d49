"""Several jobs on one cluster of two CPUs: nobody freezes anybody, and who waits says for what and for whom."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.integration.conftest import Cluster, Training, head_node, ray_command, run
from tests.integration.conftest import submission as submission_of

pytestmark = pytest.mark.drill

TRAININGS = ("one", "two", "three")
SECRET = "hunter2"
TWO_STEPS = """
init_from: ""
data: {image_size: 64, prompt_size: 64, validation_images: 2, validation_size: 64, decoders: 1}
enhancer: {arch: compact, thumbnail_size: 32, width: 8}
schedule:
  prompt_init: {steps: 2}
  reconstruction: {steps: 0}
  enhancement: {steps: 4, extend_by: 0}
  rounds: 1
optimiser: {ema_decay: 0}
batch: {enhancement: 4, prompts: 4}
loop: {log_every: 1, validate_every: 4, checkpoint_every: 4, metric: feature_gap}
scaling: {workers: 1, threads_per_worker: 1}
"""
HOLDS_EVERYTHING = """
import sys
import ray

@ray.remote(num_cpus=2)
class Holder:
    def hold(self):
        return "held"

ray.init(sys.argv[1], logging_level="ERROR", log_to_driver=False)
holder = Holder.remote()
print(ray.get(holder.hold.remote()), flush=True)
sys.stdin.read()
"""


@dataclass
class Jobs:
    """Jobs that were started at the same time, while somebody else held both CPUs; all have ended."""

    folder: Path
    jobs: dict[str, Training]

    def ended_well(self, name: str) -> str:
        """What a job said, which must have ended with 0."""
        job = self.jobs[name]
        assert job.process.returncode == 0, f"{name}: {job.process.returncode}\n{job.output[-3000:]}"
        return job.output


@pytest.fixture(scope="module")
def two_cpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with head_node(tmp_path_factory.mktemp("shared"), cpus=2) as head:
        yield head


@pytest.fixture(scope="module")
def jobs(two_cpus: Cluster, tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Jobs]:
    folder = tmp_path_factory.mktemp("jobs")
    random = np.random.default_rng(0)
    for name, level in (("dark", 40), ("day", 200)):
        (folder / name).mkdir()
        for index in range(8):
            pixels = random.integers(0, level, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{name}{index}.png")
    (folder / "settings.yaml").write_text(TWO_STEPS)
    (folder / "search.yaml").write_text("objective.smoothness.weight: uniform(1, 100)\n")
    (folder / "program.py").write_text(HOLDS_EVERYTHING)

    at, settings = ("--cluster.address", two_cpus.address), ("--config", str(folder / "settings.yaml"))
    photos = ("--data.dark", str(folder / "dark"), "--data.well_lit", str(folder / "day"))
    common = (*settings, *photos, *at, "--runs", str(folder / "runs"))
    commands = {
        **{name: ("train.py", *common, "--name", name) for name in TRAININGS},
        "sweep": ("tune.py", *common, "--name", "sweep", "--search", str(folder / "search.yaml"), "--trials", "2"),
        "enhance": (
            "enhance.py", "--cluster.address", two_cpus.address, "--model", "baseline:auto-gamma",
            "--input", str(folder / "dark"), "--output", str(folder / "enhanced"),
        ),
        "prepare": (
            "prepare.py", "--cluster.address", two_cpus.address,
            "--input", str(folder / "day"), "--output", str(folder / "prepared"),
        ),
    }  # fmt: skip

    def start(name: str, program: str, *arguments: str) -> Training:
        log = folder / f"{name}.log"
        with log.open("wb") as file:
            command = [sys.executable, str(repository / "pipelines" / program), *arguments]
            process = subprocess.Popen(command, env=two_cpus.environment, stdout=file, stderr=file, cwd=folder)
        return Training(process, log, folder / "runs" / name)

    with contextlib.ExitStack() as ending:
        holder = ending.enter_context(
            subprocess.Popen(
                [sys.executable, str(folder / "program.py"), two_cpus.address, "--password", SECRET],
                env=two_cpus.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        assert holder.stdin and holder.stdout and holder.stdout.readline() == "held\n"
        started = {name: start(name, *command) for name, command in commands.items()}
        for each in started.values():
            ending.callback(each.process.kill)
        for each in started.values():
            each.wait_until("waiting for ", 600)
        holder.stdin.close()
        holder.wait(60)
        for each in started.values():
            each.wait(900)
        yield Jobs(folder, started)


@pytest.mark.parametrize("name", TRAININGS)
def test_three_trainings_that_start_at_once_on_two_cpus_all_finish(jobs: Jobs, name: str):
    said = jobs.ended_well(name)
    assert json.loads((jobs.jobs[name].folder / "summary.json").read_text())["finished"]
    assert "waiting for 1 CPU: 0 of 2 CPUs free; held by program.py (job " in said


def test_a_sweep_beside_trainings_finishes(jobs: Jobs):
    assert (jobs.jobs["sweep"].folder / "best.yaml").exists(), jobs.ended_well("sweep")
    assert "held by program.py (job " in jobs.ended_well("sweep")


def test_photos_are_enhanced_and_prepared_beside_trainings(jobs: Jobs):
    for name in ("enhance", "prepare"):
        assert "waiting for 1 CPU: 0 of 2 CPUs free" in jobs.ended_well(name)
    assert "8 photos enhanced, 0 done before, 0 failed" in jobs.ended_well("enhance")
    assert "holds 8 pictures" in jobs.ended_well("prepare")


def test_a_job_goes_on_after_its_code_was_edited_and_leaves_nothing_where_it_would_be_lost(
    two_cpus: Cluster, jobs: Jobs, repository: Path, tmp_path: Path
):
    """Submit, stop, edit, submit again; `jobs` only for its photos, and that the CPUs are free."""
    copy = tmp_path / "copy"
    for part in ("lle", "pipelines", "cluster"):
        shutil.copytree(repository / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("pyproject.toml", ".rayignore"):
        shutil.copy(repository / part, copy / part)
    (tmp_path / "long.yaml").write_text(TWO_STEPS.replace("enhancement: {steps: 4,", "enhancement: {steps: 600,"))
    photos = ("--data.dark", str(jobs.folder / "dark"), "--data.well_lit", str(jobs.folder / "day"))
    settings = ("--config", str(tmp_path / "long.yaml"), *photos, "--loop.validate_every", "300")

    def submit(submission: str, *arguments: str) -> Training:
        command = submission_of(two_cpus, copy, *settings, *arguments, submission_id=submission)
        log = tmp_path / f"{submission}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(command, env=two_cpus.environment, stdout=file, stderr=file, cwd=tmp_path)
        return Training(process, log, tmp_path / "runs" / "edited")

    lost = submit("lost", "--name", "lost")
    assert lost.wait() != 0 and "error: runs: runs lies in this job's working directory" in lost.output
    assert "Traceback" not in lost.output and "starting" not in lost.output

    kept = ("--runs", str(tmp_path / "runs"), "--name", "edited")
    first = submit("first", *kept)
    first.wait_until("step 10/602", 600)
    stop = [ray_command(), "job", "stop", "--address", two_cpus.dashboard, "first"]
    assert run(stop, two_cpus.environment).returncode == 0
    first.wait()
    assert not (first.folder / "summary.json").exists(), first.output[-3000:]
    with (copy / "pipelines" / "train.py").open("a") as script:
        script.write("# edited\n")
    second = submit("second", *kept, "--resume")
    assert second.wait() == 0, second.output[-3000:]
    began = re.search(r"continuing from step (\d+)", second.output)
    assert began and int(began[1]) >= 10 and second.summary["finished"]
    assert not [line for line in second.output.splitlines() if "usage stats" in line.lower() or ".cc:" in line]


def test_what_another_job_was_called_with_is_not_told(jobs: Jobs):
    assert not [name for name, job in jobs.jobs.items() if SECRET in job.output]
