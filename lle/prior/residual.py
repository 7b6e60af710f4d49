"""The residual vector: the direction from badly lit to well lit in CLIP's space (RAVE, ECCV 2024; method 1.6).

    v = normalise(mean f(W) - mean f(I)),    tau = <mean f(W), v>,    penalty = (<f(e), v> - tau)^2

f are unit-norm image features, W and I the two whole sets, e an enhanced picture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualVector(nn.Module):
    """Direction and threshold; found from the sets (`lle.training.residual`), not learned.

    Args:
        width: D, the dimension of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.zeros(width), requires_grad=False)
        self.threshold = nn.Parameter(torch.zeros(()), requires_grad=False)

    @torch.no_grad()
    def find(self, well_lit: Tensor, badly_lit: Tensor) -> None:
        """Set direction and threshold from the mean features of both sets, (D,) each.

        Raises:
            ValueError: the means are equal, so there is no direction.
        """
        difference = well_lit - badly_lit
        if not difference.norm() > 0:
            raise ValueError(
                "data.dark and data.well_lit: the prior sees no difference between the two sets, so there is no "
                "residual; give photos that differ in light, or another prior.model"
            )
        direction = F.normalize(difference, dim=0)
        self.direction.copy_(direction)
        self.threshold.copy_(well_lit @ direction)

    def penalty(self, features: Tensor) -> Tensor:
        """(<f, v> - tau)^2 of unit-norm image features (B, D), in [0, 4], (B,)."""
        along = (features.float() * self.direction).sum(dim=-1)  # no matrix product: it would be bf16 under autocast
        return (along - self.threshold).square()
