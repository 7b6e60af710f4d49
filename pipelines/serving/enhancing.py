"""What enhances behind the endpoint: one model in a process, photos that wait together in batches by their pixels."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from ray import serve

from lle.dotted import said
from lle.images import ImageError, Picture, decode_picture, encode_picture
from lle.model import enhance_pixels
from pipelines.config.serve import ServeSettings
from pipelines.models.named import NamedModel

BATCHES = 2  # one is decoded or encoded while another is enhanced
WAIT_SECONDS = 0.01
MOST_PHOTOS = 16  # in a batch, however small
QUALITY = 95
BURNT = 0.98  # of white


@dataclass(frozen=True)
class Asked:
    """A photo to enhance.

    Attributes:
        data: its file.
        pixels: width x height.
        format: kind of file to write, such as `jpeg`.
        strength: from 0 to 1.5.
    """

    data: bytes
    pixels: int
    format: str
    strength: float = 1.0


@dataclass(frozen=True)
class Answer:
    """What became of a photo.

    Attributes:
        data: the enhanced file; empty where there is none.
        level, burnt: mean of the result, 0 to 1, and share of its values that are white.
        refused: why the photo cannot be used.
        failed: why the model could not enhance it.
        model, version: what enhanced it.
    """

    data: bytes = b""
    level: float = 0.0
    burnt: float = 0.0
    refused: str = ""
    failed: str = ""
    model: str = ""
    version: str = ""


class Enhancing:
    """A replica.

    Args:
        model: what enhances.
        settings: limits.
    """

    def __init__(self, model: NamedModel, settings: ServeSettings) -> None:
        torch.set_num_threads(settings.cpus)
        self._network, self._settings = model.network, settings
        self._knows_strength = model.knows_strength
        self._name, self._version = model.found_at or model.uri, model.version
        self._one_at_a_time = threading.Lock()
        if torch.cuda.is_available():
            self._network.cuda()
        enhance_pixels(self._network, np.zeros((1, 64, 64, 3), np.uint8))  # the first photo should not pay for it

        @serve.batch(
            max_batch_size=settings.batch_pixels,
            batch_wait_timeout_s=WAIT_SECONDS,
            max_concurrent_batches=BATCHES,
            batch_size_fn=lambda photos: size_of(photos, settings.batch_pixels),
        )
        async def batched(photos: list[Asked]) -> list[Answer]:
            return await asyncio.to_thread(self.enhance, photos)

        self._batched = batched

    async def __call__(self, asked: Asked) -> Answer:
        """The photo enhanced, or why not."""
        return replace(await self._batched(asked), model=self._name, version=self._version)

    def enhance(self, photos: Sequence[Asked]) -> list[Answer]:
        """What becomes of each; whatever is wrong with one of them is told, never raised."""
        answers: dict[int, Answer] = {}
        stacks: dict[Any, list[tuple[int, Picture]]] = {}
        for place, asked in enumerate(photos):
            if asked.strength != 1 and not self._knows_strength:
                answers[place] = Answer(refused=f"strength: {self._name} knows none but 1; leave it out")
                continue
            try:
                picture = decode_picture(asked.data, "photo", max_pixels=self._settings.max_pixels)
            except ImageError as error:
                answers[place] = Answer(refused=error.reason)
                continue
            alike = picture.pixels.shape, picture.pixels.dtype, asked.strength
            stacks.setdefault(alike, []).append((place, picture))
        for (_, _, strength), stack in stacks.items():
            for place, enhanced in self._together(stack, strength):
                answers[place] = enhanced if isinstance(enhanced, Answer) else _written(enhanced, photos[place].format)
        return [answers[place] for place in range(len(photos))]

    def _together(self, stack: list[tuple[int, Picture]], strength: float) -> list[tuple[int, Picture | Answer]]:
        """Photos of one size; where they fail together, each alone."""
        try:
            pixels = np.stack([picture.pixels for _, picture in stack])
            with self._one_at_a_time:
                enhanced = enhance_pixels(self._network, pixels, strength)
        except Exception as error:
            if len(stack) > 1:
                return [found for each in stack for found in self._together([each], strength)]
            return [(stack[0][0], Answer(failed=said(error)))]
        return [(place, picture.enhanced(each)) for (place, picture), each in zip(stack, enhanced, strict=True)]


def size_of(photos: Sequence[Asked], most: int) -> int:
    """Pixels of a batch, of which the smallest photos count for more; one photo alone always fits.

    Args:
        photos: of the batch.
        most: pixels of a batch.
    """
    pixels = sum(max(asked.pixels, most // MOST_PHOTOS) for asked in photos)
    return min(pixels, most) if len(photos) == 1 else pixels


def _written(picture: Picture, format: str) -> Answer:
    values = picture.pixels[::4, ::4].astype(np.float32) / np.iinfo(picture.pixels.dtype).max
    try:
        data = encode_picture(picture, format, QUALITY)
    except ValueError as error:  # too long a side for the format
        return Answer(refused=str(error))
    return Answer(data, float(values.mean()), float((values >= BURNT).mean()))
