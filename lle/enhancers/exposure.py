"""Our enhancer of few decisions: one exposure and one white balance for the whole picture, then the noise out.

    e' = e + min(s, 1) (D(e, h) - e),    h = asinh(k / 2) / 8.8

e and k: of `enhancers.light`, whose u in [-2.5, 7] and three gains w are read off a thumbnail, as is d where it is
wanted. Few parameters cannot flatten a picture, whatever the training photos' darkness was like: contrast stays. D: the
denoiser, told of the light that was added. s: the strength, 1 as trained; 0 leaves the picture as it is, and k grows
with it.

Without a gradient, full resolution is touched once, in strips of rows or in the tiles of the denoiser; bytes are lit by
a table.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.enhancers.base import Enhanced, Enhancer, checked_strength
from lle.enhancers.blocks import PlainBlock, looking, seen, starting_at_zero
from lle.enhancers.by_table import LightTable, worth_a_table
from lle.enhancers.denoiser import REACH, Denoiser
from lle.enhancers.light import Light, fitted, gains, linear_light, log_light, partly, relight, told
from lle.enhancers.resizing import shrunk
from lle.enhancers.tiles import EVERYWHERE, Where, in_strips, like, pieces, put_together
from lle.exposure.camera import srgb_to_linear
from lle.exposure.shoulder import BRIGHTEST, DARKEST


class OneExposure(Enhancer):
    """Base of the networks that decide on one exposure and one white balance for a picture.

    Attributes:
        denoiser: None where there is none.
        thumbnail_size: side of the copy that is looked at, px.
    """

    denoiser: Denoiser | None
    thumbnail_size: int
    knows_strength = True
    takes_bytes = True

    def forward(self, image: Tensor, strength: float | Tensor = 1.0) -> Enhanced:
        light, maps = self.light(image)
        return Enhanced(self.under(light, image, strength), maps)

    def under(self, light: Light, image: Tensor, strength: float | Tensor = 1.0, denoise: bool = True) -> Tensor:
        """The picture by what was decided, whoever did, (B, 3, H, W): of bytes where the image is."""

        def computed(where: Where) -> Tensor:
            linear = linear_light(image[(..., *where)])
            relit, k = relight(linear, light, light.local_stops(linear, image, where), strength)
            return relit if denoiser is None else torch.cat([relit, told(k).expand_as(relit[:, :1])], dim=1)

        def finished(where: Where) -> Tensor:
            if denoiser is None:
                return lit(where)
            relit, exponent = in_strips(lit, image, where).split([3, 1], dim=1)
            return partly(relit, denoiser(relit, exponent), strength)

        denoiser = self.denoiser_at_work if denoise else None
        lit = LightTable(light, image, strength, as_bytes=denoiser is None) if worth_a_table(image) else computed
        tiles = pieces(image, None if denoiser is None else REACH)
        return put_together(finished, image, tiles) if tiles else like(image, finished(EVERYWHERE))

    @property
    def denoiser_at_work(self) -> Denoiser | None:
        """None where there is none, or none is wanted now."""
        return self.denoiser

    def picture(self, image: Tensor, strength: float = 1.0) -> Tensor:
        return self(image, checked_strength(strength)).image

    def light(self, image: Tensor) -> tuple[Light, Tensor]:
        """What the network decides, and u + d before it is fitted to edges, (B, 1, h, w)."""
        return self.light_of(shrunk(image, self.thumbnail_size))

    def light_of(self, small: Tensor) -> tuple[Light, Tensor]:
        """The same of the copy that is looked at, RGB in [0, 1], (B, 3, thumbnail_size, thumbnail_size)."""
        raise NotImplementedError


class ExposureEnhancer(OneExposure):
    """204,372 parameters with the denoiser at the default widths, 72,036 without, 18,785 more with local stops.

    Args:
        thumbnail_size: side of the copy the network sees, px.
        width: channels.
        denoise: channels of the denoiser; 0: none.
        local: stops by which the exposure of a place may differ from the picture's; 0: one exposure for all.
    """

    def __init__(self, thumbnail_size: int = 64, width: int = 32, denoise: int = 32, local: float = 0.0) -> None:
        super().__init__()
        self.thumbnail_size, self.max_local = thumbnail_size, local * log(2)
        self.fine, self.coarse, self.context = looking(width)
        self.exposure = starting_at_zero(nn.Linear(width, 1))
        self.balance = starting_at_zero(nn.Linear(width, 3))
        self.places = (
            nn.Sequential(PlainBlock(width), starting_at_zero(nn.Conv2d(width, 1, 3, padding=1))) if local else None
        )
        self.denoiser = Denoiser(denoise) if denoise else None

    def light_of(self, small: Tensor) -> tuple[Light, Tensor]:
        features, context = seen(small, self.fine, self.coarse, self.context)
        exposure = _bounded(self.exposure(context).float())[:, :, None, None]
        balance = gains(self.balance(context))
        if self.places is None:
            return Light(exposure, balance, None), exposure.expand(-1, -1, *features.shape[-2:])
        places = self.max_local * F.softsign(self.places(features + context[:, :, None, None]).float())
        local = fitted(places, log_light(srgb_to_linear(small.float())))
        return Light(exposure, balance, local, max_local=self.max_local), exposure + places


def _bounded(h: Tensor) -> Tensor:
    """u between its ends, with one slope on both sides of 0; it approaches them so slowly that it can turn back."""
    return BRIGHTEST * h / (1 + torch.maximum(h, -BRIGHTEST / DARKEST * h))
