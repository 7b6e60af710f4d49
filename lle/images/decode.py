"""Image files to pixels: safe, whole, upright.

Whatever the file was (grey, palette, CMYK, alpha, 16 bit, turned by its EXIF orientation, in another colour space),
what comes out is upright RGB. Whatever is wrong with the file, what comes out is one exception, `ImageError`, with the
uri and the reason. Width x height is checked in the header, before anything is decoded.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import AvifImagePlugin, Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from lle.images import colour, heif, png, tiff
from lle.images.files import MAX_PIXELS, ImageError, Unsupported, most_bytes, read_bounded
from lle.images.picture import Picture, filled, seen
from lle.images.pixels import eight_bits

# Named here so that Pillow registers these three without importing its forty other plugins.
_FORMATS = (
    *("JPEG", "PNG", WebPImagePlugin.WebPImageFile.format, TiffImagePlugin.TiffImageFile.format, "BMP", "GIF"),
    AvifImagePlugin.AvifImageFile.format,
)

_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L"}
_GREY_MODES = {"1", "L", "LA"}

_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"RIFF": "WebP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"BM": "BMP",
    b"GIF8": "GIF",
}
_TIFF_BEGINNINGS = tuple(magic for magic, name in _MAGIC.items() if name == "TIFF")

_TURNS = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_ORIENTATION, _BITS_PER_SAMPLE, _PHOTOMETRIC, _XMP, _IPTC, _EXTRA = 274, 258, 262, 700, 33_723, 338  # TIFF tags
_DESCRIPTION, _MAKE, _MODEL, _SOFTWARE, _TIME, _ARTIST, _COPYRIGHT = 270, 271, 272, 305, 306, 315, 33_432
_EXIF_IFD, _GPS_IFD = 34_665, 34_853
_IPTC_RESOURCE = 0x0404

_JPEG_GAIN_MAPS = (b"http://ns.adobe.com/hdr-gain-map/1.0/", b"aux:hdrgainmap", b"urn:iso:std:iso:ts:21496:-1")
_GAIN_MAP_LEFT_OUT = "the HDR gain map"


@dataclass(frozen=True)
class ImageHeader:
    """What a file says of itself.

    Attributes:
        width, height: pixels of the upright picture, after EXIF orientation.
        format: "JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF" or "HEIF".
        mode: Pillow's name of the stored pixels, such as "RGB", "L", "CMYK" or "I;16".
    """

    width: int
    height: int
    format: str
    mode: str


@dataclass(frozen=True)
class _File:
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


def read_header(data: bytes, uri: str = "<bytes>", max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Size and kind of an image, without decoding a pixel.

    A prefix of the file is enough where its header stands in front: PNG, BMP, GIF, WebP, and JPEG as far as its first
    scan (behind EXIF, thumbnail and profile; 256 KiB nearly always do). An orientation stored behind the pixels is not
    seen in a prefix (WebP, some PNG). A TIFF often keeps its directory at the end, HEIC and AVIF want to be whole: give
    all of them.

    Args:
        data: the file, or its beginning.
        uri: what to call it in errors.
        max_pixels: largest width x height that is accepted.

    Raises:
        ImageError: not an image, an unsupported format or mode, no pixels, or over the pixel budget.
    """
    with _image_errors(uri, data):
        try:
            file = _open(data, uri, max_pixels)
        except OSError:  # Pillow has no way to open the beginning of a WebP
            header = _webp_header(data)
            if header is None:
                raise
            return header
        image = file.image
        size = image.size if _orientation(image) < 5 else image.size[::-1]
        return ImageHeader(*size, format=_format(image), mode=image.mode)


