"""A preparation without a cluster, part after part: every file accounted for, nothing twice, whenever it stops."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from PIL import Image
from pyarrow import fs

from lle import images
from lle.config import DataSettings
from pipelines.config.prepare import PrepareSettings
from pipelines.data import job as preparation
from pipelines.data import shards
from pipelines.data.decoding import Decode
from pipelines.data.duplicates import first_similar, perceptual_hash
from pipelines.data.listing import DataError
from pipelines.data.manifest import ManifestError, begin, done_parts, finish
from pipelines.data.part import light, pending_parts, prepare_part
from pipelines.data.photo_sets import list_photos
from pipelines.prepare import main


def scene(seed: int, height: int = 60, width: int = 80, gain: float = 1.0) -> np.ndarray:
    """A picture with structure, another for each seed."""
    coarse = (np.random.default_rng(seed).random((6, 8, 3)) * 200 * gain).astype(np.uint8)
    return images.resize(coarse, (height, width))


def settings_for(folder: Path, **others) -> PrepareSettings:
    given = {"short_side": 32, "format": "png", "part_files": 4, "similar_bits": 0, "output": str(folder / "output")}
    return PrepareSettings(input=str(folder / "input"), **given | others)


def write(folder: Path, name: str, picture: np.ndarray | bytes, **options) -> Path:
    path = folder / "input" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(picture, bytes):
        path.write_bytes(picture)
    else:
        Image.fromarray(picture).save(path, **options)
    return path


def pending(settings: PrepareSettings):
    return pending_parts(settings, done_parts(settings.output))


def prepare(settings: PrepareSettings, parts: int = 10**6):
    """As the job does, one part at a time; stops before the manifest where only some parts are wanted."""
    begin(settings)
    for number, part in enumerate(pending(settings)):
        if number == parts:
            return None
        prepare_part(settings, part)
    return finish(settings)


def manifest(settings: PrepareSettings, group: str = "") -> dict[str, dict]:
    rows = parquet.read_table(Path(settings.output) / group / "manifest.parquet").to_pylist()
    by_path = {row["path"]: row for row in rows}
    assert len(by_path) == len(rows)
    return by_path


def stored(settings: PrepareSettings, row: dict) -> np.ndarray:
    content = (Path(settings.output) / row["shard"]).read_bytes()
    return images.decode(content[row["offset"] : row["offset"] + row["length"]])


def files(settings: PrepareSettings) -> dict[str, bytes]:
    root = Path(settings.output)
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def jpeg(picture: np.ndarray) -> bytes:
    return images.encode(picture, "jpeg", 95)


def bomb() -> bytes:
    """The header of a PNG of 50,000 x 50,000 pixels, with hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


# --- every file accounted for -----------------------------------------------------------------------------------------


def test_every_file_is_kept_or_refused_with_its_reason(tmp_path: Path):
    write(tmp_path, "good.png", scene(0))
    write(tmp_path, "inside/of/good.jpg", scene(1))
    write(tmp_path, "jpeg_called.png", jpeg(scene(2)))
    write(tmp_path, "cut.jpg", jpeg(scene(3))[:700])
    write(tmp_path, "empty.jpg", b"")
    write(tmp_path, "text.jpg", b"not a picture at all, only called one")
    write(tmp_path, "notes.txt", b"never said to be a picture")
    write(tmp_path, "bomb.png", bomb())
    settings = settings_for(tmp_path)
    totals = prepare(settings)
    rows = manifest(settings)
    assert {path for path, row in rows.items() if not row["refused"]} == {
        "good.png", "inside/of/good.jpg", "jpeg_called.png",
    }  # fmt: skip
    assert (totals.kept, totals.refused) == (3, 5)
    for path, reason in {
        "cut.jpg": "truncated", "empty.jpg": "empty", "text.jpg": "not a JPEG", "notes.txt": "name", "bomb.png": "over",
    }.items():  # fmt: skip
        assert reason in rows[path]["refused"], rows[path]["refused"]
        assert rows[path]["shard"] is None


def test_a_file_over_the_limit_of_bytes_is_refused_unread(tmp_path: Path):
    write(tmp_path, "good.png", scene(0))
    path = write(tmp_path, "large.jpg", b"")
    os.truncate(path, 3_000_000)
    settings = settings_for(tmp_path, max_megabytes=2)
    prepare(settings)
    row = manifest(settings)["large.jpg"]
    assert row["refused"] == "3 MB are over the limit of 2" and row["sha256"] is None


