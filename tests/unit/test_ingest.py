import json
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lle import images
from lle.config import DataSettings, RegionSettings
from lle.regions import find_regions
from pipelines.config.train import RunSettings
from pipelines.data.decoding import Decode, KnownRegions, resized
from pipelines.data.listing import DataError
from pipelines.data.photo_sets import PhotoSet, list_photos
from pipelines.data.streams import RayStream
from pipelines.data.training_photos import find_photos


def write_photos(folder: Path, count: int, level: int = 128, suffix: str = "png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        picture = np.full((20, 30, 3), level, np.uint8)
        picture[:, :, 0] = index
        Image.fromarray(picture).save(folder / f"{index:03d}.{suffix}")
    return folder


def settings_for(dark: Path, well_lit: Path, **data) -> RunSettings:
    return RunSettings(data=DataSettings(dark=str(dark), well_lit=str(well_lit), validation_images=2, **data))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return write_photos(tmp_path / "dark", 6, 20), write_photos(tmp_path / "well_lit", 5, 150)


def test_held_out_photos_are_not_trained_on(folders):
    photos = find_photos(settings_for(*folders))
    assert len(photos.held_out_dark.paths) == 2 and len(photos.dark.paths) == 4
    assert not set(photos.held_out_dark.paths) & set(photos.dark.paths)
    assert set(photos.held_out_dark.paths) | set(photos.dark.paths) == {str(p) for p in folders[0].iterdir()}


def test_folders_inside_are_searched_too(tmp_path: Path):
    write_photos(tmp_path / "set" / "a", 2)
    write_photos(tmp_path / "set" / "b", 3)
    assert len(list_photos(str(tmp_path / "set"), "data.dark", DataSettings()).paths) == 5


def test_a_missing_folder_is_named_with_its_setting(folders, tmp_path: Path):
    with pytest.raises(DataError, match=r"data\.dark: .*nowhere does not exist"):
        find_photos(settings_for(tmp_path / "nowhere", folders[1]))


def test_an_empty_folder_and_one_without_pictures_are_refused(folders, tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"data\.well_lit: .*holds no picture \(0 files"):
        find_photos(settings_for(folders[0], empty))
    (empty / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match=r"holds no picture \(1 files"):
        find_photos(settings_for(folders[0], empty))


def test_a_folder_with_no_readable_picture_tells_the_reason(folders, tmp_path: Path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for index in range(4):
        (broken / f"{index}.jpg").write_bytes(b"not a picture at all")
    with pytest.raises(DataError, match=r"none of the 4 pictures .* is readable; .*0\.jpg: "):
        find_photos(settings_for(broken, folders[1]))


def test_an_unreadable_file_among_good_ones_is_set_aside_with_its_reason(folders):
    (folders[0] / "bad.jpg").write_bytes(b"\xff\xd8\xff nothing")
    photos = find_photos(settings_for(*folders))
    assert list(photos.refused) == [str(folders[0] / "bad.jpg")] and photos.refused[str(folders[0] / "bad.jpg")]
    assert not any("bad.jpg" in path for path in photos.dark.paths + photos.held_out_dark.paths)


def test_a_picture_over_the_pixel_budget_is_set_aside(folders):
    Image.new("L", (2000, 2000)).save(folders[0] / "huge.png")
    photos = find_photos(settings_for(*folders, max_pixels=1_000_000))
    assert "pixel" in photos.refused[str(folders[0] / "huge.png")]


def test_the_same_folder_twice_is_refused_however_it_is_written(folders, tmp_path: Path):
    with pytest.raises(DataError, match="hold the same files"):
        find_photos(settings_for(folders[0], folders[0].parent / "." / "dark" / ".." / "dark"))
    copy = write_photos(tmp_path / "copy", 6, 20)
    with pytest.raises(DataError, match="hold the same files"):
        find_photos(settings_for(folders[0], copy))


def test_too_few_photos_to_keep_some_out_is_told(folders, tmp_path: Path):
    few = write_photos(tmp_path / "few", 2, 60)
    with pytest.raises(DataError, match="2 readable pictures, of which data.validation_images keeps 2"):
        find_photos(settings_for(few, folders[1]))


def test_pairs_must_have_partners_of_the_same_name_and_size(folders, tmp_path: Path):
    low, high = write_photos(tmp_path / "low", 3, 10), write_photos(tmp_path / "high", 3, 90)
    pairs = {"pairs_dark": str(low), "pairs_truth": str(high)}
    assert find_photos(settings_for(*folders, **pairs)).pairs_dark is not None
    Image.new("RGB", (31, 20)).save(high / "001.png")
    with pytest.raises(DataError, match=r"001\.png differs in size, 30x20 and 31x20"):
        find_photos(settings_for(*folders, **pairs))
    (high / "001.png").unlink()
    with pytest.raises(DataError, match=r"001\.png has no partner"):
        find_photos(settings_for(*folders, **pairs))


def decode(photos: PhotoSet, rows: int, worker: int = 0, workers: int = 1, row: int = 0) -> dict:
    """The first rows of a worker's stream; blocks of 16 rows."""
    stage = Decode(photos, 16, seed=3, start=row + worker, stride=workers, threads=2, max_pixels=10**6)
    block = next(stage.batches())
    return {name: values[:rows] for name, values in block.items()}


def test_pictures_come_out_square_uint8_and_the_same_for_the_same_seed(folders):
    photos = list_photos(str(folders[0]), "data.dark", DataSettings())
    first, second = decode(photos, 8), decode(photos, 8)
    assert first["image"].shape == (8, 16, 16, 3) and first["image"].dtype == np.uint8
    np.testing.assert_array_equal(first["image"], second["image"])


def halves(folder: Path) -> PhotoSet:
    """Photos whose left half is dark and whose right half is bright, of several sizes."""
    folder.mkdir()
    for index in range(3):
        picture = np.full((40 + 8 * index, 60, 3), 20, np.uint8)
        picture[:, 30:] = 200 + index
        Image.fromarray(picture).save(folder / f"{index}.png")
    return list_photos(str(folder), "data.dark", DataSettings())


@pytest.mark.parametrize(
    "settings", [RegionSettings(min_size=20), RegionSettings(method="slic", count=8)], ids=lambda each: each.method
)
def test_each_picture_comes_with_its_regions(tmp_path: Path, settings: RegionSettings):
    stage = Decode(
        halves(tmp_path / "halves"), 32, seed=3, start=0, stride=1, threads=2, max_pixels=10**6, regions=settings
    )
    batch = next(stage.batches())
    assert batch["regions"].shape == (16, 32, 32) and batch["regions"].dtype == np.int32
    for picture, labels in zip(batch["image"], batch["regions"], strict=True):
        left, right = labels[:, :12], labels[:, 20:]
        assert picture[0, 0, 0] == 20 and not set(left.flat) & set(right.flat)


def test_no_regions_are_found_where_nobody_asks(tmp_path: Path):
    assert decode(halves(tmp_path / "halves"), 4).keys() == {"image", "refused"}


def test_regions_are_found_once_for_each_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = []
    monkeypatch.setattr("pipelines.data.decoding.find_regions", lambda *given: found.append(1) or find_regions(*given))
    photos = halves(tmp_path / "halves")
    batches = Decode(photos, 32, 3, 0, 1, threads=1, max_pixels=10**6, regions=RegionSettings()).batches()
    first, second = next(batches), next(batches)
    assert len(found) == 3
    shown = {bytes(picture): labels for picture, labels in zip(first["image"], first["regions"], strict=True)}
    for picture, labels in zip(second["image"], second["regions"], strict=True):
        np.testing.assert_array_equal(labels, shown[bytes(picture)])


def test_regions_that_find_no_room_are_found_again_and_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = []
    monkeypatch.setattr("pipelines.data.decoding.find_regions", lambda *given: found.append(1) or find_regions(*given))
    monkeypatch.setattr("pipelines.data.decoding.MOST_KNOWN_REGIONS", 1)
    picture = resized(images.read(halves(tmp_path / "halves").paths[0]), 32)
    known = KnownRegions(RegionSettings())
    first, second, again = known.of("kept", picture), known.of("left out", picture), known.of("left out", picture)
    np.testing.assert_array_equal(known.of("kept", picture), first)
    np.testing.assert_array_equal(again, second)
    assert len(found) == 3


SIDE = 16
STEP = 2  # levels from a pixel to its neighbour in the photos of `places`


def places(folder: Path, sizes: list[tuple[int, int]]) -> PhotoSet:
    """Photos (height, width) that tell where each pixel lies: red counts columns, green rows, blue photos."""
    folder.mkdir()
    for index, (height, width) in enumerate(sizes):
        rows, columns = np.mgrid[:height, :width] * STEP
        Image.fromarray(np.stack([columns, rows, 0 * rows + index], axis=2).astype(np.uint8)).save(
            folder / f"{index}.png"
        )
    return list_photos(str(folder), "data.dark", DataSettings())


def squares(photos: PhotoSet, share: float, side: tuple[float, float], seed: int = 3, **others) -> np.ndarray:
    """The first 16 pictures of a stream."""
    given = {"start": 0, "stride": 1} | others
    stage = Decode(photos, SIDE, seed, threads=2, max_pixels=10**6, crop_share=share, crop_side=side, **given)
    return next(stage.batches())["image"]


def lengths(picture: np.ndarray) -> tuple[float, float]:
    """Height and width, in pixels of the photo, of what a picture of `places` shows."""
    inner = picture[2:-2, 2:-2].astype(float)  # borders are blurred otherwise
    height = np.diff(inner[:, :, 1].mean(axis=1)).mean() * SIDE / STEP
    width = np.diff(inner[:, :, 0].mean(axis=0)).mean() * SIDE / STEP
    return height, width


@pytest.mark.parametrize("size", [(40, 60), (90, 31), (16, 16), (7, 9)])
def test_a_resized_picture_is_that_of_the_slower_way_but_for_rounding(size: tuple[int, int]):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    square, slower = resized(picture, 16), images.resize(picture, (16, 16))
    assert square.dtype == np.uint8 and square.shape == (16, 16, 3)
    np.testing.assert_allclose(square.astype(int), slower, atol=2)


def test_a_whole_photo_is_squeezed_where_no_squares_are_wanted(tmp_path: Path):
    photos = places(tmp_path / "places", [(60, 120)])
    squeezed = resized(images.read(photos.paths[0]), SIDE)
    for picture in squares(photos, share=0.0, side=(0.1, 0.2)):
        np.testing.assert_array_equal(picture, squeezed)
    assert lengths(squeezed) == pytest.approx((60, 120), rel=0.05)


@pytest.mark.parametrize("bounds", [(0.5, 0.5), (0.4, 0.8), (1.0, 1.0)])
def test_a_square_keeps_the_aspect_and_its_side_lies_within_its_bounds(tmp_path: Path, bounds: tuple[float, float]):
    sides = []
    for picture in squares(places(tmp_path / "places", [(60, 120), (110, 60)]), share=1.0, side=bounds):
        height, width = lengths(picture)
        assert height == pytest.approx(width, rel=0.05)
        sides.append(height / 60)
    assert min(sides) > bounds[0] - 0.04 and max(sides) < bounds[1] + 0.04
    assert max(sides) - min(sides) > 0.5 * (bounds[1] - bounds[0]) - 0.04


def test_squares_lie_anywhere_in_the_photo(tmp_path: Path):
    shown = squares(places(tmp_path / "places", [(60, 120)]), share=1.0, side=(0.5, 0.5))
    left, top = (shown[:, SIDE // 2, SIDE // 2, channel] / STEP - 15 for channel in (0, 1))
    assert len({(int(x), int(y)) for x, y in zip(left, top, strict=True)}) > 12
    assert left.min() < 20 and left.max() > 70 and left.max() < 92
    assert top.min() < 8 and top.max() > 22 and top.max() < 32


def test_a_share_of_the_pictures_are_squares(tmp_path: Path):
    shown = squares(places(tmp_path / "places", [(60, 120)]), share=0.5, side=(0.5, 0.5))
    widths = [lengths(picture)[1] for picture in shown]
    whole = sum(width > 100 for width in widths)
    assert 2 < whole < 14 and sum(width < 40 for width in widths) == 16 - whole


def test_a_square_follows_from_the_seed_and_the_row_whoever_decodes_it(tmp_path: Path):
    photos = places(tmp_path / "places", [(60, 120), (110, 60), (80, 80)])
    first = squares(photos, share=0.7, side=(0.3, 1.0))
    np.testing.assert_array_equal(squares(photos, share=0.7, side=(0.3, 1.0), start=1, stride=3)[:5], first[1::3])
    assert (squares(photos, share=0.7, side=(0.3, 1.0), seed=4) != first).any()


def test_each_square_has_regions_of_its_own(tmp_path: Path):
    settings = RegionSettings(min_size=20)
    photos, sides = halves(tmp_path / "halves"), (0.4, 0.9)
    stage = Decode(photos, 32, 3, 0, 1, 2, max_pixels=10**6, regions=settings, crop_share=1.0, crop_side=sides)
    batch = next(stage.batches())
    split = 0
    for picture, labels in zip(batch["image"], batch["regions"], strict=True):
        np.testing.assert_array_equal(labels, find_regions(picture, settings))
        dark, bright = labels[picture[..., 0] < 40], labels[picture[..., 0] > 180]
        assert not set(dark) & set(bright)
        split += bool(len(dark) and len(bright))
    assert split, "no square shows both halves; the test would see nothing"


def test_grey_palette_and_cmyk_files_become_rgb(tmp_path: Path):
    for mode, name in [("L", "a.png"), ("P", "b.png"), ("CMYK", "c.jpg"), ("RGBA", "d.png")]:
        Image.new(mode, (20, 20)).save(tmp_path / name)
    batch = decode(list_photos(str(tmp_path), "data.dark", DataSettings()), 4)
    assert batch["image"].shape == (4, 16, 16, 3)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_share_the_rows_without_repeating_or_dropping_any(folders, workers: int):
    photos = list_photos(str(folders[0]), "data.dark", DataSettings())
    whole = decode(photos, 12, row=6)["image"]
    shares = [decode(photos, 12 // workers, worker, workers, row=6)["image"] for worker in range(workers)]
    np.testing.assert_array_equal(np.stack(shares, axis=1).reshape(whole.shape), whole)


class LocalStream(RayStream):
    """Decoded where it is taken, without Ray."""

    def _run(self) -> Generator[dict[str, np.ndarray]]:
        yield from self._decode.batches()


BATCH = 6  # a multiple of every number of workers
LEGS = st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.integers(0, 7)), min_size=1, max_size=3)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(legs=LEGS, count=st.integers(1, 11), seed=st.integers(0, 99))
def test_stopped_anywhere_and_resumed_on_other_workers_an_epoch_shows_every_photo_once(
    tmp_path: Path, legs: list[tuple[int, int]], count: int, seed: int
):
    folder = tmp_path / str(count)
    photos = list_photos(str(folder if folder.exists() else write_photos(folder, count)), "data.dark", DataSettings())
    shown, row = list[int](), 0
    for workers, steps in legs:
        streams = [
            LocalStream(Decode(photos, 4, seed, row + worker, workers, 1, 10**6), lambda path, reason: None)
            for worker in range(workers)
        ]
        for _ in range(steps):
            shown += [int(picture[0, 0, 0]) for stream in streams for picture in stream.take(BATCH // workers)]
            row += BATCH
        for stream in streams:
            stream.close()
    seen, (epochs, part) = Counter(shown), divmod(row, count)
    assert row == len(shown) and set(seen) <= set(range(count))
    assert Counter(seen[photo] for photo in range(count)) == Counter({epochs: count - part}) + Counter(
        {epochs + 1: part}
    )


def test_a_file_that_breaks_after_listing_gives_its_row_to_the_next_and_is_told(folders):
    photos = list_photos(str(folders[0]), "data.dark", DataSettings())
    Path(photos.paths[2]).unlink()
    Path(photos.paths[4]).write_bytes(b"rubbish")
    batch = decode(photos, 6)
    told = {path for row in batch["refused"] if row for path, _ in json.loads(row)}
    assert told == {photos.paths[2], photos.paths[4]}
    assert len(batch["image"]) == 6 and batch["image"].std() >= 0


def test_a_set_that_breaks_wholly_says_so(folders):
    photos = list_photos(str(folders[0]), "data.dark", DataSettings())
    for path in photos.paths:
        Path(path).write_bytes(b"rubbish")
    with pytest.raises(DataError, match="none of its 6 pictures can be decoded"):
        decode(photos, 1)
