"""A signal asks a training to end well; only a second one, or too long a wait, ends it at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import ray

from pipelines.signals import heard_by, raise_for
from pipelines.training.lines import queue_here

GRACE_SECONDS = 25.0  # clusters wait 30 s before they kill
POLL_SECONDS = 0.5

Result = TypeVar("Result")


class StopRequest:
    """The driver's wish that the workers stop; can be sent to them."""

    def __init__(self) -> None:
        self._queue = queue_here()

    def make(self) -> None:
        """Ask the workers to stop."""
        self._queue.put(True)

    def watch(self) -> Callable[[], bool]:
        """A function that says, without a message to anybody, whether it was made; a thread looks twice a second."""
        made = threading.Event()

        def look() -> None:
            while not made.is_set():
                try:
                    if not self._queue.empty():
                        made.set()
                except ray.exceptions.RayError:
                    return  # the driver is gone, and this worker will be soon
                time.sleep(POLL_SECONDS)

        threading.Thread(target=look, daemon=True).start()
        return made.is_set

    def close(self) -> None:
        """Nobody will ask any more."""
        self._queue.shutdown(force=True)


def run_until_stopped(
    job: Callable[[], Result], ask_to_stop: Callable[[], None], grace: float = GRACE_SECONDS
) -> Result:
    """Run a job in a thread; a signal asks it to stop, and is raised here when it has.

    Args:
        job: what to run; in this thread where it is not the main one, which gets no signals.
        ask_to_stop: called once, after the first signal; the job should then return.
        grace: how long to wait for it, s.

    Raises:
        KeyboardInterrupt: after Ctrl-C.
        SystemExit: after SIGTERM or SIGHUP, with 128 + its number.
    """
    if threading.current_thread() is not threading.main_thread():
        return job()
    signals: list[int] = []
    ended = threading.Event()
    box: dict[str, Any] = {}

    def work() -> None:
        try:
            box["result"] = job()
        except BaseException as error:
            box["error"] = error
        finally:
            ended.set()

    with heard_by(lambda number, frame: signals.append(number)):
        threading.Thread(target=work, daemon=True).start()
        while not ended.wait(POLL_SECONDS) and not signals:
            pass
        if signals and not ended.is_set():
            ask_to_stop()
            deadline = time.monotonic() + grace
            while not ended.wait(POLL_SECONDS) and not hurried(signals) and time.monotonic() < deadline:
                pass
    if signals:
        raise_for(signals[0])
    if "error" in box:
        raise box["error"]
    return box["result"]


def hurried(signals: list[int]) -> bool:
    """Whether somebody did not want to wait after the first signal; terminals and shells send SIGHUP twice."""
    return any(number != signal.SIGHUP for number in signals[1:])
