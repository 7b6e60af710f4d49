import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.ingest import SIDE, as_text, jpegs, linked, photos_at, processor_seconds, ratio
from benchmarks.loaders import BATCH, LOADERS, WITHOUT_RAY, Photos, decode_with_ours, decode_with_pillow
from benchmarks.pages import RESULTS

SIZE = (150, 200)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    return photos_at(str(tmp_path_factory.mktemp("photos")), SIZE, cores=1, count=8)


def test_the_page_tells_the_stored_results(repository: Path):
    results = json.loads((RESULTS / "ingest.json").read_text())
    assert as_text(results).strip() in (repository / "docs" / "benchmarks.md").read_text()


def test_ratios_are_medians_over_turns_not_ratios_of_medians():
    turns = {
        "a": [{"per_core": value} for value in (10.0, 40.0, 30.0)],
        "b": [{"per_core": value} for value in (5, 5, 1)],
    }
    assert ratio(turns, "a", "b") == 8
    with pytest.raises(ValueError, match="shorter"):
        ratio(turns | {"b": turns["b"][:2]}, "a", "b")


def test_photos_have_the_wanted_size_a_cameras_chroma_and_a_grain_of_their_own():
    files = list(jpegs(SIZE, 8))
    for data in files:
        image = Image.open(io.BytesIO(data))
        assert image.size == SIZE[::-1] and image.layer[0][1:3] == (2, 2) and image.layer[1][1:3] == (1, 1)
    assert len(set(files)) == 8


def test_every_photo_is_there_plain_and_prepared(photos: Photos):
    assert len(photos.plain.paths) == len(photos.prepared.paths) == 8
    names = [[Path(path).name for path in each.paths] for each in (photos.plain, photos.prepared)]
    assert names[0] == names[1]
    assert all("@" in path for path in photos.prepared.paths) and photos.side == SIDE


def test_links_make_as_many_photos_as_wanted_of_both_kinds(photos: Photos, tmp_path: Path):
    many = linked(photos, tmp_path / "links", 30)
    assert len(many.plain.paths) == len(many.prepared.paths) == 30
    assert set(many.prepared.paths) == set(photos.prepared.paths) and len(set(many.plain.paths)) == 30


def test_our_decoder_shows_what_pillow_shows(photos: Photos):
    data = Path(photos.plain.paths[0]).read_bytes()
    ours, pillow = decode_with_ours(data, 64), decode_with_pillow(data, 64)
    assert ours.shape == pillow.shape == (64, 64, 3)
    assert abs(ours.astype(int) - pillow).mean() < 2


@pytest.mark.parametrize("name", WITHOUT_RAY)
def test_the_usual_loaders_give_batches_without_end(photos: Photos, name: str):
    batches = LOADERS[name](photos)
    assert [next(batches) for _ in range(5)] == 5 * [BATCH]
    batches.close()


def test_processor_time_is_counted_by_process_and_only_grows():
    before = processor_seconds()
    np.linalg.svd(np.random.default_rng(0).random((300, 300)))
    after = processor_seconds()
    assert before.keys() & after.keys() and sum(after.values()) > sum(before.values())
