"""Without a ground truth: burnt highlights, colour casts, light in the wrong order. RGB, rounded to 8 bits."""

from __future__ import annotations

import torch
from torch import Tensor

from lle.metrics.full_reference import angle, rounded

BURNT = 250 / 255
SHORT_SIDE = 50


def over_exposed(image: Tensor) -> Tensor:
    """Share of pixels with a channel at 250 of 255 or more, (B,), in [0, 1]; RGB in [0, 1], (B, 3, H, W)."""
    return (rounded(image).amax(dim=1) >= BURNT - 1e-6).float().mean(dim=(1, 2))


def colour_cast(image: Tensor) -> Tensor:
    """Angle of the mean colour from grey, in degrees from 0 to 54.7, (B,).

    The grey-world assumption on sRGB values; exposure does not change it. Colourful scenes have a cast of their own, so
    compare pictures of the same scene. RGB in [0, 1], (B, 3, H, W).
    """
    mean = rounded(image).double().mean(dim=(2, 3))
    return angle(mean, torch.ones_like(mean))


def lightness_order_error(image: Tensor, enhanced: Tensor) -> Tensor:
    """How many other pixels, for a pixel on average, are not lighter any more or are lighter now, (B,) (LOE).

        mean over x of sum over y of [L(x) >= L(y)] xor [L'(x) >= L'(y)],    L = max of RGB

    Both pictures are sampled at 50 pixels along the shorter side (Wang et al., TIP 2013). 0 for any tone curve that
    rises strictly and is the same everywhere.

    Args:
        image, enhanced: before and after, RGB in [0, 1], (B, 3, H, W).
    """
    errors = []
    for before, after in zip(_lightness(image), _lightness(enhanced), strict=True):
        turned = (before[:, None] >= before[None]) ^ (after[:, None] >= after[None])
        errors.append(turned.sum(dim=1, dtype=torch.float32).mean())
    return torch.stack(errors)


def _lightness(image: Tensor) -> Tensor:
    """Lightness of the sampled pixels in levels of 8 bits, (B, n)."""
    height, width = image.shape[-2:]
    step = max(min(height, width) / SHORT_SIDE, 1.0)
    rows, columns = (
        ((torch.arange(round(side / step)) + 0.5) * side / round(side / step)).long() for side in (height, width)
    )
    return rounded(image).amax(dim=1)[:, rows][:, :, columns].flatten(1)
