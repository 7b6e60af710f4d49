"""Clears haze: looks at a small copy, tells the air's light and how much of it lies before each place, and inverts.

    e = (I - A (1 - t)) / t,    t = exp(-s tau),    tau = T g(c_0 + c_1 min + c_2 mean + c_3 max - 4)

g(z) = (1 + z / sqrt(1 + z^2)) / 2: from 0 to 1, so slow at its ends that what was thought clear can turn hazy again.
min, mean, max: of a pixel's red, green and blue. c: maps of a quarter of the small copy's resolution, enlarged, so that
tau is a function of the pixel's own colour in each place and follows edges that the small copy cannot hold, as in
`bilateral`. A: the airlight, one colour for the picture: the mean of places that the network chooses, before it learns
those with a light dark channel (He et al. 2009), and what lies at most .4 beyond it. The dark channel, the least value
of a neighbourhood, is a fourth channel of what it sees. tau is at most T = 3, so t at least .05; s: the strength, 1 as
trained; 0 leaves the picture as it is. In sRGB values, where haze is best described (docs/other_faults.md).

Without a gradient, full resolution is touched once, in strips of rows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.enhancers.base import Enhanced, Enhancer, checked_strength
from lle.enhancers.blocks import PlainBlock, bounded, looking, seen, starting_at_zero
from lle.enhancers.resizing import enlarged, shrunk
from lle.enhancers.tiles import EVERYWHERE, Where, like, pieces, put_together, values

THICKEST = 3.0
CLEAR = -4.0  # of g: tau = .04
SLOPE = 8.0  # largest c
PATCH = 7  # px of the small copy, for its dark channel
HAZY = 8.0  # how much a light dark channel speaks for a place
MOST_BEYOND = 0.4


class HazeEnhancer(Enhancer):
    """93,144 parameters at the default width.

    Args:
        thumbnail_size: side of the copy the network sees, px.
        width: channels.
    """

    knows_strength = True
    takes_bytes = True

    def __init__(self, thumbnail_size: int = 128, width: int = 32) -> None:
        super().__init__()
        self.thumbnail_size = thumbnail_size
        self.fine, self.coarse, self.context = looking(width, values=4)
        self.inform = nn.Linear(width, width)
        self.beyond = starting_at_zero(nn.Linear(width, 3))
        self.decide = PlainBlock(width)
        self.head = starting_at_zero(nn.Conv2d(width, 5, 3, padding=1))

    def forward(self, image: Tensor, strength: float | Tensor = 1.0) -> Enhanced:
        maps, airlight = self.air_before(image)

        def finished(where: Where) -> Tensor:
            return cleared(values(image[(..., *where)]), enlarged(maps, image, where), airlight, strength)

        strips = pieces(image, None)
        return Enhanced(put_together(finished, image, strips) if strips else like(image, finished(EVERYWHERE)), maps)

    def picture(self, image: Tensor, strength: float = 1.0) -> Tensor:
        return self(image, checked_strength(strength)).image

    def air_before(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """What the small copy tells: c in [-8, 8], (B, 4, size / 4, size / 4), and A, (B, 3, 1, 1)."""
        small = shrunk(image, self.thumbnail_size)
        dark = -F.max_pool2d(-small.amin(dim=1, keepdim=True), PATCH, stride=1, padding=PATCH // 2)
        features, context = seen(torch.cat([small, dark], dim=1), self.fine, self.coarse, self.context)
        maps = self.head(self.decide(features + self.inform(context)[:, :, None, None])).float()
        looked_at = SLOPE * F.softsign(maps[:, 4:]) + HAZY * F.interpolate(dark, size=maps.shape[-2:], mode="bilinear")
        places = F.interpolate(small, size=maps.shape[-2:], mode="bilinear").flatten(2)
        air = (places * looked_at.flatten(2).softmax(dim=2)).sum(dim=2, keepdim=True)[..., None]
        air = air + MOST_BEYOND * F.softsign(self.beyond(context).float())[:, :, None, None]
        return SLOPE * F.softsign(maps[:, :4]), air


def cleared(image: Tensor, maps: Tensor, airlight: Tensor, strength: float | Tensor = 1.0) -> Tensor:
    """The scene behind the air.

    Args:
        image: sRGB in [0, 1], (B, 3, H, W).
        maps: c at full resolution, (B, 4, H, W).
        airlight: A, (B, 3, 1, 1).
        strength: s >= 0, or a tensor of it, (1,).

    Returns:
        sRGB in [0, 1], (B, 3, H, W).
    """
    seen_by = [image.amin(dim=1, keepdim=True), image.mean(dim=1, keepdim=True), image.amax(dim=1, keepdim=True)]
    score = maps[:, :1] + CLEAR
    for slope, value in zip(maps[:, 1:].split(1, dim=1), seen_by, strict=True):
        score = torch.addcmul(score, slope, value)
    gain = torch.exp(strength * THICKEST * g(score))
    return bounded(airlight + (image - airlight) * gain)


def g(score: Tensor) -> Tensor:
    """From 0 to 1, of any shape; see above."""
    return 0.5 + 0.5 * score * torch.rsqrt(1 + score * score)
