"""Manifests of any content: what was written comes back, anything else is refused in one sentence."""

from __future__ import annotations

import gzip
import json
import random
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from cluster.storage import inside, leads_out, open_uri
from lle.config import DataSettings
from pipelines.config.prepare import PrepareSettings
from pipelines.config.train import RunSettings
from pipelines.data import shards
from pipelines.data.listing import DataError
from pipelines.data.manifest import ManifestError, begin, done_parts, known_files, read_places, write_part
from pipelines.data.photo_sets import list_photos
from pipelines.data.pinned import CHOSEN_BY, PHOTOS, photos_of_run

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
keys = st.from_regex(r"[0-9a-f]{20}-[0-9]{1,3}", fullmatch=True)
rows = st.fixed_dictionaries(
    {
        "path": names.filter(lambda name: not leads_out(name)),
        "refused": st.sampled_from(["", "", "damaged"]),
        "duplicate_of": st.sampled_from([None, None, "first.jpg"]),
        "shard": keys.map(lambda key: f"shards/{key}.parquet"),
        "offset": st.integers(0, 2**40),
        "length": st.integers(0, 2**40),
    }
)
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("path", "refused", "duplicate_of", "shard")),
        ("offset", pa.int64()),
        ("length", pa.int64()),
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)


def written(folder: Path, table: pa.Table) -> Path:
    file = folder / "manifest.parquet"
    parquet.write_table(table, file)
    return file


def refusal(error: Exception) -> None:
    assert str(error) and len(str(error).splitlines()) == 1 and len(str(error)) < 1000


@in_one_folder
@given(st.lists(rows, max_size=8, unique_by=lambda row: row["path"]))
def test_any_manifest_of_ours_comes_back(tmp_path: Path, content: list[dict]):
    written(tmp_path, pa.Table.from_pylist(content, schema=SCHEMA))
    places, refused = read_places(str(tmp_path)) or ((), {})
    kept = [row for row in content if not row["refused"] and not row["duplicate_of"]]
    assert list(places) == [f"{tmp_path}/{row['shard']}@{row['offset']}+{row['length']}/{row['path']}" for row in kept]
    assert [shards.name_at(place) for place in places] == [row["path"] for row in kept]
    assert refused == {row["path"]: row["refused"] for row in content if row["refused"]}


def test_of_several_revisions_of_a_file_in_any_order_of_parts_the_last_is_known(tmp_path: Path):
    for key, revision in (("b", 1), ("a", 2), ("c", 0)):
        row = {"version": f"v{revision}", "revision": revision, "again": False, "refused": "", "shard": ""}
        write_part(str(tmp_path), key, [row | {"path": "x.jpg"}, row | {"path": f"{key}.jpg"}])
    known = known_files(str(tmp_path), done_parts(str(tmp_path)))
    assert list(known) == ["a.jpg", "b.jpg", "c.jpg", "x.jpg"]
    assert known["x.jpg"].version == "v2"
    assert known_files(str(tmp_path), []) == {}


@in_one_folder
@given(st.dictionaries(st.sampled_from(SCHEMA.names), st.lists(values, min_size=2, max_size=2), min_size=1))
def test_a_table_of_other_columns_and_values_is_read_or_refused(tmp_path: Path, columns: dict[str, list]):
    good = {"path": ["a", "b"], "refused": ["", ""], "duplicate_of": [None, None],
            "shard": ["shards/ab-0.parquet"] * 2, "offset": [0, 1], "length": [1, 1]}  # fmt: skip
    try:
        written(tmp_path, pa.table(good | columns))
    except (pa.ArrowException, TypeError, OverflowError):
        assume(False)  # no table at all
    try:
        places, _ = read_places(str(tmp_path)) or ((), {})
    except ManifestError as error:
        refusal(error)
    else:
        assert all(place.startswith(f"{tmp_path}/shards/") for place in places)


@cache
def a_manifest() -> bytes:
    sink = pa.BufferOutputStream()
    row = {"path": "a", "refused": "", "duplicate_of": None, "shard": "shards/ab-0.parquet", "offset": 0, "length": 1}
    parquet.write_table(pa.Table.from_pylist([row], schema=SCHEMA), sink)
    return sink.getvalue().to_pybytes()


