"""What the workers say to whoever watches the driver, and what that tells of losses on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import ray
from ray.util.queue import Empty, Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console

from pipelines.jobs.history import Row, note


@dataclass(frozen=True)
class Line:
    """A sentence of a worker.

    Attributes:
        text: the sentence.
        step: steps done, where it tells of progress.
        begins: whether the workers have just begun, at that step.
        numbers: of a step, for the history.
    """

    text: str
    step: int | None = None
    begins: bool = False
    numbers: Row = field(default_factory=dict)


@dataclass
class Heard:
    """What the lines added up to.

    Attributes:
        restarts: times the workers began again from a checkpoint, or from nothing, within this job.
        steps_lost: steps that were done and told of, and had to be done again.
    """

    restarts: int = 0
    steps_lost: int = 0
    last_step: int | None = None

    def hear(self, line: Line) -> str:
        """The line's text for the console."""
        if line.step is None:
            return line.text
        text = line.text
        if line.begins and self.last_step is not None:
            lost = max(0, self.last_step - line.step)
            self.restarts, self.steps_lost = self.restarts + 1, self.steps_lost + lost
            text += f" ({lost} steps are done again)"
        self.last_step = line.step
        return text


def queue_here() -> Queue:
    """A queue whose actor lives on the driver's machine, so that it is not lost with another one."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})


@contextmanager
def printed(lines: Queue, console: Console, history: Path) -> Iterator[Heard]:
    """Print what the workers say and keep its numbers, from a thread, for the length of a block.

    Args:
        lines: of the workers.
        console: where the sentences go.
        history: file that the numbers are added to.
    """
    ended = threading.Event()
    heard = Heard()

    def follow() -> None:
        while not (ended.is_set() and lines.empty()):
            try:
                line: Line = lines.get(timeout=0.5)
                text = heard.hear(line)
                with suppress(OSError):  # of a terminal that was closed
                    console.print(text)
                if line.numbers:
                    with suppress(OSError):  # a full disk must not silence what the workers say of it
                        note(history, line.numbers)
            except Empty:
                continue
            except ray.exceptions.RayError:
                return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        ended.set()
        thread.join(10)
