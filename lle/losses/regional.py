"""Regional brightness consistency: light may differ between regions, not inside one (PIE, method 2.3).

    L = mean over pictures of 1/(H W) sum over regions r of sum over pixels p in r of (g_p - mean_r)^2,
    g = channel mean

The gradient also flows through the means. The published code lets masks leak between pictures, dilutes the means by
area and drops labels above 99; here a picture that is constant inside each region has loss 0 whatever its brightness.
"""

from __future__ import annotations

import torch
from torch import Tensor


def regional_consistency(enhanced: Tensor, regions: Tensor) -> Tensor:
    """Mean squared deviation of brightness from the mean of its region.

    Args:
        enhanced: RGB in [0, 1], (B, 3, H, W).
        regions: region of each pixel, integers >= 0 that start anew in each picture, (B, H, W); memory grows with the
            largest, gaps do no harm.

    Returns:
        Scalar >= 0.

    Raises:
        ValueError: an empty map, one of another size, or negative regions.
    """
    if not regions.numel():
        raise ValueError("objective.regional: the region map is empty; make one with lle.regions.find_regions")
    batch, _, height, width = enhanced.shape
    if regions.shape != (batch, height, width):
        raise ValueError(
            f"objective.regional: the region map is {tuple(regions.shape)}, the pictures are {tuple(enhanced.shape)}; "
            "give one region for each pixel"
        )
    smallest, largest = (int(each) for each in regions.aminmax())
    if smallest < 0:
        raise ValueError(f"objective.regional: the region map holds {smallest}; count regions from 0")
    offsets = torch.arange(batch, device=regions.device).view(-1, 1, 1) * (largest + 1)
    label_n = (regions.long() + offsets).flatten()
    grey_n = enhanced.float().mean(dim=1).flatten()
    empty_r = grey_n.new_zeros(batch * (largest + 1))
    pixels_r = empty_r.index_add(0, label_n, torch.ones_like(grey_n))
    mean_r = empty_r.index_add(0, label_n, grey_n) / pixels_r.clamp_min(1)
    return (grey_n - mean_r[label_n]).square().mean()
