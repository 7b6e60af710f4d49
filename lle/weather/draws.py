"""Numbers by chance, one row for each seed, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def drawn(seeds: Sequence[int], *shape: int) -> Tensor:
    """Uniform in [0, 1), (B, *shape), on the CPU, whose random numbers do not depend on the device."""
    return torch.stack([torch.rand(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def between(bounds: tuple[float, float], draw: Tensor) -> Tensor:
    """Evenly between two numbers, by draws in [0, 1)."""
    low, high = bounds
    return low + (high - low) * draw


def in_ratios(bounds: tuple[float, float], draw: Tensor, smallest: float = 1e-3) -> Tensor:
    """Evenly in ratios; bounds below `smallest` are taken for it."""
    low, high = (max(smallest, bound) for bound in bounds)
    return low * (high / low) ** draw


def of_images(numbers: Tensor, like: Tensor) -> Tensor:
    """Numbers, (B,) or (B, C), as something that multiplies (B, C, H, W)."""
    return numbers.to(like).view(len(numbers), -1, 1, 1)


def check_seeds(image: Tensor, seeds: Sequence[int]) -> None:
    """Raises ValueError unless there is one seed for each image."""
    if len(seeds) != len(image):
        raise ValueError(f"got {len(seeds)} seeds for {len(image)} images; give one for each")
