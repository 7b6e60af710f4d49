"""A training on machines that come, go and hang: each node is a Ray node of its own processes on this machine."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import (
    Cluster,
    Training,
    Trainings,
    head_node,
    processes_of,
    ray_command,
    run,
    signal_all,
    wait_for,
)

CUT_SECONDS = 30


@dataclass
class Nodes:
    """Machines of two CPUs each, beside a head that works on nothing."""

    cluster: Cluster
    folder: Path
    running: list[psutil.Process] = field(default_factory=list)

    def add(self) -> psutil.Process:
        number = len(self.running)
        ports = [f"--min-worker-port={30000 + 5000 * number}", f"--max-worker-port={34999 + 5000 * number}"]
        command = [ray_command(), "start", "--block", f"--address={self.cluster.address}", "--num-cpus=2", *ports]
        command += [f"--node-name=node{number}"]
        with (self.folder / f"node{number}.log").open("wb") as log:
            started = subprocess.Popen(command, env=self.cluster.environment, stdout=log, stderr=log)
        self.running.append(psutil.Process(started.pid))
        wait_for(lambda: processes_of(self.running[-1], "raylet"), 60, "a raylet")
        return self.running[-1]

    def announce_the_end_of(self, number: int) -> None:
        """What a cloud's notice becomes: Ray is told that the machine will be taken away."""
        listed = [ray_command(), "list", "nodes", "--address", self.cluster.dashboard, "--format", "json"]
        found = json.loads(run([*listed, "--filter", f"node_name=node{number}"], self.cluster.environment).stdout)
        drained = run(
            [
                ray_command(), "drain-node", "--address", self.cluster.address, "--node-id", found[0]["node_id"],
                "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot",
                "--deadline-remaining-seconds", "60",
            ],
            self.cluster.environment,
        )  # fmt: skip
        assert drained.returncode == 0, drained.stderr

    def with_a_worker(self) -> psutil.Process:
        wait_for(lambda: any(processes_of(node, "RayTrainWorker") for node in self.alive), 60, "a worker")
        return next(node for node in self.alive if processes_of(node, "RayTrainWorker"))

    @property
    def alive(self) -> list[psutil.Process]:
        return [node for node in self.running if node.is_running() and node.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("nodes")
    with head_node(folder, cpus=0) as cluster:
        found = Nodes(cluster, folder)
        try:
            yield found
        finally:
            for node in found.alive:
                signal_all(node, signal.SIGKILL)


def says(training: Training, text: str, times: int = 1, seconds: float = 240) -> None:
    there = lambda: training.output.count(text) >= times  # noqa: E731
    wait_for(lambda: there() or training.process.poll() is not None, seconds, f"{text!r} {times} times")
    assert there(), training.output[-3000:]


def test_a_training_survives_lost_cut_and_new_machines_in_every_phase(
    nodes: Nodes, tiny: Path, tmp_path: Path, repository: Path
):
    nodes.add()
    second = nodes.add()
    trainings = Trainings(nodes.cluster, tiny, tmp_path, repository)
    training = trainings.start(
        "nodes", "--scaling.workers", "2", "--scaling.min_workers", "1", "--scaling.cpus_per_worker", "1.5",
        "--scaling.max_failures", "8", "--loop.checkpoint_every", "5", "--schedule.prompt_init.steps", "40",
        "--schedule.enhancement.steps", "60", "--schedule.refinement.steps", "60",
    )  # fmt: skip
    try:
        says(training, "prompt_init  step 1")
        says(training, "with 2 workers")
        nodes.announce_the_end_of(1)
        says(training, "announced to go: saving a checkpoint", seconds=60)
        signal_all(second, signal.SIGKILL)  # a machine is gone
        says(training, "with 1 workers")

        says(training, "enhancement  step")
        nodes.add()  # another one comes
        processes_of(nodes.with_a_worker(), "RayTrainWorker")[0].kill()  # and a worker is lost; both machines are used
        says(training, "with 2 workers", times=2)

        says(training, "refinement  step")
        cut = nodes.with_a_worker()
        signal_all(cut, signal.SIGSTOP)  # nobody hears of a machine
        time.sleep(CUT_SECONDS)
        signal_all(cut, signal.SIGCONT)
        assert training.wait(300) == 0, training.output[-4000:]
    finally:
        if training.process.poll() is None:
            training.process.kill()
    summary = training.summary
    assert sum(summary["steps"].values()) == 40 + 6 + 2 * 60 + 60
    assert summary["worker_restarts"] >= 2
    assert summary["steps_lost"] <= 5 * summary["worker_restarts"]
