"""Enhancing in this process: when Ray is left alone, several inputs, and results beside their photos."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lle.images import read
from pipelines import enhance as entry_point
from pipelines.config.enhance import EnhanceSettings
from pipelines.data.listing import DataError
from pipelines.inference import job
from pipelines.inference.job import FEW, stays_here
from pipelines.inference.progress import REPORT, Done
from pipelines.inference.work import find_work, parts
from pipelines.reporting.closing import IN_A_JOB

BRIGHTER = ["--model", "baseline:auto-gain"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: two dark photos and a third in a folder; no cluster, and none can be started."""
    for name, value in (("a.png", 20), ("b.png", 30), ("more/c.png", 40)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pixels = np.full((20, 30, 3), value, np.uint8)
        pixels[:10] += 10
        Image.fromarray(pixels).save(tmp_path / name)
    for name in ("RAY_ADDRESS", IN_A_JOB):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(job, "connect", lambda *args, **options: pytest.fail("a cluster was asked for"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def enhance(*words: str) -> int:
    return entry_point.main([*BRIGHTER, *words])


def files(folder: Path) -> list[str]:
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


def test_a_photo_is_enhanced_beside_itself_and_nothing_else_appears(folder: Path, capsys: pytest.CaptureFixture[str]):
    before, known = (folder / "a.png").read_bytes(), files(folder)
    assert enhance("a.png") == 0
    assert set(files(folder)) - set(known) == {"a.enhanced.png"}
    assert (folder / "a.png").read_bytes() == before
    assert read(folder / "a.enhanced.png").mean() > read(folder / "a.png").mean() + 20
    said = capsys.readouterr().out
    assert "1 photos enhanced, 0 done before, 0 failed" in said and "written: a.enhanced.png\n" in said


def test_a_result_that_is_there_stays_and_again_writes_it_anew(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "a.enhanced.png").write_bytes(b"somebody's own")
    assert enhance("a.png") == 0
    assert (folder / "a.enhanced.png").read_bytes() == b"somebody's own"
    assert "there already: a.enhanced.png (--again writes anew)" in capsys.readouterr().out
    assert enhance("a.png", "--again") == 0
    assert read(folder / "a.enhanced.png").shape == (20, 30, 3)


def test_a_shell_that_names_everything_again_enhances_no_result(folder: Path, capsys: pytest.CaptureFixture[str]):
    everything = ["a.png", "b.png", "more"]
    assert enhance(*everything) == 0
    results = {"a.enhanced.png", "b.enhanced.png", "more.enhanced/c.png", f"more.enhanced/{REPORT}"}
    assert results <= set(files(folder))
    known = files(folder)
    assert enhance(*everything, "a.enhanced.png", "b.enhanced.png", "more.enhanced") == 0
    assert files(folder) == known
    assert "left out: 2 named .enhanced" in capsys.readouterr().out


def test_a_result_alone_is_not_enhanced_once_more_unless_an_output_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    enhance("a.png")
    assert enhance("a.enhanced.png") == 2
    assert "with --output they are enhanced once more" in capsys.readouterr().err
    assert enhance("a.enhanced.png", "--output", "out") == 0
    assert (folder / "out" / "a.enhanced.png").exists()


def test_several_inputs_go_into_one_output_and_are_done_once(folder: Path, capsys: pytest.CaptureFixture[str]):
    words = ["a.png", "b.png", "more", "./a.png", "--output", "out"]
    assert enhance(*words) == 0
    assert files(folder / "out") == ["a.png", "b.png", "c.png", REPORT]
    assert "3 photos enhanced" in capsys.readouterr().out
    assert enhance(*words) == 0
    assert "0 photos enhanced, 3 done before, 0 failed" in capsys.readouterr().out


def test_two_photos_of_one_name_do_not_overwrite_each_other(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "more" / "a.png").write_bytes((folder / "b.png").read_bytes())
    assert enhance("a.png", "more/a.png", "--output", "out") == 2
    assert "would both become a.png; enhance them one after the other" in capsys.readouterr().err
    assert files(folder / "out") == []
    assert enhance("a.png", "more/a.png") == 0
    assert {"a.enhanced.png", "more/a.enhanced.png"} <= set(files(folder))


def test_one_input_that_is_not_there_is_told_by_name(folder: Path, capsys: pytest.CaptureFixture[str]):
    for output in ([], ["--output", "out"]):
        assert enhance("a.png", "nowhere.png", *output) == 2
        assert "nowhere.png does not exist" in capsys.readouterr().err
    assert "a.enhanced.png" not in files(folder)


def test_an_output_that_holds_one_of_the_inputs_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert enhance("more", "a.png", "--output", ".") == 2
    assert "holds the input, whose photos would be written over" in capsys.readouterr().err


def test_a_format_of_another_kind_is_added_to_the_name_of_a_result(folder: Path):
    enhance("a.png", "--format", "webp")
    assert (folder / "a.enhanced.png.webp").exists()


def test_photos_in_a_store_need_an_output(folder: Path):
    with pytest.raises(DataError, match="output: s3://b/a.jpg lies in a store; say where the results go with --output"):
        parts(EnhanceSettings(input="s3://b/a.jpg"))


def test_photos_of_a_store_and_of_this_machine_are_not_mixed(folder: Path):
    with pytest.raises(DataError, match="input: photos of this machine and of a store"):
        find_work(EnhanceSettings(input=("a.png", "s3://b/a.jpg"), output="out"), "model", Done("out"))


def test_what_fails_is_told_and_the_others_are_written(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:60])
    assert enhance("a.png", "b.png") == 1
    said = capsys.readouterr().out
    assert "failed: b.png: " in said and "written: a.enhanced.png\n" in said
    assert "b.enhanced.png" not in files(folder)


@pytest.mark.parametrize(
    ("changes", "photos", "environment", "here"),
    [
        ({}, 1, {}, True),
        ({}, FEW, {}, True),
        ({}, FEW + 1, {}, False),
        ({"workers": 1}, 1, {}, True),
        ({"workers": 2}, 1, {}, False),
        ({"cluster": {"address": "10.0.0.1:6379"}}, 1, {}, False),
        ({}, 1, {"RAY_ADDRESS": "auto"}, False),
        ({}, 1, {IN_A_JOB: "{}"}, False),
    ],
)
def test_few_photos_stay_in_this_process_unless_a_cluster_or_workers_are_asked_for(
    changes: dict, photos: int, environment: dict, here: bool, monkeypatch: pytest.MonkeyPatch
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert stays_here(EnhanceSettings(input="a.png", **changes), photos) is here


def test_without_ray_all_photos_stay_here_but_a_named_cluster_is_not_passed_over(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(job, "find_spec", lambda name: None)
    assert stays_here(EnhanceSettings(input="a.png", workers=8), 10**6)
    assert not stays_here(EnhanceSettings(input="a.png", cluster={"address": "10.0.0.1:6379"}), 1)


def test_workers_that_cannot_be_had_without_ray_are_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(job, "find_spec", lambda name: None)
    assert enhance("a.png", "--workers", "2") == 0
    assert "workers: this process does them all without Ray" in capsys.readouterr().out


def test_a_job_that_is_stopped_notes_what_it_has_done_and_goes_on_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    note, noted = Done.note, list[str]()

    def stopped(done: Done, entry) -> None:
        note(done, entry)
        noted.append(entry.photo)
        if len(noted) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Done, "note", stopped)
    assert enhance("a.png", "b.png", "more", "--output", "out") == 130
    assert "stopped; the same command does the rest" in capsys.readouterr().err
    assert len((folder / "out" / REPORT).read_text().splitlines()) == 2
    assert enhance("a.png", "b.png", "more", "--output", "out") == 0
    assert "2 photos enhanced, 1 done before" in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
def test_a_photo_behind_a_link_is_enhanced_where_it_really_lies(folder: Path):
    (folder / "link").symlink_to(folder / "more")
    assert enhance("a.png", "link/c.png") == 0
    assert (folder / "more" / "c.enhanced.png").exists()
