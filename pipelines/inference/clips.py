"""A clip through a network: its light is decided over time, its frames are enhanced one by one.

A clip is written as a whole or not at all; one that was interrupted is begun anew. Long ones are done by segments
(`inference.segments`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cluster.storage import inside, local_copy, written_aside
from lle.clips import CONTAINERS, Rewritten, rewrite_clip
from lle.enhancers.exposure import OneExposure
from lle.enhancers.over_time import LightOverTime
from lle.images import ImageError
from lle.model import Model
from pipelines.config.enhance import EnhanceSettings
from pipelines.inference.progress import Entry
from pipelines.inference.work import Photo

GAP = 6  # px, between a photo or frame and its result


def enhance_clip(
    network: nn.Module,
    photo: Photo,
    source: Any,
    target: tuple[Any, str],
    settings: EnhanceSettings,
    tell: Callable[[int], object] = lambda frames: None,
) -> Entry:
    """Enhance a clip and write it.

    Args:
        network: what enhances.
        photo: the clip.
        source: the file system that it lies on.
        target: file system and root of the output.
        settings: strength, video, largest frame.
        tell: takes the number of frames that are written, after each.

    Raises:
        ImageError: it is no clip that can be used, or the network does not know video.
        OSError: it cannot be read or written.
    """
    name, result = photo.path, photo.entry.result
    filesystem, root = target
    change = ByFrames(network, settings, name)
    with (
        local_copy(source, photo.path) as file,
        written_aside(filesystem, inside(filesystem, root, result)) as unfinished,
        one_core_left(),
    ):
        done = rewrite_clip(
            file,
            unfinished,
            change,
            name=name,
            container=container_of(result),
            crf=settings.video.crf,
            max_pixels=settings.max_pixels,
            tell=tell,
        )
    return noted(photo.entry, done)


def container_of(result: str) -> str:
    """FFmpeg's name of the kind of file that a result is."""
    return CONTAINERS[posixpath.splitext(result)[1].lower()]


def noted(entry: Entry, done: Rewritten) -> Entry:
    """What is noted of a clip that was written."""
    return replace(entry, width=done.width, height=done.height, note=", ".join(done.lost))


@contextmanager
def one_core_left() -> Iterator[None]:
    """For the length of a block torch has one thread less, of several, for frames are decoded and encoded beside it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - 1))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class ByFrames:
    """Makes of the frames of one clip, in their order, the enhanced ones.

    Args:
        network: what enhances.
        settings: strength, video, side by side.
        name: of the clip, for messages.

    Raises:
        ImageError: the network decides on more than light for a whole frame, and would flicker.
    """

    def __init__(self, network: nn.Module, settings: EnhanceSettings, name: str) -> None:
        if not isinstance(network, Model) or not isinstance(network.enhancer, OneExposure):
            raise ImageError(name, "a clip, and this model knows photos alone; take one of arch scene or exposure")
        self._enhancer, self._settings = network.enhancer, settings
        self._light = LightOverTime(self._enhancer, settings.video.seconds, settings.video.max_stops)
        self._device = next(self._enhancer.parameters()).device

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray, seconds: float) -> np.ndarray:
        """A frame, RGB, uint8 (H, W, 3), and when it is shown -> the same enhanced."""
        image = self._image(pixels)
        light = self._light(image, seconds)
        found = self._enhancer.under(light, image, self._settings.strength, self._settings.video.denoise)
        frame: np.ndarray = np.ascontiguousarray(found[0].permute(1, 2, 0).cpu().numpy())
        return beside(pixels, frame) if self._settings.side_by_side else frame

    def watch(self, pixels: np.ndarray, seconds: float) -> None:
        """Follow the light of a frame that is not asked for."""
        self._light(self._image(pixels), seconds)

    def _image(self, pixels: np.ndarray) -> Tensor:
        return torch.from_numpy(pixels).to(self._device).permute(2, 0, 1)[None]


def beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two pictures of one height, white between them."""
    gap = np.full_like(left, np.iinfo(left.dtype).max, shape=(left.shape[0], GAP, *left.shape[2:]))
    return np.concatenate([left, gap, right], axis=1)