def test_a_file_that_vanishes_is_refused_and_tried_again_when_it_is_back(tmp_path: Path):
    settings = settings_for(tmp_path)
    write(tmp_path, "stays.png", scene(0))
    path = write(tmp_path, "vanishes.png", scene(1))
    begin(settings)
    (part,) = pending(settings)
    content, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.unlink()
    assert prepare_part(settings, part).refused == {"gone between listing and reading": 1}
    path.write_bytes(content)
    os.utime(path, ns=times)
    prepare(settings)
    assert manifest(settings)["vanishes.png"]["refused"] == ""


def test_a_file_that_the_storage_would_not_give_is_counted_and_tried_again(tmp_path: Path):
    settings = settings_for(tmp_path)
    write(tmp_path, "good.png", scene(0))
    path = write(tmp_path, "blocked.png", scene(1))
    begin(settings)
    (part,) = pending(settings)
    path.unlink()
    path.mkdir()
    prepare_part(settings, part)
    totals = finish(settings)
    assert (totals.kept, totals.refused, totals.unread) == (1, 1, 1)
    assert "cannot be read" in manifest(settings)["blocked.png"]["refused"]
    path.rmdir()
    write(tmp_path, "blocked.png", scene(1))
    totals = prepare(settings)
    assert (totals.kept, totals.refused, totals.unread) == (2, 0, 0)


# --- what is stored ---------------------------------------------------------------------------------------------------


def test_pictures_are_stored_upright_in_rgb_at_the_short_side(tmp_path: Path):
    write(tmp_path, "wide.png", scene(0, 60, 120))
    turned = Image.Exif()
    turned[0x0112] = 6
    write(tmp_path, "turned.jpg", scene(1, 60, 120), exif=turned.tobytes(), quality=95)
    write(tmp_path, "grey.png", scene(2)[:, :, 0])
    alpha = np.dstack([scene(3), np.full((60, 80), 255, np.uint8)])
    write(tmp_path, "alpha.png", alpha)
    cmyk = io.BytesIO()
    Image.fromarray(scene(4)).convert("CMYK").save(cmyk, "jpeg", quality=95)
    write(tmp_path, "cmyk.jpg", cmyk.getvalue())
    write(tmp_path, "small.png", scene(5, 20, 24))
    settings = settings_for(tmp_path)
    prepare(settings)
    rows = manifest(settings)
    shapes = {path: stored(settings, row).shape for path, row in rows.items()}
    assert shapes == {
        "wide.png": (32, 64, 3), "turned.jpg": (64, 32, 3), "grey.png": (32, 43, 3), "alpha.png": (32, 43, 3),
        "cmyk.jpg": (32, 43, 3), "small.png": (20, 24, 3),
    }  # fmt: skip
    assert (rows["turned.jpg"]["width"], rows["turned.jpg"]["height"]) == (60, 120)
    assert np.array_equal(stored(settings, rows["small.png"]), scene(5, 20, 24))
    assert np.ptp(stored(settings, rows["grey.png"]).astype(int), axis=2).max() == 0
    difference = stored(settings, rows["cmyk.jpg"]).astype(int) - images.resize(scene(4), (32, 43))
    assert np.abs(difference).mean() < 4


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_quality_decides_the_size_of_what_is_stored(tmp_path: Path, kind: str):
    write(tmp_path, "a.png", np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8))
    lengths = []
    for quality in (30, 95):
        settings = settings_for(tmp_path, format=kind, quality=quality, output=str(tmp_path / f"{quality}"))
        prepare(settings)
        row = manifest(settings)["a.png"]
        assert stored(settings, row).shape == (32, 32, 3)
        lengths.append(row["length"])
    assert lengths[0] < 0.6 * lengths[1]


