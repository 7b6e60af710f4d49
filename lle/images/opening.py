"""An image file opened: its header found acceptable, its colours known, nothing decoded yet."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import AvifImagePlugin, Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from lle.dotted import said
from lle.images import colour, heif, png, raw, tiff
from lle.images.files import ImageError, TooLarge, Unsupported

# Named here so that Pillow registers these three without importing its forty other plugins.
FORMATS = (
    *("JPEG", "PNG", WebPImagePlugin.WebPImageFile.format, TiffImagePlugin.TiffImageFile.format, "BMP", "GIF"),
    AvifImagePlugin.AvifImageFile.format,
)

MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L"}

_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"RIFF": "WebP",
    **dict.fromkeys(tiff.BEGINNINGS, "TIFF"),
    b"BM": "BMP",
    b"GIF8": "GIF",
}

TURNS = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_ORIENTATION = 274  # EXIF


@dataclass(frozen=True)
class File:
    """An opened file.

    Attributes:
        image: Pillow's, lazy until loaded.
        data: what Pillow reads: the file, or what was made readable of it.
        profile: colour space of the stored pixels; None: sRGB.
        chunks: of a PNG.
    """

    image: Image.Image
    data: bytes
    profile: bytes | None
    chunks: png.Chunks | None = None


def open_file(data: bytes, uri: str, max_pixels: int) -> File:
    """Header only: a lazy Pillow image whose size and mode have been found acceptable."""
    declared = _declared_size(data[:30])
    if declared is not None:  # before Pillow sees it: its WebP decoder reserves the canvas while opening
        check_size(*declared, uri, max_pixels)
    chunks = None
    if raw.is_raw(data):
        photo = raw.RawImage(data)
        check_size(*photo.size, uri, max_pixels)
        return File(photo, data, None)
    if data[:4] == b"\x89PNG":
        chunks = png.read_chunks(data)
        data = chunks.data
    elif data[:4] in tiff.BEGINNINGS:
        data = tiff.photo_first(data)
    stream = io.BytesIO(data)
    if heif.is_container(data) and heif.kind(data) == "HEIF":
        image = heif.open_heic(stream)
    else:
        image = Image.open(stream, formats=FORMATS)
    check_size(*image.size, uri, max_pixels)
    if image.mode not in MODES:
        raise ImageError(
            uri, f"{format_of(image)} with pixels of kind {image.mode!r}; save it as grey or RGB with 8 or 16 bits"
        )
    if chunks is not None:
        _take_over(chunks, image)
    return File(image, data, _profile(image, data, chunks), chunks)


def _take_over(chunks: png.Chunks, image: Image.Image) -> None:
    """What stood in the chunks that Pillow was not shown, and transparent values as its pixels have them."""
    for name, value in (("exif", chunks.exif), ("xmp", chunks.xmp), ("icc_profile", chunks.profile)):
        if value:
            image.info[name] = value
    nothing = chunks.transparent()
    if nothing is not None and chunks.depth in (2, 4) and chunks.colour == 0:
        image.info["transparency"] = nothing[0] % 2**chunks.depth * (255 // (2**chunks.depth - 1))


def _profile(image: Image.Image, data: bytes, chunks: png.Chunks | None) -> bytes | None:
    """The embedded profile, or one made of what the file says of its colours otherwise; None: sRGB.

    Raises:
        Unsupported: high dynamic range, or numbers of an unknown space.
    """
    if chunks is not None and (numbers := chunks.colour_space()) is not None:
        primaries, transfer, plain = numbers
        if not plain:
            raise Unsupported("a PNG of narrow range or with mixed channels (cICP); save it as sRGB")
        return colour.profile_of_numbers(primaries, transfer)
    profile = image.info.get("icc_profile")
    if profile or image.mode == "CMYK":
        return profile
    if chunks is not None:
        return colour.profile_of_gamma(chunks.gamma(), chunks.chromaticities())
    if heif.is_container(data) and (told := heif.colour_space(data)) is not None:
        return colour.profile_of_numbers(*told)
    return None


def check_size(width: int, height: int, uri: str, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(uri, f"has no pixels ({width} x {height})")
    if width * height > max_pixels:
        raise TooLarge(
            uri, f"{width} x {height} pixels are over the limit of {max_pixels}; shrink the image or raise the limit"
        )


def _declared_size(head: bytes) -> tuple[int, int] | None:
    """(width, height) of a PNG or WebP from its first 30 bytes; None where they do not say."""
    if head[:4] == b"\x89PNG" and head[12:16] == b"IHDR" and len(head) >= 24:
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < 30:
        return None
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if head[12:16] == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None


def webp_size_and_mode(data: bytes) -> tuple[int, int, str] | None:
    """Width, height and mode of a WebP that was cut short; None for anything else."""
    size = _declared_size(data[:30])
    if size is None or data[:4] != b"RIFF" or len(data) >= 8 + int.from_bytes(data[4:8], "little"):
        return None
    alpha = {b"VP8X": data[20] & 0x10, b"VP8L": data[24] & 0x10}.get(bytes(data[12:16]), 0)
    return *size, "RGBA" if alpha else "RGB"


def format_of(image: Image.Image) -> str:
    return "JPEG" if image.format == "MPO" else str(image.format)  # MPO: a JPEG followed by more views


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation 1 to 8 that is still to be applied; 1 where none is stored or the block is broken."""
    if image.format in ("TIFF", "HEIF", "RAW"):
        return 1  # Pillow turns TIFF itself, libheif HEIC, LibRaw raw photos, and all give the size as turned
    try:
        # The base class's method: the one for PNG decodes the whole file to look behind the pixels.
        value = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except Exception:  # a broken block raises nearly anything, and must not cost the picture
        return 1
    return value if value in TURNS else 1


@contextmanager
def image_errors(uri: str, data: bytes | None = None) -> Iterator[None]:
    """Every failure inside becomes an ImageError: Pillow's plugins raise far more than OSError on damaged files."""
    try:
        yield
    except ImageError:
        raise
    except Unsupported as error:
        raise ImageError(uri, str(error)) from error
    except Exception as error:
        raise ImageError(uri, _reason(error, data)) from error


def _reason(error: Exception, data: bytes | None) -> str:
    if data is not None and not len(data):
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError) and data is not None:
        head = bytes(data[:12])
        kind = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
        if kind == "TIFF" and (found := tiff.explain(data)):
            return found
        if kind is not None:
            return f"begins as {kind}, but its header is damaged or cut short"
        if heif.is_container(head):
            return "begins as HEIC or AVIF, but its header is damaged or cut short"
        return "not a JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC, AVIF or raw image"
    if isinstance(error, MemoryError):
        return "does not fit into memory; lower the pixel limit"
    if isinstance(error, Image.DecompressionBombError):
        return f"over Pillow's own limit of pixels ({error})"
    return f"damaged or truncated ({said(error)})"
