"""A small enhancer for CPUs: look at a small copy, predict a smooth light exponent, relight every pixel by it.

    Y = max of RGB,    g = exp(4 h),    L = (1 + (g - 1) Y) / g,    e = I / L

so the odds Y / (1 - Y) of the brightest channel are multiplied by g. h in [-1, 1] is predicted on a thumbnail, at a
quarter of its resolution, and enlarged. h = 0 copies, where the network starts; h > 0 brightens and h < 0 darkens.
Black stays black, white stays white, nothing clips, and L is never 0: the network can neither burn a highlight nor die.
(The soft gain of method 5 has g = 1 + k, k > 0, and copies only at the end of its range.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.enhancers.base import Enhanced, Enhancer
from lle.enhancers.blocks import PlainBlock, starting_at_zero

EXPONENT_RANGE = 4.0


class CompactEnhancer(Enhancer):
    """Under 100,000 parameters at the default width; touches full resolution only in one pointwise pass.

    Args:
        thumbnail_size: side of the copy the network sees, px.
        width: channels.
    """

    def __init__(self, thumbnail_size: int = 112, width: int = 32) -> None:
        super().__init__()
        self.thumbnail_size = thumbnail_size
        self.see = nn.Sequential(
            nn.Conv2d(3, width // 2, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            PlainBlock(width),
            PlainBlock(width),
        )
        self.context = nn.Linear(width, width)
        self.decide = PlainBlock(width)
        self.head = starting_at_zero(nn.Conv2d(width, 1, 3, padding=1))

    def exponent(self, image: Tensor) -> Tensor:
        """h in [-1, 1], (B, 1, size / 4, size / 4)."""
        small = F.interpolate(image, size=(self.thumbnail_size, self.thumbnail_size), mode="bilinear", antialias=True)
        x = self.see(small - 0.5)
        x = self.decide(x + self.context(x.mean(dim=(2, 3)))[:, :, None, None])
        return F.softsign(self.head(x))  # tanh saturates: its gradient reaches 0 and the network cannot turn back

    def forward(self, image: Tensor) -> Enhanced:
        exponent = self.exponent(image).float()
        h = F.interpolate(exponent, size=image.shape[-2:], mode="bilinear", align_corners=False)
        gain = torch.exp(EXPONENT_RANGE * h)
        brightest = image.amax(dim=1, keepdim=True)
        return Enhanced(image * gain / (1 + (gain - 1) * brightest), exponent)
