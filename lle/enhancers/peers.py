"""Networks of others that are only measured, never trained here: Zero-DCE++ and SCI (method 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.enhancers.base import Enhanced, Enhancer
from lle.enhancers.curve_maps import CURVES, CurveNetwork, apply_curves
from lle.enhancers.tiles import in_tiles

DARKEST_LIGHT = 1e-4


class ZeroDcePlusPlus(Enhancer):
    """One RGB curve for each pixel, applied eight times; 10,561 parameters (Li et al., TPAMI 2021).

    Args:
        scale: the curves are predicted on a copy this many times smaller, and enlarged. 12 is the fast setting that
            was published. Sides that it does not divide are continued by their last pixels for the prediction.
    """

    def __init__(self, scale: int = 1) -> None:
        super().__init__()
        self.scale = scale
        self.network = CurveNetwork(3, SeparableConvolution)

    def forward(self, image: Tensor) -> Enhanced:
        height, width = image.shape[-2:]
        padded = F.pad(image, (0, -width % self.scale, 0, -height % self.scale), mode="replicate")
        small = [math.ceil(side / self.scale) for side in (height, width)]
        maps = self.network(F.interpolate(padded, size=small, mode="bilinear"))
        curve = F.interpolate(maps, size=padded.shape[-2:], mode="bilinear", align_corners=True)
        return Enhanced(apply_curves(image, [curve[..., :height, :width]] * CURVES), maps)

    def _picture(self, image: Tensor) -> Tensor:
        if self.scale > 1:  # the small copy is that of the whole picture
            return self(image).image
        return in_tiles(lambda tile: self(tile).image, image, CurveNetwork.reach)


class SeparableConvolution(nn.Module):
    """A 3x3 convolution of each channel by itself, then a 1x1 one of all."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in)
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class Sci(Enhancer):
    """Self-calibrated illumination, as it is used after training; 258 parameters (Ma et al., CVPR 2022).

    e = clamp(I / L, 0, 1),    L = clamp(I + u, 1e-4, 1), u > 0 predicted, three channels, full resolution
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.middle = nn.Conv2d(3, 3, 3, padding=1)
        self.normalise = nn.BatchNorm2d(3)
        self.last = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Enhanced:
        x = F.relu(self.first(image))
        x = x + F.relu(self.normalise(self.middle(x)))
        light = torch.clamp(image + torch.sigmoid(self.last(x)), DARKEST_LIGHT, 1)
        return Enhanced(torch.clamp(image / light, 0, 1), light)

    def _picture(self, image: Tensor) -> Tensor:
        return in_tiles(lambda tile: self(tile).image, image, reach=3)
