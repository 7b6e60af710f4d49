"""How a job ends at a signal: Ctrl-C, SIGTERM and SIGHUP alike, through its `finally` clauses and with one sentence."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NAMES = {int(signal.SIGINT): "Ctrl-C", int(signal.SIGTERM): "SIGTERM", int(signal.SIGHUP): "SIGHUP"}

_received: list[int] = []  # by the job that runs


def number_of(end: BaseException) -> int:
    """The signal that ended a job so."""
    if isinstance(end, KeyboardInterrupt):
        return signal.SIGINT
    code = getattr(end, "code", None)
    if isinstance(code, int) and code - 128 in SIGNALS:
        return code - 128
    return signal.SIGTERM  # Ray's own handler gives another code


def name_of(end: BaseException) -> str:
    """What people call the signal that ended a job so."""
    return NAMES[number_of(end)]


def raise_for(number: int) -> NoReturn:
    """End the job for a signal: KeyboardInterrupt or SystemExit. Further signals do not cut off the cleaning up."""
    _received.append(number)
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


@contextmanager
def raising() -> Iterator[None]:
    """Let the first signal raise KeyboardInterrupt or SystemExit where the program is, for the length of a block."""
    _received.clear()
    with heard_by(_end):
        yield


def rearm() -> None:
    """Hear signals again as `raising` does, around it, where something else has installed handlers of its own."""
    if threading.current_thread() is threading.main_thread():
        _listen(_end)


@contextmanager
def heard_by(handler: Callable[[int, object], None]) -> Iterator[None]:
    """A handler for the signals that end a job, for the length of a block; those that are ignored (nohup) stay so.

    In the main thread only: others hear no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = _listen(handler)
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known if known is not None else signal.SIG_DFL)


def _end(number: int, frame: object) -> None:
    if not _received:
        raise_for(number)


def _listen(handler: Callable[[int, object], None]) -> dict[signal.Signals, Any]:
    """Install a handler; what was there before, by signal."""
    terminals = [stream for stream in (1, 2) if os.isatty(stream)]

    def on_signal(number: int, frame: object) -> None:
        if number == signal.SIGHUP:
            _fall_silent(terminals)
        handler(number, frame)

    known = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: each for number, each in known.items() if each != signal.SIG_IGN}
    for number in before:
        signal.signal(number, on_signal)
    return before


def _fall_silent(terminals: list[int]) -> None:
    """Write to nowhere what would go to a terminal that was closed, and whose every line would now be an error."""
    for stream in terminals:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream)
        os.close(nowhere)
