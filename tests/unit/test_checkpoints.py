"""Checkpoints of a run in a folder: which are kept, and what is taken when some are damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import tiny_settings

from lle.enhancers import build_enhancer
from lle.training import state as states
from lle.training.loop import Report
from lle.training.schedule import Phase, ScheduleState
from lle.training.state import STATE, TENSORS, Progress, Snapshot, StateError
from pipelines.jobs import checkpoints as module
from pipelines.jobs.checkpoints import Checkpoints


def report(step: int, ended_round: int = 0) -> Report:
    progress = Progress(ScheduleState(Phase.ENHANCEMENT, step=step))
    snapshot = Snapshot(progress, {}, {"enhancer/weight": torch.full((3,), float(step))})
    enhancer = build_enhancer(tiny_settings().enhancer)
    write = lambda folder: states.write(snapshot, folder)  # noqa: E731
    return Report(step, Phase.ENHANCEMENT, 1, {}, write, enhancer, ended_round)


def stored(folder: Path, *reports: Report, keep: int = 2) -> Checkpoints:
    found = Checkpoints(str(folder), keep)
    for each in reports:
        found.save(each)
    found.flush()
    return found


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_the_newest_and_the_last_of_each_round_are_kept(tmp_path: Path):
    stored(
        tmp_path, report(5), report(10, ended_round=1), report(15), report(20, ended_round=2), report(25), report(30)
    )
    assert names(tmp_path) == ["step_00000010_round_1", "step_00000020_round_2", "step_00000025", "step_00000030"]


def test_the_newest_is_taken(tmp_path: Path):
    newest = stored(tmp_path, report(5), report(10)).newest()
    assert newest and newest.progress.schedule.step == 10


def test_without_any_there_is_none(tmp_path: Path):
    assert Checkpoints(str(tmp_path / "nothing")).newest() is None


@pytest.mark.parametrize("file", [STATE, TENSORS])
@pytest.mark.parametrize("damage", ["truncated", "tampered", "missing"])
def test_a_damaged_one_is_refused_with_its_reason_and_the_one_before_is_taken(tmp_path: Path, file: str, damage: str):
    stored(tmp_path, report(5), report(10))
    path = tmp_path / "step_00000010" / file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else content.replace(b"1", b"2"))
    said: list[str] = []
    newest = Checkpoints(str(tmp_path), tell=said.append).newest()
    assert newest and newest.progress.schedule.step == 5
    assert len(said) == 1 and "step_00000010" in said[0] and "taking the checkpoint before it" in said[0]


def test_a_forged_state_with_a_fresh_step_is_noticed(tmp_path: Path):
    stored(tmp_path, report(5))
    path = tmp_path / "step_00000005" / STATE
    description = json.loads(path.read_text())
    description["progress"]["skipped"] = 7
    path.write_text(json.dumps(description))
    with pytest.raises(StateError, match="none of its 1 checkpoints is whole"):
        Checkpoints(str(tmp_path)).newest()


def test_what_the_store_does_not_take_is_kept_on_this_machine_until_it_takes_a_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    store, aside, said = tmp_path / "store", tmp_path / "aside", list[str]()
    store.write_text("a file where a folder should be")
    checkpoints = Checkpoints(str(store), 2, said.append, aside)
    checkpoints.save(report(5))
    checkpoints.flush()
    assert names(aside) == ["step_00000005"] and str(aside) in said[0] and "did not reach its store" in said[0]

    store.unlink()
    newest = checkpoints.newest()
    assert newest and newest.progress.schedule.step == 5
    checkpoints.save(report(10))
    checkpoints.flush()
    assert names(store) == ["step_00000010"] and names(aside) == []
