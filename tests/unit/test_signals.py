"""Ctrl-C, SIGTERM and SIGHUP end every job alike, in processes of their own."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import signal, sys, time
{before}
from pipelines.job import run_job
def job(settings):
    try:
        print("ready", flush=True)
        time.sleep({seconds})
        return 0
    finally:
        open({file!r}, "w").write("cleaned up")
        print("a line that nobody may read any more", flush=True)
sys.exit(run_job(job, None, "the same command does the rest"))
"""


def started(file: str = os.devnull, before: str = "", seconds: float = 60) -> subprocess.Popen[str]:
    script = SCRIPT.format(file=file, before=before, seconds=seconds)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_job_through_its_clean_up_with_one_sentence(number: signal.Signals, tmp_path):
    process = started(str(tmp_path / "file"))
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number and errors == "stopped; the same command does the rest\n"
    assert (tmp_path / "file").read_text() == "cleaned up"


def test_a_job_that_was_told_to_ignore_hangups_goes_on():
    process = started(before="signal.signal(signal.SIGHUP, signal.SIG_IGN)", seconds=1)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 0


def test_a_job_whose_terminal_is_closed_cleans_up_though_nobody_hears_it(tmp_path):
    file = tmp_path / "file"
    child, terminal = pty.fork()
    if child == 0:
        script = SCRIPT.format(file=str(file), before="", seconds=60)
        os.execv(sys.executable, [sys.executable, "-c", script])
    assert b"ready" in os.read(terminal, 100)
    os.close(terminal)
    deadline = time.monotonic() + 60
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert os.waitstatus_to_exitcode(ended[1]) == 128 + signal.SIGHUP
    assert file.read_text() == "cleaned up"
