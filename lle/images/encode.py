"""Pixels to image files, with all that the format can hold of what belongs to the photo."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import AvifImagePlugin, Image, PngImagePlugin, TiffImagePlugin

from lle.images import png
from lle.images.colour import transform_to_srgb
from lle.images.metadata import iptc_segment, upright_exif, upright_xmp
from lle.images.picture import Picture
from lle.images.pixels import check_pixels, eight_bits, white

_ENCODERS = {
    **{"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP", "avif": AvifImagePlugin.AvifImageFile.format},
    **{"tif": "TIFF", "tiff": TiffImagePlugin.TiffImageFile.format, "bmp": "BMP"},
}
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 65_535}
_LONGEST_JPEG_EXIF, _LONGEST_JPEG_XMP = 65_527, 65_504  # bytes that fit into one segment
_HOLDS_ALPHA = {"PNG", "WEBP", "TIFF", "AVIF"}
_HOLDS_16_BITS = {"PNG", "TIFF"}
_HOLDS_GREY = {"PNG", "JPEG", "TIFF", "BMP", "AVIF"}
_HOLDS_DPI = {"PNG", "JPEG", "TIFF", "BMP"}
_HOLDS_IPTC = {"JPEG", "TIFF"}
_XMP, _IPTC, _WIDTH, _BITS = 700, 33_723, 256, 258  # TIFF tags
_UNDEFINED = 7  # TIFF's type for plain bytes


def encode(
    image: np.ndarray,
    format: str = "png",
    quality: int = 95,
    exif: bytes | None = None,
    icc_profile: bytes | None = None,
) -> bytes:
    """Encodes sRGB pixels as an image file.

    Args:
        image: RGB, uint8, or uint16 (which png and tiff keep, others round), (height, width, 3).
        format: "png", "jpeg" ("jpg"), "webp", "avif", "tiff" ("tif") or "bmp"; bmp keeps no exif, and
            gets pixels under a profile as sRGB.
        quality: 1 to 100, for jpeg, webp and avif; from 90 up, JPEG and AVIF keep the full colour resolution (4:4:4).
        exif: EXIF block to carry over. Its orientation is set to upright, which is what `decode` returns, and its
            thumbnail is left out, which shows another picture; a block that cannot be parsed, or is too long for a
            JPEG, is left out.
        icc_profile: embedded as it is; leave it out for pixels from `decode`, which are sRGB.

    Raises:
        ValueError: wrong array, unknown format, quality out of range, or a side longer than the format can hold.
    """
    check_pixels(image, depths=(np.uint8, np.uint16))
    return encode_picture(Picture(image, exif, icc_profile), format, quality)


def encode_picture(picture: Picture, format: str = "png", quality: int = 95) -> bytes:
    """Encodes a picture with its alpha and metadata, as far as the format holds them; `losses` tells what it does not.

    Alpha is kept bit for bit; where the format has none, the picture is composited on white.

    Args:
        picture: what `decode_picture` gave, or `Picture.enhanced` of it.
        format, quality: as for `encode`.

    Raises:
        ValueError: as `encode`.
    """
    check_pixels(picture.pixels, depths=(np.uint8, np.uint16))
    name = _encoder(format)
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; choose from 1 to 100")
    height, width = picture.pixels.shape[:2]
    limit = _LONGEST_SIDE.get(name)
    if limit is not None and max(height, width) > limit:
        raise ValueError(f"{width} x {height} is too long for {name} (limit {limit}); choose png")
    samples = _samples(picture, name)
    options = _options(picture, name, quality)
    if samples.dtype == np.uint16:
        return (_deep_png if name == "PNG" else _deep_tiff)(samples, options)
    return _saved(samples, name, options)


def losses(picture: Picture, format: str) -> list[str]:
    """What a file of this format will not hold of a photo, each as a few words: "alpha (composited on white)"."""
    name, found = _encoder(format), list(picture.left_out)
    if picture.alpha is not None and name not in _HOLDS_ALPHA:
        found.append("alpha (composited on white)")
    if picture.pixels.dtype == np.uint16 and name not in _HOLDS_16_BITS:
        found.append("16 bits (written with 8)")
    exif, xmp = upright_exif(picture.exif), upright_xmp(picture.xmp)
    missing = {
        "EXIF": picture.exif and (not exif or name == "BMP" or (name == "JPEG" and len(exif) > _LONGEST_JPEG_EXIF)),
        "XMP": picture.xmp and (not xmp or name == "BMP" or (name == "JPEG" and len(xmp) > _LONGEST_JPEG_XMP)),
        "IPTC": picture.iptc and (name not in _HOLDS_IPTC or (name == "JPEG" and not iptc_segment(picture.iptc))),
        "the colour space (converted to sRGB)": picture.icc_profile and name == "BMP",
    }
    return found + [what for what, is_missing in missing.items() if is_missing]


def on_white(picture: Picture) -> np.ndarray:
    """What a viewer shows of a picture: 8 bits, transparent places white; RGB, uint8, (height, width, 3)."""
    pixels = picture.own if picture.alpha is None else _composited(picture.own, picture.alpha)
    return eight_bits(pixels)


def _encoder(format: str) -> str:
    name = _ENCODERS.get(format.lower().lstrip("."))
    if name is None:
        raise ValueError(f"cannot encode {format!r}; choose one of {', '.join(_ENCODERS)}")
    return name


def _samples(picture: Picture, name: str) -> np.ndarray:
    """What is written: (height, width, 1 to 4), of the picture's depth where the format has it."""
    samples, alpha = picture.own, picture.alpha
    if name == "BMP" and picture.icc_profile:
        samples = _to_srgb(eight_bits(samples), picture.icc_profile)
    if alpha is not None and name not in _HOLDS_ALPHA:
        samples, alpha = _composited(samples, alpha), None
    grey_with_alpha = alpha is None or name == "PNG" or (name == "TIFF" and samples.dtype == np.uint8)
    if picture.channels == 1 and picture.grey and name in _HOLDS_GREY and grey_with_alpha:
        samples = samples[..., :1]
    if alpha is not None:
        samples = np.concatenate([samples, alpha[..., None]], -1)
    return samples if name in _HOLDS_16_BITS else eight_bits(samples)


