"""What a person is shown, in which order and on which sides: drawn from a seed, so that it can be shown again.

Photos come in rounds. In each every photo is seen once, in an order drawn anew, with another two models than before; so
whoever stops early has seen as many different photos as possible. Each two models change sides from photo to photo,
half of the photos one way round and half the other, drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np


class Trial(NamedTuple):
    """Two pictures of a photo; indices of the photo and of the models on the left and the right."""

    photo: int
    left: int
    right: int


def trials(photos: int, models: int, seed: int, voter: str) -> list[Trial]:
    """All that one person can be asked: each photo once by each two models.

    Args:
        photos, models: how many there are, two models or more.
        seed: the same one gives the same person the same.
        voter: who it is; others get another order and other sides.
    """
    return [*_in_rounds(photos, models, np.random.default_rng([seed, *voter.encode()]))]


def some_photos(photos: int, count: int, seed: int) -> list[int]:
    """Indices of so many photos, drawn and in order; of all, where `count` is 0 or not fewer."""
    if not 0 < count < photos:
        return [*range(photos)]
    return sorted(np.random.default_rng(seed).choice(photos, count, replace=False).tolist())


def _in_rounds(photos: int, models: int, random: np.random.Generator) -> Iterator[Trial]:
    pairs = [*combinations(range(models), 2)]
    turned = np.stack([random.permutation(photos) % 2 for _ in pairs])
    which = np.stack([random.permutation(len(pairs)) for _ in range(photos)])
    for turn in range(len(pairs)):
        for photo in random.permutation(photos).tolist():
            pair = int(which[photo, turn])
            left, right = reversed(pairs[pair]) if turned[pair, photo] else pairs[pair]
            yield Trial(photo, left, right)
