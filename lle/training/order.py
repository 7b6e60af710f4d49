"""The order of the photos: row r of an endless stream is a photo that follows from (seed, r) alone.

Every epoch is a new permutation of the set. A position in the stream is one number, so resuming needs nothing else,
and any number of workers walks the same order: from row p on, worker w of n takes the rows p + w, p + w + n, ...
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np


def photo_at(row: int, count: int, seed: int) -> int:
    """Index in [0, count) of the photo in row >= 0."""
    epoch, place = divmod(row, count)
    return int(_permutation(epoch, count, seed)[place])


@lru_cache(maxsize=4)
def _permutation(epoch: int, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)