def _to_srgb(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    transform = transform_to_srgb(profile, "RGB")
    return pixels if transform is None else np.asarray(transform.apply(Image.fromarray(pixels)))


def _composited(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    full = white(pixels.dtype)
    share = alpha[..., None].astype(np.float32) / full
    return np.rint(full + (pixels - np.float32(full)) * share).astype(pixels.dtype)


def _options(picture: Picture, name: str, quality: int) -> dict[str, Any]:
    """Pillow's, for a format."""
    options: dict[str, Any] = {}
    if name in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = quality
    if name in ("JPEG", "AVIF") and picture.channels == 3:
        options["subsampling"] = "4:4:4" if quality >= 90 else "4:2:0"
    if name == "AVIF" and picture.alpha is not None:
        options |= {"codec": "aom", "advanced": {"alpha:lossless": "1"}}
    if picture.dpi is not None and name in _HOLDS_DPI:
        options["dpi"] = picture.dpi
    if name == "BMP":
        return options
    exif, xmp, iptc = upright_exif(picture.exif), upright_xmp(picture.xmp), picture.iptc
    options |= {"exif": exif, "icc_profile": picture.icc_profile}
    if name == "JPEG":
        if len(exif or b"") > _LONGEST_JPEG_EXIF:
            del options["exif"]
        if xmp and len(xmp) <= _LONGEST_JPEG_XMP:
            options["xmp"] = xmp
        if iptc:
            options["extra"] = iptc_segment(iptc)
    elif name in ("WEBP", "AVIF"):
        options["xmp"] = xmp
    elif name == "PNG" and xmp:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    elif name == "TIFF" and (xmp or iptc):
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, block in ((_XMP, xmp), (_IPTC, iptc)):
            if block:
                tags.tagtype[tag] = _UNDEFINED
                tags[tag] = block
        options["tiffinfo"] = tags
    return {key: value for key, value in options.items() if value is not None}


def _saved(samples: np.ndarray, name: str, options: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else np.ascontiguousarray(samples))
    image.save(stream, name, **options)
    return stream.getvalue()


def _deep_png(samples: np.ndarray, options: dict[str, Any]) -> bytes:
    """16 bits, which Pillow writes only in grey: its file of one pixel, with size and pixels replaced."""
    height, width, channels = samples.shape
    small = _saved(np.zeros((1, 1, channels), np.uint8), "PNG", options)
    rows = samples.astype(">u2").view(np.uint8).reshape(height, width * 2 * channels)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = 1  # each byte less the one of the pixel before
    filtered[:, 1:] = rows
    filtered[:, 1 + 2 * channels :] -= rows[:, : -2 * channels]
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    replaced = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0),
        b"IDAT": zlib.compress(filtered.tobytes(), 6),
    }
    parts, at = [png.SIGNATURE], len(png.SIGNATURE)
    while at < len(small):
        length, kind = int.from_bytes(small[at : at + 4], "big"), small[at + 4 : at + 8]
        content = replaced.get(kind, small[at + 8 : at + 8 + length])
        parts.append(len(content).to_bytes(4, "big") + kind + content + png.checksum(kind + content))
        at += 12 + length
    return b"".join(parts)


def _deep_tiff(samples: np.ndarray, options: dict[str, Any]) -> bytes:
    """16 bits, which Pillow writes only in grey: its file of twice as many samples of 8, declared as what they are."""
    height, width, channels = samples.shape
    doubled = samples.astype("<u2").view(np.uint8).reshape(height, 2 * width, channels)
    data = bytearray(_saved(doubled, "TIFF", options))
    directory = struct.unpack_from("<I", data, 4)[0]
    for place in range(directory + 2, directory + 2 + 12 * struct.unpack_from("<H", data, directory)[0], 12):
        tag, kind, count, value = struct.unpack_from("<HHII", data, place)
        if tag == _WIDTH:
            struct.pack_into("<I" if kind == 4 else "<H", data, place + 8, width)
        elif tag == _BITS:
            struct.pack_into(f"<{count}H", data, place + 8 if count <= 2 else value, *[16] * count)
    return bytes(data)
