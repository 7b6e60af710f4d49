"""Identity: the enhanced picture shows what the input shows (CLIP-LIT eq. 4, method 1.3).

    L = sum over stages l of w_l * MSE(F_l(e), F_l(I)),    F = stem and four stages of a frozen image tower

MSE is a mean over the batch as well, so the balance with the other terms does not change with its size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def identity(enhanced: Sequence[Tensor], original: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Scalar >= 0; 0 for equal features.

    Args:
        enhanced: stages of the enhanced pictures, each (B, C, h, w).
        original: stages of the input pictures, the same shapes.
        weights: one weight >= 0 for each stage; a stage with weight 0 is not computed.

    Raises:
        ValueError: the numbers of stages and weights differ.
    """
    distances = [
        weight * F.mse_loss(ours.float(), theirs.float())
        for ours, theirs, weight in zip(enhanced, original, weights, strict=True)
        if weight
    ]
    return torch.stack(distances).sum() if distances else enhanced[0].new_zeros(())
