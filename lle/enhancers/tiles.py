"""Large pictures piece by piece: a network that looks a known distance needs no more of the picture than that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

TILE = {"cpu": 1024, "cuda": 2048}
"""Side of a tile by device, px. On CPUs its tensors stay below the size at which glibc asks the system for fresh memory
each time; on GPUs they are large enough to keep them busy."""

Where = tuple[slice, slice]
STRIP_PIXELS = 65_536  # of a picture's rows that stay in a processor's cache
WHITE = 255
EVERYWHERE: Where = (slice(None), slice(None))


class Tile(NamedTuple):
    """Rows and columns of one tile.

    Attributes:
        place: the tile in the picture.
        seen: the tile and what it depends on around it, in the picture.
        inside: the tile in what is seen.
    """

    place: Where
    seen: Where
    inside: Where


def pieces(image: Tensor, reach: int | None) -> Iterator[Tile] | None:
    """How a picture (..., H, W) is best worked on without a gradient; None: in one piece.

    Args:
        reach: pixels to every side that a result depends on; None: on none, so that strips of rows do.
    """
    if reach is not None:
        return None if fits_in_one(image) else tiles_of(image, reach)
    return None if torch.is_grad_enabled() or image.is_cuda else strips_of(image, STRIP_PIXELS)


def fits_in_one(image: Tensor) -> bool:
    """Whether a picture (..., H, W) is small enough for one tile; with a gradient every picture is."""
    return torch.is_grad_enabled() or max(image.shape[-2:]) <= side_of_tiles(image)


def side_of_tiles(image: Tensor) -> int:
    """Side of the tiles that suit the picture's device, px."""
    return TILE.get(image.device.type, TILE["cpu"])


def tiles_of(image: Tensor, reach: int) -> Iterator[Tile]:
    """The tiles of a picture (..., H, W), row by row; they begin at multiples of their side.

    Args:
        reach: pixels to every side that a result depends on.
    """
    height, width = image.shape[-2:]
    side = side_of_tiles(image)
    for place in product(_spans(height, side), _spans(width, side)):
        seen = tuple(slice(max(0, span.start - reach), span.stop + reach) for span in place)
        inside = tuple(
            slice(span.start - around.start, span.stop - around.start) for span, around in zip(place, seen, strict=True)
        )
        yield Tile((place[0], place[1]), (seen[0], seen[1]), (inside[0], inside[1]))


def in_tiles(function: Callable[[Tensor], Tensor], image: Tensor, reach: int) -> Tensor:
    """What `function` makes of a picture, (B, 3, H, W) each, in tiles: the same numbers in a fraction of the memory.

    Args:
        function: keeps the size; each of its pixels depends on no more than `reach` pixels to every side.
        image: (B, 3, H, W).
        reach: pixels.
    """
    if fits_in_one(image):
        return function(image)
    return put_together(lambda seen: function(image[(..., *seen)]), image, tiles_of(image, reach))


def put_together(function: Callable[[Where], Tensor], image: Tensor, tiles: Iterable[Tile]) -> Tensor:
    """A picture like `image`, (B, 3, H, W), tile by tile.

    Args:
        function: what becomes of the rows and columns that a tile sees, RGB in [0, 1], (B, 3, h, w).
        image: (B, 3, H, W); where it is of bytes, so is what comes back.
        tiles: they cover the picture.
    """
    whole = torch.empty_like(image)
    for tile in tiles:
        whole[(..., *tile.place)] = like(image, function(tile.seen)[(..., *tile.inside)])
    return whole


def in_strips(function: Callable[[Where], Tensor], image: Tensor, where: Where) -> Tensor:
    """What `function` makes of some rows and columns of a picture (..., H, W), without a gradient strip by strip.

    Args:
        function: each of its pixels depends on no other.
        image: (B, 3, H, W).
        where: rows and columns.
    """
    if torch.is_grad_enabled() or image.is_cuda:
        return function(where)
    top, bottom, _ = where[0].indices(image.shape[-2])
    width = len(range(*where[1].indices(image.shape[-1])))
    strips = _spans(bottom - top, max(1, STRIP_PIXELS // width))
    return torch.cat([function((slice(top + rows.start, top + rows.stop), where[1])) for rows in strips], dim=-2)


def values(pixels: Tensor) -> Tensor:
    """RGB in [0, 1] of what may be bytes, so that a large picture becomes floats piece by piece."""
    if pixels.is_floating_point():
        return pixels
    return pixels.to(torch.float32, memory_format=torch.contiguous_format) / WHITE


def like(pixels: Tensor, found: Tensor) -> Tensor:
    """RGB in [0, 1] as bytes, rounded, where the pixels are bytes.

    Raises:
        ValueError: values that are not numbers, which no byte says.
    """
    if pixels.dtype == found.dtype or pixels.is_floating_point():
        return found
    refuse_nan(found)
    return found.mul(WHITE).round_().to(torch.uint8)


def refuse_nan(found: Tensor) -> None:
    """See that a model gives numbers.

    Raises:
        ValueError: some are none.
    """
    if found.isnan().any():
        raise ValueError("the model gives values that are not numbers (NaN)")


def strips_of(image: Tensor, pixels: int) -> Iterator[Tile]:
    """A picture (..., H, W) in strips of whole rows, of at least one row and otherwise at most so many pixels."""
    height, width = image.shape[-2:]
    for rows in _spans(height, max(1, pixels // width)):
        yield Tile((rows, EVERYWHERE[1]), (rows, EVERYWHERE[1]), EVERYWHERE)


def _spans(length: int, side: int) -> Iterator[slice]:
    return (slice(start, min(start + side, length)) for start in range(0, length, side))
