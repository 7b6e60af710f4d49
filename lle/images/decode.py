"""Image files to pixels: safe, whole, upright.

Whatever the file was (grey, palette, CMYK, alpha, 16 bit, turned by its EXIF orientation, in another colour space),
what comes out is upright RGB. Whatever is wrong with the file, what comes out is one exception, `ImageError`, with the
uri and the reason. Width x height is checked in the header, before anything is decoded.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from lle.images import colour
from lle.images.carried import dpi_of, exif_of, iptc_of, left_out, xmp_of
from lle.images.deep import deep_grey, deep_samples
from lle.images.files import MAX_PIXELS, ImageError, most_bytes, read_bounded
from lle.images.opening import (
    MODES,
    TURNS,
    File,
    check_size,
    format_of,
    image_errors,
    open_file,
    orientation_of,
    webp_size_and_mode,
)
from lle.images.picture import Picture, filled, seen
from lle.images.pixels import array_of, eight_bits

_GREY_MODES = {"1", "L", "LA"}


@dataclass(frozen=True)
class ImageHeader:
    """What a file says of itself.

    Attributes:
        width, height: pixels of the upright picture, after EXIF orientation.
        format: "JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF" or "RAW".
        mode: Pillow's name of the stored pixels, such as "RGB", "L", "CMYK" or "I;16".
    """

    width: int
    height: int
    format: str
    mode: str


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
    with image_errors(uri, data):
        try:
            file = open_file(data, uri, max_pixels)
        except OSError:  # Pillow has no way to open the beginning of a WebP
            told = webp_size_and_mode(data)
            if told is None:
                raise
            width, height, mode = told
            return ImageHeader(width, height, "WEBP", mode)
        image = file.image
        size = image.size if orientation_of(image) < 5 else image.size[::-1]
        return ImageHeader(*size, format=format_of(image), mode=image.mode)


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
    with image_errors(uri, data):
        file = open_file(data, uri, max_pixels)
        if short_side is not None:
            file.image.draft(None, (short_side, short_side))
        return eight_bits(_pixels(file, keep_space=False).pixels)


def decode_picture(
    data: bytes, uri: str = "<bytes>", *, max_pixels: int = MAX_PIXELS, keep_space: bool = True
) -> Picture:
    """Decodes a whole image file together with what is to be written again with it.

    As `decode`, except that 16-bit samples stay so (PNG and TIFF, grey or RGB), and that RGB pixels stay in a colour
    space of their own (Adobe RGB, Display P3) where its tones are close to those of sRGB: nothing is lost to the
    smaller space. Others become sRGB.

    Args:
        data: the whole file.
        uri: what to call it in errors.
        max_pixels: largest width x height that is accepted, checked in the header.
        keep_space: False makes sRGB of every picture.

    Raises:
        ImageError: as `decode`.
    """
    with image_errors(uri, data):
        file = open_file(data, uri, max_pixels)
        picture = _pixels(file, keep_space=keep_space)
        return replace(
            picture,
            grey=picture.grey or _is_grey(picture.pixels, rounding=format_of(file.image) == "WEBP"),
            exif=exif_of(file.image),
            xmp=xmp_of(file.image),
            iptc=iptc_of(file.image),
            dpi=dpi_of(file.image),
            left_out=left_out(file, data),
        )


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """Decodes a file on this machine; see `decode`.

    Raises:
        ImageError: also where the file is missing, cannot be read, or is over the byte budget.
    """
    uri = os.fspath(path)
    return decode(_bytes_of(uri), uri)


def read_picture(path: str | os.PathLike[str]) -> Picture:
    """Decodes a file on this machine to sRGB; see `decode_picture`.

    Raises:
        ImageError: also where the file is missing, cannot be read, or is over the byte budget.
    """
    uri = os.fspath(path)
    return decode_picture(_bytes_of(uri), uri, keep_space=False)


def from_pil(image: Image.Image) -> np.ndarray:
    """A Pillow image as upright 8-bit sRGB, (height, width, 3), as `decode` makes it of a file.

    Raises:
        ImageError: a kind of pixels that `decode` refuses too, over its pixel budget, or a file that is damaged behind
            its header.
    """
    return picture_of_pil(image).pixels


def picture_of_pil(image: Image.Image) -> Picture:
    """A Pillow image as upright 8-bit sRGB with its alpha, without metadata.

    Raises:
        ImageError: as `from_pil`.
    """
    uri = str(getattr(image, "filename", "")) or "PIL image"
    check_size(*image.size, uri, MAX_PIXELS)
    if image.mode not in MODES:
        raise ImageError(uri, f"pixels of kind {image.mode!r}; convert it to RGB")
    with image_errors(uri):
        image.load()
        picture = _shallow(image, image.info.get("icc_profile"), keep_space=False)
        return replace(picture, grey=picture.grey or _is_grey(picture.pixels))


def _bytes_of(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return read_bounded(file, most_bytes(MAX_PIXELS), path)
    except OSError as error:
        raise ImageError(path, f"cannot be read ({error.strerror or error})") from error


# ---- pixels ----------------------------------------------------------------------------------------------------------


def _pixels(file: File, *, keep_space: bool) -> Picture:
    """Upright pixels of an opened file: with 16 bits where it has them, else with 8."""
    samples = deep_samples(file)
    picture = _deep(file, samples, keep_space=keep_space) if samples is not None else None
    if picture is None:
        file.image.load()
        picture = _shallow(file.image, file.profile, keep_space=keep_space)
    return picture


def _picture(pixels: np.ndarray, alpha: np.ndarray | None, *, channels: int, profile: bytes | None) -> Picture:
    """Pixels and alpha together, transparent places filled."""
    stored = None
    if alpha is not None:
        known = seen(alpha)
        if not known.all():
            stored, pixels = pixels, filled(pixels, known)
    return Picture(pixels, icc_profile=profile, alpha=alpha, stored=stored, grey=channels == 1, channels=channels)


def _is_grey(pixels: np.ndarray, *, rounding: bool = False) -> bool:
    """Whether all channels are alike; a look at some pixels spares most photos the rest.

    Args:
        pixels: RGB.
        rounding: green may be one less, as WebP decodes what has no colour.
    """

    def are_alike(part: np.ndarray) -> bool:
        red, green, blue = part[..., 0], part[..., 1], part[..., 2]
        return np.array_equal(red, blue) and (
            np.array_equal(red, green) or (rounding and bool((red - green <= 1).all()))  # unsigned: never below 0
        )

    return are_alike(pixels[::61, ::61]) and are_alike(pixels)


def _shallow(image: Image.Image, profile: bytes | None, *, keep_space: bool) -> Picture:
    """A loaded image of any accepted mode with 8 bits."""
    turn = TURNS.get(orientation_of(image))
    if image.mode.startswith("I;16"):
        image = Image.fromarray(eight_bits(deep_grey(image)))
    grey, alpha = image.mode in _GREY_MODES, None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    if image.mode != "CMYK":
        image = _as(image, "L" if grey else "RGB")
    kept = bool(keep_space and profile and image.mode == "RGB" and colour.has_tones_of_srgb(profile))
    transform = colour.transform_to_srgb(profile, image.mode) if profile and not kept else None
    rgb = transform.apply(_as(image, transform.input_mode)) if transform else _as(image, "RGB")
    return _picture(
        array_of(rgb if turn is None else rgb.transpose(turn)),
        None if alpha is None else array_of(alpha if turn is None else alpha.transpose(turn)),
        channels=1 if grey else 3,
        profile=profile if kept else None,
    )


def _as(image: Image.Image, mode: str) -> Image.Image:
    """The image in a mode; itself where it has it, which Pillow would copy: a tenth of the time of a decoding."""
    return image if image.mode == mode else image.convert(mode)


def _deep(file: File, samples: np.ndarray, *, keep_space: bool) -> Picture | None:
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
    )
