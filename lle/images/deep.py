"""Samples of 16 bits, of which Pillow has images only in grey."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from lle.images import png, tiff
from lle.images.opening import FORMATS, TURNS, File, orientation_of
from lle.images.raw import RawImage

_BITS_PER_SAMPLE, _PHOTOMETRIC, _EXTRA = 258, 262, 338  # TIFF tags


def deep_samples(file: File) -> np.ndarray | None:
    """Upright samples of a file with 16 bits each, (height, width, 1 to 4), alpha last and not multiplied in.

    None for any other file, and for 16-bit CMYK.
    """
    image = file.image
    if isinstance(image, RawImage):
        return image.samples()
    if file.chunks is not None:
        return _deep_png(file, file.chunks) if file.chunks.depth == 16 else None
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    if image.mode.startswith("I;16"):
        image.load()
        return deep_grey(image)[..., None]
    bits = image.tag_v2.get(_BITS_PER_SAMPLE, ())
    if image.mode not in ("RGB", "RGBA", "RGBX") or not isinstance(bits, tuple) or set(bits) != {16}:
        return None
    apart = tiff.planes(file.data)
    if apart:
        count = 4 if image.mode == "RGBA" else 3
        samples = np.stack([deep_grey(_loaded(plane)) for plane in apart[:count]], -1)
    else:
        samples = _two_readings(file.data, "RGB" if image.mode == "RGBX" else image.mode)
    if image.mode == "RGBA" and image.tag_v2.get(_EXTRA, (2,))[0] == 1:
        return _divided_by_alpha(samples)
    return samples


def _loaded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    image.load()
    return image


def _deep_png(file: File, chunks: png.Chunks) -> np.ndarray:
    turn = TURNS.get(orientation_of(file.image))
    if chunks.colour == 4:  # grey and alpha of 16 bits lie as RGBA of 8 bits would
        header = b"IHDR" + file.data[16:24] + b"\x08\x06" + file.data[26:29]
        disguised = file.data[:12] + header + png.checksum(header) + file.data[33:]
        pairs = np.asarray(_loaded(disguised)).astype(np.uint16)
        samples: np.ndarray = pairs[..., ::2] << 8 | pairs[..., 1::2]
    elif chunks.colour == 0:
        file.image.load()
        samples = np.asarray(file.image).astype(np.uint16)[..., None]
    else:
        samples = _two_readings(file.data, file.image.mode)
    nothing = chunks.transparent()
    if nothing is not None:
        opaque = (samples != np.array(nothing, np.uint16)).any(-1)
        samples = np.concatenate([samples, (opaque * np.uint16(65_535))[..., None]], -1)
    return samples if turn is None else turned(samples, turn)


def _two_readings(data: bytes, mode: str) -> np.ndarray:
    """RGB or RGBA of 16 bits from a decoder that gives 8: once the upper, once the lower byte of each sample.

    Pillow has no image of three 16-bit channels, but its unpackers take either byte order: told the wrong one, they
    give the bytes that they would have dropped.
    """
    halves = []
    for upper in (True, False):
        image = Image.open(io.BytesIO(data), formats=FORMATS)
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


def deep_grey(image: Image.Image) -> np.ndarray:
    """Loaded 16-bit grey at full range, uint16, black 0."""
    samples = np.asarray(image).astype(np.uint16)
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    if bits < 16:  # TIFF also has 12 bits
        samples = np.minimum(np.rint(samples * (65_535 / (2**bits - 1))), 65_535).astype(np.uint16)
    return 65_535 - samples if tags.get(_PHOTOMETRIC) == 0 else samples  # 0: white is zero


def turned(samples: np.ndarray, turn: Image.Transpose) -> np.ndarray:
    return {
        Image.Transpose.FLIP_LEFT_RIGHT: lambda: samples[:, ::-1],
        Image.Transpose.ROTATE_180: lambda: samples[::-1, ::-1],
        Image.Transpose.FLIP_TOP_BOTTOM: lambda: samples[::-1],
        Image.Transpose.TRANSPOSE: lambda: samples.swapaxes(0, 1),
        Image.Transpose.ROTATE_270: lambda: samples.swapaxes(0, 1)[:, ::-1],
        Image.Transpose.TRANSVERSE: lambda: samples[::-1, ::-1].swapaxes(0, 1),
        Image.Transpose.ROTATE_90: lambda: samples.swapaxes(0, 1)[::-1],
    }[turn]()
