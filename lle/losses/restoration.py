"""Restoration: a wrong exposure of a well-lit photo comes back as the photo itself (ours).

    L = mean |e - W| + structure * (1 - SSIM(g(e), g(W))) + detail * mean |e - W m(e) / m(W)|

e: enhanced N, a curve of the bag applied to W, or W as it is, which may be a little darker than the photo; g: mean of
the channels, SSIM over every other window, which costs a twelfth of all of RGB; m: mean over about 16 x 16 pixels,
without a gradient. The only term that knows the answer pixel by pixel; no pair is needed, for the curve makes one. How
bright the photo was can only be guessed: where the guess is off by more than the noise, |e - W| has the same gradient
everywhere and says nothing about the noise. The last part gives e the light it has and compares what remains.

In denoising W is what a frozen enhancer makes of the same exposure by a camera without noise. It is lit as it will be,
and only fine structure is left to find:

    L = mean |e - W| + structure * (1 - SSIM(e, W)),    SSIM of each channel
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from lle.metrics import structural_similarity

PLACE = 16
DARKEST = 0.01


def restoration(restored: Tensor, well_lit: Tensor, structure: float = 0.0, detail: float = 0.0) -> Tensor:
    """Scalar >= 0; 0 for equal pictures.

    Args:
        restored: enhanced wrong exposures, RGB in [0, 1], (B, 3, H, W).
        well_lit: the photos they were made of, the same shape.
        structure: weight >= 0 of the structural part; its windows need sides of at least 7.
        detail: weight >= 0 of what remains once the light is right.
    """
    ours, theirs = restored.float(), well_lit.float()
    loss = (ours - theirs).abs().mean()
    if structure:
        our_grey, their_grey = (each.mean(dim=1, keepdim=True) for each in (ours, theirs))
        loss = loss + structure * (1 - structural_similarity(our_grey, their_grey, stride=2).mean())
    if detail:
        lit_alike = theirs * _light(ours.detach()) / _light(theirs).clamp_min(DARKEST)
        loss = loss + detail * (ours - lit_alike).abs().mean()
    return loss


def denoising(denoised: Tensor, without_noise: Tensor, structure: float = 0.0) -> Tensor:
    """Scalar >= 0; 0 for equal pictures, RGB in [0, 1], (B, 3, H, W); `structure` as above."""
    ours, theirs = denoised.float(), without_noise.float()
    loss = (ours - theirs).abs().mean()
    if structure:
        loss = loss + structure * (1 - structural_similarity(ours, theirs, stride=2).mean())
    return loss


def _light(image: Tensor) -> Tensor:
    """Mean of each place and channel, the same shape."""
    rows, columns = (max(1, round(side / PLACE)) for side in image.shape[-2:])
    return F.interpolate(F.adaptive_avg_pool2d(image, (rows, columns)), size=image.shape[-2:], mode="bilinear")
