"""A training whose workers are replaced alone: killed one after another, it ends as if nobody had been."""

from __future__ import annotations

import pytest

from pipelines.tracking.history import HISTORY, read_history
from tests.integration.conftest import Training, Trainings, wait_for

pytestmark = pytest.mark.drill

LENGTHS = [
    word
    for phase, steps in {"prompt_init": 15, "enhancement": 30, "refinement": 10}.items()
    for word in (f"--schedule.{phase}.steps", str(steps))
]
CHOSEN = [*LENGTHS, "--scaling.workers", "2", "--loop.checkpoint_every", "1000", "--loop.log_every", "1"]


def test_killed_workers_cost_no_step_and_no_bit(trainings: Trainings):
    undisturbed = trainings.start("undisturbed", *CHOSEN)
    assert undisturbed.wait() == 0, undisturbed.output[-3000:]
    disturbed = trainings.start("disturbed", *CHOSEN, "--scaling.replace_lost", "true", "--scaling.max_failures", "3")
    for kills, step in enumerate((5, 60), start=1):  # before there is a checkpoint, and later
        wait_for(lambda step=step: steps_of(disturbed) >= step or disturbed.process.poll() is not None, 300, f"{step}")
        assert disturbed.process.poll() is None, disturbed.output[-3000:]
        workers = trainings.cluster.processes("RayTrainWorker")
        min(workers, key=lambda each: each.create_time()).kill()  # so the second time who was left the first time
        disturbed.wait_until("continuing from step", times=kills)
    assert disturbed.wait() == 0, disturbed.output[-3000:]
    assert disturbed.summary["hash"] == undisturbed.summary["hash"]
    assert disturbed.summary["worker_restarts"] == 2
    assert disturbed.summary["steps_lost"] <= 2  # one where the loss fell into a validation


def steps_of(training: Training) -> int:
    """The furthest step it has told of."""
    return max((int(row["step"]) for row in read_history(training.folder / HISTORY) if "phase" in row), default=0)
