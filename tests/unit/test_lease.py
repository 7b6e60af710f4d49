"""Leases of folders: real processes that hold them, are killed, stopped, taken over; jobs that find one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from PIL import Image

from cluster import lease
from cluster.lease import Holder, LeaseError, held
from cluster.storage import LEASE, StorageError, list_files
from pipelines import enhance, evaluate, export, prepare, tune
from pipelines.config.loading import load_settings, to_yaml
from pipelines.config.tune import SearchSettings
from pipelines.training.checkpoints import Checkpoints
from pipelines.tuning.search_space import Distribution, Plan, remember

HOLD = """
import sys, time
from cluster import lease
from pipelines.job import run_job
for name in ("TTL_SECONDS", "BEAT_SECONDS", "LOOK_SECONDS"):
    setattr(lease, name, 0.1)
def job(settings):
    with lease.held(sys.argv[1]):
        try:
            print("held", flush=True)
            time.sleep(600)
        finally:
            print("cleaned up", flush=True)
sys.exit(run_job(job, None))
"""


@pytest.fixture
def start(repository: Path) -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Starts a process that holds a folder until it is ended."""
    started = list[subprocess.Popen[str]]()

    def start(folder: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)],
            cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout and process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds become tenths."""
    monkeypatch.setattr(lease, "TTL_SECONDS", 1.0)
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.2)


def elsewhere(folder: Path, age: float = 0.0, **changes: object) -> bytes:
    """The lease of a process on another machine, renewed so many seconds ago."""
    folder.mkdir(parents=True, exist_ok=True)
    holder = replace(Holder.here(), machine="another", host="box", user="anna", process=7, since="2026-01-02 03:04:05")
    data = json.dumps(asdict(replace(holder, **changes))).encode()
    (folder / LEASE).write_bytes(data)
    os.utime(folder / LEASE, (time.time() - age,) * 2)
    return data


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def content(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_a_holder_that_is_gone_is_waited_for_a_minute_and_one_that_is_slow_misses_three_beats_first():
    assert 3 * lease.BEAT_SECONDS < lease.TTL_SECONDS <= 60


# --- who gets it ------------------------------------------------------------------------------------------------------


def test_the_second_is_told_by_whom_and_since_when_and_touches_nothing(tmp_path: Path, start):
    holder = start(tmp_path / "run")
    before = content(tmp_path)
    with pytest.raises(LeaseError) as refused, held(str(tmp_path / "run")):
        pytest.fail("two hold one place")
    said = Holder.of((tmp_path / "run" / LEASE).read_bytes())
    assert str(refused.value) == (
        f"{tmp_path}/run is in use by process {holder.pid} of {said.user} on {said.host} since {said.since} UTC; wait "
        f"until that has ended, or end it (kill {holder.pid}), or choose another place"
    )
    assert content(tmp_path) == before


def test_a_place_that_is_named_twice_or_by_a_link_is_one(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path / "run", target_is_directory=True)
    names = (str(tmp_path / "run"), f"{tmp_path}/run/", (tmp_path / "run").as_uri())
    with held(*names), pytest.raises(LeaseError), held(str(tmp_path / "link")):
        pytest.fail("two hold one place")


def test_of_many_at_once_one_wins_and_of_those_who_take_a_dead_ones_place_too(tmp_path: Path, quick: None):
    for round_ in ("new", "dead"):
        folder = tmp_path / round_
        if round_ == "dead":
            elsewhere(folder, machine=Holder.here().machine, started=1)
        outcomes, gate, ended = list[str](), threading.Barrier(8), threading.Event()

        def rival(folder: Path = folder, gate: threading.Barrier = gate, ended: threading.Event = ended) -> None:
            gate.wait()
            try:
                with held(str(folder)):
                    outcomes.append("held")  # noqa: B023
                    ended.wait(30)
            except LeaseError:
                outcomes.append("refused")  # noqa: B023

        rivals = [threading.Thread(target=rival) for _ in range(8)]
        for each in rivals:
            each.start()
        wait_until(lambda: len(outcomes) == 8)  # noqa: B023
        ended.set()
        for each in rivals:
            each.join()
        assert sorted(outcomes) == ["held"] + ["refused"] * 7
        assert not (folder / LEASE).exists()


# --- what a dead, silent or damaged one leaves ------------------------------------------------------------------------


def test_a_killed_holder_of_this_machine_locks_nobody_out(tmp_path: Path, start):
    holder = start(tmp_path)
    holder.send_signal(signal.SIGKILL)  # and nobody has asked what became of it: a zombie is dead, too
    wait_until(lambda: Path(f"/proc/{holder.pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].startswith("Z"))
    with held(str(tmp_path)):
        assert Holder.of((tmp_path / LEASE).read_bytes()).process == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_another_process_has_now_does_not_count(tmp_path: Path):
    elsewhere(tmp_path, machine=Holder.here().machine, process=os.getpid(), started=1)
    with held(str(tmp_path)):
        pass


def test_a_holder_on_another_machine_that_renews_is_left_alone(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
):
    elsewhere(tmp_path)
    threading.Timer(0.3, lambda: os.utime(tmp_path / LEASE)).start()
    with pytest.raises(LeaseError) as refused, held(str(tmp_path)):
        pytest.fail("two hold one place")
    assert "in use by process 7 of anna on box since 2026-01-02 03:04:05 UTC" in str(refused.value)
    assert "seeing for 1 s at most whether that still runs" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == [LEASE]


@pytest.mark.parametrize("age", [0.0, 3600.0])
def test_a_holder_on_another_machine_that_is_silent_is_followed(tmp_path: Path, quick: None, age: float):
    elsewhere(tmp_path, age)
    with held(str(tmp_path)):
        assert Holder.of((tmp_path / LEASE).read_bytes()).process == os.getpid()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage", [b"", b"\0\xff", b"[]", b"{}", b'{"token": 1}', b"[" * 9000, b'{"process": 1e999}', b"x" * 10**6]
)
def test_a_damaged_lease_is_one_that_nobody_renews(tmp_path: Path, quick: None, damage: bytes):
    (tmp_path / LEASE).write_bytes(damage)
    assert str(Holder.of(damage)) == "somebody"
    with held(str(tmp_path)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_a_lease_says_cannot_write_on_the_screen(tmp_path: Path):
    data = elsewhere(tmp_path, host="\33[2Jbox\n\r", user="a" * 10_000)
    assert str(Holder.of(data)).isprintable() and len(str(Holder.of(data))) < 300


# --- how it ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_gives_it_back(tmp_path: Path, start, number: int):
    holder = start(tmp_path / "out")
    holder.send_signal(number)
    said, _ = holder.communicate(timeout=60)
    assert said == "cleaned up\n" and holder.returncode != 0
    assert list(tmp_path.iterdir()) == []  # the folder was made for it


def test_an_error_gives_it_back_and_what_was_written_stays(tmp_path: Path):
    with pytest.raises(RuntimeError, match="broken"), held(str(tmp_path / "out")):
        (tmp_path / "out" / "result").touch()
        raise RuntimeError("broken")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["result"]


def test_one_that_was_taken_over_meanwhile_ends_with_a_sentence_and_cleans_up_nothing(tmp_path: Path, start):
    holder = start(tmp_path)
    holder.send_signal(signal.SIGSTOP)
    taken = elsewhere(tmp_path)
    holder.send_signal(signal.SIGCONT)
    said, error = holder.communicate(timeout=60)
    assert holder.returncode == 1 and said == ""
    assert error.count("\n") == 1 and error.startswith(
        f"error: {tmp_path} was taken over by process 7 of anna on box since 2026-01-02 03:04:05 UTC, for this process"
    )
    assert (tmp_path / LEASE).read_bytes() == taken


def test_one_that_was_taken_over_and_given_back_while_the_machine_slept_ends_too(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
):
    reasons, slept = list[str](), lease._now
    with held(str(tmp_path), lost=reasons.append):
        (tmp_path / LEASE).unlink()
        monkeypatch.setattr(lease, "_now", lambda: slept() + 3600)
        wait_until(lambda: bool(reasons))
    assert "was taken over and given back" in reasons[0] and list(tmp_path.iterdir()) == []


def test_one_that_was_removed_by_hand_comes_back(tmp_path: Path, quick: None):
    reasons = list[str]()
    with held(str(tmp_path), lost=reasons.append):
        (tmp_path / LEASE).unlink()
        wait_until((tmp_path / LEASE).exists)
        with pytest.raises(LeaseError), held(str(tmp_path)):
            pytest.fail("two hold one place")
    assert reasons == [] and list(tmp_path.iterdir()) == []


def test_a_store_that_is_gone_for_a_while_does_not_end_its_holder(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
):
    folder, away, reasons, said = tmp_path / "mount", tmp_path / "away", list[str](), list[str]()

    def told() -> bool:
        said.append(capsys.readouterr().err)
        return "cannot be renewed" in "".join(said)

    with held(str(folder), lost=reasons.append):
        folder.rename(away)
        folder.touch()
        wait_until(told)
        folder.unlink()
        away.rename(folder)
        os.utime(folder / LEASE, (0, 0))
        wait_until(lambda: (folder / LEASE).stat().st_mtime > 0)
    assert reasons == [] and "".join(said).count("\n") == 1 and not folder.exists()


def test_a_place_that_cannot_be_written_is_told_as_such(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as refused, held(str(tmp_path / "file" / "out")):
        pytest.fail("no folder can be there")
    assert str(refused.value) == f"{tmp_path}/file/out cannot be read: Not a directory"
    assert not isinstance(refused.value, LeaseError)


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (prepare.main, ["--input", "photos", "--output", "out"]),
        (enhance.main, ["--model", "baseline:input", "--input", "photos", "--output", "out"]),
        (evaluate.main, ["--model", "baseline:input", "--data.dark", "photos", "--output", "out"]),
        (export.main, ["--model", "bundled", "--output", "out"]),
        (tune.main, ["--resume", "--name", "out", "--runs", "."]),
    ],
)
def test_every_job_leaves_a_place_alone_that_somebody_works_in(
    main: Callable[[list[str]], int],
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "photos" / "a.png")
    plan = Plan(SearchSettings(name="out"), load_settings(["--runs", "."]), {"seed": Distribution("int", (1, 2))})
    plan.folder.mkdir()
    remember(plan, to_yaml(plan.training.settings))
    with held("out"):
        before = content(tmp_path)
        assert main(arguments) == 1
        assert content(tmp_path) == before
    said = capsys.readouterr().err
    assert f"out is in use by process {os.getpid()} of " in said
    assert said.startswith("error: ") and said.count("\n") == 1


def test_a_lease_is_neither_a_file_nor_a_checkpoint_to_anybody(tmp_path: Path):
    (tmp_path / "a.jpg").touch()
    with held(str(tmp_path)):
        assert [file.path for file in list_files(str(tmp_path))] == [f"{tmp_path}/a.jpg"]
        assert Checkpoints(str(tmp_path)).found() == []
