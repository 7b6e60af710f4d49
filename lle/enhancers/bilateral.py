"""Our light enhancer: looks at a small copy, relights every pixel by a bilateral grid, then takes the noise back out.

    e = w I g / (1 + (g - 1) Y),    g = exp(4 h),    h(p) = a(p) + b(p) sqrt(Y(p)),    Y = max of RGB of w I
    e' = d(e, h)

a, b: light maps predicted on a thumbnail at a quarter of its resolution and enlarged: the planes of a bilateral grid
(Chen et al. 2007; Gharbi et al. 2017) affine in the square root of Y, so the light follows edges that the small copy
cannot hold. The odds Y / (1 - Y) are multiplied by g as in the compact network: nothing clips and
the network cannot die. w: three gains for the whole picture, its white balance. d: the denoiser.

Without a gradient, full resolution is touched once, in strips of rows that stay in the processor's cache, or in the
tiles of the denoiser.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.enhancers.base import Enhanced, Enhancer
from lle.enhancers.blocks import PlainBlock, looking, seen, starting_at_zero
from lle.enhancers.denoiser import REACH, Denoiser
from lle.enhancers.resizing import enlarged, shrunk
from lle.enhancers.tiles import EVERYWHERE, Where, pieces, put_together

EXPONENT_RANGE = 4.0
BALANCE_RANGE = 0.5
DARKEST = 1e-4


class BilateralEnhancer(Enhancer):
    """224,469 parameters with the denoiser at the default widths, 92,133 without.

    Args:
        thumbnail_size: side of the copy the network sees, px.
        width: channels.
        denoise: channels of the denoiser; 0: none.
    """

    def __init__(self, thumbnail_size: int = 128, width: int = 32, denoise: int = 32) -> None:
        super().__init__()
        self.thumbnail_size = thumbnail_size
        self.fine, self.coarse, self.context = looking(width)
        self.inform = nn.Linear(width, width)
        self.balance = starting_at_zero(nn.Linear(width, 3))
        self.decide = PlainBlock(width)
        self.head = starting_at_zero(nn.Conv2d(width, 2, 3, padding=1))
        self.denoiser = Denoiser(denoise) if denoise else None

    def forward(self, image: Tensor) -> Enhanced:
        maps, balance = self.light(image)

        def finished(where: Where) -> Tensor:
            relit, exponent = relight(image[(..., *where)], enlarged(maps, image, where), balance)
            return relit if self.denoiser is None else self.denoiser(relit, exponent)

        tiles = pieces(image, None if self.denoiser is None else REACH)
        return Enhanced(put_together(finished, image, tiles) if tiles else finished(EVERYWHERE), maps)

    def light(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """What the small copy tells: a and b in [-1, 1], (B, 2, size / 4, size / 4), and w > 0, (B, 3, 1, 1)."""
        features, context = seen(shrunk(image, self.thumbnail_size), self.fine, self.coarse, self.context)
        x = self.decide(features + self.inform(context)[:, :, None, None])
        balance = torch.exp(BALANCE_RANGE * F.softsign(self.balance(context).float()))
        return F.softsign(self.head(x)).float(), balance[:, :, None, None]


def relight(image: Tensor, planes: Tensor, balance: Tensor) -> tuple[Tensor, Tensor]:
    """Every pixel by its own light.

    Args:
        image: RGB in [0, 1], (B, 3, H, W).
        planes: a and b at full resolution, (B, 2, H, W).
        balance: gains of red, green and blue, (B, 3, 1, 1).

    Returns:
        RGB in [0, 1], (B, 3, H, W), and h, the light exponent, (B, 1, H, W).
    """
    balanced = image * balance
    brightest = balanced.amax(dim=1, keepdim=True).clamp(DARKEST, 1.0)
    exponent = torch.addcmul(planes[:, :1], planes[:, 1:], brightest.sqrt())
    gain = torch.exp(EXPONENT_RANGE * exponent)
    return (balanced * (gain / (1 + (gain - 1) * brightest))).clamp(0, 1), exponent
