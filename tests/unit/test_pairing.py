"""Photos that belong together stand at the same place below their roots; whatever else is a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lle.config import DataSettings
from pipelines.config.prepare import PrepareSettings
from pipelines.config.train import RunSettings
from pipelines.data.listing import DataError
from pipelines.data.manifest import begin, finish
from pipelines.data.pairing import PairingError, paired
from pipelines.data.part import pending_parts, prepare_part
from pipelines.data.photo_sets import load_photo
from pipelines.data.training_photos import TrainingPhotos, find_photos
from pipelines.evaluation.worker import find_evaluated_photos
from pipelines.training.worker import validation_set

BUDGET = 10**8


def write(file: Path, level: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((24, 32, 3), level, np.uint8)).save(file)


@pytest.fixture
def scenes(tmp_path: Path) -> tuple[str, str]:
    """Three folders with photos of the same names, listed in another order on each side where only base names count."""
    for level, name in enumerate(("a/1.png", "a/2.png", "b/1.png", "c/deep/1.png")):
        write(tmp_path / "low" / name, 10 + level)
        write(tmp_path / "high" / name, 110 + level)
    return str(tmp_path / "low"), str(tmp_path / "high")


def trained_on(tmp_path: Path, low: str, high: str) -> TrainingPhotos:
    for name, level in (("dark", 20), ("well_lit", 150)):
        for index in range(3):
            write(tmp_path / name / f"{index}.png", level + index)
    data = DataSettings(
        dark=str(tmp_path / "dark"), well_lit=str(tmp_path / "well_lit"), validation_images=1, pairs_dark=low,
        pairs_truth=high,
    )  # fmt: skip
    return find_photos(RunSettings(data=data))


def levels(photos: TrainingPhotos) -> list[tuple[int, int]]:
    """The grey of both photos of each pair."""
    return [
        (int(load_photo(photos.pairs_dark, low, BUDGET).max()), int(load_photo(photos.pairs_truth, high, BUDGET).max()))
        for low, high in zip(photos.pairs_dark.paths, photos.pairs_truth.paths, strict=True)
    ]


def test_names_are_paired_by_path_and_suffixes_may_differ():
    low, high = ["a/1.png", "a/2.png", "b/1.png"], ["b/1.jpg", "a/2.png", "a/1.jpeg"]
    assert paired(low, high) == {"a/1.png": "a/1.jpeg", "a/2.png": "a/2.png", "b/1.png": "b/1.jpg"}


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (["a/1.png"], ["b/1.png"], r"a/1\.png, b/1\.png have no partner of the same name"),
        (["a.png"], ["a.jpg", "a.tif"], r"a\.png has more than one partner"),
        (["a.jpg", "a.tif"], ["a.png"], r"a\.jpg, a\.tif have more than one partner"),
        (["1.png", "2.png"], ["1.png"], r"2\.png has no partner"),
        (["1.png"], ["1.png", "1.jpg"], r"1\.jpg has no partner"),
        ([f"{i}.png" for i in range(9)], [], r"0\.png, 1\.png, 2\.png and 6 more have no partner"),
    ],
)
def test_what_has_no_partner_or_several_is_named_three_at_a_time(low: list[str], high: list[str], message: str):
    with pytest.raises(PairingError, match=message):
        paired(low, high)


def test_photos_of_one_name_in_several_folders_are_measured_against_their_own(scenes: tuple[str, str]):
    photos, _ = find_evaluated_photos(*scenes, "", 0, BUDGET)
    assert [photo.name for photo in photos] == ["a/1.png", "a/2.png", "b/1.png", "c/deep/1.png"]
    assert all(Path(photo.truth_path).relative_to(scenes[1]) == Path(photo.name) for photo in photos)


def test_photos_of_one_name_in_several_folders_are_validated_against_their_own(scenes: tuple[str, str], tmp_path: Path):
    assert levels(trained_on(tmp_path, *scenes)) == [(10, 110), (11, 111), (12, 112), (13, 113)]


def test_sides_of_different_length_and_suffix_are_not_crossed(scenes: tuple[str, str], tmp_path: Path):
    (Path(scenes[1]) / "a/1.png").rename(Path(scenes[1]) / "a/1.tif")
    write(Path(scenes[1]) / "a" / "1.tif", 110)
    assert levels(trained_on(tmp_path, *scenes))[0] == (10, 110)
    write(Path(scenes[1]) / "b" / "9.png", 1)
    with pytest.raises(DataError, match=r"data\.pairs_dark and data\.pairs_truth: b/9\.png has no partner"):
        trained_on(tmp_path, *scenes)


def test_a_pair_with_a_damaged_photo_is_set_aside_whole(scenes: tuple[str, str], tmp_path: Path):
    (Path(scenes[1]) / "a/2.png").write_bytes(b"no picture")
    whole = (Path(scenes[0]) / "b/1.png").read_bytes()
    (Path(scenes[0]) / "b/1.png").write_bytes(whole[: len(whole) // 2])  # its header is good
    photos = trained_on(tmp_path, *scenes)
    assert levels(photos) == [(10, 110), (13, 113)]
    assert {Path(path).name for path in photos.refused} == {"1.png", "2.png"}
    measured, refused = find_evaluated_photos(*scenes, "", 0, BUDGET)
    assert [photo.name for photo in measured] == ["a/1.png", "b/1.png", "c/deep/1.png"] and len(refused) == 1


def test_a_photo_damaged_meanwhile_takes_its_partner_along_not_the_order(scenes: tuple[str, str], tmp_path: Path):
    photos = trained_on(tmp_path, *scenes)
    Path(photos.pairs_truth.paths[1]).write_bytes(b"no picture")
    settings = RunSettings(data=DataSettings(dark=photos.dark.uri, well_lit=photos.well_lit.uri))
    told = []
    pairs = validation_set(settings, photos, lambda path, reason: told.append(path)).pairs
    assert [(int(low.max()), int(high.max())) for low, high in pairs] == [(10, 110), (12, 112), (13, 113)]
    assert told == [photos.pairs_truth.paths[1]]


def test_prepared_sets_are_paired_by_path_too(scenes: tuple[str, str], tmp_path: Path):
    prepared = []
    for uri in scenes:
        settings = PrepareSettings(input=uri, output=f"{uri}-prepared", similar_bits=0, format="png")
        begin(settings)
        for part in pending_parts(settings, []):
            prepare_part(settings, part)
        finish(settings)
        prepared.append(settings.output)
    expected = [(10, 110), (11, 111), (12, 112), (13, 113)]
    assert levels(trained_on(tmp_path, *prepared)) == expected
    assert levels(trained_on(tmp_path, scenes[0], prepared[1])) == expected


@pytest.mark.parametrize("inner", ["dark", "dark/well_lit", "linked"])
def test_sets_that_are_or_hold_one_another_are_refused(tmp_path: Path, inner: str):
    write(tmp_path / "dark" / "well_lit" / "1.png", 9)
    write(tmp_path / "dark" / "2.png", 9)
    (tmp_path / "linked").symlink_to(tmp_path / "dark" / "well_lit")
    data = DataSettings.model_construct(
        **DataSettings().model_dump() | {"dark": (str(tmp_path / "dark"),), "well_lit": (str(tmp_path / inner),)}
    )
    with pytest.raises(DataError, match=r"data\.(dark|well_lit) and data\.(dark|well_lit): .* (lies in|hold)"):
        find_photos(RunSettings.model_construct(**dict(RunSettings(data=DataSettings(samples=True))) | {"data": data}))