def test_shards_keep_to_their_size_and_are_tar_files_as_webdataset_reads_them(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (8, 500, 300, 3), np.uint8)  # 0.45 MB each as PNG
    for index, picture in enumerate(noise):
        write(tmp_path, f"a.b/{index}.png", picture)
    settings = settings_for(tmp_path, short_side=512, shard_megabytes=1, part_files=8)
    prepare(settings)
    parts = sorted((tmp_path / "output" / "shards").iterdir())
    assert len(parts) == 4 and all(part.stat().st_size < 1_020_000 for part in parts)
    samples = dict[str, dict[str, bytes]]()
    for part in parts:
        with tarfile.open(part) as shard:
            for member in shard:
                key, kind = member.name.split(".", 1)
                content = shard.extractfile(member)
                assert content is not None
                samples.setdefault(key, {})[kind] = content.read()
    found = {json.loads(sample["json"])["path"]: sample["png"] for sample in samples.values()}
    assert all(np.array_equal(images.decode(found[f"a.b/{index}.png"]), noise[index]) for index in range(8))


@pytest.mark.parametrize("suffix", ["tar", "parquet"], ids=["now", "prepared before"])
def test_a_place_is_read_like_a_file(tmp_path: Path, suffix: str):
    pictures = [random.Random(index).randbytes(100 + 37 * index) for index in range(200)]
    pictures[7] = pictures[3]
    content, offsets = shards.pack([f"{index}" for index in range(200)], pictures, "jpeg")
    (tmp_path / f"a.{suffix}").write_bytes(content)
    local = fs.LocalFileSystem()
    elsewhere = fs.SubTreeFileSystem(str(tmp_path.parent), local)  # as buckets: files stay open
    for picture, offset in zip(pictures, offsets, strict=True):
        for filesystem, root in ((local, str(tmp_path)), (elsewhere, tmp_path.name)):
            path = shards.place(f"{root}/a.{suffix}", offset, len(picture), "folder/name.jpg")
            assert shards.read(filesystem, path) == picture
    assert len(set(offsets)) == 200


def test_statistics_of_light_in_closed_form():
    picture = np.zeros((10, 10, 3), np.uint8)
    picture[:, 5:] = 255
    found = light(picture)
    assert found == pytest.approx(
        {"mean": 0.5, "deviation": 0.5, "p05": 0, "p50": 0.5, "p95": 1, "over_exposed": 0.5}, abs=1e-6
    )
    red = np.zeros((2, 2, 3), np.uint8)
    red[:, :, 0] = 250
    assert light(red)["mean"] == pytest.approx(0.299 * 250 / 255) and light(red)["over_exposed"] == 1


# --- stopped, grown, changed ------------------------------------------------------------------------------------------


def many(folder: Path, numbers: range) -> None:
    for number in numbers:
        write(folder, f"{number:03d}.png", scene(number))
    if not (folder / "input" / "bad.jpg").exists():
        write(folder, "bad.jpg", b"no picture")


@pytest.mark.parametrize("parts", [0, 1, 2, 3])
def test_stopped_after_any_part_and_run_again_gives_the_same_files(tmp_path: Path, parts: int):
    many(tmp_path, range(13))
    whole = settings_for(tmp_path)
    prepare(whole)
    stopped = settings_for(tmp_path, output=str(tmp_path / "stopped"))
    assert prepare(stopped, parts) is None
    prepare(stopped)
    assert files(stopped) == files(whole)


def test_parts_done_out_of_order_leave_the_same_parts_to_do(tmp_path: Path):
    many(tmp_path, range(13))
    whole = settings_for(tmp_path)
    prepare(whole)
    stopped = settings_for(tmp_path, output=str(tmp_path / "stopped"))
    begin(stopped)
    for part in list(pending(stopped))[1::2]:
        prepare_part(stopped, part)
    prepare(stopped)
    assert files(stopped) == files(whole)


