"""TIFF beyond Pillow: which of its pictures is the photo, and samples of 16 bits that lie in planes."""

from __future__ import annotations

import io
import struct
from typing import Any

from PIL import TiffImagePlugin

from lle.images.files import Unsupported

_NEW_SUBFILE, _SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
_STRIPS, _ORIENTATION, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANAR, _PREDICTOR = 273, 274, 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _SUB_DIRECTORIES = 322, 323, 324, 325, 330
_EXTRA, _SAMPLE_FORMAT, _SUBSAMPLING, _DNG_VERSION = 338, 339, 530, 50_706
_YCBCR, _UNCOMPRESSED = 6, 1
_RAW = {32_803, 34_892}  # the grid of a sensor's colours; linear samples of one
_KINDS = {  # what is neither grey, palette, RGB nor CMYK
    4: "a transparency mask",
    8: "CIE Lab colours",
    9: "ICC Lab colours",
    10: "ITU Lab colours",
    32_844: "LogL values",
    32_845: "LogLuv values",
}
_MOST_DIRECTORIES = 64

BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

Tags = dict[int, Any]


def photo_first(data: bytes) -> bytes:
    """The file with its full-resolution picture in front: itself, or with its header pointing to a later directory.

    Raises:
        Unsupported: the photo is of a kind that is not read.
    """
    pictures = _directories(data)
    if not pictures:
        return data
    offset, tags = pictures[0]
    if _is_reduced(tags):
        full = [each for each in pictures if not _is_reduced(each[1]) and _size(each[1]) > _size(tags)]
        if full:
            offset, tags = max(full, key=lambda each: _size(each[1]))
    _check_kind(tags)
    if offset == pictures[0][0]:
        return data
    if _is_big(data):
        return data[:8] + struct.pack(_order(data) + "Q", offset) + data[16:]
    return data[:4] + struct.pack(_order(data) + "I", offset) + data[8:]


def holds_raw(data: bytes) -> bool:
    """Whether one of its pictures is what a sensor counted: DNG, NEF, ARW and others."""
    return any(tags.get(_PHOTOMETRIC) in _RAW or _DNG_VERSION in tags for _, tags in _directories(data))


def end_of_raw(data: bytes) -> int:
    """Bytes that a file must have, so that what a sensor counted is there to the last strip or tile."""
    ends = [0]
    for _, tags in _directories(data):
        if tags.get(_PHOTOMETRIC) in _RAW:
            for offsets, lengths in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES)):
                each = zip(_numbers(tags.get(offsets)), _numbers(tags.get(lengths)), strict=False)
                ends += [offset + length for offset, length in each]
    return max(ends)


def number_of_pictures(data: bytes) -> int:
    """Pictures in full size, such as pages; layers' thumbnails and masks not counted."""
    return sum(not tags.get(_NEW_SUBFILE, 0) & 5 and tags.get(_SUBFILE) != 2 for _, tags in _directories(data)) or 1


def planes(data: bytes) -> list[bytes]:
    """A TIFF of 16-bit samples in planes as one grey TIFF for each; empty where it is none.

    Pillow takes such planes for mixed samples. Their strips stay where they are: only the directory is another.
    """
    pictures = _directories(data)
    if not pictures:
        return []
    tags = pictures[0][1]
    bits = _numbers(tags.get(_BITS))
    if tags.get(_PLANAR) != 2 or set(bits) != {16} or len(bits) < 2:
        return []
    tiled = _TILES in tags
    offsets, lengths = (
        _numbers(tags.get(_TILES if tiled else _STRIPS)),
        _numbers(tags.get(_TILE_BYTES if tiled else _STRIP_BYTES)),
    )
    each = len(offsets) // len(bits)
    if not each or len(lengths) != len(offsets):
        raise Unsupported("a damaged TIFF whose planes do not have as many strips each")
    found = []
    for plane in range(len(bits)):
        part = slice(plane * each, (plane + 1) * each)
        entries = {
            tag: _numbers(tags[tag])
            for tag in (_WIDTH, _HEIGHT, _COMPRESSION, _ORIENTATION, _ROWS, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT)
            if tag in tags
        }
        entries |= {_BITS: [16], _PHOTOMETRIC: [1], _SAMPLES: [1], _PLANAR: [1]}
        entries |= {_TILES if tiled else _STRIPS: offsets[part], _TILE_BYTES if tiled else _STRIP_BYTES: lengths[part]}
        found.append(_with_directory(data, entries))
    return found


