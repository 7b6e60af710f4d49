"""What the workers say to whoever watches the driver, and what that tells of losses on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray
from ray.util.queue import Empty, Queue
from rich.console import Console


@dataclass(frozen=True)
class Line:
    """A sentence of a worker.

    Attributes:
        text: the sentence.
        step: steps done, where it tells of progress.
        begins: whether the workers have just begun, at that step.
    """

    text: str
    step: int | None = None
    begins: bool = False


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


@contextmanager
def printed(lines: Queue, console: Console) -> Iterator[Heard]:
    """Print what the workers say, from a thread, for the length of a block."""
    ended = threading.Event()
    heard = Heard()

    def follow() -> None:
        while not (ended.is_set() and lines.empty()):
            try:
                console.print(heard.hear(lines.get(timeout=0.5)))
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
