"""Photos out of a real S3 server into streams and into a training: a plain prefix, and shards prepared from it."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cluster.connect import connect
from cluster.storage import open_uri, s3_client, write_atomically
from lle import images
from lle.config import DataSettings
from lle.training.order import photo_at
from pipelines.config.enhance import EnhanceSettings
from pipelines.config.prepare import PrepareSettings
from pipelines.data.decoding import Decode
from pipelines.data.listing import DataError
from pipelines.data.manifest import begin, finish
from pipelines.data.part import pending_parts, prepare_part
from pipelines.data.photo_sets import joined as joined_sets
from pipelines.data.photo_sets import list_photos, load_photo
from pipelines.data.streams import RayStream
from pipelines.inference.progress import Done
from pipelines.inference.work import find_work
from pipelines.inference.worker import Worker
from pipelines.models.resolve import find_model
from tests.integration.conftest import Stack, run

BUCKET = "streamed"
PHOTOS = 7
STEP = 20  # levels of red from a photo to the next
SETS = ("plain", "prepared")


@dataclass(frozen=True)
class Bucket:
    """Dark and well-lit photos in S3; `environment` finds them."""

    environment: dict[str, str]

    def uri(self, light: str, kind: str) -> str:
        return f"s3://{BUCKET}/{kind}/{light}"


@pytest.fixture(scope="module")
def bucket(stack: Stack) -> Iterator[Bucket]:
    """Photos that tell their number by their red, plain and in shards."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        s3_client().create_bucket(Bucket=BUCKET)
        bucket = Bucket(stack.environment)
        chance = np.random.default_rng(0)
        for light, level in (("dark", 10), ("well_lit", 120)):
            filesystem, root = open_uri(bucket.uri(light, "plain"))
            for number in range(PHOTOS):
                picture = chance.integers(level, level + 60, (72, 96, 3), dtype=np.uint8)
                picture[..., 0] = number * STEP
                write_atomically(filesystem, f"{root}/{number % 2}/{number}.png", images.encode(picture, "png"))
            settings = PrepareSettings(
                input=bucket.uri(light, "plain"), output=bucket.uri(light, "prepared"), format="png", short_side=64,
                part_files=4, similar_bits=0,
            )  # fmt: skip
            begin(settings)
            for part in pending_parts(settings, []):
                prepare_part(settings, part)
            assert finish(settings).kept == PHOTOS
        yield bucket


@pytest.fixture(scope="module")
def joined(bucket: Bucket) -> Iterator[None]:
    """A cluster of this process's own, whose workers find the server."""
    with connect(cpus=4):
        yield


def seen(bucket: Bucket, kind: str, row: int, worker: int, workers: int, count: int) -> list[int]:
    """Numbers of the next photos of a stream."""
    photos = list_photos(bucket.uri("dark", kind), "data.dark", DataSettings())
    decode = Decode(photos, size=8, seed=5, start=row + worker, stride=workers, threads=2, max_pixels=10**6)
    stream = RayStream(decode, lambda path, reason: pytest.fail(f"{path}: {reason}"))
    with closing(stream):
        return [round(float(picture[..., 0].float().mean()) / STEP) for picture in stream.take(count)]


@pytest.mark.parametrize("kind", SETS)
def test_a_stream_from_s3_goes_on_with_other_workers_and_shows_every_photo_once_an_epoch(
    joined, bucket: Bucket, kind: str
):
    first = seen(bucket, kind, row=0, worker=0, workers=1, count=5)
    shares = [seen(bucket, kind, row=5, worker=worker, workers=2, count=8) for worker in range(2)]
    shown = first + np.stack(shares, axis=1).ravel().tolist()
    assert [Counter(shown[epoch * PHOTOS :][:PHOTOS]) for epoch in range(3)] == 3 * [Counter(range(PHOTOS))]
    assert sorted(photo_at(row, PHOTOS, 5) for row in range(PHOTOS)) == sorted(shown[:PHOTOS])


