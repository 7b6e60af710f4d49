"""CLIP-LIT's enhancer: divide the image by a predicted light map (method 1.1).

    e = clamp(I / (L + eps), 0, 1),    L >= 0, one channel, full resolution

278,790 parameters, 277,632 multiply-adds per pixel. No normalisation layers, stride 1 throughout.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.enhancers.base import Enhanced, Enhancer, start_small
from lle.enhancers.tiles import Where, fits_in_one, put_together, tiles_of

Padding = Literal["zeros", "reflect"]
EPSILON = 1e-4
POOL_BINS = (1, 2, 3, 6)
REACH = 17  # pixels to every side that a result depends on, beside the pooled context
REACH_TO_POOL = 5  # the same for what is pooled


class RetinexEnhancer(Enhancer):
    """Light map at full resolution.

    Args:
        padding: border of the four convolutions outside the residual blocks, `zeros` (as the published network was
            trained) or `reflect` (as it was tested). Both take the same weights.

    Heights and widths must be at least 2 for the reflected borders inside the residual blocks.
    """

    def __init__(self, padding: Padding = "zeros") -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1, padding_mode=padding)
        self.body_in = nn.Sequential(ResidualBlock(32), ResidualBlock(32))
        self.context = PyramidPooling(32, 8)
        self.widen = nn.Conv2d(32, 64, 3, padding=1, padding_mode=padding)
        self.body_wide = nn.Sequential(ResidualBlock(64), ResidualBlock(64))
        self.narrow = nn.Conv2d(64, 32, 3, padding=1, padding_mode=padding)
        self.body_out = nn.Sequential(ResidualBlock(32), ResidualBlock(32))
        self.head = nn.Conv2d(32, 1, 3, padding=1, padding_mode=padding)
        self.apply(start_small)

    def light_map(self, image: Tensor) -> Tensor:
        """L >= 0, (B, 1, H, W)."""
        return self._decide(self.context(self._see(image)))

    def forward(self, image: Tensor) -> Enhanced:
        light = self.light_map(image)
        return Enhanced(_relit(image, light), light)

    def _picture(self, image: Tensor) -> Tensor:
        """Large pictures in two passes over their tiles: what is pooled from the whole, then the light by it."""
        if fits_in_one(image):
            return self(image).image
        grids = self.context.grids(self._pooled(image))

        def lit(seen: Where) -> Tensor:
            piece = image[(..., *seen)]
            beside = [_enlarged(grid, image.shape[-2:], seen) for grid in grids]
            return _relit(piece, self._decide(self.context.fuse(torch.cat([self._see(piece), *beside], dim=1))))

        return put_together(lit, image, tiles_of(image, REACH))

    def _see(self, image: Tensor) -> Tensor:
        return cast(Tensor, self.body_in(F.leaky_relu(self.stem(image), 0.2, inplace=True)))

    def _decide(self, x: Tensor) -> Tensor:
        x = self.body_wide(self.widen(x))
        x = self.body_out(self.narrow(x))
        return F.relu(self.head(x))

    def _pooled(self, image: Tensor) -> list[Tensor]:
        """Averages over the whole picture, (B, 32, bins, bins) each, gathered from its tiles."""
        matrices = [[_averaging_matrix(length, bins, image) for length in image.shape[-2:]] for bins in POOL_BINS]
        pooled = [image.new_zeros(len(image), self.stem.out_channels, bins, bins) for bins in POOL_BINS]
        for tile in tiles_of(image, REACH_TO_POOL):
            x = self._see(image[(..., *tile.seen)])[(..., *tile.inside)]
            for total, (rows, columns) in zip(pooled, matrices, strict=True):
                total += rows[:, tile.place[0]] @ x @ columns[:, tile.place[1]].T
        return pooled


class ResidualBlock(nn.Module):
    """x + conv(leaky(conv(x))), then leaky; reflected borders, no bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.second(F.leaky_relu(self.first(x), 0.2, inplace=True)), 0.2, inplace=True)


class PyramidPooling(nn.Module):
    """What the whole picture looks like, at four coarse grids, beside every pixel."""

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, reduced, 1, bias=False), nn.PReLU()) for _ in POOL_BINS
        )
        self.fuse = nn.Sequential(
            nn.Conv2d(channels + reduced * len(POOL_BINS), channels, 3, padding=1, bias=False), nn.PReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        grids = self.grids([average_pool(x, bins) for bins in POOL_BINS])
        beside = [F.interpolate(grid, size=size, mode="bilinear", align_corners=True) for grid in grids]
        return self.fuse(torch.cat([x, *beside], dim=1))

    def grids(self, pooled: list[Tensor]) -> list[Tensor]:
        """What is laid beside every pixel, (B, reduced, bins, bins), from the averages, (B, channels, bins, bins)."""
        return [level(averages) for level, averages in zip(self.levels, pooled, strict=True)]


def average_pool(x: Tensor, bins: int) -> Tensor:
    """Adaptive average pooling to (bins, bins) as two matrix products.

    Equal to `adaptive_avg_pool2d` up to rounding (1e-7), and unlike it right at every size after an ONNX export.
    """
    rows = _averaging_matrix(x.shape[-2], bins, x)
    columns = _averaging_matrix(x.shape[-1], bins, x)
    return rows @ x @ columns.T


def _relit(image: Tensor, light: Tensor) -> Tensor:
    return torch.clamp(image / (light + EPSILON), 0, 1)


def _enlarged(grid: Tensor, size: tuple[int, ...], where: Where) -> Tensor:
    """A part of the grid enlarged to `size` as by bilinear interpolation with aligned corners."""
    rows, columns = (
        _interpolation(length, grid.shape[-1], grid)[span] for length, span in zip(size, where, strict=True)
    )
    return rows @ grid @ columns.T


def _interpolation(length: int, knots: int, like: Tensor) -> Tensor:
    """(length, knots): the weights by which pixel i mixes the knots, the first and last of which lie on the borders."""
    position = torch.arange(length, device=like.device) * ((knots - 1) / max(1, length - 1))
    distance = position[:, None] - torch.arange(knots, device=like.device)
    return (1 - distance.abs()).clamp_min(0).to(like.dtype)


def _averaging_matrix(length: int, bins: int, like: Tensor) -> Tensor:
    """(bins, length): row i averages the positions from floor(i n / bins) to ceil((i + 1) n / bins)."""
    position = torch.arange(length, device=like.device)
    index = torch.arange(bins, device=like.device)[:, None]
    start = index * length // bins
    end = ((index + 1) * length + bins - 1) // bins
    inside = ((position >= start) & (position < end)).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)
