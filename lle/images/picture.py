"""A picture between decoding and encoding: pixels for a network, and all that is to be written with them again.

A network judges a picture as a whole, and what is transparent must not be judged: black below a cut-out is no darkness.
So `pixels` has no holes; transparent places show the colours of the opaque ones around them, and `enhanced` gives them
their own colours back, brightened as their surroundings were.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from lle.images.pixels import white

_CELL = 8  # px: what is opaque in a cell fills the rest of it
_SEEN = 0.9  # of the largest alpha: what is less opaque is not judged
_ROWS = 256  # computed at once, in floats


@dataclass(frozen=True)
class Picture:
    """Pixels and what `encode_picture` needs beside them to write the same kind of photo again.

    Attributes:
        pixels: upright RGB, uint8 or uint16, (height, width, 3), transparent places filled.
        exif: the file's EXIF block as it stood; None where it had none.
        icc_profile: the colour space of the pixels; None: sRGB.
        alpha: opacity, type and size of the pixels, (height, width); None: opaque.
        stored: the pixels as they stood below the alpha; None: opaque.
        grey: the photo has no colour, so its result is to have none.
        channels: 1 where the file stores no colour, else 3.
        xmp, iptc: metadata of these kinds as they stood; None where there were none.
        dpi: pixels per inch, across and down; None: not told.
        left_out: what else the file holds and a result will not, such as "the HDR gain map".
    """

    pixels: np.ndarray
    exif: bytes | None = None
    icc_profile: bytes | None = None
    alpha: np.ndarray | None = None
    stored: np.ndarray | None = None
    grey: bool = False
    channels: int = 3
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    left_out: tuple[str, ...] = ()

    @property
    def own(self) -> np.ndarray:
        """The pixels that a file holds: not the filled ones."""
        return self.pixels if self.stored is None else self.stored

    def enhanced(self, pixels: np.ndarray) -> Picture:
        """The picture with what a network made of its pixels: grey stays grey, transparent places get theirs back.

        Args:
            pixels: the result, type and shape of `self.pixels`.
        """
        if self.grey:
            pixels = _without_colour(pixels)
        if self.alpha is not None and self.stored is not None:
            pixels = _brightened_alike(self.stored, self.pixels, pixels, seen(self.alpha))
        return replace(self, pixels=pixels, stored=None)


def seen(alpha: np.ndarray) -> np.ndarray:
    """Where a picture is opaque enough to be judged, bool, (height, width); everywhere, if it is nowhere."""
    return alpha >= max(1, round(_SEEN * int(alpha.max()))) if alpha.any() else np.ones(alpha.shape, bool)


def filled(pixels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Unknown places in the colours of known ones nearby: the mean of their cell, else of ever larger ones.

    Args:
        pixels: RGB, uint8 or uint16, (height, width, 3).
        known: bool, (height, width), somewhere True.
    """
    height, width = known.shape
    rows = [_cell_sums(pixels[y : y + _ROWS], known[y : y + _ROWS]) for y in range(0, height, _ROWS)]
    means = _means(np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows]))
    result = pixels.copy()
    for channel in range(3):
        coarse = Image.fromarray(np.ascontiguousarray(means[..., channel], np.float32))
        size = (coarse.width * _CELL, coarse.height * _CELL)
        smooth = np.asarray(coarse.resize(size, Image.Resampling.BILINEAR))[:height, :width]
        result[..., channel][~known] = np.rint(smooth[~known])
    return result


def _cell_sums(pixels: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of known pixels in each cell, (h, w, 3), and their number, (h, w)."""
    below, right = -known.shape[0] % _CELL, -known.shape[1] % _CELL
    known = np.pad(known, ((0, below), (0, right)))
    pixels = np.pad(pixels, ((0, below), (0, right), (0, 0))) * known[..., None]
    h, w = known.shape[0] // _CELL, known.shape[1] // _CELL
    sums = pixels.reshape(h, _CELL, w, _CELL, 3).sum((1, 3), dtype=np.uint32)
    return sums.astype(np.float64), known.reshape(h, _CELL, w, _CELL).sum((1, 3)).astype(np.float64)


def _means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean of each cell; an empty one has that of the cell of twice the size that holds it."""
    if counts.all():
        return sums / counts[..., None]
    padding = ((0, counts.shape[0] % 2), (0, counts.shape[1] % 2))
    h, w = (counts.shape[0] + 1) // 2, (counts.shape[1] + 1) // 2
    above = _means(
        np.pad(sums, (*padding, (0, 0))).reshape(h, 2, w, 2, 3).sum((1, 3)),
        np.pad(counts, padding).reshape(h, 2, w, 2).sum((1, 3)),
    )
    above = above.repeat(2, 0).repeat(2, 1)[: counts.shape[0], : counts.shape[1]]
    return np.where(counts[..., None] > 0, sums / np.maximum(counts, 1)[..., None], above)


def _without_colour(pixels: np.ndarray) -> np.ndarray:
    """The luma of a result in all channels: what a network tints by a little in a grey photo is no colour."""
    result = np.empty_like(pixels)
    for y in range(0, len(pixels), _ROWS):
        rows = pixels[y : y + _ROWS]
        result[y : y + _ROWS] = np.rint(rows @ np.array([0.2126, 0.7152, 0.0722], np.float32))[..., None]
    return result


def _brightened_alike(stored: np.ndarray, before: np.ndarray, after: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The result; where nothing was judged, the stored colours times what was done to the fill: stored after / before.

    Black stays black, so a shadow below a cut-out stays a shadow.
    """
    result = after.copy()
    places = ~known
    gain = np.maximum(after[places], 0).astype(np.float32) / np.maximum(before[places], 1)
    result[places] = np.rint(np.minimum(stored[places] * gain, white(after.dtype)))
    return result
