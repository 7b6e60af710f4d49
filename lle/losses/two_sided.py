"""What guides learns both sides of good light: too little and too much (ours; method 6.3).

    L = mean of -t log P - (1 - t) log(1 - P),    t = 1 - exp(-(d / .5)^2)

P = P(badly lit) of a photo that was lifted by d nat too much or too little (`lle.exposure.relit`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

FORGIVEN = 0.5


def two_sided(logits: Tensor, missed: Tensor) -> Tensor:
    """Scalar >= 0.

    Args:
        logits: of badly and well lit, (B, 2).
        missed: d, (B,).
    """
    badly_lit = 1 - torch.exp(-((missed / FORGIVEN) ** 2))
    return F.cross_entropy(logits.float(), torch.stack([badly_lit, 1 - badly_lit], dim=1))
