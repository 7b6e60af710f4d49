"""Well-lit photos taken again with wrong light and lifted back, by too little or too much: what a judge tells apart.

    e = f(x; u + d),    x: linear light of the wrong exposure,    u: the lift to the photo's own mean,    d in [-2, 2]

f is the curve of `exposure.shoulder`; d is what the lift misses, in nat. One that only tells dark from well-lit photos
learns that brighter is better, and no limit (ours; method 6.3).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lle.config import CurveSettings
from lle.exposure.camera import linear_to_srgb, srgb_to_linear
from lle.exposure.curves import bag_of_curves
from lle.exposure.shoulder import BRIGHTEST, DARKEST, k_of, lift_to_mean, shoulder

MOST_MISSED = 2.0
HIT_SHARE = 0.2


def relit(photos: Tensor, curves: CurveSettings, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Each photo taken again and lifted back.

    Args:
        photos: well-lit sRGB in [0, 1], (B, 3, H, W).
        curves: the camera.
        seeds: one for each photo, for the camera; what is missed comes from torch's global generator.

    Returns:
        sRGB in [0, 1], (B, 3, H, W), and d, (B,); the first fifth misses nothing.
    """
    missed = torch.empty(len(photos)).uniform_(-MOST_MISSED, MOST_MISSED).to(photos)
    missed[: round(HIT_SHARE * len(photos))] = 0
    light = srgb_to_linear(bag_of_curves(photos, curves, seeds))
    lift = lift_to_mean(light, photos.mean(dim=(1, 2, 3), keepdim=True)) + missed.view(-1, 1, 1, 1)
    return linear_to_srgb(shoulder(light, k_of(lift.clamp(-DARKEST, BRIGHTEST)))), missed
