"""Submitted trainings on machines that come, go, and are cut off: each is a Ray node in a network of this machine.

LLE_EVERY_FAULT=1 tries everything in every phase (40 minutes on 2 cores); else each fault is tried in one.
`pytest -s` shows what they cost.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.tracking.history import HISTORY, read_history
from tests.integration.conftest import Training, Trainings, wait_for
from tests.integration.machines import Machines, machines

pytestmark = pytest.mark.drill

PHASES = ("prompt_init", "reconstruction", "enhancement", "refinement")
STEPS = 80
CHECKPOINT_EVERY = 5
CUT_SECONDS = 30
NOTICE_SECONDS = 10
EVERY_FAULT = bool(os.environ.get("LLE_EVERY_FAULT"))
ELASTIC = (
    *("--scaling.workers", "2", "--scaling.min_workers", "1", "--scaling.cpus_per_worker", "1.5"),
    *("--scaling.grow_every", "5", "--loop.checkpoint_every", str(CHECKPOINT_EVERY), "--loop.validate_every", "50"),
)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with machines(tmp_path_factory.mktemp("nodes")) as found:
        yield found


@pytest.fixture
def submit(there: Machines, tiny: Path, tmp_path: Path, repository: Path) -> Iterator[Callable[..., Training]]:
    """Submits a training as a job, which ends with the test."""
    trainings = Trainings(there.cluster, tiny, tmp_path, repository)
    started: dict[str, Training] = {}

    def start(name: str, *arguments: str) -> Training:
        started[name] = trainings.submit(name, *ELASTIC, *arguments)
        return started[name]

    yield start
    for name, training in started.items():
        if training.process.poll() is None:
            trainings.stop(name)
            training.wait(60)


@pytest.mark.parametrize("phase", PHASES if EVERY_FAULT else ["prompt_init"])
def test_it_goes_on_with_a_machine_that_comes_and_without_one_that_goes_as_announced(
    there: Machines, submit: Callable[..., Training], phase: str
):
    there.keep(1)
    before = PHASES[: PHASES.index(phase)]
    steps = {**dict.fromkeys(before, 1), phase: 1_000_000}
    lengths = (word for each in steps for word in (f"--schedule.{each}.steps", str(steps[each])))
    training = submit(f"grows_{phase}", "--scaling.max_failures", "0", *lengths)
    watch = Watch(training)
    training.wait_until("with 1 workers")
    training.wait_until(f"{phase}  step")
    with cost(watch, f"a new machine in {phase}"):
        there.keep(2)
        training.wait_until("with 2 workers")
    with cost(watch, f"a machine lost as announced in {phase}"):
        going = there.at_work()
        there.announce_the_end_of(going, NOTICE_SECONDS)
        training.wait_until("announced to go: saving a checkpoint", 60)
        time.sleep(NOTICE_SECONDS)
        going.lose()
        training.wait_until("with 1 workers", times=2)
    assert watch.steps_again <= 2 * CHECKPOINT_EVERY


def lose_a_machine(there: Machines) -> None:
    there.at_work().lose()


def lose_a_worker(there: Machines) -> None:
    there.at_work().workers[0].kill()


def cut_the_network(there: Machines) -> None:
    cut = there.at_work()
    cut.pull_cable()
    time.sleep(CUT_SECONDS)
    cut.plug_cable()


FAULTS = (lose_a_worker, lose_a_machine, cut_the_network)


@pytest.mark.parametrize("turn", range(len(FAULTS)) if EVERY_FAULT else [0])
def test_it_survives_lost_and_cut_off_machines(there: Machines, submit: Callable[..., Training], turn: int):
    there.keep(3)
    lengths = (word for phase in PHASES for word in (f"--schedule.{phase}.steps", str(STEPS)))
    training = submit(f"survives_{turn}", "--scaling.max_failures", str(len(PHASES)), *lengths)
    watch = Watch(training)
    training.wait_until("with 2 workers")
    for number, phase in enumerate(PHASES):
        fault = FAULTS[(number + turn) % len(FAULTS)]
        wait_for(lambda phase=phase: watch.phase == phase or not watch.is_alive(), 240, phase)
        assert watch.phase == phase, training.output[-3000:]
        with cost(watch, f"{fault.__name__} in {phase}"):
            fault(there)
            there.keep(3)
    assert training.wait(300) == 0, training.output[-4000:]
    summary = training.summary
    assert sum(summary["steps"].values()) == STEPS * (len(PHASES) + 1)
    assert summary["steps_lost"] <= CHECKPOINT_EVERY * summary["worker_restarts"]


class Watch(threading.Thread):
    """Of a training: the phase it is in, and whenever it comes further than before, the second and the step."""

    def __init__(self, training: Training) -> None:
        super().__init__(daemon=True)
        self.training, self.phase, self.further = training, "", [(time.monotonic(), 0)]
        self.start()

    def run(self) -> None:
        while self.training.process.poll() is None:
            for row in read_history(self.training.folder / HISTORY):
                if "phase" in row and row["step"] > self.further[-1][1]:
                    self.phase = row["phase"]
                    self.further.append((time.monotonic(), row["step"]))
            time.sleep(0.1)

    @property
    def steps_again(self) -> int:
        return sum(int(steps) for steps in re.findall(r"\((\d+) steps are done again\)", self.training.output))


@contextlib.contextmanager
def cost(watch: Watch, what: str) -> Iterator[None]:
    """Say what the block's trouble costs: steps done again, and the longest time in which training came no further."""
    before, again = len(watch.further) - 1, watch.steps_again
    yield
    step = watch.further[-1][1]
    wait_for(lambda: watch.further[-1][1] > step + CHECKPOINT_EVERY or not watch.is_alive(), 240, f"steps after {what}")
    times = [second for second, _ in watch.further[before:]]
    time.sleep(2)  # a job's output comes later than its files
    stood = max(later - earlier for earlier, later in itertools.pairwise(times))
    print(
        f"\n{what:45} {watch.steps_again - again:3} steps again, {stood:3.0f} s without a new one", end="", flush=True
    )
