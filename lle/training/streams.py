"""Streams of pictures as the loop asks for them, wherever they come from."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Stream(Protocol):
    """An endless stream of pictures for one rank.

    Attributes:
        photos: rows that show the whole set: rows 0 to photos - 1 of all ranks together hold each photo once or, where
            sets are mixed by weights, at least once.
    """

    @property
    def photos(self) -> int: ...

    def take(self, count: int) -> Tensor:
        """The next pictures, uint8, (count, S, S, 3)."""
        ...

    def take_with_regions(self, count: int) -> tuple[Tensor, Tensor]:
        """The next pictures and their regions, int32, (count, S, S); asked of `dark` where the regional term has
        weight.
        """
        ...

    def close(self) -> None:
        """No more pictures are wanted: what reads ahead may stop."""
        ...


class OpenStream(Protocol):
    """Opens a stream of a set (`dark` or `well_lit`) at a row; ranks share the rows out among themselves."""

    def __call__(self, name: str, row: int) -> Stream: ...
