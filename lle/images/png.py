"""PNG beyond Pillow: what its chunks say, one by one, so that none of them can cost the picture.

Pillow refuses a picture for an ancillary chunk that is long or damaged, reads transparent colours of 2, 4 and 16 bits
wrong, and says nothing of cICP.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_KEPT_ANCILLARY = {b"tRNS", b"pHYs", b"bKGD"}  # short, and read by Pillow without trouble
_READ = {b"iCCP", b"eXIf", b"iTXt", b"zTXt", b"tEXt", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"acTL", b"tRNS", b"pHYs"}
_LONGEST_PROFILE = 16_000_000  # bytes when unpacked
_LONGEST_TEXT = 16_000_000
_XMP, _RAW_EXIF = b"XML:com.adobe.xmp", (b"Raw profile type exif", b"Raw profile type APP1")


@dataclass
class Chunks:
    """What a PNG says of itself beside its pixels.

    Attributes:
        data: the file without the chunks that could trouble a decoder.
        depth, colour: bits a sample, and PNG's colour type (0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA).
        found: contents of the sound chunks that are read here.
        profile, exif, xmp: unpacked; None where there are none, or damaged ones.
        frames: pictures of an animation; else 1.
    """

    data: bytes
    depth: int = 8
    colour: int = 2
    found: dict[bytes, bytes] = field(default_factory=dict)
    profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    frames: int = 1

    def transparent(self) -> tuple[int, ...] | None:
        """The one grey or RGB value that stands for "nothing here", as stored; None where there is none."""
        count = {0: 1, 2: 3}.get(self.colour, 0)
        stored = self.found.get(b"tRNS", b"")
        return struct.unpack_from(f">{count}H", stored) if count and len(stored) >= 2 * count else None

    def colour_space(self) -> tuple[int, int, bool] | None:
        """Primaries and transfer by the numbers of H.273, and whether black and white are 0 and the largest value."""
        stored = self.found.get(b"cICP", b"")
        return (stored[0], stored[1], stored[2] == 0 and stored[3] == 1) if len(stored) == 4 else None

    def gamma(self) -> float | None:
        """The exponent under which samples are stored, such as 0.45455; None where not told, or sRGB."""
        stored = self.found.get(b"gAMA", b"")
        value = struct.unpack(">I", stored)[0] / 100_000 if len(stored) == 4 else 0
        return None if b"sRGB" in self.found or not value else value

    def chromaticities(self) -> tuple[float, ...] | None:
        """x, y of white, red, green and blue; None where not told, or sRGB."""
        stored = self.found.get(b"cHRM", b"")
        if b"sRGB" in self.found or len(stored) != 32:
            return None
        return tuple(value / 100_000 for value in struct.unpack(">8I", stored))


def read_chunks(data: bytes) -> Chunks:
    """All chunks of a PNG, or of its beginning."""
    chunks = Chunks(data)
    if len(data) >= 26:
        chunks.depth, chunks.colour = data[24], data[25]
    sound, at, kept_from, pieces = True, len(SIGNATURE), 0, list[bytes]()
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if not kind.isalpha():
            break
        if kind[0] & 0x20:  # ancillary
            whole = end <= len(data)
            read = whole and kind in _READ
            sound = read and zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
            if sound:
                _note(chunks, kind, data[at + 8 : end - 4])
            if whole and not (sound and kind in _KEPT_ANCILLARY):
                pieces.append(data[kept_from:at])
                kept_from = end
        at = end
        if kind == b"IEND":
            break
    if pieces:
        chunks.data = b"".join([*pieces, data[kept_from:]])
    return chunks


def _note(chunks: Chunks, kind: bytes, content: bytes) -> None:
    if kind == b"iCCP":
        chunks.profile = chunks.profile or _inflated(content.partition(b"\0")[2][1:], _LONGEST_PROFILE)
    elif kind == b"eXIf":
        chunks.exif = b"Exif\0\0" + content.removeprefix(b"Exif\0\0")
    elif kind == b"acTL":
        chunks.frames = max(1, int.from_bytes(content[:4], "big"))
    elif kind in (b"iTXt", b"zTXt", b"tEXt"):
        _note_text(chunks, kind, *content.split(b"\0", 1))
    else:
        chunks.found.setdefault(kind, content)


def _note_text(chunks: Chunks, kind: bytes, name: bytes, rest: bytes = b"") -> None:
    if name != _XMP and name not in _RAW_EXIF:
        return
    if kind == b"iTXt":
        packed, text = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
    else:
        packed, text = kind == b"zTXt", rest[1:] if kind == b"zTXt" else rest
    unpacked = _inflated(text, _LONGEST_TEXT) if packed else text
    if unpacked is None:
        return
    if name == _XMP:
        chunks.xmp = unpacked
    elif chunks.exif is None:  # as ImageMagick wrote it before eXIf: a name, a length, hexadecimal digits
        try:
            block = bytes.fromhex(unpacked.split(None, 2)[2].decode("ascii"))
        except (IndexError, ValueError):
            return
        if block.startswith((b"Exif\0\0", b"II", b"MM")):
            chunks.exif = b"Exif\0\0" + block.removeprefix(b"Exif\0\0")


def _inflated(packed: bytes, limit: int) -> bytes | None:
    """Unpacked bytes; None where they are damaged or over the limit."""
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(packed, limit)
    except zlib.error:
        return None
    return found if unpacker.eof else None


def checksum(chunk: bytes) -> bytes:
    """What stands behind a chunk's kind and content."""
    return zlib.crc32(chunk).to_bytes(4, "big")
