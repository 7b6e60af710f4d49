"""The guidance tower that has seen ImageNet: the one in the bundled enhancer, frozen, with features of unit norm.

It reads no text, so prompts cannot be learned in it: guidance is a latent pair or a residual. What it sees of a picture
tells how well the picture is exposed, where the small bundled CLIP hardly knows more than dark from bright
(`benchmarks.judge_choice`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.enhancers.tower import FEATURES, SIDE
from lle.enhancers.tower import Tower as ImageNet
from lle.prior.crops import resize
from lle.prior.towers import Seen, Tower
from lle.prior.weights import PriorError

DEPTHS = 0, 1, 2, 3, 5  # of its stem and seven stages, for the stem and four stages that others have


class ImageNetTower(Tower):
    """EfficientNet-Lite0 in the place of a CLIP's image tower."""

    def __init__(self) -> None:
        nn.Module.__init__(self)  # there is no open_clip model
        self.model, self.name, self.image_size = ImageNet().eval(), "imagenet", (SIDE, SIDE)
        self.register_buffer("mean", torch.zeros(3, 1, 1), persistent=False)

    @property
    def logit_scale(self) -> float:
        return 100.0

    @property
    def width(self) -> int:
        return FEATURES

    @property
    def text(self) -> Any:
        raise PriorError(
            "prior.guidance: prompts are learned in a text tower, which prior.model imagenet does not have; choose "
            "latent or residual"
        )

    def forward(self, image: Tensor, stages: bool = False) -> Seen:
        maps = self.model.maps(resize(image, self.image_size))
        features = F.normalize(self.model.features_of(maps[1:]), dim=-1)
        return Seen(features, [maps[depth] for depth in DEPTHS] if stages else [])
