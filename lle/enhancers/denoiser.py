"""Takes out the noise that was lifted together with the light.

    e' = clamp(e + D(e, h), 0, 1)

D: a U-net on blocks of 2 x 2 pixels (as in FFDNet, Zhang et al. 2018) with two steps down, which sees how far each
block was lifted, h, so that what was not lifted can stay as it is. It starts at D = 0. Trained by restoration: the
noise is what `exposure.curves` adds, no clean twin of a noisy photo is needed.

Without a gradient, large pictures are done in tiles, each with as many pixels around it as the result can depend on:
the same numbers in a fraction of the memory.
"""

from __future__ import annotations

from itertools import product
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.enhancers.blocks import PlainBlock, leaky

BLOCK = 2
REACH = 48  # pixels to every side that a result depends on, 42, rounded up to whole cells of the coarse scale
TILE = 768  # whole cells; the tensors stay below the size at which glibc asks the system for fresh memory each time


class Denoiser(nn.Module):
    """About 6,100 multiply-adds per pixel and 103,236 parameters at the default width.

    Args:
        width: channels of the middle scale, a multiple of 4; three quarters of it at the fine one, three halves at the
            coarse one.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        values, fine, coarse = 3 * BLOCK**2, 3 * width // 4, 3 * width // 2
        self.enter = nn.Conv2d(values + 1, fine, 3, padding=1)
        self.to_middle = nn.Conv2d(fine, width, 2, stride=2)
        self.middle_in = PlainBlock(width)
        self.to_coarse = nn.Conv2d(width, coarse, 2, stride=2)
        self.coarse = PlainBlock(coarse)
        self.from_coarse = nn.Conv2d(coarse, width, 1)
        self.middle_out = PlainBlock(width)
        self.from_middle = nn.Conv2d(width, 4 * fine, 1)
        self.join = nn.Conv2d(fine, fine, 3, padding=1)
        self.leave = nn.Conv2d(fine, values, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(cast(Tensor, self.leave.bias))

    def forward(self, image: Tensor, exponent: Tensor) -> Tensor:
        """RGB in [0, 1] from RGB, (B, 3, H, W), and the light exponent h it was lifted by, (B, 1, H, W)."""
        height, width = image.shape[-2:]
        if torch.is_grad_enabled() or image.is_cuda or max(height, width) <= TILE:
            return self._denoise(image, exponent)
        denoised = torch.empty_like(image)
        for top, left in product(range(0, height, TILE), range(0, width, TILE)):
            above, before = max(0, top - REACH), max(0, left - REACH)
            seen = (..., slice(above, top + TILE + REACH), slice(before, left + TILE + REACH))
            inside = (..., slice(top - above, top - above + TILE), slice(left - before, left - before + TILE))
            tile = (..., slice(top, top + TILE), slice(left, left + TILE))
            denoised[tile] = self._denoise(image[seen], exponent[seen])[inside]
        return denoised

    def _denoise(self, image: Tensor, exponent: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        pad = [0, -width % (4 * BLOCK), 0, -height % (4 * BLOCK)]
        blocks = F.pixel_unshuffle(F.pad(image, pad, mode="replicate"), BLOCK)
        lifted = F.avg_pool2d(F.pad(exponent, pad, mode="replicate"), BLOCK)
        fine = leaky(self.enter(torch.cat([blocks - 0.5, lifted], dim=1)))
        middle = self.middle_in(leaky(self.to_middle(fine)))
        coarse = self.coarse(leaky(self.to_coarse(middle)))
        middle = self.middle_out(middle + F.interpolate(self.from_coarse(coarse), scale_factor=2.0, mode="nearest"))
        fine = fine + F.pixel_shuffle(self.from_middle(middle), 2)
        residual = self.leave(leaky(self.join(fine)))
        return (image + F.pixel_shuffle(residual, BLOCK)[..., :height, :width]).clamp(0, 1)
