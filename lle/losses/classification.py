"""Cross-entropy that teaches the prompt pair dark from well-lit (CLIP-LIT 3.2, method 1.3).

L = mean over pictures of -log softmax(logits)[label],    label 0 = badly lit, 1 = well lit
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lle.prior.prompts import NEGATIVE, POSITIVE


def classification(badly_lit_logits: Tensor, well_lit_logits: Tensor) -> Tensor:
    """Scalar >= 0; log 2 while the prompts are identical.

    Args:
        badly_lit_logits: logits of pictures known to be badly lit, (A, 2).
        well_lit_logits: logits of pictures known to be well lit, (B, 2).
    """
    logits = torch.cat([badly_lit_logits, well_lit_logits]).float()
    labels = logits.new_full((len(logits),), NEGATIVE, dtype=torch.long)
    labels[len(badly_lit_logits) :] = POSITIVE
    return F.cross_entropy(logits, labels)
