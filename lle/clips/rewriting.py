"""A clip from end to end: its frames are changed one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lle.clips.reading import Frame, opened, package, read
from lle.clips.threads import in_thread
from lle.clips.writing import Rewritten, written

if TYPE_CHECKING:
    from av import Packet

Change = Callable[[np.ndarray, float], np.ndarray]
"""Makes of a frame, RGB, uint8 (H, W, 3) as stored, and its time in seconds another of any one size."""


def rewrite_clip(
    source: Path,
    target: Path,
    change: Change,
    *,
    name: str = "",
    container: str = "mp4",
    crf: int = 18,
    max_pixels: int | None = None,
    tell: Callable[[int], object] = lambda frames: None,
) -> Rewritten:
    """Write a clip whose frames are changed, with the sound, time stamps, colour tags and rotation of its source.

    Args:
        source: the clip.
        target: the file to write, overwritten; half of it stays where this fails.
        change: makes of a frame another, asked for them in their order.
        name: of the source, for messages.
        container: one of CONTAINERS.
        crf: constant rate factor in x264's scale: 0 to 51, the best first.
        max_pixels: larger frames are refused.
        tell: takes the number of frames that are written, after each.

    Raises:
        ImageError: it is no clip that can be used, or `av` is not installed.
    """
    name = name or source.name
    av, done = package(name), Rewritten()
    with opened(source, name, max_pixels) as (clip, video):
        done.width, done.height = video.width, video.height
        with (
            av.open(str(target), "w", format=container) as result,
            closing(in_thread(read(clip, video, name))) as frames,
            closing(in_thread(changed(frames, change))) as items,  # ends before what it takes from
        ):
            for _ in written(items, clip, video, result, crf, done):
                tell(done.frames)
    return done


def read_frames(source: Path) -> Iterator[tuple[np.ndarray, float]]:
    """The frames of a clip, RGB, uint8 (H, W, 3), each with its time in seconds.

    Raises:
        ImageError: as `rewrite_clip`.
    """
    with opened(source, source.name) as (clip, video):
        for item in read(clip, video, source.name):
            if isinstance(item, Frame):
                yield item.pixels, item.seconds


def changed(items: Iterable[Frame | Packet], change: Change) -> Iterator[Frame | Packet]:
    """The same items, the frames among them changed."""
    for item in items:
        if isinstance(item, Frame):
            item.pixels = change(item.pixels, item.seconds)
        yield item
