"""How a job ends at a signal: Ctrl-C, SIGTERM and SIGHUP alike, through its `finally` clauses and with one sentence."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NAMES = {int(signal.SIGINT): "Ctrl-C", int(signal.SIGTERM): "SIGTERM", int(signal.SIGHUP): "SIGHUP"}
AGAIN = "the same command begins anew"

_received: list[int] = []  # by the job that runs


def run_job(job: Callable[[], int], advice: str | Callable[[], str] = AGAIN) -> int:
    """Run a job until it ends or is stopped.

    Args:
        job: gives the exit status.
        advice: how to go on after a stop, for the sentence on stderr.

    Returns:
        The job's status, or 128 + the number of the signal that stopped it.
    """
    _received.clear()
    try:
        with raising():
            return job()
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, SystemExit) and isinstance(end.code, str):
            raise
        number = number_of(end)
    print(f"stopped; {advice if isinstance(advice, str) else advice()}", file=sys.stderr)
    return 128 + number


def number_of(end: BaseException) -> int:
    """The signal that ended a job so."""
    if isinstance(end, KeyboardInterrupt):
        return signal.SIGINT
    code = getattr(end, "code", None)
    own = isinstance(code, int) and code - 128 in SIGNALS
    return code - 128 if own else signal.SIGTERM  # Ray's own handler gives another code


def name_of(end: BaseException) -> str:
    """What people call the signal that ended a job so."""
    return NAMES[number_of(end)]


@contextmanager
def raising() -> Iterator[None]:
    """Let signals raise KeyboardInterrupt or SystemExit where the program is, for the length of a block.

    A SIGHUP that comes after another signal does not: terminals and shells send it twice.
    """

    def end(number: int, frame: object) -> None:
        _received.append(number)
        if number != signal.SIGHUP or len(_received) == 1:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    with heard_by(end):
        yield


@contextmanager
def heard_by(handler: Callable[[int, object], None]) -> Iterator[None]:
    """A handler for the signals that end a job, for the length of a block; those that are ignored (nohup) stay so.

    In the main thread only: others hear no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    terminals = [stream for stream in (1, 2) if os.isatty(stream)]

    def on_signal(number: int, frame: object) -> None:
        if number == signal.SIGHUP:
            _fall_silent(terminals)
        handler(number, frame)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: known for number, known in before.items() if known != signal.SIG_IGN}
    for number in before:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known if known is not None else signal.SIG_DFL)


def _fall_silent(terminals: list[int]) -> None:
    """Write to nowhere what would go to a terminal that was closed, and whose every line would now be an error."""
    for stream in terminals:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream)
        os.close(nowhere)
