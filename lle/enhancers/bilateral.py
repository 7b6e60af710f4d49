"""Our light enhancer: looks at a small copy, relights every pixel by a bilateral grid, then takes the noise back out.

    h(p) = a(p) + b(p) sqrt(Y(p)),    g = exp(4 h),    e = w I g / (1 + (g - 1) Y),    Y = max of RGB
    e' = e + r(e, h)

a and b are predicted on a copy of `look` x `look` pixels and enlarged: two planes of an affine bilateral grid (Chen et
al. 2007; Gharbi et al. 2017), so the light follows edges that the small copy cannot hold. The odds Y / (1 - Y) are
multiplied by g as in the compact network: nothing clips and the network cannot die. w: three gains for the whole
picture, its white balance. r: a small U-net on 4 x 4 blocks of pixels that sees how far each was lifted, for noise is
lifted with the light.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.enhancers.base import Enhanced, Enhancer

EXPONENT_RANGE = 4.0
BALANCE_RANGE = 0.5
BLOCK = 4


class BilateralEnhancer(Enhancer):
    def __init__(self, look: int = 128, width: int = 32, denoise: int = 32) -> None:
        super().__init__()
        self.look = look
        self.see = nn.Sequential(
            nn.Conv2d(3, width // 2, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            PlainBlock(width),
        )
        self.wide = nn.Sequential(
            nn.Conv2d(width, width, 3, stride=2, padding=1), nn.LeakyReLU(0.2), PlainBlock(width), PlainBlock(width)
        )
        self.context = nn.Sequential(nn.Linear(2 * width, width), nn.LeakyReLU(0.2), nn.Linear(width, width + 3))
        self.decide = PlainBlock(width)
        self.head = nn.Conv2d(width, 2, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(cast(Tensor, self.head.bias))
        last = cast(nn.Linear, self.context[-1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.denoiser = Denoiser(denoise) if denoise else None

    def forward(self, image: Tensor) -> Enhanced:
        small = F.interpolate(image, size=(self.look, self.look), mode="bilinear", antialias=True)
        fine = self.see(small.clamp_min(0).sqrt() - 0.5)
        wide = self.wide(fine)
        pooled = torch.cat([wide.mean(dim=(2, 3)), wide.amax(dim=(2, 3))], dim=1)
        context = self.context(pooled)
        x = fine + F.interpolate(wide, size=fine.shape[-2:], mode="bilinear") + context[:, :-3, None, None]
        grid = F.softsign(self.head(self.decide(x))).float()
        balance = torch.exp(BALANCE_RANGE * F.softsign(context[:, -3:].float()))[:, :, None, None]
        image = image * balance
        planes = F.interpolate(grid, size=image.shape[-2:], mode="bilinear", align_corners=False)
        brightest = image.amax(dim=1, keepdim=True).clamp(max=1)
        h = planes[:, :1] + planes[:, 1:] * brightest.clamp_min(1e-4).sqrt()
        gain = torch.exp(EXPONENT_RANGE * h)
        relit = (image * gain / (1 + (gain - 1) * brightest)).clamp(0, 1)
        if self.denoiser is not None:
            relit = self.denoiser(relit, h)
        return Enhanced(relit, grid)


class Denoiser(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        first = 3 * BLOCK**2 + 1
        self.enter = nn.Conv2d(first, width, 3, padding=1)
        self.fine_in = PlainBlock(width)
        self.down = nn.Conv2d(width, width, 2, stride=2)
        self.coarse = nn.Sequential(PlainBlock(width), PlainBlock(width))
        self.fine_out = PlainBlock(width)
        self.leave = nn.Conv2d(width, first - 1, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(cast(Tensor, self.leave.bias))

    def forward(self, image: Tensor, lifted: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        side = 2 * BLOCK
        pad = [0, -width % side, 0, -height % side]
        padded = F.pad(image, pad, mode="replicate")
        lifted = F.avg_pool2d(F.pad(lifted, pad, mode="replicate"), BLOCK)
        x = torch.cat([F.pixel_unshuffle(padded, BLOCK) - 0.5, lifted], dim=1)
        fine = self.fine_in(F.leaky_relu(self.enter(x), 0.2))
        coarse = self.coarse(F.leaky_relu(self.down(fine), 0.2))
        x = self.fine_out(fine + F.interpolate(coarse, size=fine.shape[-2:], mode="nearest"))
        residual = F.pixel_shuffle(self.leave(x), BLOCK)[..., :height, :width]
        return (image + residual).clamp(0, 1)


class PlainBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.second(F.leaky_relu(self.first(x), 0.2)), 0.2)
