"""What the workers say to whoever watches the driver: sentences, numbers, pictures, files, and why one ended.

The driver prints and records all of it, so that what waits for a server is not lost with a worker.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray.exceptions import RayActorError
from ray.train import UserCallback
from ray.util.queue import Empty, Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console

from cluster.redaction import redacted
from pipelines.tracking.history import Row, note, numbers_of

if TYPE_CHECKING:
    from pipelines.tracking.recorder import Recorder


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


@dataclass(frozen=True)
class Shown:
    """A picture for the run's time slider, uint8 (H, W, 3)."""

    step: int
    key: str
    picture: np.ndarray


@dataclass(frozen=True)
class Attached:
    """A small file for the run."""

    name: str
    content: bytes


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
def printed(lines: Queue, console: Console, history: Path, recorder: Recorder) -> Iterator[Heard]:
    """Print what the workers say and keep its numbers, from a thread, for the length of a block.

    Args:
        lines: of the workers.
        console: where the sentences go.
        history: file that the numbers are added to.
        recorder: takes numbers, pictures and files.
    """
    ended, heard, kept = threading.Event(), Heard(), True

    def keep(numbers: Row) -> None:
        nonlocal kept
        try:
            note(history, numbers)
        except OSError as error:
            if kept:
                console.print(f"{history} cannot be written ({error.strerror}); the training goes on")
            kept = False
        recorder.metrics(numbers["step"], numbers_of(numbers))

    def follow() -> None:
        while not (ended.is_set() and lines.empty()):
            try:
                said: Line | Shown | Attached = lines.get(timeout=0.5)
            except Empty:
                continue
            except ray.exceptions.RayError:
                return
            if isinstance(said, Shown):
                recorder.picture(said.step, said.key, said.picture)
            elif isinstance(said, Attached):
                recorder.file(said.name, said.content)
            else:
                text = heard.hear(said)
                with suppress(OSError):  # of a terminal that was closed
                    console.print(text)
                if said.numbers:
                    keep(said.numbers)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        ended.set()
        thread.join(10)


class Failures(UserCallback):
    """Tells at once why workers failed, before others take their place; Ray Train calls it in its controller.

    Args:
        lines: to the driver.
    """

    def __init__(self, lines: Queue) -> None:
        self.lines = lines

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        worker, error = min(worker_exceptions.items(), key=lambda each: each[0])
        others = f" (and {len(worker_exceptions) - 1} more)" if len(worker_exceptions) > 1 else ""
        self.lines.put(Line(f"worker {worker} failed{others}: {reason_of(error)}"))


def reason_of(error: BaseException) -> str:
    """Why a worker failed, in its own words if it had any, in a line."""
    error = getattr(error, "health_check_failure", error)  # Ray Train's word for a worker that does not answer
    cause = getattr(error, "cause", None) or error.__cause__ or error
    if isinstance(cause, RayActorError) or isinstance(error, RayActorError):
        return "its process ended without a word; it was killed, ran out of memory, or its machine is gone"
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return redacted(lines[-1])[:300] if lines else type(cause).__name__
