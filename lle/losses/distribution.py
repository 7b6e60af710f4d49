"""Enhanced pictures as bright, as differently bright and as coloured as well-lit photos are (ours).

    L = mean over channels of W1(m_c(e), m_c(W)) + W1(m(e), m(W)),    m_c: mean of a channel, m: of all

W1 is the Wasserstein distance of order 1 between the means of both sets: sorted, they are compared one by one. A fixed
mean for every picture is far from it, for well-lit photos differ; so is a cast.
"""

from __future__ import annotations

import torch
from torch import Tensor


def distribution(enhanced: Tensor, well_lit: Tensor, level: bool = True) -> Tensor:
    """Scalar in [0, 2] of RGB in [0, 1], (B, 3, H, W), unpaired; without their levels, each set's mean is taken off."""
    ours, theirs = means(enhanced), means(well_lit)
    return apart(ours, theirs) if level else apart(*(each - each[:, 3].mean() for each in (ours, theirs)))


def means(images: Tensor) -> Tensor:
    """Means of the three channels, and of all, (B, 4)."""
    channels = images.float().mean(dim=(2, 3))
    return torch.cat([channels, channels.mean(dim=1, keepdim=True)], dim=1)


def apart(ours: Tensor, theirs: Tensor) -> Tensor:
    """L of two sets of means, (A, 4) and (B, 4); the larger one by as many quantiles as the smaller has pictures."""
    count = min(len(ours), len(theirs))
    at = (torch.arange(count, device=ours.device, dtype=ours.dtype) + 0.5) / count
    sorted_ours, sorted_theirs = (
        each.sort(dim=0).values if len(each) == count else torch.quantile(each, at, dim=0) for each in (ours, theirs)
    )
    distances = (sorted_ours - sorted_theirs).abs().mean(dim=0)
    return distances[:3].mean() + distances[3]
