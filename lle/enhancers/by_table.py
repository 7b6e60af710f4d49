"""Bytes are lit by a table: what light makes of a pixel is looked up instead of computed, in a part of the time.

It follows from the pixel's byte, the picture's light and one number of its place (B or d of `enhancers.light`). There
are 256 bytes, and 640 steps of that number between its ends are so fine that a result is off by a quarter of a step of
255 at most. So the curve is computed for 163,840 pairs, as many as a sixth of a megapixel has pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lle.enhancers.light import BLACK, Light, light_of_bytes, relight, told
from lle.enhancers.resizing import enlarged_across, enlarged_down
from lle.enhancers.tiles import WHITE, Where, like, refuse_nan

LEVELS = 640
BYTES = WHITE + 1
ENOUGH_PIXELS = 2 * LEVELS * BYTES


def worth_a_table(image: Tensor) -> bool:
    """Whether a table is of use: for one picture of bytes, (1, 3, H, W), with more pixels than it has entries."""
    return image.dtype == torch.uint8 and not image.is_cuda and len(image) == 1 and image[0, 0].numel() > ENOUGH_PIXELS


class LightTable:
    """What some light makes of a picture's rows and columns.

    Args:
        light: of one picture.
        image: uint8, (1, 3, H, W).
        strength: from 0 to 1.5.
        as_bytes: results are rounded, and what a denoiser is told is left out.

    Raises:
        ValueError: the light is not made of numbers.
    """

    def __init__(self, light: Light, image: Tensor, strength: float | Tensor = 1.0, as_bytes: bool = False) -> None:
        self.image = image
        self.across = None if light.by_light is None else enlarged_across(light.by_light, image, slice(None))
        linear = light_of_bytes(image.device)
        self.third = linear / 3
        levels = torch.linspace(*light.ends, 1 if light.by_light is None else LEVELS, device=image.device)
        stops = None if light.by_light is None else light.stops(levels.view(1, 1, -1, 1))
        self.lowest, self.highest = float(levels[0]), len(levels) - 1
        self.steps = self.highest / max(float(levels[-1]) - self.lowest, 1e-6)
        relit, k = relight(linear.expand(1, 3, len(levels), -1), light, stops, strength)
        self.relit = relit[0].flatten(1).contiguous()
        self.told = None if as_bytes else told(k).flatten()
        for each in (self.relit, self.across):
            if each is not None:
                refuse_nan(each)
        if as_bytes:
            self.relit = like(image, self.relit)

    def __call__(self, where: Where) -> Tensor:
        """Bytes, (1, 3, h, w); or RGB in [0, 1] and h of the denoiser, (1, 4, h, w)."""
        part = self.image[(0, slice(None), *where)]
        pixels = part.int().flatten(1)
        levels = self._levels(pixels, where)
        row = BYTES * levels
        found = self.relit.new_empty(3 if self.told is None else 4, pixels.shape[1])
        for channel in range(3):
            torch.index_select(self.relit[channel], 0, pixels[channel].add_(row), out=found[channel])
        if self.told is not None:
            found[3] = self.told.index_select(0, levels)
        return found.view(1, -1, *part.shape[1:])

    def _levels(self, pixels: Tensor, where: Where) -> Tensor:
        """Which step of the number is that of each place, (h w,), or (1,) where all have one."""
        if self.across is None:
            return pixels.new_zeros(1)
        rows, columns = where
        slope, offset = enlarged_down(self.across[..., columns], self.image, rows)[0].flatten(1)
        own = self.third.index_select(0, pixels[0])
        for channel in pixels[1:]:
            own += self.third.index_select(0, channel)
        place = torch.addcmul(offset, slope, own.add_(BLACK).log_())  # `log_light`
        return place.sub_(self.lowest).mul_(self.steps).round_().clamp_(0, self.highest).int()