def test_a_shard_without_its_rows_and_half_a_file_are_written_anew(tmp_path: Path):
    many(tmp_path, range(6))
    settings = settings_for(tmp_path)
    prepare(settings)
    wanted = files(settings)
    for path in (tmp_path / "output" / "parts").iterdir():
        path.unlink()
    shard = next((tmp_path / "output" / "shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:50])
    (tmp_path / "output" / "manifest.parquet").unlink()
    prepare(settings)
    assert files(settings) == wanted


def test_a_grown_prefix_costs_only_what_is_new(tmp_path: Path):
    many(tmp_path, range(0, 12, 2))
    settings = settings_for(tmp_path)
    prepare(settings)
    before = files(settings)
    assert list(pending(settings)) == []
    many(tmp_path, range(1, 12, 2))
    new = [source.path for part in pending(settings) for source in part]
    assert new == [f"{number:03d}.png" for number in range(1, 12, 2)]
    prepare(settings)
    after = files(settings)
    assert all(after[name] == content for name, content in before.items() if name != "manifest.parquet")
    assert set(manifest(settings)) == {f"{number:03d}.png" for number in range(12)} | {"bad.jpg"}
    places = [(row["shard"], row["offset"]) for row in manifest(settings).values() if not row["refused"]]
    assert len(set(places)) == 12


def test_a_run_that_finds_nothing_new_starts_no_cluster_and_changes_nothing(tmp_path: Path, monkeypatch, capsys):
    many(tmp_path, range(5))
    settings = settings_for(tmp_path, part_files=512, similar_bits=4)
    prepare(settings)
    before = files(settings)
    monkeypatch.setattr(preparation, "connect", lambda *a, **k: pytest.fail("the cluster was started for nothing"))
    arguments = ["--input", settings.input, "--output", settings.output, "--short-side", "32", "--format", "png"]
    assert main(arguments) == 0
    assert files(settings) == before
    assert "holds 5 pictures" in capsys.readouterr().out


def test_a_changed_file_is_prepared_anew_and_is_there_once(tmp_path: Path):
    many(tmp_path, range(5))
    settings = settings_for(tmp_path)
    prepare(settings)
    os.utime(write(tmp_path, "002.png", scene(99)), ns=(1, 1))
    prepare(settings)
    row = manifest(settings)["002.png"]
    assert np.array_equal(stored(settings, row), images.resize(scene(99), (32, 43)))


def test_an_output_made_otherwise_is_not_continued(tmp_path: Path):
    many(tmp_path, range(2))
    prepare(settings_for(tmp_path))
    with pytest.raises(ManifestError, match="short_side: .* was prepared with 32, not 64; give the same"):
        prepare(settings_for(tmp_path, short_side=64))
    with pytest.raises(ManifestError, match="split: .* was prepared without the prior's judgement"):
        prepare(settings_for(tmp_path, split="prior"))


# --- duplicates and groups --------------------------------------------------------------------------------------------


def test_exact_and_similar_copies_name_the_first_and_other_exposures_stay_apart(tmp_path: Path):
    write(tmp_path, "a.png", scene(0))
    write(tmp_path, "b_copy.png", (tmp_path / "input" / "a.png").read_bytes())
    write(tmp_path, "c_recompressed.jpg", scene(0), quality=80)
    write(tmp_path, "d_smaller.png", images.resize(scene(0), (45, 60)))
    write(tmp_path, "e_darker.png", (scene(0) * 0.4).astype(np.uint8))
    write(tmp_path, "f_other.png", scene(1))
    settings = settings_for(tmp_path, similar_bits=4)
    totals = prepare(settings)
    first = {path[0]: row["duplicate_of"] for path, row in manifest(settings).items()}
    assert first == {"a": None, "b": "a.png", "c": "a.png", "d": "a.png", "e": None, "f": None}
    assert (totals.exact, totals.similar) == (1, 2)
    photos = list_photos(settings.output, "data.dark", DataSettings())
    assert [path.rpartition("/")[2] for path in photos.paths] == ["a.png", "e_darker.png", "f_other.png"]


def test_the_hash_of_a_picture_survives_its_darkening_but_not_another_picture():
    hashes = [perceptual_hash(picture) for picture in (scene(0), (scene(0) * 0.5).astype(np.uint8), scene(1))]
    assert (hashes[0] ^ hashes[1]).bit_count() <= 4
    assert (hashes[0] ^ hashes[2]).bit_count() > 16
    assert perceptual_hash(np.full((50, 50, 3), 77, np.uint8)) == perceptual_hash(np.full((9, 30, 3), 3, np.uint8))


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_similar_pictures_are_those_that_comparing_all_finds(bits: int):
    chance = np.random.default_rng(bits)
    hashes = chance.integers(0, 2**63, 60, dtype=np.uint64)
    flips = [sum(1 << int(bit) for bit in chance.choice(64, n, replace=False)) for n in chance.integers(0, 11, 240)]
    hashes = np.concatenate([hashes, hashes[chance.integers(0, 60, 240)] ^ np.array(flips, dtype=np.uint64)])
    brightness = chance.choice([0.1, 0.105, 0.2], 300)
    expected = list(range(300))
    for later in range(300):
        for earlier in range(later):
            close = int(hashes[later] ^ hashes[earlier]).bit_count() <= bits
            if close and abs(brightness[later] - brightness[earlier]) <= 0.02 and expected[earlier] == earlier:
                expected[later] = earlier
                break
    assert first_similar(hashes, brightness, bits).tolist() == expected
    assert expected != list(range(300))


def test_the_split_divides_by_mean_luma_and_the_groups_are_read_as_sets_of_their_own(tmp_path: Path):
    for number, level in enumerate((10, 60, 90, 110, 200)):
        write(tmp_path, f"{number}.png", np.full((40, 40, 3), level, np.uint8))
    write(tmp_path, "burnt.png", np.full((40, 40, 3), 255, np.uint8))
    settings = settings_for(tmp_path, split="statistics", dark_below=0.3, well_lit_from=0.4)
    assert prepare(settings).groups == {"dark": 2, "well_lit": 2, "neither": 2}
    sets = {
        group: list_photos(f"{settings.output}/{group}", "data.dark", DataSettings()) for group in ("dark", "well_lit")
    }
    names = {group: [path.rpartition("/")[2] for path in photos.paths] for group, photos in sets.items()}
    assert names == {"dark": ["0.png", "1.png"], "well_lit": ["3.png", "4.png"]}
    decode = Decode(sets["dark"], size=32, seed=0, start=0, stride=1, threads=1, max_pixels=10**6)
    assert set(next(decode.batches())["image"][:, 0, 0, 0].tolist()) == {10, 60}

    again = settings.model_copy(update={"dark_below": 0.2, "well_lit_from": 0.35})
    assert finish(again).groups == {"dark": 1, "well_lit": 3, "neither": 2}


# --- training from shards ---------------------------------------------------------------------------------------------


def test_shards_train_on_the_pictures_that_the_plain_photos_train_on(tmp_path: Path):
    for number in range(6):
        write(tmp_path, f"{number}.png", scene(number, 64, 64))
    write(tmp_path, "bad.jpg", b"no picture")
    settings = settings_for(tmp_path, short_side=64)
    prepare(settings)
    batches = []
    for uri in (settings.input, settings.output):
        photos = list_photos(uri, "data.dark", DataSettings())
        assert len(photos.paths) == 6 and [Path(path).name for path in photos.refused] == ["bad.jpg"]
        decode = Decode(photos, size=48, seed=5, start=3, stride=2, threads=2, max_pixels=10**6)
        batches.append(next(decode.batches())["image"])
    assert np.array_equal(*batches)


def test_a_preparation_that_was_stopped_is_not_trained_on(tmp_path: Path):
    many(tmp_path, range(6))
    settings = settings_for(tmp_path)
    prepare(settings, 1)
    with pytest.raises(DataError, match=r"data\.dark: .* was not prepared to the end"):
        list_photos(settings.output, "data.dark", DataSettings())


# --- mistakes ---------------------------------------------------------------------------------------------------------


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr(preparation, "connect", lambda *a, **k: pytest.fail("the cluster was started in spite of it"))
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code
    message = capsys.readouterr().err
    assert status in (1, 2) and message.count("\n") == 1, message
    return message


def test_mistakes_are_one_sentence_and_start_no_cluster(tmp_path: Path, monkeypatch, capsys):
    (tmp_path / "input").mkdir()
    there, beside = str(tmp_path / "input"), str(tmp_path / "output")
    cases = {
        ("--output", beside): "required: --input",
        ("--input", there, "--output", beside, "--quality", "101"): "quality: 101 is not allowed; give a whole number",
        ("--input", there, "--output", beside, "--dark-below", "0.5"): "dark_below: 0.5 is above well_lit_from",
        ("--input", there, "--output", f"{there}/out"): "input and output: one lies in the other",
        ("--input", there, "--output", there): "input and output: one lies in the other",
        ("--input", f"{there}/nowhere", "--output", beside): "nowhere does not exist or holds no file; check the path",
        ("--input", "gopher://a", "--output", beside): "gopher://: unknown scheme",
    }
    for arguments, sentence in cases.items():
        assert sentence in refusal(monkeypatch, capsys, *arguments)
