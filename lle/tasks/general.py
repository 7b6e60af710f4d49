"""What things a picture shows: enhanced, it should show to a classifier what the well-lit photo shows.

    L = mean over stages l of |F_l(e) - F_l(W)|^2 / |F_l(W)|^2

F: the seven stages of the ImageNet network of `enhancers.tower`, e: the enhanced wrong exposure of W. Divided by what
W itself has in a stage, no stage outweighs the others.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lle.enhancers.tower import SIDE, Tower
from lle.prior.crops import resize

LEAST = 1e-6


class GeneralFeatures(nn.Module):
    """The frozen network that the bundled enhancer stands on; nothing is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = Tower()

    def forward(self, enhanced: Tensor, wanted: Tensor) -> Tensor:
        """Scalar >= 0 of RGB in [0, 1], (B, 3, H, W) both; looked at whole, at 160 px."""
        with torch.no_grad():
            theirs = self._stages(wanted)
        return torch.stack(
            [
                (
                    (ours - their).square().mean(dim=(1, 2, 3)) / their.square().mean(dim=(1, 2, 3)).clamp_min(LEAST)
                ).mean()
                for ours, their in zip(self._stages(enhanced), theirs, strict=True)
            ]
        ).mean()

    def _stages(self, image: Tensor) -> list[Tensor]:
        return [each.float() for each in self.tower.maps(resize(image, (SIDE, SIDE)))[1:]]
