"""Shards: tar files of compressed pictures, any of which can be read alone.

A picture lies in its shard as it was encoded, in one piece, so its place is a shard, an offset and a length, and
reading it is one read of a range: no header, no neighbours. A place is written as a path,

    ROOT/shards/KEY-0.tar@OFFSET+LENGTH/path/of/the/photo.jpg

which goes wherever the path of a plain photo goes, and ends in its name. The members are named as WebDataset wants it:
a key without dots, by which a picture and what is said of it belong together.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from cluster.storage import LocalFiles, open_anywhere, open_file
from lle.images import MAX_PIXELS, ImageError, is_image_name, most_bytes, read_bounded

# Opening an object costs a request for its size; reading from an open one asks for the range alone.
_OPENED: dict[str, pa.NativeFile] = {}
# The first that looks like a place is it: what follows is the photo's name, which others have chosen. Sets that were
# prepared before 2026-12 lie in Parquet files, whose pictures are in one piece, too.
_PLACE = re.compile(r"(.+?\.(?:tar|parquet))@(\d+)\+(\d+)/(.+)", re.DOTALL)


def pack(names: Sequence[str], pictures: Sequence[bytes], format: str) -> tuple[bytes, list[int]]:
    """A shard and the offset of each picture in it.

    Args:
        names: of the photos, unlike each other; the members are named by a hash of it.
        pictures: encoded.
        format: what they are encoded as, the suffix of their members.
    """
    sink, offsets = io.BytesIO(), list[int]()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as shard:
        for name, picture in zip(names, pictures, strict=True):
            key = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:16]
            _add(shard, f"{key}.{format}", picture)
            offsets.append(shard.offset - _whole_blocks(len(picture)))
            _add(shard, f"{key}.json", json.dumps({"path": name}).encode())
    return sink.getvalue(), offsets


def members(filesystem: LocalFiles | fs.FileSystem, path: str) -> Iterator[tuple[str, int, int]]:
    """Name, offset and length of each picture in a tar file that somebody packed, in its order.

    Raises:
        OSError: it is not there or cannot be read.
        ImageError: it is no tar file, compressed, damaged or cut short; those before the damage were given.
    """
    with open_anywhere(filesystem, path) as source:
        file = source.open("rb") if isinstance(source, Path) else source
        try:
            with file, tarfile.open(fileobj=file, mode="r:") as shard:
                for member in shard:
                    if member.isreg() and not member.issparse() and is_image_name(member.name):
                        yield member.name, member.offset_data, member.size
        except tarfile.TarError as error:
            raise ImageError(path, f"no whole, uncompressed tar file ({error}); pack it anew") from error


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))


def _whole_blocks(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def place(shard: str, offset: int, length: int, name: str) -> str:
    """The path of a picture in a shard."""
    return f"{shard}@{offset}+{length}/{name}"


def name_at(path: str) -> str:
    """The name that a place ends in; empty for the path of a plain photo."""
    in_shard = _PLACE.fullmatch(path)
    return in_shard[4] if in_shard else ""


def read(filesystem: fs.FileSystem, path: str, max_pixels: int = MAX_PIXELS) -> bytes:
    """The bytes of a photo: of a file, or of a place in a shard.

    Args:
        filesystem, path: where.
        max_pixels: pixel budget, which the byte budget follows from.

    Raises:
        OSError: it is not there or cannot be read.
        ImageError: it is over the byte budget.
    """
    in_shard, limit = _PLACE.fullmatch(path), most_bytes(max_pixels)
    if not in_shard:
        with open_file(filesystem, path) as file:
            return read_bounded(file, limit, path)
    shard, offset, length = in_shard[1], int(in_shard[2]), int(in_shard[3])
    if length > limit:  # pyarrow makes room for all of it before it looks at the file
        raise ImageError(path, f"is over the limit of {limit / 1e6:.0f} MB; prepare the set anew")
    if isinstance(filesystem, fs.LocalFileSystem):
        with filesystem.open_input_file(shard) as file:
            return bytes(file.read_at(length, offset))
    if shard not in _OPENED:
        _OPENED[shard] = filesystem.open_input_file(shard)
    return bytes(_OPENED[shard].read_at(length, offset))
