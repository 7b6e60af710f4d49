"""Layers that more than one of our networks uses."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class PlainBlock(nn.Module):
    """Residual block with zero padding and biases."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return leaky(x + self.second(leaky(self.first(x))))


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2, in place: for what no other layer has kept."""
    return F.leaky_relu(x, 0.2, inplace=True)


def starting_at_zero(layer: nn.Module) -> nn.Module:
    """The layer with weights and biases of 0: a network that it ends begins as a copy."""
    for weights in layer.parameters():
        nn.init.zeros_(weights)
    return layer
