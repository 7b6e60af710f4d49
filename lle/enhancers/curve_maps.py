"""PIE's enhancer: eight curves for each pixel and channel, one after the other (method 2.1).

    x <- x + r_n * (x^2 - x),    n = 1 .. 8,    r_n in [-1, 1]

r < 0 brightens, r > 0 darkens, and x stays in [0, 1]. Zero-DCE introduced the network; PIE and SCL-LLE share it.
79,416 parameters, 79,200 multiply-adds per pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.enhancers.base import Enhanced, Enhancer, start_small
from lle.enhancers.tiles import in_tiles

CURVES = 8
Convolution = Callable[[int, int], nn.Module]


class CurveEnhancer(Enhancer):
    """Curve maps at full resolution; weights start from N(0, 0.02), biases from 0."""

    def __init__(self) -> None:
        super().__init__()
        self.network = CurveNetwork(3 * CURVES, partial(nn.Conv2d, kernel_size=3, padding=1))
        self.apply(start_small)

    def curve_maps(self, image: Tensor) -> Tensor:
        """r in [-1, 1], (B, 24, H, W): red, green and blue of the first curve, then of the second, ..."""
        return self.network(image)

    def forward(self, image: Tensor) -> Enhanced:
        maps = self.curve_maps(image)
        return Enhanced(apply_curves(image, maps.chunk(CURVES, dim=1)), maps)

    def _picture(self, image: Tensor) -> Tensor:
        return in_tiles(lambda tile: self(tile).image, image, CurveNetwork.reach)


class CurveNetwork(nn.Module):
    """Seven convolutions at one resolution: four ahead, three that also see what the first three saw.

    Args:
        maps: channels of the result.
        convolution: makes a layer from its numbers of channels, in and out, that keeps height and width and sees one
            pixel to every side.

    Attributes:
        reach: pixels to every side that a result depends on.
    """

    reach = 7

    def __init__(self, maps: int, convolution: Convolution) -> None:
        super().__init__()
        self.ahead = nn.ModuleList(convolution(channels, 32) for channels in (3, 32, 32, 32))
        self.back = nn.ModuleList(convolution(64, channels) for channels in (32, 32, maps))

    def forward(self, image: Tensor) -> Tensor:
        """RGB in [0, 1], (B, 3, H, W), to maps in [-1, 1], (B, M, H, W)."""
        seen = [image]
        for layer in self.ahead:
            seen.append(F.relu(layer(seen[-1])))
        x = seen.pop()
        for layer in self.back[:-1]:
            x = F.relu(layer(torch.cat([seen.pop(), x], dim=1)))
        return torch.tanh(self.back[-1](torch.cat([seen.pop(), x], dim=1)))


def apply_curves(image: Tensor, curves: Iterable[Tensor]) -> Tensor:
    """The picture after each of the curves in turn; picture in [0, 1] and curves in [-1, 1], (B, 3, H, W) each."""
    for curve in curves:
        image = image + curve * (image * image - image)
    return image
