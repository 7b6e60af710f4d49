"""Layers that more than one of our networks uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
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


def bounded(x: Tensor) -> Tensor:
    """Clamped to [0, 1]; gradients pass its ends, or a place that has gone beyond them would never come back."""
    inside = x.clamp(0, 1)
    return x + (inside - x).detach() if torch.is_grad_enabled() else inside


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2, in place: for what no other layer has kept."""
    return F.leaky_relu(x, 0.2, inplace=True)


@contextmanager
def convolving_fast(x: Tensor) -> Iterator[Tensor]:
    """The input as convolutions without a gradient are done fastest: channels last; and in inference mode, not in
    the steps of a training, as bfloat16 on processors that multiply it: half the time of float32.
    """
    if torch.is_grad_enabled():
        yield x
        return
    on_cpu = x.device.type == "cpu" and x.dtype == torch.float32
    halved = on_cpu and torch.is_inference_mode_enabled() and _multiplies_bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=halved):
        yield x.to(torch.bfloat16 if halved else x.dtype).contiguous(memory_format=torch.channels_last)


@cache
def _multiplies_bfloat16() -> bool:
    """Whether this processor does; where this version of torch cannot tell, no."""
    known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def starting_at_zero(layer: nn.Module) -> nn.Module:
    """The layer with weights and biases of 0: a network that it ends begins as a copy."""
    for weights in layer.parameters():
        nn.init.zeros_(weights)
    return layer


def looking(width: int, values: int = 3) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
    """What our networks see a small copy of a picture with, for `seen`: fine features, coarse ones, their context.

    Args:
        width: channels.
        values: of a pixel of the small copy.
    """
    fine = nn.Sequential(
        nn.Conv2d(values, width // 2, 3, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        PlainBlock(width),
    )
    coarse = nn.Sequential(
        nn.Conv2d(width, width, 3, stride=2, padding=1), nn.LeakyReLU(0.2), PlainBlock(width), PlainBlock(width)
    )
    return fine, coarse, nn.Sequential(nn.Linear(2 * width, width), nn.LeakyReLU(0.2))


def seen(small: Tensor, fine: nn.Module, coarse: nn.Module, context: nn.Module) -> tuple[Tensor, Tensor]:
    """What `looking` sees of a small copy, values in [0, 1], (B, V, L, L): features of places, (B, W, L / 4, L / 4),
    and the context of the whole, (B, W).
    """
    at_quarter = fine(small.clamp_min(0).sqrt() - 0.5)
    at_eighth = coarse(at_quarter)
    whole = context(torch.cat([at_eighth.mean(dim=(2, 3)), at_eighth.amax(dim=(2, 3))], dim=1))
    return at_quarter + F.interpolate(at_eighth, size=at_quarter.shape[-2:], mode="bilinear"), whole
