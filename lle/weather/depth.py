"""A depth that a photo could have, made up where nothing measured it (ours).

    d = n + (1 - n) g(c),    c: ground or room, then each segment moved as one, then a smooth field

The ground rises to the far edge of the picture, mostly its upper one; a room recedes to a point. Segments are the
places nearest to one of sixteen points in position and colour: an object has about one depth, and another than what is
behind it. g, a guided filter (He et al., TPAMI 2013), fits the whole to the photo's edges. Found on a coarse grid.

Shapes: B images, H x W pixels, K segments, G x G cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lle.exposure.camera import guided_filter, luma
from lle.weather.draws import between, drawn, of_images

CELLS = 48
SEGMENTS = 16
HILLS = 4  # of the smooth field, along each side
ROOM_SHARE = 0.35
TILT = 0.8  # radians to either side of straight up
COLOUR = (0.5, 3.0)  # how much colour counts beside position in telling segments apart
ROOM, UP, BEND, ACROSS, DOWN, APART, ROUGH, BY_COLOUR = range(8)


def made_up_depth(image: Tensor, near: Tensor, seeds: Sequence[int]) -> Tensor:
    """Depth of each place, 1 at the farthest, (B, 1, H, W).

    Args:
        image: sRGB in [0, 1], (B, 3, H, W).
        near: depth of the nearest place, in [0, 1], (B,).
        seeds: one for each image.
    """
    grid = (min(CELLS, image.shape[-2]), min(CELLS, image.shape[-1]))
    numbers = drawn(seeds, 8 + 4 * SEGMENTS + HILLS**2).to(image)
    scalars, points, hills = numbers.split([8, 4 * SEGMENTS, HILLS**2], dim=1)
    draw = [of_images(each, image) for each in scalars.unbind(dim=1)]
    down, across = (torch.linspace(-1, 1, side, device=image.device, dtype=image.dtype) for side in grid)
    down, across = down.view(1, 1, -1, 1), across.view(1, 1, 1, -1)

    tilt = TILT * (2 * draw[UP] - 1)
    ground = _unit(across * tilt.sin() - down * tilt.cos()) ** between((0.5, 2.5), draw[BEND])
    room = 1 - _unit(torch.maximum((across - draw[ACROSS] + 0.5).abs(), (down - draw[DOWN] + 0.5).abs()))
    depth = torch.where(draw[ROOM] < ROOM_SHARE, room, ground)

    small = F.adaptive_avg_pool2d(image, grid)
    where, moved = points.view(-1, SEGMENTS, 4).split([2, 2], dim=2)
    segments = _segments(small, where, between(COLOUR, draw[BY_COLOUR]))
    mean = (segments * depth).sum(dim=(2, 3)) / segments.sum(dim=(2, 3)).clamp_min(1)
    flat, shift = moved[..., 0], draw[APART].flatten(1) * (moved[..., 1] - 0.5)

    def spread(of_segments: Tensor) -> Tensor:
        return (segments * of_segments[..., None, None]).sum(dim=1, keepdim=True)

    depth = depth + spread(flat) * (spread(mean) - depth) + spread(shift)

    field = F.interpolate(hills.view(-1, 1, HILLS, HILLS) - 0.5, size=grid, mode="bicubic", align_corners=True)
    depth = F.interpolate(_unit(depth + 0.6 * draw[ROUGH] * field), size=image.shape[-2:], mode="bilinear")
    depth = guided_filter(depth, luma(image), radius=2, cells=CELLS, epsilon=1e-2).clamp(0, 1)
    nearest = of_images(near, image)
    return nearest + (1 - nearest) * depth


def _segments(small: Tensor, where: Tensor, by_colour: Tensor) -> Tensor:
    """1 in the places of each segment, else 0, (B, K, G, G)."""
    rows, columns = small.shape[-2:]
    down = torch.linspace(0, 1, rows, device=small.device, dtype=small.dtype).view(1, 1, -1, 1)
    across = torch.linspace(0, 1, columns, device=small.device, dtype=small.dtype).view(1, 1, 1, -1)
    places = (where * where.new_tensor([rows - 1, columns - 1])).round().long()
    flat = (places[..., 0] * columns + places[..., 1])[:, None].expand(-1, 3, -1)
    colours = small.flatten(2).gather(2, flat)
    apart = (small[:, :, None] - colours[..., None, None]).square().sum(dim=1) * by_colour**2
    apart = apart + (down - where[..., :1, None]).square() + (across - where[..., 1:, None]).square()
    return F.one_hot(apart.argmin(dim=1), where.shape[1]).permute(0, 3, 1, 2).to(small)


def _unit(field: Tensor) -> Tensor:
    """From 0 to 1 in each image, (B, 1, H, W)."""
    low, high = field.amin(dim=(1, 2, 3), keepdim=True), field.amax(dim=(1, 2, 3), keepdim=True)
    return (field - low) / (high - low).clamp_min(1e-6)
