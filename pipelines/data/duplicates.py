"""Copies in a set of pictures: by their bytes, and by how they look."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from lle.images import resize

SIDE, FREQUENCIES = 32, 8
EQUAL_LIGHT = 0.02
BLOCK = 2048


def perceptual_hash(image: np.ndarray) -> int:
    """64 bits that resizing, recompression and small changes of light hardly change (pHash).

    One bit for each of the 8 x 8 lowest frequencies of the discrete cosine transform of a 32 x 32 copy in grey: is it
    above their median?

    Args:
        image: RGB, uint8, (H, W, 3).
    """
    grey = resize(image, (SIDE, SIDE)).astype(np.float64) @ (0.299, 0.587, 0.114)
    frequency, sample = np.arange(FREQUENCIES)[:, None], np.arange(SIDE)
    cosines = np.cos(np.pi * frequency * (2 * sample + 1) / (2 * SIDE))
    low = (cosines @ grey @ cosines.T).round(6).ravel()  # rounded: the last digits of a constant picture are chance
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def first_equal(contents: np.ndarray) -> np.ndarray:
    """For each content, the index of the first equal one, (N,), int64; its own where there is none before it."""
    _, first, which = np.unique(contents, return_index=True, return_inverse=True)
    return np.asarray(first[which], np.int64)


def first_similar(hashes: np.ndarray, light: np.ndarray, bits: int) -> np.ndarray:
    """For each picture the index of the first that looks like it, (N,), int64; its own where there is none.

    Pictures look alike whose hashes differ in at most `bits` and whose light by at most 0.02: so the exposures of one
    scene stay apart. Nothing is the copy of a copy: an index always leads to a picture that has its own.

    Args:
        hashes: perceptual hashes, (N,), uint64.
        light: mean luma, (N,), in [0, 1].
        bits: at least 0.
    """
    first = np.arange(len(hashes))
    pairs = [pair for pair in _near(hashes, bits) if len(pair)]
    if not pairs:
        return first
    near = np.unique(np.concatenate(pairs), axis=0)  # rows (later, earlier), in this order
    for later, earlier in near[np.abs(light[near[:, 0]] - light[near[:, 1]]) <= EQUAL_LIGHT]:
        if first[later] == later and first[earlier] == earlier:
            first[later] = earlier
    return first


def _near(hashes: np.ndarray, bits: int) -> Iterator[np.ndarray]:
    """Pairs (later, earlier) of hashes that differ in at most `bits`, some of them more than once.

    Cut into one more piece than bits may differ, two such hashes are equal in one piece: only those are compared.
    """
    edges = np.linspace(0, 64, bits + 2).round().astype(int)
    for low, high in pairwise(edges):
        piece = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(piece, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(piece[order])) + 1):
            for start in range(0, len(members), BLOCK):
                block = members[start : start + BLOCK]
                differing = np.bitwise_count(hashes[block, None] ^ hashes[None, members])
                later, earlier = np.nonzero((differing <= bits) & (block[:, None] > members[None, :]))
                yield np.stack([block[later], members[earlier]], axis=1)
