"""Numbers, pictures and files into a run of MLflow, from threads: a tracking server that goes away stops no training.

They wait in a queue until a thread has delivered them, and on the driver, which outlives the workers, and which alone
needs the server's keys.
"""

from __future__ import annotations

import json
import logging
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from cluster.redaction import redacted
from pipelines.tracking.history import VALIDATION, numbers_of, read_history
from pipelines.tracking.runs import TrackedRun, first_line, quieten

LOGGER = logging.getLogger(__name__)
NUMBERS_WAITING = 200_000
FILES_WAITING = 32
NUMBERS_AT_ONCE = 1000  # MLflow's limit
LONGEST_PAUSE = 30.0  # s, between two attempts at a server that is gone
POLL_SECONDS = 0.2
OF_ONE_VALUE = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
REFUSALS = (*OF_ONE_VALUE, "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "PERMISSION_DENIED")


class Recorder:
    """The driver's pen: numbers, and pictures and files, into a run from a thread each, without ever raising or
    blocking.

    While the server or its store of files is gone they wait: at most NUMBERS_WAITING numbers (some 100 MB) and
    FILES_WAITING pictures and files, the largest a few MB each. What comes on top of that is dropped, and said; dropped
    numbers are taken from the history later.

    Args:
        run: what to write to.
        history: the training's `history.jsonl`. Numbers in it that the run lacks are sent first: those of a training
            that is resumed and whose driver or server went away before.
        tell: takes a sentence about what MLflow does not take.
    """

    def __init__(
        self, run: TrackedRun, history: Path | None = None, tell: Callable[[str], None] = LOGGER.warning
    ) -> None:
        quieten()
        self._run, self._history, self._tell = run, history, tell
        self._client = run.client
        self._last: dict[str, int] = {}  # step of each number that the run has
        self._validations: dict[tuple[str, int], float] = {}
        complete = self._complete if history else None
        self._numbers = Delivery(self._send, NUMBERS_WAITING, NUMBERS_AT_ONCE, self._say("numbers"), complete)
        self._files = Delivery(lambda jobs: jobs[0](), FILES_WAITING, 1, self._say("pictures and files"))

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Numbers by name at a step."""
        now = int(time.time() * 1000)
        for name, value in values.items():
            self._numbers.put(Metric(name, value, now, step))

    def picture(self, step: int, key: str, picture: np.ndarray) -> None:
        """A picture, uint8 (H, W, 3), in the run's time slider."""
        client = self._client
        self._files.put(lambda: client.log_image(self._run.run_id, picture, key=key, step=step))

    def table(self, name: str, values: dict[str, Any]) -> None:
        """Plain values as a JSON file of the run."""
        self.file(name, (json.dumps(values, indent=2) + "\n").encode())

    def file(self, name: str, content: bytes) -> None:
        """A small file."""

        def send() -> None:
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, name).write_bytes(content)
                self._client.log_artifact(self._run.run_id, str(Path(folder, name)))

        self._files.put(send)

    def close(self, seconds: float = 30.0) -> None:
        """Deliver what waits, for so long at most, and say what was not delivered."""
        deadline = time.monotonic() + seconds
        for each in (self._numbers, self._files):
            each.end()
        numbers, files = (each.left(deadline) for each in (self._numbers, self._files))
        if numbers or files:
            lost = [f"{count} {what}" for count, what in ((numbers, "numbers"), (files, "pictures or files")) if count]
            kept = f"; the numbers are in {self._history}" if numbers and self._history else ""
            reason = self._numbers.reason if numbers else self._files.reason
            self._tell(
                f"MLflow at {redacted(self._run.uri)} did not take {' and '.join(lost)}"
                f" ({reason or 'too many waited'}){kept}"
            )

    def _say(self, what: str) -> Callable[[str], None]:
        return lambda reason: self._tell(
            f"MLflow at {redacted(self._run.uri)} does not take {what} ({reason}); the job goes on"
        )

    def _send(self, metrics: list[Metric]) -> None:
        """Numbers that the run lacks, each once.

        A step that was done again after a restart is sent again where a validation gave another value, for that chooses
        the model; MLflow would draw every other number twice.
        """
        new = [*{(each.key, each.step): each for each in metrics if not self._has(each)}.values()]
        self._log(new)
        self._note(new)

    def _log(self, metrics: list[Metric]) -> None:
        """One message; smaller ones where a number in it is refused, so that it takes no other with it."""
        if not metrics:
            return
        try:
            self._client.log_batch(self._run.run_id, metrics=metrics)
        except MlflowException as error:
            if error.error_code not in OF_ONE_VALUE:
                raise
            if len(metrics) == 1:
                self._numbers.refuse(error, 1)
                return
            self._log(metrics[: len(metrics) // 2])
            self._log(metrics[len(metrics) // 2 :])

    def _has(self, metric: Metric) -> bool:
        if metric.key.startswith(VALIDATION):
            return self._validations.get((metric.key, metric.step)) == metric.value
        return metric.step <= self._last.get(metric.key, -1)

    def _note(self, metrics: Iterable[Metric]) -> None:
        for each in metrics:
            self._last[each.key] = max(each.step, self._last.get(each.key, -1))
            if each.key.startswith(VALIDATION):
                self._validations[each.key, each.step] = each.value

    def _complete(self) -> None:
        """Ask the run what it has, and send it what the history has beyond that."""
        if self._history is None or not self._history.exists():
            return
        names = self._client.get_run(self._run.run_id).data.metrics
        there = [each for name in names for each in self._client.get_metric_history(self._run.run_id, name)]
        known, now = {(each.key, each.step) for each in there}, int(time.time() * 1000)
        missing = [
            Metric(name, value, now, row["step"])
            for row in read_history(self._history)
            for name, value in numbers_of(row).items()
            if (name, row["step"]) not in known
        ]
        for start in range(0, len(missing), NUMBERS_AT_ONCE):
            self._log(missing[start : start + NUMBERS_AT_ONCE])
        self._note(there)
        self._note(missing)


class Delivery:
    """Jobs that a thread delivers one after the other, each until it is taken or refused for what it holds.

    Args:
        send: delivers some jobs.
        waiting: jobs that may wait; more are dropped.
        at_once: jobs for one `send`.
        say: takes the reason why something is not delivered, once.
        begin: comes before the first job, and makes up for jobs that were dropped.
    """

    def __init__(
        self,
        send: Callable[[list[Any]], None],
        waiting: int,
        at_once: int,
        say: Callable[[str], None],
        begin: Callable[[], None] | None = None,
    ) -> None:
        self.reason = ""
        self._send, self._at_once, self._say, self._begin = send, at_once, say, begin
        self._queue: queue.Queue[Any] = queue.Queue(waiting)
        self._in_hand = self._dropped = self._refused = 0
        self._said = False
        self._ended, self._given_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, job: Any) -> None:
        """One more job."""
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            self._dropped += 1

    def end(self) -> None:
        """No more jobs come."""
        self._ended.set()

    def left(self, deadline: float) -> int:
        """Jobs that were not taken by a time of `time.monotonic`."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._given_up.set()
        return self._in_hand + self._queue.qsize() + self._dropped + self._refused

    def refuse(self, error: Exception, size: int) -> None:
        """Jobs that are given up for what they hold."""
        self._refused += size
        self._fail(error, aloud=True)

    def _fail(self, error: Exception, aloud: bool) -> None:
        self.reason = first_line(error)
        if aloud and not self._said:
            self._said = True
            self._say(self.reason)

    def _run(self) -> None:
        if self._begin:
            self._until_taken(self._begin, 0)
        while not self._given_up.is_set() and (jobs := self._next()):
            self._in_hand = len(jobs)
            if self._until_taken(partial(self._send, jobs), len(jobs)):
                self._in_hand = 0
            dropped = self._dropped
            if self._begin and dropped and self._queue.empty() and self._until_taken(self._begin, 0):
                self._dropped -= dropped

    def _next(self) -> list[Any]:
        """What waits, so much as may go at once; empty at the end."""
        while not (self._ended.is_set() and self._queue.empty()):
            with suppress(queue.Empty):
                jobs = [self._queue.get(timeout=POLL_SECONDS)]
                with suppress(queue.Empty):
                    while len(jobs) < self._at_once:
                        jobs.append(self._queue.get_nowait())
                return jobs
        return []

    def _until_taken(self, job: Callable[[], None], size: int) -> bool:
        """Whether so many jobs were taken or refused; False where they were given up."""
        pause, tries = 1.0, 0
        while not self._given_up.is_set():
            tries += 1
            try:
                job()
                return True
            except Exception as error:
                if getattr(error, "error_code", "") in REFUSALS:
                    self.refuse(error, size)
                    return True
                self._fail(error, aloud=tries > 1)
            if not self._ended.is_set():
                self._ended.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._given_up.wait(1.0)  # at the end there is no time for long pauses
        return False
