"""Takes out rain and snow: of every pixel and channel the share that streaks have added.

    e = clamp(I (1 - s m), 0, 1),    m = softsign(h), in [-1, 1]

h: what the U-net of the denoiser tells at full resolution, of blocks of 2 x 2 pixels; streaks are light, so a share of
what is there is taken away, black stays black, and nothing grows to more than twice its value. It starts as a copy.
s: the strength, 1 as trained; 0 leaves the picture as it is.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from lle.enhancers.base import Enhanced, Enhancer, checked_strength
from lle.enhancers.blocks import bounded
from lle.enhancers.denoiser import REACH, VALUES, BlockNetwork, in_whole_blocks, into_blocks, out_of_blocks
from lle.enhancers.tiles import EVERYWHERE, Where, like, pieces, put_together, values


class RainEnhancer(Enhancer):
    """About 5,500 multiply-adds per pixel and 131,180 parameters at the default width.

    Args:
        width: channels of the U-net's middle scale, even.
    """

    knows_strength = True
    takes_bytes = True

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.streaks = BlockNetwork(VALUES, VALUES, width)

    def forward(self, image: Tensor, strength: float | Tensor = 1.0) -> Enhanced:
        def finished(where: Where) -> Tensor:
            rainy = values(image[(..., *where)])
            return bounded(rainy * (1 - strength * self.added(rainy)))

        tiles = pieces(image, REACH)
        picture = put_together(finished, image, tiles) if tiles else like(image, finished(EVERYWHERE))
        return Enhanced(picture, picture)

    def picture(self, image: Tensor, strength: float = 1.0) -> Tensor:
        return self(image, checked_strength(strength)).image

    def added(self, image: Tensor) -> Tensor:
        """m in [-1, 1], (B, 3, H, W), of RGB in [0, 1]."""
        height, width = image.shape[-2:]
        h = self.streaks.decide(into_blocks(in_whole_blocks(image)) - 0.5)
        return F.softsign(out_of_blocks(h))[..., :height, :width]