def test_a_stream_mixes_a_folder_a_prefix_and_shards_in_s3_by_their_weights(joined, bucket: Bucket, tmp_path: Path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(images.encode(np.full((20, 30, 3), 250, np.uint8), "png"))
    uris = (str(tmp_path), bucket.uri("dark", "plain"), bucket.uri("well_lit", "prepared"))
    photos = joined_sets([list_photos(uri, "data.dark", DataSettings()) for uri in uris])
    shares = []
    for worker in range(2):
        decode = Decode(photos, 8, 5, worker, 2, threads=2, max_pixels=10**6, weights=(1, 2, 1))
        with closing(RayStream(decode, lambda path, reason: pytest.fail(f"{path}: {reason}"))) as stream:
            assert stream.photos == 28
            shares.append([float(picture[..., 1].float().mean()) for picture in stream.take(16)])
    shown = np.stack(shares, axis=1).ravel()
    for first in range(0, 32, 4):
        levels = shown[first : first + 4]
        assert sum(levels > 240) == 1 and sum(levels < 80) == 2 and sum((levels > 110) & (levels < 190)) == 1


def test_prefixes_that_hold_nothing_or_do_not_exist_are_told_with_their_setting(joined, bucket: Bucket):
    with pytest.raises(DataError, match=r"data\.dark: s3://streamed/nothing does not exist; check the path"):
        list_photos(f"s3://{BUCKET}/nothing", "data.dark", DataSettings())
    with pytest.raises(DataError, match=r"data\.dark: s3://elsewhere.* has no such bucket"):
        list_photos("s3://elsewhere/dark", "data.dark", DataSettings())


def test_keys_of_every_kind_are_listed_read_prepared_and_named(bucket: Bucket, tmp_path: Path):
    keys = ("two//slashes.png", "/in front.png", "a+b c.png", "?x=1#y.png", "%41 é日🌙.png", "@eaDir/z.png", "raw.dng")
    for number, key in enumerate(keys):
        data = images.encode(np.full((40, 40, 3), 10 + STEP * number, np.uint8), "png")
        s3_client().put_object(Bucket=BUCKET, Key=f"odd/{key}", Body=data)
    uri = f"s3://{BUCKET}/odd/"
    found = list_photos(uri, "data.dark", DataSettings())
    assert sorted(found.names) == sorted(keys[:5]) and not found.refused
    assert "1 .dng (raw" in found.left_out and "1 in @eaDir" in found.left_out
    levels = {name: load_photo(found, path, 10**6).max() for name, path in zip(found.names, found.paths, strict=True)}
    assert levels == {key: 10 + STEP * number for number, key in enumerate(keys[:5])}
    settings = EnhanceSettings(model="baseline:input", input=uri, output=str(tmp_path / "out"))
    work, _ = find_work(settings, "1", Done(settings.output))
    entries = [*Worker(find_model("baseline:input", ""), settings).enhance(work)]
    assert not any(entry.failed for entry in entries)
    assert {(tmp_path / "out" / name).exists() for name in ("two/slashes.png", "in front.png", "?x=1#y.png")} == {True}
    prepared = PrepareSettings(input=uri, output=f"s3://{BUCKET}/odd-prepared", format="png", similar_bits=0)
    begin(prepared)
    for part in pending_parts(prepared, []):
        prepare_part(prepared, part)
    totals = finish(prepared)
    assert (totals.kept, totals.refused) == (4, 3) and "1 .dng (raw" in totals.left_out
    of_prepared = list_photos(prepared.output, "data.dark", DataSettings())
    assert sorted(of_prepared.names) == sorted({*keys[:5]} - {"/in front.png"})
    assert "begins with two slashes" in of_prepared.refused["/in front.png"]


@pytest.mark.drill
def test_a_training_streams_plain_photos_and_shards_from_s3(
    bucket: Bucket, tiny: Path, tmp_path: Path, repository: Path
):
    others = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_", "MLFLOW_"))}
    command = [
        sys.executable, str(repository / "pipelines" / "train.py"), "--config", str(tiny), "--runs", str(tmp_path),
        "--name", "s3", "--data.dark", bucket.uri("dark", "plain"), "--data.well_lit",
        bucket.uri("well_lit", "prepared"), "--data.validation_images", "2", "--schedule.rounds", "1",
        "--tracking.uri", f"sqlite:///{tmp_path / 'mlflow.db'}", "--scaling.workers", "1",
    ]  # fmt: skip
    trained = run(command, others | bucket.environment)
    assert trained.returncode == 0, trained.stdout[-4000:] + trained.stderr[-4000:]
    assert "5 dark and 5 well-lit photos; held out for validation: 2 + 2" in trained.stdout
    summary = json.loads((tmp_path / "s3" / "summary.json").read_text())
    assert summary["steps"]["enhancement"] == 10 and summary["validation_hash"][:16] in trained.stdout
