"""Colour spaces: pixels under a profile to sRGB, with 8 bits by LittleCMS and with 16 in floating point.

What a file says without a profile (PNG's gAMA, cHRM and cICP; the numbers of HEIC and AVIF) becomes a profile here, so
that there is one way through.
"""

from __future__ import annotations

import functools
import io
import struct

import numpy as np
from PIL import Image, ImageCms

from lle.images.files import Unsupported

_TONE_TOLERANCE = 12  # of 255: the gamma of 2.2 of Adobe RGB is 9 away at most, the 1.8 of ProPhoto 19
_SRGB_GAMMA, _GAMMA_TOLERANCE = 1 / 2.2, 0.01  # what writers of PNG say when they mean sRGB
_CHROMATICITY_TOLERANCE = 0.002
_ROWS = 256  # converted at once, in floats

_D65, _DCI_WHITE = (0.3127, 0.3290), (0.314, 0.351)
_SRGB_PRIMARIES = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_PRIMARIES = {  # by the numbers of H.273: white, red, green, blue
    1: (_D65, *_SRGB_PRIMARIES),
    4: ((0.310, 0.316), (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: (_D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: (_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: (_DCI_WHITE, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: (_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_UNSPECIFIED, _PQ, _HLG = 2, 16, 18
# Exponents; the curves of video are shown on the same screens as sRGB and taken for it.
_TRANSFERS = {1: None, 2: None, 4: 2.2, 5: 2.8, 6: None, 8: 1.0, 13: None, 14: None, 15: None}

_D50 = np.array([0.96422, 1.0, 0.82521])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # g a b c d: (a x + b)^g from d on, below it c x


# ---- 8 bits ----------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=16)  # one camera's profile comes with thousands of photos
def transform_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
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
def has_tones_of_srgb(profile: bytes) -> bool:
    """Whether greys under an RGB profile are stored with nearly the numbers that sRGB gives them."""
    try:
        if ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip() != "RGB":
            return False
    except Exception:  # unusable: then the pixels are taken for sRGB, and nothing worth keeping is lost
        return False
    transform = transform_to_srgb(profile, "RGB")
    greys = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    if transform is None:
        return True
    change = np.asarray(transform.apply(Image.fromarray(greys)), int) - greys
    return bool(np.abs(change).max() <= _TONE_TOLERANCE)


# ---- 16 bits ---------------------------------------------------------------------------------------------------------


def deep_to_srgb(samples: np.ndarray, profile: bytes) -> np.ndarray | None:
    """16-bit samples under a profile of curves and a matrix in sRGB, relative colorimetric.

    Args:
        samples: grey or RGB, uint16, (height, width, 1 or 3).
        profile: ICC.

    Returns:
        uint16, the same shape; the samples themselves where the profile is sRGB, unusable or for other pixels; None
        where it goes by tables of colours, which only LittleCMS can read.
    """
    grey = samples.shape[2] == 1
    if transform_to_srgb(profile, "L" if grey else "RGB") is None:
        return samples
    found = _curves_and_matrix(profile)
    if found is None:
        return None
    curves, to_xyz = found
    if len(curves) == 1 or grey:
        table = np.rint(_srgb_tones(curves[0]) * 65_535).astype(np.uint16)
        return table[samples] if grey else None
    to_linear_srgb = np.linalg.inv(_xyz_of(_D65, _SRGB_PRIMARIES)) @ to_xyz
    result = np.empty_like(samples)
    for y in range(0, len(samples), _ROWS):
        linear = np.stack([curve[samples[y : y + _ROWS, :, each]] for each, curve in enumerate(curves)], -1)
        result[y : y + _ROWS] = np.rint(_srgb_tones(linear @ to_linear_srgb.T.astype(np.float32)) * 65_535)
    return result


@functools.cache
def _codes_of_light() -> np.ndarray:
    return np.rint(_srgb_tones(np.arange(65_536) / 65_535) * 65_535).astype(np.uint16)


def srgb_of_linear(light: np.ndarray) -> np.ndarray:
    """Linear light of 16 bits as sRGB values of 16 bits, of any shape."""
    return _codes_of_light()[light]


def _srgb_tones(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@functools.lru_cache(maxsize=4)
def _curves_and_matrix(profile: bytes) -> tuple[list[np.ndarray], np.ndarray] | None:
    """Linear light of each of 65536 levels, for each channel, and the matrix to XYZ under D50."""
    try:
        tags = {
            tag: profile[start : start + length]
            for tag, start, length in struct.iter_unpack(
                ">4sII", profile[132 : 132 + 12 * struct.unpack_from(">I", profile, 128)[0]]
            )
        }
        if any(tag in tags for tag in (b"A2B0", b"A2B1", b"D2B0")):
            return None
        if b"kTRC" in tags:
            return [_curve(tags[b"kTRC"])], np.eye(3)
        columns = [np.array(struct.unpack_from(">3i", tags[tag], 8)) / 65_536 for tag in (b"rXYZ", b"gXYZ", b"bXYZ")]
        return [_curve(tags[tag]) for tag in (b"rTRC", b"gTRC", b"bTRC")], np.stack(columns, 1)
    except (KeyError, struct.error, ValueError, IndexError):
        return None


def _curve(tag: bytes) -> np.ndarray:
    """An ICC curve at 65536 levels, float32."""
    x = np.linspace(0, 1, 65_536)
    if tag[:4] == b"curv":
        count = struct.unpack_from(">I", tag, 8)[0]
        values = np.frombuffer(tag, ">u2", count, 12) / 65_535
        if count == 0:
            y = x
        elif count == 1:
            y = x ** (values[0] * 65_535 / 256)
        else:
            y = np.interp(x, np.linspace(0, 1, count), values)
    elif tag[:4] == b"para":
        kind = struct.unpack_from(">H", tag, 8)[0]
        given = [value / 65_536 for value in struct.unpack_from(f">{(1, 3, 4, 5, 7)[kind]}i", tag, 12)]
        g, a, b, c, d, e, f = {
            0: lambda g: (g, 1, 0, 0, 0, 0, 0),
            1: lambda g, a, b: (g, a, b, 0, -b / a, 0, 0),
            2: lambda g, a, b, c: (g, a, b, 0, -b / a, c, c),
            3: lambda g, a, b, c, d: (g, a, b, c, d, 0, 0),
            4: lambda *all: all,
        }[kind](*given)  # type: ignore[operator]
        y = np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)
    else:
        raise ValueError("no curve")
    return np.clip(y, 0, 1).astype(np.float32)


# ---- spaces told without a profile -----------------------------------------------------------------------------------


def profile_of_numbers(primaries: int, transfer: int) -> bytes | None:
    """The space that H.273 numbers stand for, as a profile; None where it is sRGB or not told.

    Raises:
        Unsupported: high dynamic range, or a space that is not known here.
    """
    if transfer in (_PQ, _HLG):
        raise Unsupported(
            f"pixels of high dynamic range ({'PQ' if transfer == _PQ else 'HLG'}), which have no white to start from; "
            "save the picture with standard range (sRGB or Display P3)"
        )
    if transfer not in _TRANSFERS or primaries not in (*_PRIMARIES, _UNSPECIFIED):
        raise Unsupported(
            f"pixels in a colour space that is not known here (primaries {primaries}, transfer {transfer} of H.273); "
            "convert them to sRGB"
        )
    gamma = _TRANSFERS[transfer]
    if primaries in (1, _UNSPECIFIED) and gamma is None:
        return None
    white, *colours = _PRIMARIES[1 if primaries == _UNSPECIFIED else primaries]
    return _profile(white, tuple(colours), gamma)


def profile_of_gamma(gamma: float | None, chromaticities: tuple[float, ...] | None) -> bytes | None:
    """The space that PNG's gAMA and cHRM tell, as a profile; None where it is sRGB or as near as writers come to it.

    Args:
        gamma: exponent of encoding, such as 0.45455.
        chromaticities: x, y of white, red, green and blue.

    Raises:
        Unsupported: numbers that no space has.
    """
    plain = gamma is None or abs(gamma - _SRGB_GAMMA) < _GAMMA_TOLERANCE
    standard = (*_D65, *_SRGB_PRIMARIES[0], *_SRGB_PRIMARIES[1], *_SRGB_PRIMARIES[2])
    if chromaticities is None or np.allclose(chromaticities, standard, atol=_CHROMATICITY_TOLERANCE):
        chromaticities = standard
        if plain:
            return None
    if gamma is not None and not 0.05 <= gamma <= 10:
        raise Unsupported(f"a PNG with a gamma of {gamma:g} (gAMA), which cannot be; save it as sRGB")
    x = tuple(zip(chromaticities[::2], chromaticities[1::2], strict=True))
    try:
        return _profile(x[0], x[1:], None if plain else 1 / gamma)  # type: ignore[operator]
    except (ArithmeticError, np.linalg.LinAlgError, struct.error, ValueError) as error:
        raise Unsupported("a PNG whose primaries (cHRM) span no colours; save it as sRGB") from error


def _xyz_of(white: tuple[float, ...], primaries: tuple[tuple[float, ...], ...]) -> np.ndarray:
    """The matrix from linear RGB to XYZ under D50."""

    def xyz(x: float, y: float) -> np.ndarray:
        return np.array([x / y, 1, (1 - x - y) / y])

    columns = np.stack([xyz(*each) for each in primaries], 1)
    columns = columns * np.linalg.solve(columns, xyz(*white))
    adapted = _BRADFORD @ _D50 / (_BRADFORD @ xyz(*white))
    return np.linalg.inv(_BRADFORD) @ np.diag(adapted) @ _BRADFORD @ columns


@functools.lru_cache(maxsize=16)
def _profile(white: tuple[float, ...], primaries: tuple[tuple[float, ...], ...], gamma: float | None) -> bytes:
    """An ICC profile (4.3) of these primaries, with the tones of sRGB or a plain exponent."""

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(value * 65_536) for value in values))

    def text(words: str) -> bytes:
        return (
            b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, 2 * len(words), 28) + words.encode("utf-16-be")
        )

    matrix = _xyz_of(white, primaries)
    if not np.isfinite(matrix).all():
        raise ValueError("no colours")
    curve = b"para" + struct.pack(">IHH", 0, 0 if gamma else 3, 0) + fixed(*((gamma,) if gamma else _SRGB_CURVE))
    contents = {
        b"desc": text("Space of the photo"),
        b"cprt": text("No copyright"),
        b"wtpt": b"XYZ \0\0\0\0" + fixed(*_D50),
        **{tag: b"XYZ \0\0\0\0" + fixed(*matrix[:, each]) for each, tag in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, body, start = b"", b"", 132 + 12 * len(contents)
    for tag, content in contents.items():
        table += struct.pack(">4sII", tag, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"\0\0\0\0", 0x04300000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + fixed(*_D50) + bytes(48)
    return header + struct.pack(">I", len(contents)) + table + body
