"""EXIF, XMP and IPTC blocks, made true of an upright, enhanced picture without touching the rest of them.

The bytes stay where they are: what a camera's maker keeps in its own notes is addressed by offsets into the block.
"""

from __future__ import annotations

import re
import struct

_ORIENTATION, _THUMBNAIL_START, _THUMBNAIL_BYTES = 274, 513, 514
_LONG, _SHORT = 4, 3
_PREFIX = b"Exif\0\0"

# Old thumbnails; gain maps and films behind the picture, which are not written again.
_NO_LONGER_TRUE = re.compile(
    rb"<((?:xmp|xap):Thumbnails|G?Container:Directory|(?:hdrgm|HDRGainMap|GCamera):\w{1,60})\b[^<>]{0,4096}>"
)
_ATTRIBUTE = re.compile(
    rb"""\s(?:xmlns:(?:hdrgm|HDRGainMap)|(?:hdrgm|HDRGainMap|GCamera):\w{1,60})=("[^"<]{0,4096}"|'[^'<]{0,4096}')"""
)
_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:\s?=\s?["']|>\s?))[1-8](?=\s?["'<])""")


def upright_exif(exif: bytes | None) -> bytes | None:
    """The block with its orientation set to 1 and without its thumbnail; None where it cannot be parsed."""
    if not exif:
        return None
    block = bytearray(exif.removeprefix(_PREFIX))
    try:
        order = {b"II*\0": "<", b"MM\0*": ">"}[bytes(block[:4])]
        first = struct.unpack_from(order + "I", block, 4)[0]
        entries, following = _entries(block, order, first)
        if _ORIENTATION in entries:
            place, kind, count, _ = entries[_ORIENTATION]
            if count == 1 and kind in (_SHORT, _LONG):
                struct.pack_into(order + ("H" if kind == _SHORT else "I"), block, place + 8, 1)
        thumbnail = struct.unpack_from(order + "I", block, following)[0]
        struct.pack_into(order + "I", block, following, 0)
        if thumbnail:
            _blank_thumbnail(block, order, thumbnail)
    except (KeyError, struct.error, IndexError):
        return None
    return _PREFIX + bytes(block)


def upright_xmp(xmp: bytes | None) -> bytes | None:
    """The packet with its orientation set to 1, without thumbnails and without what tells of a gain map."""
    if not xmp:
        return None
    kept, end = list[bytes](), 0
    while found := _NO_LONGER_TRUE.search(xmp, end):
        kept.append(xmp[end : found.start()])
        end = found.end()
        if not found[0].endswith(b"/>"):
            closing = b"</" + found[1] + b">"
            if (at := xmp.find(closing, end)) < 0:
                return None  # not well-formed, and not worth a reader's time
            end = at + len(closing)
    kept.append(xmp[end:])
    return _XMP_ORIENTATION.sub(rb"\g<1>1", _ATTRIBUTE.sub(b"", b"".join(kept)))


def iptc_segment(iptc: bytes) -> bytes:
    """IPTC as the segment of a JPEG that holds it; nothing where it is too long for one."""
    name, body = b"8BIM\x04\x04\0\0", iptc + b"\0" * (len(iptc) % 2)
    content = b"Photoshop 3.0\0" + name + struct.pack(">I", len(iptc)) + body
    return b"" if len(content) > 65_533 else b"\xff\xed" + struct.pack(">H", len(content) + 2) + content


def _entries(block: bytearray, order: str, start: int) -> tuple[dict[int, tuple[int, int, int, int]], int]:
    """Tag -> (place, kind, count, value or where it lies) of a directory, and the place of the next one's offset."""
    count = struct.unpack_from(order + "H", block, start)[0]
    entries = {}
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, number, value = struct.unpack_from(order + "HHII", block, place)
        entries[tag] = (place, kind, number, value)
    return entries, start + 2 + 12 * count


def _blank_thumbnail(block: bytearray, order: str, directory: int) -> None:
    """Nobody should find the old picture by searching, either: its bytes go, or are zeroed where more follows them."""
    try:
        entries, _ = _entries(block, order, directory)
        start, length = entries[_THUMBNAIL_START][3], entries[_THUMBNAIL_BYTES][3]
    except (KeyError, struct.error):
        return
    end = min(start + length, len(block))
    if start < 8 or start >= end:
        return
    if end == len(block) and start > directory:
        del block[start:]
    else:
        block[start:end] = bytes(end - start)