def explain(data: bytes) -> str | None:
    """Why Pillow knows no way to read this TIFF, in words; None where its directory cannot be read either."""
    pictures = _directories(data)
    if not pictures:
        return None
    tags = pictures[0][1]
    bits, formats = _numbers(tags.get(_BITS)) or [1], _numbers(tags.get(_SAMPLE_FORMAT))
    kind = "floating-point" if 3 in formats else "signed" if 2 in formats else "unsigned"
    depths = "/".join(str(each) for each in sorted(set(bits)))
    return (
        f"TIFF of {len(bits)} {kind} samples of {depths} bits, photometric {tags.get(_PHOTOMETRIC)}, which is not "
        "read; save it as grey or RGB with 8 or 16 bits"
    )


def _check_kind(tags: Tags) -> None:
    kind = _KINDS.get(tags.get(_PHOTOMETRIC, 2))
    if kind:
        raise Unsupported(f"TIFF with {kind}; save it as grey or RGB with 8 or 16 bits")
    formats = set(_numbers(tags.get(_SAMPLE_FORMAT)))
    if formats - {1, 4} or any(bits > 16 for bits in _numbers(tags.get(_BITS))):
        raise Unsupported(
            "TIFF with floating-point, signed or 32-bit samples, which do not say what is white; "
            "save it as grey or RGB with 8 or 16 bits"
        )

    interleaved_blocks = tags.get(_PHOTOMETRIC) == _YCBCR and tags.get(_COMPRESSION, 1) == _UNCOMPRESSED
    if interleaved_blocks and _numbers(tags.get(_SUBSAMPLING)) != [1, 1]:
        raise Unsupported("uncompressed TIFF with subsampled YCbCr; save it as RGB")
    if tags.get(_PLANAR) == 2 and _numbers(tags.get(_EXTRA))[:1] == [1] and 8 in _numbers(tags.get(_BITS)):
        raise Unsupported("TIFF with multiplied alpha in planes; save it with interleaved samples")


def _is_reduced(tags: Tags) -> bool:
    return bool(tags.get(_NEW_SUBFILE, 0) & 1) or tags.get(_SUBFILE) == 2


def _size(tags: Tags) -> int:
    width, height = tags.get(_WIDTH), tags.get(_HEIGHT)
    return width * height if isinstance(width, int) and isinstance(height, int) else 0


def _numbers(value: Any) -> list[int]:
    """The values of a tag; none where it holds something else."""
    values = value if isinstance(value, tuple | list) else [value]
    return [each for each in values if isinstance(each, int)]


def _order(data: bytes) -> str:
    return "<" if data[:2] == b"II" else ">"


def _is_big(data: bytes) -> bool:
    return data[2:4] in (b"+\0", b"\0+")


def _directories(data: bytes) -> list[tuple[int, Tags]]:
    """Offset and single numbers or tuples of each directory, those below the first ones included."""
    found, waiting, known = list[tuple[int, Tags]](), list[int](), set[int]()
    try:
        first = TiffImagePlugin.ImageFileDirectory_v2(data[:16] if _is_big(data) else data[:8])
        waiting.append(first.next)
        while waiting and len(found) < _MOST_DIRECTORIES:
            offset = waiting.pop(0)
            if not offset or offset in known or offset >= len(data):
                continue
            known.add(offset)
            directory = TiffImagePlugin.ImageFileDirectory_v2(data[:16] if _is_big(data) else data[:8])
            stream = io.BytesIO(data)
            stream.seek(offset)
            directory.load(stream)
            tags = {tag: directory[tag] for tag in _LISTS if tag in directory}
            tags |= {tag: directory[tag] for tag in _SINGLE if isinstance(directory.get(tag), int)}
            found.append((offset, tags))
            waiting += [directory.next, *_numbers(tags.get(_SUB_DIRECTORIES))]
    except Exception:  # a broken directory raises nearly anything; what was found before it counts
        return found
    return found


_LISTS = (
    _BITS,
    _EXTRA,
    _SUBSAMPLING,
    _SAMPLE_FORMAT,
    _STRIPS,
    _STRIP_BYTES,
    _TILES,
    _TILE_BYTES,
    _SUB_DIRECTORIES,
    _DNG_VERSION,
)
_SINGLE = (
    *(_NEW_SUBFILE, _SUBFILE, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _ROWS),
    *(_PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT),
)


def _with_directory(data: bytes, entries: dict[int, list[int]]) -> bytes:
    """The file under a new header and directory, all numbers 32 bits long, in its own byte order."""
    order, start = _order(data), len(data) + len(data) % 2
    directory = struct.pack(order + "H", len(entries))
    beyond, extra = start + 2 + 12 * len(entries) + 4, b""
    for tag in sorted(entries):
        values = entries[tag]
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            extra, packed = extra + packed, struct.pack(order + "I", beyond + len(extra))
        directory += struct.pack(order + "HHI", tag, 4, len(values)) + packed
    header = data[:2] + struct.pack(order + "HI", 42, start)
    return header + data[8:] + bytes(start - len(data)) + directory + bytes(4) + extra
