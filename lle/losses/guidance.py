"""CLIP guidance: the enhanced picture should not look badly lit (CLIP-LIT eq. 5, RAVE; method 1.3 and 1.6).

L = mean over views of penalty(f(view))

f: unit-norm image features. The penalty of a prompt or latent pair is P(badly lit), that of a residual vector
(<f, v> - tau)^2. The views are the whole pictures, and crops of them where `prior.crops` asks for some.
"""

from __future__ import annotations

from torch import Tensor

from lle.prior.guidance_heads import GuidanceHead


def guidance(features: Tensor, guidance_head: GuidanceHead) -> Tensor:
    """Scalar >= 0, at most 1 for pairs and 4 for a residual, from unit-norm features of the views, (V, D)."""
    return guidance_head.penalty(features.float()).mean()
