"""CLIP guidance: the enhanced picture should not look badly lit (CLIP-LIT eq. 5, RAVE; method 1.3 and 1.6).

L = mean over views of penalty(f(view))

f: unit-norm image features. The penalty of a prompt or latent pair is P(badly lit), that of a residual vector
(<f, v> - tau)^2. The views are the whole pictures, and crops of them where `prior.crops` asks for some.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lle.prior.graded import Captions
from lle.prior.guidance_heads import GuidanceHead


def guidance(features: Tensor, guidance_head: GuidanceHead) -> Tensor:
    """Scalar >= 0, at most 1 for pairs and 4 for a residual, from unit-norm features of the views, (V, D)."""
    return guidance_head.penalty(features.float()).mean()


def level_guidance(features: Tensor, captions: Captions, exposures: Tensor) -> Tensor:
    """What the captions say that a set of pictures misses of light, squared, as a step of its mean exposure (ours).

    L = (u - |u| + mu)^2,    u: mean of the exposures,    mu: mean of what is missed,    |u|, mu: without a gradient

    Both are in nat of one curve, so how each pixel would change the judge's mind need not be asked; colours and the
    spread between pictures, of which it knows less, do not move with it.

    Args:
        features: unit-norm, of the enhanced pictures, (V, D).
        captions: say what is missed.
        exposures: of every picture or place, of any shape.
    """
    with torch.no_grad():
        missed = captions.misses(features).mean()
    level = exposures.float().mean()
    return (level - level.detach() + missed).square()
