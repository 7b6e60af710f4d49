"""The order of the photos: row r of an endless stream is a photo that follows from (seed, r) alone.

Every epoch is a new permutation of the set. A position in the stream is one number, so resuming needs nothing else,
and any number of workers walks the same order: from row p on, worker w of n takes the rows p + w, p + w + n, ...

Several sets are joined, as if they lay in one folder, or mixed by weights: then each set has epochs of its own, and of
any sum(weights) rows that begin at a multiple of it, weights[s] are of set s.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import gcd

import numpy as np


def photo_at(row: int, count: int, seed: int) -> int:
    """Index in [0, count) of the photo in row >= 0."""
    epoch, place = divmod(row, count)
    return int(_permutation(count, seed, epoch)[place])


def photo_of_sets(row: int, counts: Sequence[int], seed: int, weights: Sequence[int] = ()) -> tuple[int, int]:
    """Which set is shown in row >= 0, and which of its photos.

    Args:
        row: of the stream.
        counts: photos of each set, at least 1.
        seed: of the order.
        weights: of each set, at least 1; only their ratio counts. None: the sets are joined.
    """
    if len(weights) < 2:
        index, which = photo_at(row, sum(counts), seed), 0
        while index >= counts[which]:
            index, which = index - counts[which], which + 1
        return which, index
    shares = _lowest(weights)
    turn, place = divmod(row, sum(shares))
    # Who is next is drawn anew in each turn: in a fixed order, one worker of two would see one set of two.
    order = np.random.default_rng((seed, turn)).permutation(np.repeat(np.arange(len(shares)), shares))
    which = int(order[place])
    shown_before = turn * shares[which] + int((order[:place] == which).sum())
    epoch, place = divmod(shown_before, counts[which])
    return which, int(_permutation(counts[which], seed, epoch, 1 + which)[place])


def rows_of_all(counts: Sequence[int], weights: Sequence[int] = ()) -> int:
    """The first rows that show every photo: exactly once or, of sets mixed by weights, at least once.

    Args:
        counts, weights: as for `photo_of_sets`.
    """
    if not weights:
        return sum(counts)
    shares = _lowest(weights)
    return sum(shares) * max(-(-count // share) for count, share in zip(counts, shares, strict=True))


def _lowest(weights: Sequence[int]) -> list[int]:
    """The smallest whole numbers of the same ratio."""
    return [weight // gcd(*weights) for weight in weights]


@lru_cache(maxsize=16)  # of each of several sets the last epoch and the next
def _permutation(count: int, *seeds: int) -> np.ndarray:
    return np.random.default_rng(seeds).permutation(np.arange(count, dtype=np.uint32))
