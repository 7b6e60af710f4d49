"""Ways from photos to batches of squares: the usual loaders, and our stream."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from pyarrow import fs
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cluster.storage import open_uri
from lle import images
from pipelines.data import shards
from pipelines.data.decoding import Decode, resized
from pipelines.data.photo_sets import PhotoSet
from pipelines.data.streams import RayStream

BATCH = 4
PATHS = 800
"""Paths that Ray is given: the photos over and over, for it reads a set once; a task of Ray's takes four."""


@dataclass(frozen=True)
class Photos:
    """The same photos twice, as they are and prepared; `side` of the wanted squares, px; `cores` that may decode."""

    plain: PhotoSet
    prepared: PhotoSet
    side: int
    cores: int


Batches = Generator[int]
"""Pictures in each batch, (N, side, side, 3), uint8, as it arrives; without end, or nearly so."""


def read_images(photos: Photos) -> Batches:
    """`ray.data.read_images`, then a resize."""

    def squeeze(row: dict[str, Any]) -> dict[str, Any]:
        return {"image": images.resize(row["image"], (photos.side, photos.side))}

    return _counted(_read(photos).map(squeeze))


def read_images_of_size(photos: Photos) -> Batches:
    """`ray.data.read_images` with its own option to resize."""
    return _counted(_read(photos, size=(photos.side, photos.side)))


def loader_with_pillow(photos: Photos) -> Batches:
    """torch's DataLoader over whole decoding by Pillow."""
    return _loaded(photos, decode_with_pillow)


def loader_with_ours(photos: Photos) -> Batches:
    """torch's DataLoader over our decoding and resizing."""
    return _loaded(photos, decode_with_ours)


def stream_of_photos(photos: Photos) -> Batches:
    """Our stream from photos as they are."""
    return _streamed(photos.plain, photos)


def stream_of_shards(photos: Photos) -> Batches:
    """Our stream from prepared shards."""
    return _streamed(photos.prepared, photos)


LOADERS: dict[str, Callable[[Photos], Batches]] = {
    "read_images + resize": read_images,
    "read_images(size)": read_images_of_size,
    "DataLoader, Pillow": loader_with_pillow,
    "DataLoader, our decoder": loader_with_ours,
    "our stream": stream_of_photos,
    "our stream, shards": stream_of_shards,
}
WITHOUT_RAY = ("DataLoader, Pillow", "DataLoader, our decoder")


def _read(photos: Photos, **options: Any) -> Any:
    import ray.data

    filesystem, _ = open_uri(photos.plain.uri)
    paths = photos.plain.paths * (PATHS // len(photos.plain.paths))
    return ray.data.read_images(list(paths), filesystem=filesystem, mode="RGB", **options)


def _counted(data: Any) -> Batches:
    for batch in data.iter_batches(batch_size=BATCH, batch_format="numpy"):
        yield len(batch["image"])


def decode_with_pillow(data: bytes, side: int) -> np.ndarray:
    """A square, RGB uint8, as most loaders make it."""
    return np.array(Image.open(io.BytesIO(data)).convert("RGB").resize((side, side)))


def decode_with_ours(data: bytes, side: int) -> np.ndarray:
    """A square, RGB uint8, as our stream makes it."""
    return resized(images.decode(data, short_side=side), side)


class _Decoded(Dataset[Tensor]):
    """Photos over and over, decoded where they are asked for."""

    def __init__(self, photos: Photos, decode: Callable[[bytes, int], np.ndarray]) -> None:
        self.photos, self.decode = photos, decode

    @cached_property
    def filesystem(self) -> fs.FileSystem:
        return open_uri(self.photos.plain.uri)[0]

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> Tensor:
        paths = self.photos.plain.paths
        return torch.from_numpy(self.decode(shards.read(self.filesystem, paths[index % len(paths)]), self.photos.side))


def _loaded(photos: Photos, decode: Callable[[bytes, int], np.ndarray]) -> Batches:
    data = _Decoded(photos, decode)
    start = None if isinstance(open_uri(photos.plain.uri)[0], fs.LocalFileSystem) else "spawn"  # S3 outlives no fork
    for batch in DataLoader(data, BATCH, num_workers=photos.cores, multiprocessing_context=start):
        yield len(batch)


def _streamed(chosen: PhotoSet, photos: Photos) -> Batches:
    decode = Decode(chosen, photos.side, 0, start=0, stride=1, threads=photos.cores, max_pixels=images.MAX_PIXELS)
    with closing(RayStream(decode, _fail)) as stream:
        while True:
            yield len(stream.take(BATCH))


def _fail(path: str, reason: str) -> None:
    raise AssertionError(f"{path}: {reason}")