@in_one_folder
@example(b"")
@example(b"PAR1PAR1")
@given(st.binary(max_size=200))
def test_bytes_that_are_no_manifest_are_refused(tmp_path: Path, data: bytes):
    (tmp_path / "manifest.parquet").write_bytes(data)
    with pytest.raises(DataError) as error:
        list_photos(str(tmp_path), "data.dark", DataSettings())
    refusal(error.value)


@in_one_folder
@given(st.randoms(use_true_random=False), st.integers(1, 8))
def test_a_manifest_with_damaged_bytes_is_read_or_refused(tmp_path: Path, chance: random.Random, count: int):
    data = bytearray(a_manifest())
    for _ in range(count):
        data[chance.randrange(len(data))] = chance.randrange(256)
    (tmp_path / "manifest.parquet").write_bytes(data)
    try:
        photos = list_photos(str(tmp_path), "data.dark", DataSettings())
    except DataError as error:
        refusal(error)
    else:
        assert all(place.startswith(f"{tmp_path}/shards/") for place in photos.paths)


@in_one_folder
@example(b"[" * 100_000)
@given(st.binary(max_size=100) | values.map(lambda value: json.dumps(value).encode()))
def test_a_note_of_how_a_set_was_made_that_says_something_else_is_refused(tmp_path: Path, data: bytes):
    (tmp_path / "prepare.json").write_bytes(data)
    with pytest.raises(ManifestError) as error:
        begin(PrepareSettings(input="in", output=str(tmp_path)))
    refusal(error.value)


@given(st.lists(st.sampled_from(["a", "..", ".", "", "b c", "\0", "..."]), min_size=1, max_size=6).map("/".join))
def test_a_path_below_a_folder_stays_there_or_is_none(tmp_path_factory: pytest.TempPathFactory, name: str):
    filesystem, root = open_uri(str(tmp_path_factory.getbasetemp()))
    try:
        path = inside(filesystem, root, name)
    except OSError as error:
        refusal(error)
    else:
        assert f"{Path(path).resolve()}/".startswith(f"{Path(root).resolve()}/")


# --- the photos of a run ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSettings, Path, dict]:
    """Settings, the folder of a run that has begun, and what it wrote down."""
    folder = tmp_path_factory.mktemp("pinned")
    for name, level in (("dark", 20), ("well_lit", 150)):
        (folder / name).mkdir()
        for index in range(3):
            Image.new("RGB", (20 + index, 20), (level, level, index)).save(folder / name / f"{index}.png")
    data = DataSettings(dark=str(folder / "dark"), well_lit=str(folder / "well_lit"), validation_images=1)
    trained = RunSettings(name="run", data=data)
    photos_of_run(trained, str(folder))
    trained = trained.model_copy(update={"resume": True})
    return trained, folder, json.loads(gzip.decompress((folder / PHOTOS).read_bytes()))


@given(st.binary(max_size=100) | values.map(lambda value: gzip.compress(json.dumps(value).encode())))
def test_a_list_of_photos_of_other_bytes_is_refused(run: tuple[RunSettings, Path, dict], data: bytes):
    trained, folder, _ = run
    (folder / PHOTOS).write_bytes(data)
    with pytest.raises(DataError) as error:
        photos_of_run(trained, str(folder))
    refusal(error.value)


entries = st.sampled_from(["chosen_by", "validation_hash", "sets"])
places = st.sampled_from(["uri", "paths", "refused", "", "new"])
sets = st.sampled_from(["dark", "well_lit", "held_out_dark", "pairs_dark", "new"])


@given(entries, sets, places, values)
def test_a_list_of_photos_with_another_value_is_read_or_refused(run, entry: str, group: str, place: str, value: object):
    trained, folder, content = run
    forged = json.loads(json.dumps(content))
    if entry == "sets" and place:
        forged["sets"][group] = {**(forged["sets"].get(group) or {}), place: value}
    elif entry == "chosen_by" and group in CHOSEN_BY:
        forged["chosen_by"][group] = value
    else:
        forged[entry] = value
    (folder / PHOTOS).write_bytes(gzip.compress(json.dumps(forged).encode()))
    try:
        photos = photos_of_run(trained, str(folder))
    except DataError as error:
        refusal(error)
    else:
        assert all(path.startswith(f"{folder}/") for path in (*photos.dark.paths, *photos.well_lit.paths))
