"""One exposure for a picture: linear light through a curve with a shoulder, so that nothing clips (ours).

    e = sRGB(f(x)),    f(x) = (1 - exp(-k x)) / (1 - exp(-k)),    x: linear light,    k = 2 sinh(u)

k > 0 lifts, k < 0 darkens, k = 0 leaves the picture as it is; black stays black, white stays white, and the order of
tones is kept. The shadows' gain is k / (1 - exp(-k)): it doubles each time u grows by .69, and is 1 + u near u = 0.
Every curve has an inverse, x = -ln(1 - (1 - exp(-k)) y) / k, and the curve of -k is that of k turned by half a circle.

Of the families with one number it comes closest to what a longer exposure shows, for cameras bend highlights like it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lle.exposure.camera import linear_to_srgb, srgb_to_linear

BRIGHTEST, DARKEST = 7.0, 2.5  # |u| to either side; a picture darkened further is black and teaches nothing
BISECTIONS = 14
SERIES_BELOW = 0.05
"""|k| under which the fraction, useless as a gradient near 0, is its series instead: the first term left out is below
1e-8."""
NEXT_TO_ZERO = 1e-20  # where the fraction would be 0 / 0


def expose_with_shoulder(image: Tensor, k: Tensor) -> Tensor:
    """The picture by the curve of k.

    Args:
        image: sRGB in [0, 1], (B, 3, H, W).
        k: any finite number for each picture or place, (B, 1, 1, 1) or (B, 1, H, W).

    Returns:
        sRGB in [0, 1], (B, 3, H, W); at k = 0 the picture itself, but for rounding of the two conversions.
    """
    return linear_to_srgb(shoulder(srgb_to_linear(image), k))


def shoulder(light: Tensor, k: Tensor) -> Tensor:
    """f of linear light in [0, 1]; k as above or any shape that multiplies it. Smooth in both, also at k = 0."""
    if not torch.is_grad_enabled():
        k = k + (k == 0).to(k.dtype) * NEXT_TO_ZERO
        return torch.exp(k.clamp(max=0) * (1 - light)).mul_(torch.expm1(-k.abs() * light)).div_(torch.expm1(-k.abs()))
    near = k.abs() < SERIES_BELOW
    far_k = torch.where(near, 1.0, k)  # the branch that is not taken must have a finite gradient too
    strength = far_k.abs()
    # exp(-k x) of a negative k overflows; written so, every exponent is at most 0.
    far = torch.exp(far_k.clamp(max=0) * (1 - light)) * torch.expm1(-strength * light) / torch.expm1(-strength)
    near_k, bend = torch.where(near, k, 0.0), light * (1 - light)
    series = light + bend * near_k * (0.5 + near_k * ((1 - 2 * light) / 12 - near_k * bend / 24))
    return torch.where(near, series, far)


def k_of(u: Tensor) -> Tensor:
    """k = 2 sinh(u): even steps near 0, even ratios of light further out."""
    return torch.exp(u) - torch.exp(-u)  # many times faster than sinh


def u_of(k: Tensor) -> Tensor:
    """u = asinh(k / 2), the inverse of `k_of`."""
    half = k.abs() / 2
    return k.sign() * (half + (half**2 + 1).sqrt()).log()


def lift_to_mean(light: Tensor, wanted: Tensor | float) -> Tensor:
    """u in [-2.5, 7] by which a picture's mean sRGB value becomes the wanted one, or comes nearest.

    Args:
        light: linear light in [0, 1], (B, 3, H, W).
        wanted: mean of the sRGB values, one number or (B, 1, 1, 1).

    Returns:
        (B, 1, 1, 1), without a gradient.
    """
    darker = torch.full_like(light[:, :1, :1, :1], -DARKEST)
    brighter = torch.full_like(darker, BRIGHTEST)
    for _ in range(BISECTIONS):
        middle = (darker + brighter) / 2
        too_dark = linear_to_srgb(shoulder(light, k_of(middle))).mean(dim=(1, 2, 3), keepdim=True) < wanted
        darker, brighter = torch.where(too_dark, middle, darker), torch.where(too_dark, brighter, middle)
    return (darker + brighter) / 2
