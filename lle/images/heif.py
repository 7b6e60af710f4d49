"""HEIC and AVIF: which decoder reads a file, and what its boxes say that the decoders do not pass on.

Pillow reads AVIF. HEIC needs `pi-heif`, which is asked for only when such a file comes.
"""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from lle.images.files import Unsupported

_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2"}
_MOST_BRANDS = 64
_BOXES_END = 1 << 20  # bytes: in front of the pixels
_GAIN_MAPS = (b"hdrgainmap", b"tmap")  # Apple's name, and the item type of ISO 21496-1


def is_container(data: bytes) -> bool:
    """Whether these bytes begin as HEIC, AVIF, a video or another relative of them."""
    return data[4:8] == b"ftyp"


def kind(data: bytes) -> str:
    """ "AVIF" or "HEIF".

    Raises:
        Unsupported: another container, or no decoder for this one is installed.
    """
    size = min(int.from_bytes(data[:4], "big"), 16 + 4 * _MOST_BRANDS)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, size, 4))}
    if brands & _AVIF:
        from PIL import features

        if not features.check("avif"):
            raise Unsupported("AVIF, which this Pillow was built without; pip install --upgrade pillow")
        return "AVIF"
    if brands & _HEIC:
        return "HEIF"
    raise Unsupported("a video or another container that is no HEIC or AVIF picture; convert it to JPEG or PNG")


def open_heic(stream: io.BytesIO) -> Image.Image:
    """The header of a HEIC, lazily.

    Raises:
        Unsupported: `pi-heif` is not installed.
    """
    try:
        from pi_heif import HeifImageFile
    except ImportError as error:
        raise Unsupported("HEIC, which needs one more package; pip install pi-heif") from error
    try:
        return HeifImageFile(stream)
    except (SyntaxError, OSError) as error:
        raise UnidentifiedImageError(str(error)) from error


def colour_space(data: bytes) -> tuple[int, int] | None:
    """Primaries and transfer by the numbers of H.273, of the first picture that tells them in numbers."""
    at = data.find(b"colrnclx", 0, _BOXES_END)
    stored = data[at + 8 : at + 12]
    if at < 0 or len(stored) < 4:
        return None
    return int.from_bytes(stored[:2], "big"), int.from_bytes(stored[2:], "big")


def has_gain_map(data: bytes) -> bool:
    """Whether the boxes name a gain map for HDR screens."""
    return any(data.find(name, 0, _BOXES_END) >= 0 for name in _GAIN_MAPS)
