"""A clip through a network: its light is decided over time, its frames are enhanced one by one.

A clip is written as a whole or not at all; one that was interrupted is begun anew.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from cluster.storage import inside, local_copy, written_aside
from lle.clips import CONTAINERS, Change, rewrite_clip
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
    change = changing(network, settings, name)
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
            container=CONTAINERS[posixpath.splitext(result)[1].lower()],
            crf=settings.video.crf,
            max_pixels=settings.max_pixels,
            tell=tell,
        )
    return replace(photo.entry, width=done.width, height=done.height, note=", ".join(done.lost))


@contextmanager
def one_core_left() -> Iterator[None]:
    """For the length of a block torch has one thread less, of several, for frames are decoded and encoded beside it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - 1))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def changing(network: nn.Module, settings: EnhanceSettings, name: str) -> Change:
    """What makes of the frames of one clip, in their order, the enhanced ones.

    Raises:
        ImageError: the network decides on more than light for a whole frame, and would flicker.
    """
    if not isinstance(network, Model) or not isinstance(network.enhancer, OneExposure):
        raise ImageError(name, "a clip, and this model knows photos alone; take one of arch scene or exposure")
    enhancer, strength = network.enhancer, settings.strength
    light_of = LightOverTime(enhancer, settings.video.seconds, settings.video.max_stops)
    device = next(enhancer.parameters()).device

    @torch.inference_mode()
    def enhanced(pixels: np.ndarray, seconds: float) -> np.ndarray:
        image = torch.from_numpy(pixels).to(device).permute(2, 0, 1)[None]
        light = light_of(image, seconds)
        found = enhancer.under(light, image, strength, settings.video.denoise)
        frame: np.ndarray = np.ascontiguousarray(found[0].permute(1, 2, 0).cpu().numpy())
        return beside(pixels, frame) if settings.side_by_side else frame

    return enhanced


def beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two pictures of one height, white between them."""
    gap = np.full_like(left, np.iinfo(left.dtype).max, shape=(left.shape[0], GAP, *left.shape[2:]))
    return np.concatenate([left, gap, right], axis=1)
