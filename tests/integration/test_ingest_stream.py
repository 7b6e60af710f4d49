"""Ray Data under the streams: the rows that the order says, on any number of workers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cluster.connect import connect
from lle.config import DataSettings, RegionSettings
from lle.training.order import photo_at
from pipelines.data.decoding import Decode
from pipelines.data.photo_sets import PhotoSet, list_photos
from pipelines.data.streams import RayStream


@pytest.fixture(scope="module")
def joined() -> Iterator[None]:
    """A cluster of this process's own, as the quickstart has one."""
    with connect(cpus=4):
        yield


@pytest.fixture
def photos(tmp_path: Path) -> PhotoSet:
    for index in range(7):
        Image.new("RGB", (24, 16), (index * 10, 0, 0)).save(tmp_path / f"{index}.png")
    return list_photos(str(tmp_path), "data.dark", DataSettings())


def stream(photos: PhotoSet, worker: int, workers: int, row: int, told: list[str]) -> RayStream:
    decode = Decode(photos, size=8, seed=5, start=row + worker, stride=workers, threads=2, max_pixels=10**6)
    return RayStream(decode, lambda path, reason: told.append(path))


def test_a_stream_gives_the_rows_of_the_order_from_any_position_on_any_number_of_workers(joined, photos: PhotoSet):
    wanted = [photo_at(row, 7, 5) * 10 for row in range(3, 63)]
    with closing(stream(photos, 0, 1, 3, [])) as alone:
        seen = [int(picture[0, 0, 0]) for count in (1, 19, 40) for picture in alone.take(count)]
    assert seen == wanted
    shares = []
    for worker in range(2):
        with closing(stream(photos, worker, 2, 3, [])) as half:
            shares.append([int(each[0, 0, 0]) for each in half.take(30)])
    assert np.stack(shares, axis=1).ravel().tolist() == wanted


def test_a_file_that_breaks_on_the_way_is_told_and_never_fatal(joined, photos: PhotoSet):
    told: list[str] = []
    Path(photos.paths[1]).write_bytes(b"rubbish")
    with closing(stream(photos, 0, 1, 0, told)) as broken:
        pictures = broken.take(14)
    assert pictures.shape == (14, 8, 8, 3)
    assert set(told) == {photos.paths[1]}
    assert 10 not in pictures[:, 0, 0, 0].tolist()


def test_a_stream_gives_regions_with_its_pictures_where_they_are_wanted(joined, photos: PhotoSet):
    regions = RegionSettings(method="slic", count=4)
    decode = Decode(photos, size=8, seed=5, start=3, stride=1, threads=2, max_pixels=10**6, regions=regions)
    with closing(RayStream(decode, lambda path, reason: None)) as wanted:
        pictures, regions = wanted.take_with_regions(20)
        more = wanted.take(3)
    assert [int(picture[0, 0, 0]) for picture in (*pictures, *more)] == [
        photo_at(row, 7, 5) * 10 for row in range(3, 26)
    ]
    assert tuple(regions.shape) == (20, 8, 8) and not regions.is_floating_point()


@pytest.mark.parametrize(
    ("token", "enters"),
    [
        (None, True),
        ({"RAY_AUTH_MODE": "disabled"}, False),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}, False),
    ],
    ids=["own", "none", "wrong"],
)
def test_a_cluster_of_ones_own_asks_for_the_token(joined, token: dict[str, str] | None, enters: bool):
    import ray

    address = ray.get_runtime_context().gcs_address
    code = f"from ray._raylet import GcsClient\nGcsClient(address={address!r}).internal_kv_keys(b'', None, timeout=20)"
    variables = dict(os.environ)
    if token is not None:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")} | token
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=100)
    assert (done.returncode == 0) is enters, done.stderr
    assert enters or "token" in done.stderr
