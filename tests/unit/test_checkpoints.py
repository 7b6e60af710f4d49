"""Checkpoints of a run in a folder: which are kept, and what is taken when some are damaged."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import tiny_settings

from cluster.storage import write_atomically
from lle.enhancers import build_enhancer
from lle.training import checkpoint as checkpoint_files
from lle.training.checkpoint import STATE, TENSORS, Checkpoint, CheckpointError, Progress
from lle.training.hooks import Report
from lle.training.schedule import Phase, ScheduleState
from pipelines.training import checkpoints as module
from pipelines.training.checkpoints import MARK, Checkpoints, TakenError, _listed, begin, mark_of


def report(step: int, ended_round: int = 0) -> Report:
    progress = Progress(ScheduleState(Phase.ENHANCEMENT, step=step))
    checkpoint = Checkpoint(progress, {}, {"enhancer/weight": torch.full((3,), float(step))})
    enhancer = build_enhancer(tiny_settings().enhancer)
    write = lambda folder: checkpoint_files.write(checkpoint, folder)  # noqa: E731
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
    with pytest.raises(CheckpointError, match="none of its 1 checkpoints is whole"):
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


def test_a_new_run_refuses_a_place_where_another_one_began(tmp_path: Path):
    uri = str(tmp_path / "place")
    first = begin(uri, "night")
    assert mark_of(uri) == first and first.id
    for _ in range(2):  # before its first checkpoint, and after
        with pytest.raises(TakenError, match="the run night, which began on .*; choose another --name, or continue it"):
            begin(uri, "night")
        stored(Path(uri), report(5))
    (Path(uri) / MARK).unlink()  # as before there were marks
    with pytest.raises(TakenError, match="an earlier run day; choose another --name, or continue it with --resume"):
        begin(uri, "day")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(TakenError, match="holds other files; choose another --name"):
        begin(str(tmp_path / "other"), "day")


def test_a_place_with_nothing_but_a_lease_is_free(tmp_path: Path):
    (tmp_path / ".lease").write_text("{}")
    assert begin(str(tmp_path), "night").name == "night"


def test_the_cache_of_another_run_or_another_store_is_not_this_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    store = tmp_path / "store" / "a_b"
    store.parent.mkdir()
    store.write_text("a file where a folder should be")
    first = Checkpoints(str(store), 2, run="0123")
    first.save(report(5))
    first.flush()
    assert [each.step for each in first._kept_aside()] == [5]
    store.unlink()
    assert Checkpoints(str(store), run="0123").newest() is not None  # after a worker's restart
    assert Checkpoints(str(store), run="4567").newest() is None
    assert Checkpoints(str(tmp_path / "store" / "a" / "b"), run="0123").newest() is None


@pytest.mark.parametrize("nowhere", ["the store and the cache", "the folder for temporary files"])
def test_a_checkpoint_that_can_be_stored_nowhere_is_told_once_with_its_step_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nowhere: str
):
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    said, file = list[str](), tmp_path / "file"
    file.write_text("a file where folders should be")
    checkpoints = Checkpoints(str(file / "store"), 2, said.append, file / "aside", run="0123")
    wanted = report(15)
    if nowhere == "the folder for temporary files":
        wanted = replace(wanted, write=lambda folder: (folder.mkdir(), (folder / "a" / "b").write_bytes(b"")))
    checkpoints.save(wanted)
    checkpoints.flush()
    assert len(said) == 1 and said[0].startswith("WARNING: the checkpoint of step 15 is LOST: "), said
    assert not [*(tmp_path / "temporary").iterdir()] and file.is_file()


def test_what_a_killed_process_of_the_run_left_is_cleared_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("lle-checkpoint-0123-abc", "lle-checkpoint-4567-abc", "mine"):
        (tmp_path / name).mkdir()
    Checkpoints(str(tmp_path / "store"), run="0123").clear()
    Checkpoints(str(tmp_path / "store")).clear()
    assert names(tmp_path) == ["lle-checkpoint-4567-abc", "mine"]


def test_old_checkpoints_that_cannot_be_removed_do_not_send_new_ones_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    said = list[str]()
    checkpoints = Checkpoints(str(tmp_path), 1, said.append, tmp_path / "aside")
    files = checkpoints._filesystem

    class WithoutDeletion:
        type_name = "s3"

        def __getattr__(self, name: str):
            return getattr(files, name)

        def delete_dir(self, path: str) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "write_atomically", lambda filesystem, path, data: write_atomically(files, path, data))
    monkeypatch.setattr(module, "_listed", lambda _, root, uri: _listed(files, root, uri))
    checkpoints._filesystem = WithoutDeletion()
    for step in (5, 10):
        checkpoints.save(report(step))
    checkpoints.flush()
    assert len(said) == 1 and said[0].startswith("old checkpoints in ") and "permission denied" in said[0].lower()
    assert names(tmp_path) == ["step_00000005", "step_00000010"]
