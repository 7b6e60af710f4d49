"""Restoration: a wrong exposure of a well-lit photo comes back as the photo itself (ours).

    L = mean |e(N) - W| + structure * (1 - SSIM(g(e(N)), g(W))),    g: mean of the channels

N: a curve of the bag applied to W, or W as it is. SSIM over every other window, which costs a twelfth of all of RGB.

The only term that knows the answer pixel by pixel; no pair is needed, for the curve makes one.
"""

from __future__ import annotations

from torch import Tensor

from lle.metrics import structural_similarity


def restoration(restored: Tensor, well_lit: Tensor, structure: float = 0.0) -> Tensor:
    """Scalar >= 0; 0 for equal pictures.

    Args:
        restored: enhanced wrong exposures, RGB in [0, 1], (B, 3, H, W).
        well_lit: the photos they were made of, the same shape.
        structure: weight >= 0 of the structural part; its windows need sides of at least 7.
    """
    ours, theirs = restored.float(), well_lit.float()
    loss = (ours - theirs).abs().mean()
    if structure:
        grey = [each.mean(dim=1, keepdim=True) for each in (ours, theirs)]
        loss = loss + structure * (1 - structural_similarity(*grey, stride=2).mean())
    return loss
