"""Signals and the job they ask to stop, in processes of their own; and what the workers' lines add up to."""

from __future__ import annotations

import faulthandler
import signal
import subprocess
import sys

import pytest
import ray.train

from lle.config import DataSettings, LoopSettings
from lle.training.hooks import ControlSignal
from pipelines.config.train import RunSettings
from pipelines.training.lines import Heard, Line
from pipelines.training.worker import ControlSignals

SCRIPT = """
import sys, threading
from pipelines.training.stopping import run_until_stopped
asked = threading.Event()
def job():
    print("ready", flush=True)
    {job}
    return "result"
def ask():
    print("asked", flush=True)
    asked.set()
try:
    print(run_until_stopped(job, ask, grace={grace}))
except KeyboardInterrupt:
    sys.exit("interrupted")
"""

HANGS = """
import time
from lle.config import DataSettings
from pipelines.config.train import RunSettings, ScalingSettings
from pipelines.training.worker import ControlSignals
data, scaling = DataSettings(samples=True), ScalingSettings(hang_limit=1)
control_signal = ControlSignals(RunSettings(name="run", data=data, scaling=scaling), lambda: False, None, print)
control_signal()
def stuck():
    time.sleep(600)
stuck()
"""


def started(job: str, grace: float = 60) -> subprocess.Popen[str]:
    script = SCRIPT.format(job=job, grace=grace)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def test_the_job_is_asked_once_and_awaited():
    process = started("asked.wait(); print('saved', flush=True)")
    process.send_signal(signal.SIGTERM)
    assert process.stdout and process.stdout.read() == "asked\nsaved\n"
    assert process.wait(60) == 128 + signal.SIGTERM


def test_ctrl_c_is_told_as_such():
    process = started("asked.wait()")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "interrupted" in errors and process.returncode == 1


@pytest.mark.parametrize(("grace", "signals"), [(0.1, 1), (600, 2)])
def test_too_long_a_wait_or_a_second_signal_ends_it_at_once(grace: float, signals: int):
    process = started("threading.Event().wait()", grace)
    process.send_signal(signal.SIGTERM)
    assert process.stdout and process.stdout.readline() == "asked\n"
    if signals == 2:
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


def test_without_a_signal_the_result_or_the_error_comes_back():
    process = started("pass")
    assert process.stdout and process.stdout.read() == "result\n" and process.wait(60) == 0
    process = started("raise ValueError('a reason')")
    _, errors = process.communicate(timeout=60)
    assert "ValueError: a reason" in errors and process.returncode == 1


def test_steps_that_are_done_again_are_counted():
    heard = Heard()
    heard.hear(Line("beginning at step 0", 0, begins=True))
    heard.hear(Line("step 30", 30))
    heard.hear(Line("a remark"))
    assert (
        heard.hear(Line("continuing from step 25", 25, begins=True))
        == "continuing from step 25 (5 steps are done again)"
    )
    heard.hear(Line("step 40", 40))
    heard.hear(Line("beginning at step 0", 0, begins=True))
    assert (heard.restarts, heard.steps_lost) == (2, 45)


def test_workers_ask_ray_at_the_same_steps_whoever_hears_of_a_stop_first(monkeypatch: pytest.MonkeyPatch):
    """Asking waits for all workers: one that stopped asking would leave the others waiting for ever."""
    asked: list[int] = []
    monkeypatch.setattr(ray.train, "get_preemption_info", lambda: asked.append(0))
    settings = RunSettings(name="run", data=DataSettings(samples=True), loop=LoopSettings(log_every=2))
    counts = []
    try:
        for stopped in (True, False):
            asked.clear()
            wish = ControlSignals(settings, lambda stopped=stopped: stopped, None, print)
            assert {wish() for _ in range(5)} == {ControlSignal.STOP if stopped else ControlSignal.NOTHING}
            counts.append(len(asked))
    finally:
        faulthandler.cancel_dump_traceback_later()
    assert counts == [2, 2]


def test_a_worker_that_hangs_says_where_and_ends():
    hung = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=120, check=False)
    assert hung.returncode == 1 and "Timeout (0:00:01)!" in hung.stderr and "in stuck" in hung.stderr


def test_a_hangup_that_comes_twice_does_not_hurry():
    process = started("asked.wait(); import time; time.sleep(2); print('saved', flush=True)")
    process.send_signal(signal.SIGHUP)
    assert process.stdout and process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGHUP)
    assert process.stdout.read() == "saved\n" and process.wait(60) == 128 + signal.SIGHUP
