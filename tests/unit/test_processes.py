from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cluster.local.processes import Process, end, launch

SLEEP = "import time; print('asleep', flush=True); time.sleep(1000)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEP!r}])"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Process]]:
    """Filled by `sleeper`; what still runs at the end of the test is ended."""
    processes: list[Process] = []
    yield processes
    end(processes, seconds=0)


def sleeper(started: list[Process], folder: Path, code: str = SLEEP) -> Process:
    """A process that has begun to sleep."""
    log = folder / f"{len(started)}.log"
    started.append(launch("sleeper", [sys.executable, "-c", code], os.environ, log))
    while "asleep" not in log.read_text():
        assert started[-1].runs(), log.read_text()
        time.sleep(0.01)
    return started[-1]


def test_a_process_ends_with_its_children(started: list[Process], tmp_path: Path):
    process = sleeper(started, tmp_path, PARENT)
    (child,) = psutil.Process(process.pid).children()
    assert end([process]) == [process]
    assert not process.runs() and (not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert end([process]) == []


def test_another_process_with_the_same_number_is_left_alone(started: list[Process], tmp_path: Path):
    process = sleeper(started, tmp_path)
    before = replace(process, started=process.started - 1)
    assert not before.runs() and end([before]) == []
    assert process.runs()


def test_a_process_that_does_not_listen_is_ended_all_the_same(started: list[Process], tmp_path: Path):
    process = sleeper(started, tmp_path, DEAF)
    assert end([process], seconds=0.2) == [process]
    psutil.Process(process.pid).wait(30)
    assert not process.runs()


def test_a_number_that_nobody_has_runs_not():
    assert not Process("nobody", 2**22 + 1, 1).runs()
