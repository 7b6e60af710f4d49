import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.data import samples


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory) -> samples.QuickstartData:
    return samples.write_quickstart_data(tmp_path_factory.mktemp("quickstart"), seed=0, well_lit=6, dark=8, pairs=4)


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def digest(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.*")}


def test_sample_photos_are_rgb_bytes():
    photos = samples.sample_photos()
    assert {*samples.WELL_LIT, *samples.DARK, *samples.HELD_OUT} <= set(photos)
    for photo in photos.values():
        assert photo.dtype == np.uint8
        assert photo.shape[2] == 3
        assert min(photo.shape[:2]) >= 256


def test_scenes_of_the_three_groups_are_disjoint():
    groups = [*samples.WELL_LIT, *samples.DARK, *samples.HELD_OUT]
    assert len(groups) == len(set(groups))


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(samples._FILES, "coffee", ("no_such_package", "coffee.png"))
    monkeypatch.setitem(samples._DISTRIBUTIONS, "no_such_package", "no-such-package")
    with pytest.raises(FileNotFoundError, match="pip install no-such-package"):
        samples.sample_photos(["coffee"])


def test_quickstart_has_as_many_files_as_asked_for(quickstart):
    counts = [len(list(part.iterdir())) for part in (quickstart.well_lit, quickstart.dark, quickstart.pairs_dark)]
    assert counts == [6, 8, 4]


def test_pairs_have_the_same_names_and_sizes_and_both_kinds_of_light(quickstart):
    low, high = (sorted(part.iterdir()) for part in (quickstart.pairs_dark, quickstart.pairs_truth))
    assert [path.name for path in low] == [path.name for path in high]
    assert [read(path).shape for path in low] == [read(path).shape for path in high]
    for kind in ("under", "backlit"):
        scenes = {path.stem.split("_")[1] for path in low if kind in path.stem}
        assert scenes == set(samples.HELD_OUT)


def test_inputs_are_darker_than_their_ground_truth(quickstart):
    for low in quickstart.pairs_dark.iterdir():
        ceiling = 0.9 if "backlit" in low.name else 0.6
        assert read(low).mean() < ceiling * read(quickstart.pairs_truth / low.name).mean()


def test_well_lit_photos_are_neither_dark_nor_bright(quickstart):
    for path in quickstart.well_lit.iterdir():
        assert 0.28 < read(path).mean() / 255 < 0.6


def test_sides_lie_between_256_and_320(quickstart):
    for path in [*quickstart.dark.iterdir(), *quickstart.well_lit.iterdir(), *quickstart.pairs_dark.iterdir()]:
        height, width, channels = read(path).shape
        assert 256 <= height <= 320
        assert 256 <= width <= 320
        assert channels == 3


def test_the_same_seed_writes_the_same_bytes_and_removes_what_was_there(tmp_path):
    (tmp_path / "again" / "dark").mkdir(parents=True)
    (tmp_path / "again" / "dark" / "stale.jpg").write_bytes(b"old")
    for folder in ("first", "again"):
        samples.write_quickstart_data(tmp_path / folder, seed=3, well_lit=2, dark=4, pairs=2)
    samples.write_quickstart_data(tmp_path / "other", seed=4, well_lit=2, dark=4, pairs=2)
    assert digest(tmp_path / "first") == digest(tmp_path / "again")
    assert digest(tmp_path / "first") != digest(tmp_path / "other")


def test_dead_leaves_depend_on_the_seed_alone():
    assert np.array_equal(samples.dead_leaves(64, 1), samples.dead_leaves(64, 1))
    assert not np.array_equal(samples.dead_leaves(64, 1), samples.dead_leaves(64, 2))


@pytest.mark.parametrize("seed", range(6))
def test_dead_leaves_are_well_exposed(seed):
    scene = samples.dead_leaves(96, seed)
    assert scene.shape == (96, 96, 3)
    assert scene.dtype == np.uint8
    assert 0.35 < scene.mean() / 255 < 0.55
    assert scene.std() / 255 > 0.08


def test_dead_leaves_refuse_a_postage_stamp():
    with pytest.raises(ValueError, match="32 pixels"):
        samples.dead_leaves(8, 0)
