"""What every enhancer is: RGB in, RGB and the maps that made it out."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class Enhanced(NamedTuple):
    """Result of an enhancer.

    Attributes:
        image: RGB in [0, 1], (B, 3, H, W).
        maps: what the network predicted to get there, the thing to keep smooth: (B, M, h, w) at the network's own
            resolution (retinex: the light map, M = 1; curves: eight curves of RGB, M = 24; compact: the light
            exponent, M = 1; bilateral: its light maps, M = 2).
    """

    image: Tensor
    maps: Tensor


class Enhancer(nn.Module):
    """Base of the networks: any height and width >= 1, RGB floats in [0, 1], (B, 3, H, W)."""

    def forward(self, image: Tensor) -> Enhanced:
        """Brighten a batch and say by which maps."""
        raise NotImplementedError

    def picture(self, image: Tensor) -> Tensor:
        """The picture of `forward` alone, for any size: without a gradient, memory stays near that of the result."""
        return self(image).image


def start_small(module: nn.Module) -> None:
    """For `apply`: convolutions of the published networks start from weights of N(0, 0.02) and biases of 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
