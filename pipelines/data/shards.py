"""Shards: Parquet files of compressed pictures, any of which can be read alone.

A picture lies in its shard as it was encoded, in one piece, so its place is a shard, an offset and a length, and
reading it is one read of a range: no footer, no row group, no neighbours. A place is written as a path,

    ROOT/shards/KEY-0.parquet@OFFSET+LENGTH/path/of/the/photo.jpg

which goes wherever the path of a plain photo goes, and ends in its name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa
from pyarrow import fs, parquet

from cluster.storage import open_file
from lle.images import MAX_PIXELS, ImageError, most_bytes, read_bounded

ROW_GROUP = 64
# Opening an object costs a request for its size; reading from an open one asks for the range alone.
_OPENED: dict[str, pa.NativeFile] = {}
# The first that looks like a place is it: what follows is the photo's name, which others have chosen.
_PLACE = re.compile(r"(.+?\.parquet)@(\d+)\+(\d+)/(.+)", re.DOTALL)


def pack(names: Sequence[str], pictures: Sequence[bytes]) -> tuple[bytes, list[int]]:
    """A shard and the offset of each picture in it.

    Args:
        names: column `path`.
        pictures: column `image`, encoded.
    """
    table = pa.table({"path": pa.array(names, pa.string()), "image": pa.array(pictures, pa.binary())})
    sink = pa.BufferOutputStream()
    # Statistics would hold a second copy of some picture; a dictionary or compression would not leave it in one piece.
    parquet.write_table(
        table, sink, row_group_size=ROW_GROUP, compression="none", use_dictionary=False, write_statistics=False
    )
    shard: bytes = sink.getvalue().to_pybytes()
    offsets, position = list[int](), 0
    for picture in pictures:
        position = shard.index(picture, position)
        offsets.append(position)
        position += len(picture)
    return shard, offsets


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
