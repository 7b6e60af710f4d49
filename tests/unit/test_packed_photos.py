"""Photos in tar files that somebody packed, as WebDataset's: read where they lie, by a training and an evaluation."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import fs

from lle.config import DataSettings
from pipelines.data import shards
from pipelines.data.decoding import Decode
from pipelines.data.listing import DataError
from pipelines.data.photo_sets import list_photos, load_photo

DATA = DataSettings()


def picture(level: int) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.full((20, 30, 3), level, np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def pack(path: Path, contents: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Two tar files whose members are called the same, with a long name and what is no photo."""
    long = "x" * 150
    folder = tmp_path / "packed"
    folder.mkdir()
    pack(folder / "a.tar", {"000.png": picture(10), "000.json": b"{}", "001.png": picture(20)})
    pack(folder / "b.tar", {"000.png": picture(30), f"{long}.png": picture(40), ".hidden.png": picture(50)})
    return folder


def test_photos_are_read_where_they_lie(packed: Path):
    found = list_photos(str(packed), "data.dark", DATA)
    assert found.names == ["a.tar/000.png", "a.tar/001.png", "b.tar/000.png", f"b.tar/{'x' * 150}.png"]
    assert [int(load_photo(found, path, 10**6).mean()) for path in found.paths] == [10, 20, 30, 40]
    assert not found.refused


def test_a_training_streams_them(packed: Path):
    photos = list_photos(str(packed), "data.dark", DATA)
    batches = Decode(photos, 16, seed=0, start=0, stride=1, threads=1, max_pixels=10**6).batches()
    levels = {int(each.mean()) for each in next(batches)["image"]}
    batches.close()  # type: ignore[attr-defined]
    assert levels == {10, 20, 30, 40}


def test_they_are_read_from_a_store_as_well(packed: Path):
    store = fs.SubTreeFileSystem(str(packed), fs.LocalFileSystem())
    assert [name for name, _, _ in shards.members(store, "a.tar")] == ["000.png", "001.png"]


def test_beside_photos_a_tar_file_is_left_out(packed: Path):
    (packed / "c.png").write_bytes(picture(60))
    found = list_photos(str(packed), "data.dark", DATA)
    assert found.names == ["c.png"] and "2 .tar" in found.left_out


def test_a_damaged_tar_file_is_told_and_the_others_are_used(packed: Path):
    whole = (packed / "b.tar").read_bytes()
    (packed / "b.tar").write_bytes(whole[:700])
    pack(packed / "c.tar", {"000.png": picture(70)}, "w:gz")
    found = list_photos(str(packed), "data.dark", DATA)
    assert found.names == ["a.tar/000.png", "a.tar/001.png", "b.tar/000.png"], "what lies before the damage is used"
    reasons = {Path(path.partition("@")[0]).name: reason for path, reason in found.refused.items()}
    assert "no whole, uncompressed tar file" in reasons["b.tar"] and "pack it anew" in reasons["c.tar"]


def test_a_bad_photo_in_one_is_skipped_with_its_reason(packed: Path):
    pack(packed / "c.tar", {"000.png": b"no picture"})
    found = list_photos(str(packed), "data.dark", DATA)
    assert len(found.names) == 4 and len(found.refused) == 1


def test_tar_files_without_photos_are_one_sentence(tmp_path: Path):
    pack(tmp_path / "a.tar", {"000.txt": b"text"})
    with pytest.raises(DataError, match=r"data\.dark: .* holds no picture"):
        list_photos(str(tmp_path), "data.dark", DATA)
