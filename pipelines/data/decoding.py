"""Rows of a stream into square pictures: read ahead, decoded on some threads, bad photos replaced by the next good one.

row -> path -> bytes -> image (uint8, S x S x 3) -> regions (int32, S x S), where a term asks for them
"""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from pyarrow import fs

from cluster.storage import explain, open_uri
from lle import images
from lle.config import RegionSettings
from lle.regions import find_regions
from pipelines.data import shards
from pipelines.data.listing import DataError
from pipelines.data.photo_sets import Photos, PhotoSet, photo_in_row

ROWS_PER_BLOCK = 16
ROWS_AHEAD = 2 * ROWS_PER_BLOCK
READERS = ROWS_AHEAD  # requests under way: a store 50 ms away answers each of them twenty times a second at most
MOST_KNOWN_REGIONS = 200_000_000  # bytes

FindRegions = Callable[[str, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Decode:
    """Rows of one worker's share into pictures, batch after batch.

    Attributes:
        photos: the set, or several.
        size: side of the square pictures; photos are resized whole, as CLIP sees them.
        seed: of the order.
        start: the first row.
        stride: from one row to the next.
        threads: pictures decoded at once.
        max_pixels: pixel budget of one photo.
        regions: how to find the regions of each photo; None: not at all.
        crop_share: share of pictures that are a random square of the photo instead of the whole.
        crop_side: bounds of its side, as part of the photo's shorter side.
        weights: of several sets, how often each is shown; none: each photo equally often.
    """

    photos: Photos
    size: int
    seed: int
    start: int
    stride: int
    threads: int
    max_pixels: int
    regions: RegionSettings | None = None
    crop_share: float = 0.0
    crop_side: tuple[float, float] = (1.0, 1.0)
    weights: tuple[int, ...] = ()

    def batches(self, first: dict[str, np.ndarray] | None = None) -> Iterator[dict[str, Any]]:
        """Without end: `image` (16, S, S, 3) and `refused`, for each row what was skipped to fill it; `regions`
        (16, S, S) where they are wanted.

        Args:
            first: ignored; Ray Data passes the block that the task was made for.
        """
        filesystems = {each.uri: open_uri(each.uri)[0] for each in self.photos.sets}
        regions_of = self._regions_finder()
        readers, decoders = ThreadPoolExecutor(READERS), ThreadPoolExecutor(self.threads)
        # Reading waits for the network and decoding for a core: many read ahead of the few that decode.
        decoding = deque[Future[dict[str, Any]]]()
        block = list[dict[str, Any]]()
        try:
            for row in count(self.start, self.stride):
                photos, index = photo_in_row(self.photos, row, self.seed, self.weights)
                filesystem = filesystems[photos.uri]
                data = readers.submit(shards.read, filesystem, photos.paths[index], self.max_pixels)
                decoding.append(decoders.submit(self._picture, filesystem, photos, index, row, data, regions_of))
                if len(decoding) > ROWS_AHEAD:
                    block.append(decoding.popleft().result())
                if len(block) == ROWS_PER_BLOCK:
                    refused = [each.pop("refused") for each in block]
                    yield {name: np.stack([each[name] for each in block]) for name in block[0]} | {"refused": refused}
                    block = []
        finally:
            for pool in (readers, decoders):
                pool.shutdown(wait=False, cancel_futures=True)

    def _picture(
        self,
        filesystem: fs.FileSystem,
        photos: PhotoSet,
        index: int,
        row: int,
        data: Future[bytes],
        regions_of: FindRegions | None,
    ) -> dict[str, Any]:
        """The photo of a row, its regions, and `refused`: where it is bad, it is the next good one of its set that is
        given, and path and reason of each bad one, as JSON: names hold whatever their owners like.
        """
        refused = list[tuple[str, str]]()
        for offset in range(len(photos.paths)):
            path = photos.paths[(index + offset) % len(photos.paths)]
            try:
                picture = self._square(
                    shards.read(filesystem, path, self.max_pixels) if offset else data.result(), path, row
                )
            except images.ImageError as error:
                refused.append((path, error.reason))
            except OSError as error:
                refused.append((path, explain(error)))
            else:
                regions = {"regions": regions_of(path, picture)} if regions_of else {}
                return {"image": picture, "refused": json.dumps(refused) if refused else "", **regions}
        raise DataError(
            f"{photos.uri}: none of its {len(photos.paths)} pictures can be decoded; {': '.join(refused[0])}"
        )

    def _regions_finder(self) -> FindRegions | None:
        """From a path and its picture to regions; whole photos are searched once, squares every time anew."""
        if not self.regions:
            return None
        settings = self.regions
        if self.crop_share:
            return lambda path, picture: find_regions(picture, settings)
        return KnownRegions(settings).of

    def _square(self, data: bytes, path: str, row: int) -> np.ndarray:
        """The whole photo or a square of it, (S, S, 3); which follows from the seed and the row."""
        chance = np.random.default_rng((self.seed, row))
        if chance.random() >= self.crop_share:
            whole = images.decode(data, path, max_pixels=self.max_pixels, short_side=self.size)
            return resized(whole, self.size)
        smallest, largest = self.crop_side
        share = smallest * (largest / smallest) ** chance.random()
        enough = round(self.size / share)
        photo = images.decode(data, path, max_pixels=self.max_pixels, short_side=enough)
        side = max(1, round(min(photo.shape[:2]) * share))
        top, left = (int(chance.integers(length - side + 1)) for length in photo.shape[:2])
        return resized(photo[top : top + side, left : left + side], self.size)


def resized(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture squeezed to a square, antialiased bicubic: what `lle.images.resize` gives, but for rounding, in a
    seventh of its time and after seconds of importing torch.

    Args:
        picture: RGB, uint8, (H, W, 3).
        side: wanted height and width.
    """
    import torch

    # As (1, 3, H, W) whose channels lie side by side, which is how the picture lies in memory: twice as fast.
    pixels = torch.from_numpy(picture)[None].permute(0, 3, 1, 2)
    square = torch.nn.functional.interpolate(pixels, size=(side, side), mode="bicubic", antialias=True)
    return square[0].permute(1, 2, 0).contiguous().numpy()


class KnownRegions:
    """Regions found once for each photo and kept, compressed to a few KB, as long as 200 MB hold them; for pictures of
    one size.
    """

    def __init__(self, settings: RegionSettings) -> None:
        self._settings = settings
        self._found: dict[str, bytes] = {}
        self._bytes = 0

    def of(self, path: str, picture: np.ndarray) -> np.ndarray:
        """Regions (S, S), int32, of a photo, uint8, (S, S, 3)."""
        if known := self._found.get(path):
            return np.frombuffer(zlib.decompress(known), np.int32).reshape(picture.shape[:2])
        regions = find_regions(picture, self._settings)
        if self._bytes < MOST_KNOWN_REGIONS:
            self._found[path] = zlib.compress(regions.tobytes(), level=1)
            self._bytes += len(self._found[path])
        return regions
