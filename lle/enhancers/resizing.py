"""Small copies for networks to look at, and small maps back to full size, some rows and columns at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lle.enhancers.tiles import Where


def shrunk(image: Tensor, side: int) -> Tensor:
    """(B, 3, side, side); large pictures are thinned out first, for a look needs no more than two pixels a side."""
    skip_rows, skip_columns = (max(1, length // (4 * side)) for length in image.shape[-2:])
    thinned = image[..., ::skip_rows, ::skip_columns]
    return F.interpolate(thinned, size=(side, side), mode="bilinear", antialias=True)


def enlarged(maps: Tensor, image: Tensor, where: Where) -> Tensor:
    """Some rows and columns of the maps enlarged to the picture by bilinear interpolation, (B, M, rows, columns)."""
    down, across = (
        _interpolation(length, knots, maps)[part]
        for length, knots, part in zip(image.shape[-2:], maps.shape[-2:], where, strict=True)
    )
    return down @ (maps @ across.T)


def _interpolation(length: int, knots: int, like: Tensor) -> Tensor:
    """(length, knots): the weights by which pixel i mixes the knots, as in bilinear interpolation."""
    centre = (torch.arange(length, device=like.device) + 0.5) * knots / length - 0.5
    distance = centre.clamp(0, knots - 1)[:, None] - torch.arange(knots, device=like.device)
    return (1 - distance.abs()).clamp_min(0).to(like.dtype)
