"""Takes out the noise that was lifted together with the light.

    e' = clamp(e + m_1 (B_1 - e) + m_2 (B_2 - e) + L r, 0, 1)

B_1, B_2: e blurred a little and blurred more; m_1, m_2: how much of each, pixel by pixel; r: a residual; L: the
brightest channel of B_2, so that a black sky stays black whatever r says. m_1, m_2 and r come from a U-net on blocks of
2 x 2 pixels (as in FFDNet, Zhang et al. 2018) with two steps down, which also sees how far each block was lifted, h, so
that what was not lifted can stay as it is. It starts as a copy. Blurs to choose from teach it in 200 steps what a
residual alone has not learned in 500. Trained by restoration: the noise is what `exposure.curves` adds, no clean twin
of a noisy photo is needed.

Without a gradient, large pictures are done in tiles, each with as many pixels around it as the result can depend on:
the same numbers in a fraction of the memory.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.enhancers.blocks import PlainBlock, leaky
from lle.enhancers.tiles import fits_in_one, tiles_of

BLOCK = 2
REACH = 64  # pixels to every side that a result depends on, 52, rounded up to whole cells of the coarse scale
BLUR_RADIUS = 2
COARSE_BLUR = 4
SHARPER = 4.0  # differences from the blurs are small numbers


class Denoiser(nn.Module):
    """About 7,900 multiply-adds per pixel and 110,156 parameters at the default width.

    Args:
        width: channels of the middle scale, a multiple of 4; three quarters of it at the fine one, three halves at the
            coarse one.
    """

    blur: Tensor

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        values, fine, coarse = 3 * BLOCK**2, 3 * width // 4, 3 * width // 2
        self.enter = nn.Conv2d(3 * values + 1, fine, 3, padding=1)
        self.to_middle = nn.Conv2d(fine, width, 2, stride=2)
        self.middle_in = PlainBlock(width)
        self.to_coarse = nn.Conv2d(width, coarse, 2, stride=2)
        self.coarse = PlainBlock(coarse)
        self.from_coarse = nn.Conv2d(coarse, width, 1)
        self.middle_out = PlainBlock(width)
        self.from_middle = nn.Conv2d(width, 4 * fine, 1)
        self.join = nn.Conv2d(fine, fine, 3, padding=1)
        self.leave = nn.Conv2d(fine, values + 2 * BLOCK**2, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(cast(Tensor, self.leave.bias))
        gaussian = torch.exp(-0.5 * torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1.0) ** 2)
        self.register_buffer("blur", (gaussian / gaussian.sum()).expand(3, 1, 1, -1).clone(), persistent=False)

    def forward(self, image: Tensor, exponent: Tensor) -> Tensor:
        """RGB in [0, 1] from RGB, (B, 3, H, W), and the light exponent h it was lifted by, (B, 1, H, W)."""
        if fits_in_one(image):
            return self._denoise(image, exponent)
        denoised = torch.empty_like(image)
        for tile in tiles_of(image, REACH):
            seen = (..., *tile.seen)
            denoised[(..., *tile.place)] = self._denoise(image[seen], exponent[seen])[(..., *tile.inside)]
        return denoised

    def _denoise(self, image: Tensor, exponent: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        pad = [0, -width % (4 * BLOCK), 0, -height % (4 * BLOCK)]
        x, lifted = (F.pad(each, pad, mode="replicate") for each in (image, exponent))
        little, much = (blurred - x for blurred in self._blurs(x))
        blocks = [F.pixel_unshuffle(each, BLOCK) for each in (x - 0.5, SHARPER * little, SHARPER * much)]
        residual, mixing = self._decide(torch.cat([*blocks, F.avg_pool2d(lifted, BLOCK)], dim=1))
        light = (x + much).amax(dim=1, keepdim=True)
        x = x + light * residual + mixing[:, :1] * little + mixing[:, 1:] * much
        return x[..., :height, :width].clamp(0, 1)

    def _blurs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        padded = F.pad(x, [BLUR_RADIUS] * 4, mode="replicate")
        little = F.conv2d(F.conv2d(padded, self.blur, groups=3), self.blur.transpose(2, 3), groups=3)
        much = F.interpolate(F.avg_pool2d(little, COARSE_BLUR), size=x.shape[-2:], mode="bilinear")
        return little, much

    def _decide(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Residual (B, 3, H, W) and how much of each blur, (B, 2, H, W)."""
        fine = leaky(self.enter(blocks))
        middle = self.middle_in(leaky(self.to_middle(fine)))
        coarse = self.coarse(leaky(self.to_coarse(middle)))
        middle = self.middle_out(middle + F.interpolate(self.from_coarse(coarse), scale_factor=2.0, mode="nearest"))
        fine = fine + F.pixel_shuffle(self.from_middle(middle), 2)
        decided = F.pixel_shuffle(self.leave(leaky(self.join(fine))), BLOCK)
        return decided[:, :3], decided[:, 3:]
