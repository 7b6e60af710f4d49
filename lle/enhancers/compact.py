"""A small enhancer for CPUs: look at a small copy, predict a smooth light exponent, relight every pixel by it.

    Y = max of RGB,    k = exp(4 h),    L = (1 + k Y) / (1 + k),    e = I / L = I (1 + k) / (1 + k Y)

h in [-1, 1] is predicted on a copy of `look` x `look` pixels at a quarter of its resolution and enlarged. e never
clips (Y = 1 stays 1) and L is never 0, so the network can neither burn a highlight nor die (method 5).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.enhancers.base import Enhanced, Enhancer

EXPONENT_RANGE = 4.0


class CompactEnhancer(Enhancer):
    """Under 100,000 parameters at the default width; touches full resolution only in one pointwise pass.

    Args:
        look: side of the copy the network sees, px.
        width: channels.
    """

    def __init__(self, look: int = 112, width: int = 32) -> None:
        super().__init__()
        self.look = look
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
        self.head = nn.Conv2d(width, 1, 3, padding=1)
        with torch.no_grad():  # starts as one gentle lift for every picture
            self.head.weight.zero_()
            self.head.bias.fill_(-0.5)  # type: ignore[union-attr]

    def exponent(self, image: Tensor) -> Tensor:
        """h in [-1, 1], (B, 1, look / 4, look / 4)."""
        small = F.interpolate(image, size=(self.look, self.look), mode="bilinear", antialias=True)
        x = self.see(small - 0.5)
        x = self.decide(x + self.context(x.mean(dim=(2, 3)))[:, :, None, None])
        return torch.tanh(self.head(x))

    def forward(self, image: Tensor) -> Enhanced:
        exponent = self.exponent(image).float()
        h = F.interpolate(exponent, size=image.shape[-2:], mode="bilinear", align_corners=False)
        k = torch.exp(EXPONENT_RANGE * h)
        brightest = image.amax(dim=1, keepdim=True)
        return Enhanced(image * (1 + k) / (1 + k * brightest), exponent)


class PlainBlock(nn.Module):
    """Residual block with zero padding and biases."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.second(F.leaky_relu(self.first(x), 0.2)), 0.2)
