"""A run that is resumed sees the photos it began with; runs that are compared were validated on the same ones."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from lle.config import DataSettings
from pipelines.config.train import RunSettings
from pipelines.data.listing import DataError
from pipelines.data.photo_sets import PhotoSet, names_hash
from pipelines.data.pinned import PHOTOS, photos_of_run
from pipelines.data.training_photos import TrainingPhotos


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with six dark and six well-lit photos, no two of them alike."""
    for name, level in (("dark", 20), ("well_lit", 150)):
        (tmp_path / name).mkdir()
        for index in range(6):
            Image.new("RGB", (20 + index, 20), (level, level, index)).save(tmp_path / name / f"{index}.png")
    return tmp_path


def begin(run: Path, folder: str = "run", seed: int = 0, resume: bool = False, **data) -> TrainingPhotos:
    given = {"dark": str(run / "dark"), "well_lit": str(run / "well_lit"), "validation_images": 2} | data
    settings = RunSettings(name="run", seed=seed, resume=resume, data=DataSettings(**given))
    return photos_of_run(settings, str(run / folder))


def resume(run: Path, **changed) -> TrainingPhotos:
    return begin(run, resume=True, **changed)


def test_a_resumed_run_keeps_its_photos_when_the_set_has_grown_and_lost_one(run: Path):
    began = begin(run)
    Path(began.dark.paths[0]).unlink()
    Image.new("RGB", (9, 9)).save(run / "dark" / "new.png")
    assert resume(run) == began
    listed_anew = begin(run, "other")
    assert any("new.png" in path for path in listed_anew.dark.paths + listed_anew.held_out_dark.paths)


def test_a_run_resumed_with_settings_that_choose_other_photos_is_refused(run: Path):
    begin(run)
    for name, value in {"validation_images": 3, "well_lit": str(run)}.items():
        with pytest.raises(DataError, match=rf"data\.{name}: the run run began with .*, not {value!r}; resume"):
            resume(run, **{name: value})
    with pytest.raises(DataError, match="seed: the run run began with 0, not 1; resume"):
        resume(run, seed=1)


def test_a_validation_photo_that_was_changed_is_noticed_on_resume_and_one_to_train_on_is_not(run: Path):
    began = begin(run)
    Image.new("RGB", (9, 9)).save(began.dark.paths[0])
    assert resume(run) == began
    Image.new("RGB", (9, 9)).save(began.held_out_dark.paths[0])
    with pytest.raises(DataError, match="the photos to validate on are not those that the run run began with"):
        resume(run)


def test_the_hash_of_a_run_pins_the_validation_of_another_wherever_the_photos_lie(run: Path, tmp_path: Path):
    pinned = begin(run).validation_hash
    moved = run / "moved"
    moved.mkdir()
    (run / "dark").rename(moved / "dark")
    assert begin(run, "other", dark=str(moved / "dark"), validation_hash=pinned).validation_hash == pinned
    with pytest.raises(DataError, match=r"not those that data\.validation_hash names .*begin a new run without"):
        begin(run, "third", dark=str(moved / "dark"), validation_hash=pinned, seed=1)
    assert not (run / "third").exists()


def test_a_photo_of_the_validation_that_is_gone_is_named(run: Path):
    gone = begin(run).held_out_well_lit.paths[1]
    Path(gone).unlink()
    with pytest.raises(DataError, match=r"data: .*\.png, a photo to validate on, cannot be read"):
        resume(run)


def test_a_new_run_does_not_read_the_list_of_another_and_a_damaged_list_is_refused(run: Path):
    began = begin(run)
    (run / "run" / PHOTOS).write_bytes((run / "run" / PHOTOS).read_bytes()[:40])
    with pytest.raises(DataError, match=r"photos\.json\.gz cannot be understood \(.*\); begin another run"):
        resume(run)
    assert begin(run) == began


def test_the_hash_of_a_set_is_that_of_its_paths_as_one_text():
    photos = PhotoSet("s3://photos/dark", ("photos/dark/a.jpg", 'photos/dark/"ä".jpg'))
    assert names_hash(photos) == hashlib.sha256(json.dumps(photos.paths).encode()).hexdigest()
