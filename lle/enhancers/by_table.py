"""One frame by a table: what an exposure network without its denoiser does to bytes, several times faster.

A pixel's result follows from its own byte, the picture's light and one number of its place (B or d of
`enhancers.exposure`). There are 256 bytes, and 256 steps of that number, between its ends in the frame, are fine
enough: results differ from the network's by one or two of 255 at most. So the curve is computed for 65,536 pairs and
looked up.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lle.enhancers.exposure import BLACK, Light, OneExposure, light_of_bytes, relight
from lle.enhancers.resizing import enlarged
from lle.enhancers.tiles import STRIP_PIXELS, WHITE, strips_of

LEVELS = 256


@torch.inference_mode()
def relit_by_table(network: OneExposure, light: Light, image: Tensor, strength: float = 1.0) -> Tensor:
    """The picture as `network.under(light, image, strength)` gives it without the denoiser.

    Args:
        network: says what a place's number means.
        light: of one picture.
        image: uint8, (1, 3, H, W); fastest where the channels lie together in memory.
        strength: from 0 to 1.5.

    Returns:
        uint8, (1, 3, H, W).
    """
    linear = light_of_bytes(image.device)
    grey = linear.expand(1, 3, 1, -1)
    pixels = image[0].permute(1, 2, 0).contiguous()
    channel = torch.arange(3, dtype=torch.int32, device=image.device)
    if light.by_light is None:
        table = _as_bytes(relight(grey, light, None, strength)[0])
        return _looked_up(table, pixels.int() + channel * (WHITE + 1)).permute(2, 0, 1)[None]
    places = torch.cat([_of_places(light, linear, image, strip.place) for strip in strips_of(image, STRIP_PIXELS)])
    low, high = places.aminmax()
    step = ((high - low) / (LEVELS - 1)).clamp_min(1e-6)
    levels = (low + step * torch.arange(LEVELS, device=image.device)).view(1, 1, -1, 1)
    table = _as_bytes(relight(grey.expand(-1, -1, LEVELS, -1), light, network.stops(light, levels), strength)[0])
    row = places.sub_(low).div_(step).round_().int().mul_(WHITE + 1)
    column = channel * table.numel() // 3
    found = torch.empty_like(pixels)
    for strip in strips_of(image, STRIP_PIXELS):  # whole, its integers would be fresh memory each time
        rows = strip.place[0]
        found[rows] = _looked_up(table, row[rows, :, None] + pixels[rows] + column)
    return found.permute(2, 0, 1)[None]


def _of_places(light: Light, linear: Tensor, image: Tensor, where: tuple[slice, slice]) -> Tensor:
    """B, or d before it is bounded, of some rows, (rows, W)."""
    assert light.by_light is not None
    slope, offset = enlarged(light.by_light, image, where)[0]
    light_of = linear.index_select(0, image[0, :, where[0]].permute(1, 2, 0).reshape(-1).int()).view(-1, 3)
    own = (light_of @ light_of.new_full((3,), 1 / 3) + BLACK).log()  # `log_light`; a mean of three takes longer
    return slope * own.view(slope.shape) + offset


def _as_bytes(table: Tensor) -> Tensor:
    return table.mul(WHITE).round_().to(torch.uint8).flatten()


def _looked_up(table: Tensor, places: Tensor) -> Tensor:
    return table.index_select(0, places.view(-1)).view(places.shape)
