"""CLIP-LIT's enhancer: divide the image by a predicted light map (method 1.1).

    e = clamp(I / (L + eps), 0, 1),    L >= 0, one channel, full resolution

278,790 parameters, 277,632 multiply-adds per pixel. No normalisation layers, stride 1 throughout.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.enhancers.base import Enhanced, Enhancer, start_small

Padding = Literal["zeros", "reflect"]
EPSILON = 1e-4
POOL_BINS = (1, 2, 3, 6)


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
        x = F.leaky_relu(self.stem(image), 0.2, inplace=True)
        x = self.context(self.body_in(x))
        x = self.body_wide(self.widen(x))
        x = self.body_out(self.narrow(x))
        return F.relu(self.head(x))

    def forward(self, image: Tensor) -> Enhanced:
        light = self.light_map(image)
        return Enhanced(torch.clamp(image / (light + EPSILON), 0, 1), light)


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
        pooled = [
            F.interpolate(level(average_pool(x, bins)), size=size, mode="bilinear", align_corners=True)
            for level, bins in zip(self.levels, POOL_BINS, strict=True)
        ]
        return self.fuse(torch.cat([x, *pooled], dim=1))


def average_pool(x: Tensor, bins: int) -> Tensor:
    """Adaptive average pooling to (bins, bins) as two matrix products.

    Equal to `adaptive_avg_pool2d` up to rounding (1e-7), and unlike it right at every size after an ONNX export.
    """
    rows = _averaging_matrix(x.shape[-2], bins, x)
    columns = _averaging_matrix(x.shape[-1], bins, x)
    return rows @ x @ columns.T


def _averaging_matrix(length: int, bins: int, like: Tensor) -> Tensor:
    """(bins, length): row i averages the positions from floor(i n / bins) to ceil((i + 1) n / bins)."""
    position = torch.arange(length, device=like.device)
    index = torch.arange(bins, device=like.device)[:, None]
    start = index * length // bins
    end = ((index + 1) * length + bins - 1) // bins
    inside = ((position >= start) & (position < end)).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)
