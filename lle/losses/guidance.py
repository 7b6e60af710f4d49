"""CLIP guidance: the enhanced picture should not look badly lit to the prompts (CLIP-LIT eq. 5, method 1.3).

L = mean over pictures of P(badly lit),    P = softmax(logits)[negative]
"""

from __future__ import annotations

from torch import Tensor

from lle.prior.prompts import badly_lit


def guidance(logits: Tensor) -> Tensor:
    """Scalar in [0, 1] from logits (B, 2), negative first."""
    return badly_lit(logits.float()).mean()
