"""Image files and RGB pixels: safe decoding, one colour space, encoding.

    bytes -> image_hwc: uint8, (height, width, 3), sRGB, upright

Whatever the file was (grey, palette, CMYK, alpha, 16 bit, turned by its EXIF orientation, in another colour space),
what comes out is upright 8-bit sRGB. Whatever is wrong with the file, what comes out is one exception, `ImageError`,
with the uri and the reason. Width x height is checked in the header, before anything is decoded.

Imports Pillow and numpy only: decode workers start without torch.
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

if TYPE_CHECKING:
    from torch import Tensor

MAX_PIXELS = 80_000_000
"""Default pixel budget, width x height: 240 MB as RGB, and below the size at which Pillow itself starts to warn."""

BYTES_PER_PIXEL, MORE_BYTES = 8, 16_000_000
"""Byte budget: what 16 bits of four channels take uncompressed, and metadata."""

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")
"""Lower-case file suffixes that are treated as images."""

# Named here so that Pillow registers these two without importing its forty other plugins.
_FORMATS = ("JPEG", "PNG", WebPImagePlugin.WebPImageFile.format, TiffImagePlugin.TiffImageFile.format, "BMP", "GIF")

_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L"}

_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"RIFF": "WebP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"BM": "BMP",
    b"GIF8": "GIF",
}

_TURNS = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_ORIENTATION, _BITS_PER_SAMPLE, _PHOTOMETRIC = 274, 258, 262  # EXIF and TIFF tags
_DESCRIPTION, _MAKE, _MODEL, _SOFTWARE, _TIME, _ARTIST, _COPYRIGHT = 270, 271, 272, 305, 306, 315, 33_432
_EXIF_IFD, _GPS_IFD = 34_665, 34_853
_LONGEST_JPEG_EXIF = 65_527  # bytes that fit into one segment

_CHUNK = 32_000_000  # bytes read at once: nearly every photo in one piece, which need not be copied

_TONE_TOLERANCE = 12  # of 255: the gamma of 2.2 of Adobe RGB is 9 away at most, the 1.8 of ProPhoto 19
_ENCODERS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP", "tif": "TIFF", "tiff": "TIFF", "bmp": "BMP"}
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}


class ImageError(ValueError):
    """A file that cannot be used as an image: the sentence "URI: reason".

    Attributes:
        uri: which file, as the caller named it.
        reason: what is wrong with it.
    """

    def __init__(self, uri: str, reason: str) -> None:
        super().__init__(uri, reason)  # both in args, so that it survives pickling between processes
        self.uri = uri
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.uri}: {self.reason}"


class Readable(Protocol):
    """Gives so many bytes at most, none at its end."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class ImageHeader:
    """What a file says of itself.

    Attributes:
        width, height: pixels of the upright picture, after EXIF orientation.
        format: "JPEG", "PNG", "WEBP", "TIFF", "BMP" or "GIF".
        mode: Pillow's name of the stored pixels, such as "RGB", "L", "CMYK" or "I;16".
    """

    width: int
    height: int
    format: str
    mode: str


@dataclass(frozen=True)
class Picture:
    """Pixels and what `encode` needs beside them to write the same kind of photo again.

    Attributes:
        pixels: upright RGB, uint8, (height, width, 3).
        exif: the file's EXIF block as it stood; None where it had none.
        icc_profile: the colour space of the pixels; None: sRGB.
    """

    pixels: np.ndarray
    exif: bytes | None
    icc_profile: bytes | None


def read_header(data: bytes, uri: str = "<bytes>", max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Size and kind of an image, without decoding a pixel.

    A prefix of the file is enough where its header stands in front: PNG, BMP, GIF, WebP, and JPEG as far as its first
    scan (behind EXIF, thumbnail and profile; 256 KiB nearly always do). An orientation stored behind the pixels is not
    seen in a prefix (WebP), or not at all (some PNG). A TIFF often keeps its directory at the end: give all of it.

    Args:
        data: the file, or its beginning.
        uri: what to call it in errors.
        max_pixels: largest width x height that is accepted.

    Raises:
        ImageError: not an image, an unsupported format or mode, no pixels, or over the pixel budget.
    """
    stream = io.BytesIO(data)
    with _image_errors(uri, data):
        try:
            image = _open(stream, uri, max_pixels)
        except OSError:  # Pillow has no way to open the beginning of a WebP
            header = _webp_header(data)
            if header is None:
                raise
            return header
        size = image.size if _orientation(image) < 5 else image.size[::-1]
        return ImageHeader(*size, format=_format(image), mode=image.mode)


def decode(
    data: bytes, uri: str = "<bytes>", *, max_pixels: int = MAX_PIXELS, short_side: int | None = None
) -> np.ndarray:
    """Decodes a whole image file to upright 8-bit sRGB.

    - Of several pictures in one file, the first.
    - EXIF orientation is applied. An embedded ICC profile is converted to sRGB (relative colorimetric, black point
      compensation); a broken profile, or one for another kind of pixels, is ignored.
    - 16-bit (and 12-bit) samples are scaled to 8 bits; 32-bit and floating-point ones are refused: what is white?
    - CMYK JPEG is read as Adobe writes it, inverted; without a profile the conversion is the plain (1 - C)(1 - K).
    - Alpha is composited on black: where nothing was recorded there is no light. Opaque pixels keep their values.

    Args:
        data: the whole file.
        uri: what to call it in errors.
        max_pixels: largest width x height that is accepted, checked in the header.
        short_side: a hint for speed: pixels that the caller needs on the short side. A JPEG is then decoded at 1/2,
            1/4 or 1/8 of its size, the smallest whose short side is still at least this; other formats come whole.

    Returns:
        RGB, uint8, (height, width, 3), contiguous and writable; with `short_side`, of the reduced size.

    Raises:
        ImageError: whatever is wrong with the file, a truncated one included. Only damage that a decoder passes over in
            silence (flipped bits inside a JPEG's scan) stays unseen.
    """
    if short_side is not None and short_side < 1:
        raise ValueError(f"short_side is {short_side}; give at least 1 pixel, or None for the full size")
    stream = io.BytesIO(data)
    with _image_errors(uri, data):
        image = _open(stream, uri, max_pixels)
        if short_side is not None:
            image.draft(None, (short_side, short_side))
        image.load()
        return _turned_upright(_srgb(image), image)


def decode_picture(data: bytes, uri: str = "<bytes>", *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decodes a whole image file together with its EXIF block and colour space, to be encoded again.

    As `decode`, except that opaque RGB pixels stay in a colour space of their own (Adobe RGB, Display P3) where its
    tones are close to those of sRGB: nothing is lost to the smaller space. Others become sRGB.

    Args:
        data: the whole file.
        uri: what to call it in errors.
        max_pixels: largest width x height that is accepted, checked in the header.

    Raises:
        ImageError: as `decode`.
    """
    with _image_errors(uri, data):
        image = _open(io.BytesIO(data), uri, max_pixels)
        image.load()
        profile = image.info.get("icc_profile")
        kept = bool(profile) and image.mode == "RGB" and not image.has_transparency_data and _has_tones_of_srgb(profile)
        pixels = _turned_upright(image if kept else _srgb(image), image)
        return Picture(pixels, _exif(image), profile if kept else None)


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """Decodes a file on this machine; see `decode`.

    Raises:
        ImageError: also where the file is missing, cannot be read, or is over the byte budget.
    """
    uri = os.fspath(path)
    try:
        with Path(path).open("rb") as file:
            data = read_bounded(file, most_bytes(MAX_PIXELS), uri)
    except OSError as error:
        raise ImageError(uri, f"cannot be read ({error.strerror or error})") from error
    return decode(data, uri)


def read_bounded(file: Readable, limit: int, uri: str) -> bytes:
    """The rest of an open file, of which never more than the limit is held.

    Raises:
        ImageError: it is longer than so many bytes.
    """
    parts, left = list[bytes](), limit
    while part := file.read(min(_CHUNK, left + 1)):
        left -= len(part)
        if left < 0:
            raise ImageError(uri, f"is over the limit of {limit / 1e6:.0f} MB; shrink the image or raise the limit")
        parts.append(part)
    return b"".join(parts)


def most_bytes(max_pixels: int) -> int:
    """The byte budget that goes with a pixel budget."""
    return BYTES_PER_PIXEL * max_pixels + MORE_BYTES


def from_pil(image: Image.Image) -> np.ndarray:
    """A Pillow image as upright 8-bit sRGB, (height, width, 3), as `decode` makes it of a file.

    Raises:
        ImageError: a kind of pixels that `decode` refuses too, over its pixel budget, or a file that is damaged behind
            its header.
    """
    uri = str(getattr(image, "filename", "")) or "PIL image"
    _check_size(*image.size, uri, MAX_PIXELS)
    if image.mode not in _MODES:
        raise ImageError(uri, f"pixels of kind {image.mode!r}; convert it to RGB")
    try:
        image.load()
    except Exception as error:  # Pillow's plugins raise far more than OSError on damaged files
        raise ImageError(uri, f"damaged or truncated ({str(error) or type(error).__name__})") from error
    return _turned_upright(_srgb(image), image)


def encode(
    image: np.ndarray,
    format: str = "png",
    quality: int = 95,
    exif: bytes | None = None,
    icc_profile: bytes | None = None,
) -> bytes:
    """Encodes sRGB pixels as an image file.

    Args:
        image: RGB, uint8, (height, width, 3).
        format: "png", "jpeg" ("jpg"), "webp", "tiff" ("tif") or "bmp"; bmp keeps neither exif nor icc_profile.
        quality: 1 to 100, for jpeg and webp; from 90 up, JPEG keeps the full colour resolution (4:4:4).
        exif: EXIF block to carry over. Its orientation is set to upright, which is what `decode` returns; a block that
            cannot be parsed, or is too long for a JPEG, is left out.
        icc_profile: embedded as it is; leave it out for pixels from `decode`, which are sRGB.

    Raises:
        ValueError: wrong array, unknown format, quality out of range, or a side longer than the format can hold.
    """
    _check_pixels(image)
    name = _ENCODERS.get(format.lower().lstrip("."))
    if name is None:
        raise ValueError(f"cannot encode {format!r}; choose one of {', '.join(_ENCODERS)}")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; choose from 1 to 100")
    limit = _LONGEST_SIDE.get(name)
    if limit is not None and max(image.shape[:2]) > limit:
        raise ValueError(f"{image.shape[1]} x {image.shape[0]} is too long for {name} (limit {limit}); choose png")

    options: dict[str, Any] = {}
    if name in ("JPEG", "WEBP"):
        options["quality"] = quality
    if name == "JPEG":
        options["subsampling"] = "4:4:4" if quality >= 90 else "4:2:0"
    if name != "BMP":
        options |= {"exif": _upright(exif), "icc_profile": icc_profile}
    if name == "JPEG" and len(options["exif"] or b"") > _LONGEST_JPEG_EXIF:
        del options["exif"]
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, name, **{key: value for key, value in options.items() if value is not None})
    return stream.getvalue()


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Antialiased bicubic resize.

    Args:
        image: RGB, uint8, (height, width, 3).
        size: wanted (height, width), each at least 1.

    Returns:
        RGB, uint8, (*size, 3): a new array, also where the size does not change.

    Raises:
        ValueError: wrong array or size.
    """
    _check_pixels(image)
    height, width = size
    if min(size) < 1:
        raise ValueError(f"size is {size}; give at least 1 pixel each way, as (height, width)")
    # Far reductions first go through whole-number box averaging: several times faster, and hardly to be told apart.
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0))


def is_image_name(name: str) -> bool:
    """True for a path or uri whose last part ends as an image; hidden files ("._photo.jpg" of a Mac) are none."""
    base = name.replace("\\", "/").rpartition("/")[2]
    return not base.startswith(".") and base.lower().endswith(SUFFIXES)


def to_tensor(image: np.ndarray) -> Tensor:
    """uint8 (height, width, 3) -> float32 in [0, 1], (3, height, width), on the CPU."""
    import torch

    _check_pixels(image)
    return torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1).contiguous().to(torch.float32).div_(255.0)


def from_tensor(tensor: Tensor) -> np.ndarray:
    """RGB (3, height, width), any device and float type -> uint8 (height, width, 3), clamped to [0, 1] and rounded.

    Raises:
        ValueError: another shape or an integer type, or a value that is not a number.
    """
    if tensor.ndim != 3 or tensor.shape[0] != 3 or not tensor.is_floating_point():
        raise ValueError(f"expected a float tensor (3, height, width), got {tensor.dtype} {tuple(tensor.shape)}")
    values = tensor.detach().float()
    if values.isnan().any():
        raise ValueError("the tensor holds values that are not numbers (NaN) and cannot become an image")
    array: np.ndarray = values.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
    return array


# ---- opening ---------------------------------------------------------------------------------------------------------


def _open(stream: io.BytesIO, uri: str, max_pixels: int) -> Image.Image:
    """Header only: a lazy Pillow image whose size and mode have been found acceptable."""
    declared = _declared_size(stream.read(30))
    if declared is not None:  # before Pillow sees it: its WebP decoder reserves the canvas while opening
        _check_size(*declared, uri, max_pixels)
    image = Image.open(stream, formats=_FORMATS)
    _check_size(*image.size, uri, max_pixels)
    if image.mode not in _MODES:
        raise ImageError(
            uri, f"{_format(image)} with pixels of kind {image.mode!r}; save it as grey or RGB with 8 or 16 bits"
        )
    return image


def _check_size(width: int, height: int, uri: str, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(uri, f"has no pixels ({width} x {height})")
    if width * height > max_pixels:
        raise ImageError(
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


def _webp_header(data: bytes) -> ImageHeader | None:
    """The header of a WebP that was cut short; None for anything else."""
    size = _declared_size(data[:30])
    if size is None or data[:4] != b"RIFF" or len(data) >= 8 + int.from_bytes(data[4:8], "little"):
        return None
    alpha = {b"VP8X": data[20] & 0x10, b"VP8L": data[24] & 0x10}.get(bytes(data[12:16]), 0)
    return ImageHeader(*size, format="WEBP", mode="RGBA" if alpha else "RGB")


def _format(image: Image.Image) -> str:
    return "JPEG" if image.format == "MPO" else str(image.format)  # MPO: a JPEG followed by more views


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8 that is still to be applied; 1 where none is stored or the block is broken."""
    if image.format == "TIFF":
        return 1  # Pillow turns TIFF itself, and gives its size as turned
    try:
        # The base class's method: the one for PNG decodes the whole file to look behind the pixels.
        value = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except Exception:  # a broken block raises nearly anything, and must not cost the picture
        return 1
    return value if value in _TURNS else 1


@contextmanager
def _image_errors(uri: str, data: bytes) -> Iterator[None]:
    """Every failure inside becomes an ImageError: Pillow's plugins raise far more than OSError on damaged files."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(uri, _reason(error, data)) from error


def _reason(error: Exception, data: bytes) -> str:
    if not len(data):
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        head = bytes(data[:12])
        kind = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
        if kind is not None:
            return f"begins as {kind}, but its header is damaged or cut short"
        if head[4:8] == b"ftyp":
            return "HEIF, AVIF or video container, which is not supported; convert it to JPEG or PNG"
        return "not a JPEG, PNG, WebP, TIFF, BMP or GIF image"
    if isinstance(error, MemoryError):
        return "does not fit into memory; lower the pixel limit"
    if isinstance(error, Image.DecompressionBombError):
        return f"over Pillow's own limit of pixels ({error})"
    return f"damaged or truncated ({str(error) or type(error).__name__})"


# ---- colour ----------------------------------------------------------------------------------------------------------


def _srgb(image: Image.Image) -> Image.Image:
    """A loaded image of any accepted mode as RGB in sRGB, alpha composited on black."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I;16"):
        image = _eight_bits(image)

    grey, alpha = image.mode in ("1", "L", "LA"), None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    if image.mode != "CMYK":
        image = _as(image, "L" if grey else "RGB")

    transform = _to_srgb(profile, image.mode) if profile else None
    rgb = transform.apply(_as(image, transform.input_mode)) if transform else _as(image, "RGB")
    return rgb if alpha is None else Image.composite(rgb, Image.new("RGB", rgb.size), alpha)


def _as(image: Image.Image, mode: str) -> Image.Image:
    """The image in a mode; itself where it has it, which Pillow would copy: a tenth of the time of a decoding."""
    return image if image.mode == mode else image.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey, through a table: Pillow's own conversion clips at 255."""
    tags = getattr(image, "tag_v2", {})
    white = 2 ** tags.get(_BITS_PER_SAMPLE, (16,))[0] - 1  # TIFF also has 12 bits
    table = np.minimum(np.rint(np.arange(65_536) * (255 / white)), 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero
        table = 255 - table
    if "transparency" in image.info:  # PNG: the one value that stands for "nothing here"
        table[image.info["transparency"]] = 0
    return Image.fromarray(table[np.asarray(image)])


@functools.lru_cache(maxsize=16)  # one camera's profile comes with thousands of photos
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What turns pixels of `mode` under this profile into sRGB; None if the profile is unusable, or sRGB already."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        profile_mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}[source.profile.xcolor_space.strip()]
        if mode != profile_mode and (mode, profile_mode) != ("L", "RGB"):
            return None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            profile_mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if profile_mode == "CMYK":
            return transform
        levels = np.linspace(0, 255, 18).astype(np.uint8)
        colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
        probe = Image.fromarray(colours).convert(profile_mode)
        change = np.asarray(transform.apply(probe), int) - np.asarray(probe.convert("RGB"), int)
    except Exception:  # profiles come from anywhere: one that cannot be used is as good as none
        return None
    # Most profiles are sRGB under one of its many names: leave those pixels alone, it is faster and exact.
    return transform if np.abs(change).max() > 1 else None


@functools.lru_cache(maxsize=16)
def _has_tones_of_srgb(profile: bytes) -> bool:
    """Whether greys under an RGB profile are stored with nearly the numbers that sRGB gives them."""
    try:
        if ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip() != "RGB":
            return False
    except Exception:  # unusable: then the pixels are taken for sRGB, and nothing worth keeping is lost
        return False
    transform = _to_srgb(profile, "RGB")
    greys = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    if transform is None:
        return True
    change = np.asarray(transform.apply(Image.fromarray(greys)), int) - greys
    return bool(np.abs(change).max() <= _TONE_TOLERANCE)


# ---- pixels and metadata ---------------------------------------------------------------------------------------------


def _check_pixels(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"expected RGB pixels, uint8 (height, width, 3), got {image.dtype} {image.shape}")


def _turned_upright(rgb: Image.Image, stored: Image.Image) -> np.ndarray:
    turn = _TURNS.get(_orientation(stored))
    return np.array(rgb if turn is None else rgb.transpose(turn))


def _exif(image: Image.Image) -> bytes | None:
    """The EXIF block of a loaded file; a TIFF spreads it among the tags that say how its pixels are stored."""
    if image.format != "TIFF":
        return image.info.get("exif")
    try:
        tags, block = image.getexif(), Image.Exif()
        for tag in (_DESCRIPTION, _MAKE, _MODEL, _SOFTWARE, _TIME, _ARTIST, _COPYRIGHT):
            if tag in tags:
                block[tag] = tags[tag]
        for folder in (_EXIF_IFD, _GPS_IFD):
            if folder in tags:
                block[folder] = dict(tags.get_ifd(folder))
        return block.tobytes() if len(block) else None
    except Exception:  # metadata that cannot be parsed must not cost the enhanced picture
        return None


def _upright(exif: bytes | None) -> bytes | None:
    """The block with its orientation set to 1, or a viewer would turn the upright pixels once more."""
    if not exif:
        return None
    block = Image.Exif()
    try:
        block.load(exif)
        if block.get(_ORIENTATION, 1) == 1:
            return exif
        block[_ORIENTATION] = 1
        return block.tobytes()
    except Exception:  # metadata that cannot be parsed must not cost the enhanced picture
        return None