def decode(
    data: bytes, uri: str = "<bytes>", *, max_pixels: int = MAX_PIXELS, short_side: int | None = None
) -> np.ndarray:
    """Decodes a whole image file to upright 8-bit sRGB.

    - Of several pictures in one file, the first; of a TIFF that begins with a reduced one, the one in full size.
    - EXIF orientation is applied. An embedded ICC profile, and what PNG, HEIC and AVIF tell of their colours without
      one, is converted to sRGB (relative colorimetric, black point compensation); a broken profile, or one for another
      kind of pixels, is ignored. High dynamic range (PQ, HLG) is refused: what is white?
    - 16-bit (and 12-bit) samples are scaled to 8 bits; 32-bit and floating-point ones are refused for the same reason.
    - CMYK JPEG is read as Adobe writes it, inverted; without a profile the conversion is the plain (1 - C)(1 - K).
    - What is transparent is filled with the colours of what is opaque around it: nothing was recorded there, and black
      would be taken for darkness. Opaque pixels keep their values.

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
    with _image_errors(uri, data):
        file = _open(data, uri, max_pixels)
        if short_side is not None:
            file.image.draft(None, (short_side, short_side))
        return eight_bits(_pixels(file, keep_space=False).pixels)


def decode_picture(data: bytes, uri: str = "<bytes>", *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decodes a whole image file together with what is to be written again with it.

    As `decode`, except that 16-bit samples stay so (PNG and TIFF, grey or RGB), and that RGB pixels stay in a colour
    space of their own (Adobe RGB, Display P3) where its tones are close to those of sRGB: nothing is lost to the
    smaller space. Others become sRGB.

    Args:
        data: the whole file.
        uri: what to call it in errors.
        max_pixels: largest width x height that is accepted, checked in the header.

    Raises:
        ImageError: as `decode`.
    """
    with _image_errors(uri, data):
        file = _open(data, uri, max_pixels)
        picture = _pixels(file, keep_space=True)
        return replace(
            picture,
            exif=_exif(file.image),
            xmp=_xmp(file.image),
            iptc=_iptc(file.image),
            dpi=_dpi(file.image),
            left_out=_left_out(file, data),
        )


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """Decodes a file on this machine; see `decode`.

    Raises:
        ImageError: also where the file is missing, cannot be read, or is over the byte budget.
    """
    uri = os.fspath(path)
    return decode(_bytes_of(uri), uri)


def read_picture(path: str | os.PathLike[str]) -> Picture:
    """Decodes a file on this machine; see `decode_picture`.

    Raises:
        ImageError: also where the file is missing, cannot be read, or is over the byte budget.
    """
    uri = os.fspath(path)
    return decode_picture(_bytes_of(uri), uri)


def from_pil(image: Image.Image) -> np.ndarray:
    """A Pillow image as upright 8-bit sRGB, (height, width, 3), as `decode` makes it of a file.

    Raises:
        ImageError: a kind of pixels that `decode` refuses too, over its pixel budget, or a file that is damaged behind
            its header.
    """
    return eight_bits(_of_pil(image, keep_space=False).pixels)


def picture_of_pil(image: Image.Image) -> Picture:
    """A Pillow image as `decode_picture` makes it of a file, in sRGB and without metadata.

    Raises:
        ImageError: as `from_pil`.
    """
    return _of_pil(image, keep_space=False)


def _of_pil(image: Image.Image, *, keep_space: bool) -> Picture:
    uri = str(getattr(image, "filename", "")) or "PIL image"
    if min(image.size) < 1:
        raise ImageError(uri, f"has no pixels ({image.size[0]} x {image.size[1]})")
    _check_size(*image.size, uri, MAX_PIXELS)
    if image.mode not in _MODES:
        raise ImageError(uri, f"pixels of kind {image.mode!r}; convert it to RGB")
    try:
        image.load()
        return _shallow(image, image.info.get("icc_profile"), keep_space=keep_space)
    except ImageError:
        raise
    except Exception as error:  # Pillow's plugins raise far more than OSError on damaged files
        raise ImageError(uri, f"damaged or truncated ({str(error) or type(error).__name__})") from error


