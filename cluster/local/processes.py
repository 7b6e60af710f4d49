"""Processes that outlive whoever started them, and are known again by number and start time together.

A number alone may belong to somebody else by the time it is used: Linux gives the numbers of ended processes away.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """The leader of a group of processes that was started here."""

    name: str
    pid: int
    started: int  # clock ticks since the machine started

    def runs(self) -> bool:
        """Whether this very process is alive."""
        return start_time(self.pid) == self.started


def launch(name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
    """Start a command in a group of its own, without a terminal, its output added to a log."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            start_new_session=True,
        )
    return Process(name, process.pid, start_time(process.pid) or 0)


def end(processes: Iterable[Process], seconds: float = 20) -> list[Process]:
    """Ask those that still run, and their children, to end, and end them after a while; gives those that ran."""
    running = [process for process in processes if process.runs()]
    for process in running:
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while (left := [process for process in running if _group_lives(process)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in left:
        _signal(process, signal.SIGKILL)
    return running


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _group_lives(leader: Process) -> bool:
    """Whether a process or one of its children is left; the system gives its number to nobody before that ends."""
    groups = (_living(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return any(fields is not None and int(fields[2]) == leader.pid for fields in groups)


def start_time(pid: int) -> int | None:
    """Of a living process, in clock ticks since the machine started; None where there is none."""
    fields = _living(pid)
    return None if fields is None else int(fields[19])


def _living(pid: int) -> list[str] | None:
    """What /proc says of a process, from its state on; None: there is none, or it has ended."""
    try:
        # The name in parentheses before the state may hold anything, parentheses too.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields
