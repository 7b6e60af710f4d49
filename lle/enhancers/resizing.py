"""Small copies for networks to look at, and small maps back to full size, some rows and columns at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lle.enhancers.tiles import Where, values


def shrunk(image: Tensor, side: int) -> Tensor:
    """(B, 3, side, side) in [0, 1]; large pictures are thinned out first, for a look needs no more than two pixels a
    side.
    """
    skip_rows, skip_columns = (max(1, length // (4 * side)) for length in image.shape[-2:])
    thinned = values(image[..., ::skip_rows, ::skip_columns])
    return F.interpolate(thinned, size=(side, side), mode="bilinear", antialias=True)


def enlarged(maps: Tensor, image: Tensor, where: Where) -> Tensor:
    """Some rows and columns of the maps enlarged to the picture by bilinear interpolation, (B, M, rows, columns)."""
    rows, columns = where
    return enlarged_down(enlarged_across(maps, image, columns), image, rows)


def enlarged_across(maps: Tensor, image: Tensor, columns: slice) -> Tensor:
    """The first half of it: some columns of all knots, (B, M, h, columns)."""
    shares, used = _interpolation(image.shape[-1], columns, maps.shape[-1], maps)
    return maps[..., used] @ shares.T


def enlarged_down(across: Tensor, image: Tensor, rows: slice) -> Tensor:
    """The second half: some rows of such columns, (B, M, rows, columns)."""
    shares, used = _interpolation(image.shape[-2], rows, across.shape[-2], across)
    return shares @ across[..., used, :]


def enlarged_at(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The maps at the centres of some pixels' rows and columns, counted from 0 to 1 along the picture's sides,
    (B, M, rows, columns), by bilinear interpolation. An export has no slices of a picture that it does not see.
    """
    (above, beside) = (
        _shares(places * knots - 0.5, torch.arange(knots, device=maps.device), knots)
        for places, knots in zip((rows, columns), maps.shape[-2:], strict=True)
    )
    return above @ (maps @ beside.T)


def _interpolation(length: int, part: slice, knots: int, like: Tensor) -> tuple[Tensor, slice]:
    """The weights by which each pixel of a part mixes the knots, as in bilinear interpolation, (pixels, knots of it),
    and which knots those are.
    """
    centre = (torch.arange(length, device=like.device)[part] + 0.5) * knots / length - 0.5
    used = slice(0, knots)
    if part != slice(None):  # most knots lie elsewhere
        first, last, _ = part.indices(length)
        used = slice(max(0, first * knots // length - 1), min(knots, last * knots // length + 2))
    return _shares(centre, torch.arange(knots, device=like.device)[used], knots).to(like.dtype), used


def _shares(centre: Tensor, used: Tensor, knots: int) -> Tensor:
    """How much of each knot that is used each pixel takes, (pixels, knots of it)."""
    return (1 - (centre.clamp(0, knots - 1)[:, None] - used).abs()).clamp_min(0)