def _bytes_of(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return read_bounded(file, most_bytes(MAX_PIXELS), path)
    except OSError as error:
        raise ImageError(path, f"cannot be read ({error.strerror or error})") from error


# ---- opening ---------------------------------------------------------------------------------------------------------


def _open(data: bytes, uri: str, max_pixels: int) -> _File:
    """Header only: a lazy Pillow image whose size and mode have been found acceptable."""
    declared = _declared_size(data[:30])
    if declared is not None:  # before Pillow sees it: its WebP decoder reserves the canvas while opening
        _check_size(*declared, uri, max_pixels)
    chunks = None
    if data[:4] == b"\x89PNG":
        chunks = png.read_chunks(data)
        data = chunks.data
    elif data[:4] in _TIFF_BEGINNINGS:
        data = tiff.photo_first(data)
    stream = io.BytesIO(data)
    if heif.is_container(data) and heif.kind(data) == "HEIF":
        image = heif.open_heic(stream)
    else:
        image = Image.open(stream, formats=_FORMATS)
    _check_size(*image.size, uri, max_pixels)
    if image.mode not in _MODES:
        raise ImageError(
            uri, f"{_format(image)} with pixels of kind {image.mode!r}; save it as grey or RGB with 8 or 16 bits"
        )
    if chunks is not None:
        _take_over(chunks, image)
    return _File(image, data, _profile(image, data, chunks), chunks)


def _take_over(chunks: png.Chunks, image: Image.Image) -> None:
    """What stood in the chunks that Pillow was not shown, and transparent values as its pixels have them."""
    for name, value in (("exif", chunks.exif), ("xmp", chunks.xmp), ("icc_profile", chunks.profile)):
        if value:
            image.info[name] = value
    value = chunks.transparent()
    if value is not None and chunks.depth in (2, 4) and chunks.colour == 0:
        image.info["transparency"] = value[0] % 2**chunks.depth * (255 // (2**chunks.depth - 1))


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
    if image.format in ("TIFF", "HEIF"):
        return 1  # Pillow turns TIFF itself, libheif HEIC, and both give the size as turned
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
    except Unsupported as error:
        raise ImageError(uri, str(error)) from error
    except Exception as error:
        raise ImageError(uri, _reason(error, data)) from error


def _reason(error: Exception, data: bytes) -> str:
    if not len(data):
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        head = bytes(data[:12])
        kind = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
        if kind == "TIFF" and (found := tiff.explain(data)):
            return found
        if kind is not None:
            return f"begins as {kind}, but its header is damaged or cut short"
        if heif.is_container(head):
            return "begins as HEIC or AVIF, but its header is damaged or cut short"
        return "not a JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC or AVIF image"
    if isinstance(error, MemoryError):
        return "does not fit into memory; lower the pixel limit"
    if isinstance(error, Image.DecompressionBombError):
        return f"over Pillow's own limit of pixels ({error})"
    told = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"damaged or truncated ({told})"


# ---- pixels ----------------------------------------------------------------------------------------------------------


def _pixels(file: _File, *, keep_space: bool) -> Picture:
    """Upright pixels of an opened file: with 16 bits where it has them, else with 8."""
    samples = _deep_samples(file)
    picture = _deep(file, samples, keep_space=keep_space) if samples is not None else None
    if picture is None:
        file.image.load()
        picture = _shallow(file.image, file.profile, keep_space=keep_space)
    return picture


def _picture(
    pixels: np.ndarray, alpha: np.ndarray | None, *, channels: int, profile: bytes | None, keep_space: bool
) -> Picture:
    """Pixels and alpha together, transparent places filled."""
    stored = None
    if alpha is not None:
        known = seen(alpha)
        if not known.all():
            stored, pixels = pixels, filled(pixels, known)
    grey = channels == 1 or (keep_space and _is_grey(pixels))
    return Picture(pixels, icc_profile=profile, alpha=alpha, stored=stored, grey=grey, channels=channels)


def _is_grey(pixels: np.ndarray) -> bool:
    """Whether all channels are alike; a look at some pixels spares most photos the rest."""
    return all(
        np.array_equal(part[..., 0], part[..., 1]) and np.array_equal(part[..., 0], part[..., 2])
        for part in (pixels[::61, ::61], pixels)
    )


def _shallow(image: Image.Image, profile: bytes | None, *, keep_space: bool) -> Picture:
    """A loaded image of any accepted mode with 8 bits."""
    turn = _TURNS.get(_orientation(image))
    if image.mode.startswith("I;16"):
        image = Image.fromarray(eight_bits(_deep_grey(image)))
    grey, alpha = image.mode in _GREY_MODES, None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        if alpha.getextrema() == (255, 255) and not keep_space:
            alpha = None
    if image.mode != "CMYK":
        image = _as(image, "L" if grey else "RGB")
    kept = bool(keep_space and profile and image.mode == "RGB" and colour.has_tones_of_srgb(profile))
    transform = colour.transform_to_srgb(profile, image.mode) if profile and not kept else None
    rgb = transform.apply(_as(image, transform.input_mode)) if transform else _as(image, "RGB")
    return _picture(
        np.array(rgb if turn is None else rgb.transpose(turn)),
        None if alpha is None else np.array(alpha if turn is None else alpha.transpose(turn)),
        channels=1 if grey else 3,
        profile=profile if kept else None,
        keep_space=keep_space,
    )


def _as(image: Image.Image, mode: str) -> Image.Image:
    """The image in a mode; itself where it has it, which Pillow would copy: a tenth of the time of a decoding."""
    return image if image.mode == mode else image.convert(mode)


# ---- 16 bits ---------------------------------------------------------------------------------------------------------


def _deep(file: _File, samples: np.ndarray, *, keep_space: bool) -> Picture | None:
    """Samples of 16 bits, stored upright, as a picture; None where only LittleCMS can read the profile."""
    channels = 1 if samples.shape[2] < 3 else 3
    alpha = samples[..., -1] if samples.shape[2] in (2, 4) else None
    samples = samples[..., :channels]
    profile = file.profile
    kept = bool(keep_space and profile and channels == 3 and colour.has_tones_of_srgb(profile))
    if profile and not kept:
        converted = colour.deep_to_srgb(samples, profile)
        if converted is None:
            return None
        samples = converted
    pixels = np.ascontiguousarray(np.broadcast_to(samples, (*samples.shape[:2], 3)))
    return _picture(
        pixels,
        None if alpha is None else np.ascontiguousarray(alpha),
        channels=channels,
        profile=profile if kept else None,
        keep_space=keep_space,
    )


def _deep_samples(file: _File) -> np.ndarray | None:
    """Upright samples of a file with 16 bits each, (height, width, 1 to 4), alpha last and not multiplied in.

    None for any other file, and for 16-bit CMYK.
    """
    image = file.image
    if file.chunks is not None:
        return _deep_png(file, file.chunks) if file.chunks.depth == 16 else None
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    if image.mode.startswith("I;16"):
        image.load()
        return _deep_grey(image)[..., None]
    bits = image.tag_v2.get(_BITS_PER_SAMPLE, ())
    if image.mode not in ("RGB", "RGBA", "RGBX") or not isinstance(bits, tuple) or set(bits) != {16}:
        return None
    apart = tiff.planes(file.data)
    if apart:
        count = 4 if image.mode == "RGBA" else 3
        samples = np.stack([_deep_grey(_loaded(plane)) for plane in apart[:count]], -1)
    else:
        samples = _two_readings(file.data, "RGB" if image.mode == "RGBX" else image.mode)
    if image.mode == "RGBA" and image.tag_v2.get(_EXTRA, (2,))[0] == 1:
        return _divided_by_alpha(samples)
    return samples


def _loaded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=_FORMATS)
    image.load()
    return image


def _deep_png(file: _File, chunks: png.Chunks) -> np.ndarray:
    turn = _TURNS.get(_orientation(file.image))
    if chunks.colour == 4:  # grey and alpha of 16 bits lie as RGBA of 8 bits would
        header = b"IHDR" + file.data[16:24] + b"\x08\x06" + file.data[26:29]
        disguised = file.data[:12] + header + png.checksum(header) + file.data[33:]
        pairs = np.asarray(_loaded(disguised)).astype(np.uint16)
        samples = pairs[..., ::2] << 8 | pairs[..., 1::2]
    elif chunks.colour == 0:
        file.image.load()
        samples = np.asarray(file.image).astype(np.uint16)[..., None]
    else:
        samples = _two_readings(file.data, file.image.mode)
    nothing = chunks.transparent()
    if nothing is not None:
        opaque = (samples != np.array(nothing, np.uint16)).any(-1)
        samples = np.concatenate([samples, (opaque * np.uint16(65_535))[..., None]], -1)
    return samples if turn is None else _turned(samples, turn)


def _two_readings(data: bytes, mode: str) -> np.ndarray:
    """RGB or RGBA of 16 bits from a decoder that gives 8: once the upper, once the lower byte of each sample.

    Pillow has no image of three 16-bit channels, but its unpackers take either byte order: told the wrong one, they
    give the bytes that they would have dropped.
    """
    halves = []
    for upper in (True, False):
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        image.tile = [tile._replace(args=_unpacked_as(tile.args, mode, upper, tile.codec_name)) for tile in image.tile]
        image.load()
        halves.append(np.asarray(image)[..., : len(mode)])
    return halves[0].astype(np.uint16) << 8 | halves[1]


def _unpacked_as(args: Any, mode: str, upper: bool, codec: str) -> Any:
    raw, *others = (args,) if isinstance(args, str) else args
    base, _, layout = raw.partition(";16")
    if not layout:
        raise ValueError(f"samples laid out as {raw}")
    native = "L" if sys.byteorder == "little" else "B"
    order = native if codec == "libtiff" else layout  # libtiff hands out the machine's own order
    if not upper:
        order = "B" if order == "L" else "L"
    base = mode if base in ("RGBa", "RGBA") else base  # a multiplied alpha is divided out later, with 16 bits
    return f"{base};16{order}" if isinstance(args, str) else (f"{base};16{order}", *others)


def _divided_by_alpha(samples: np.ndarray) -> np.ndarray:
    alpha = samples[..., 3:].astype(np.float32)
    colours = np.minimum(np.rint(samples[..., :3] / np.maximum(alpha, 1) * 65_535), 65_535)
    return np.concatenate([colours.astype(np.uint16), samples[..., 3:]], -1)


def _deep_grey(image: Image.Image) -> np.ndarray:
    """Loaded 16-bit grey at full range, uint16, black 0."""
    samples = np.asarray(image).astype(np.uint16)
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    if bits < 16:  # TIFF also has 12 bits
        samples = np.minimum(np.rint(samples * (65_535 / (2**bits - 1))), 65_535).astype(np.uint16)
    return 65_535 - samples if tags.get(_PHOTOMETRIC) == 0 else samples  # 0: white is zero


def _turned(samples: np.ndarray, turn: Image.Transpose) -> np.ndarray:
    return {
        Image.Transpose.FLIP_LEFT_RIGHT: lambda: samples[:, ::-1],
        Image.Transpose.ROTATE_180: lambda: samples[::-1, ::-1],
        Image.Transpose.FLIP_TOP_BOTTOM: lambda: samples[::-1],
        Image.Transpose.TRANSPOSE: lambda: samples.swapaxes(0, 1),
        Image.Transpose.ROTATE_270: lambda: samples.swapaxes(0, 1)[:, ::-1],
        Image.Transpose.TRANSVERSE: lambda: samples[::-1, ::-1].swapaxes(0, 1),
        Image.Transpose.ROTATE_90: lambda: samples.swapaxes(0, 1)[::-1],
    }[turn]()


# ---- metadata --------------------------------------------------------------------------------------------------------


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


def _xmp(image: Image.Image) -> bytes | None:
    xmp = image.info.get("xmp") or getattr(image, "tag_v2", {}).get(_XMP)
    if isinstance(xmp, tuple):
        xmp = bytes(xmp)
    return xmp.encode() if isinstance(xmp, str) else xmp or None


def _iptc(image: Image.Image) -> bytes | None:
    tags = getattr(image, "tag_v2", None)
    found = tags.get(_IPTC) if tags is not None else image.info.get("photoshop", {}).get(_IPTC_RESOURCE)
    if isinstance(found, tuple) and found and isinstance(found[0], int):  # some writers say that it is 32-bit numbers
        try:
            order = "big" if getattr(tags, "prefix", b"II") == b"MM" else "little"
            return b"".join(number.to_bytes(4, order) for number in found)
        except OverflowError:
            return None
    return found if isinstance(found, bytes) and found else None


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    try:
        across, down = (float(each) for each in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    return (across, down) if min(across, down) >= 1 and max(across, down) < 65_536 else None


def _left_out(file: _File, data: bytes) -> tuple[str, ...]:
    """What the file holds beside the picture that is decoded."""
    image, found = file.image, []
    if heif.is_container(data):
        gain_map = heif.has_gain_map(data)
    else:
        gain_map = _format(image) == "JPEG" and any(data.find(mark) >= 0 for mark in _JPEG_GAIN_MAPS)
    if gain_map:
        found.append(_GAIN_MAP_LEFT_OUT)
    try:
        if file.chunks is not None:
            pictures = file.chunks.frames
        elif image.format == "TIFF":
            pictures = tiff.number_of_pictures(file.data)
        else:
            pictures = getattr(image, "n_frames", 1)
    except Exception:  # counting reads on, behind the picture that is already there
        pictures = 1
    if pictures > 1 and not (gain_map and pictures == 2):
        found.append(f"all but the first of its {pictures} pictures")
    return tuple(found)
