"""Long clips by segments: workers share them out, a run that was stopped goes on with them, and they are joined.

Until its clip is whole, a segment lies beside the result, under a hidden name that tells the clip and how it is done.
Light over time is filtered, so the frames of some time constants before a segment are watched first.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

from torch import nn

from cluster.storage import (
    fitting,
    inside,
    local_copy,
    open_anywhere,
    open_file,
    open_files,
    told,
    write_atomically,
    written_aside,
)
from lle.clips import is_clip_name, join_segments, rewrite_segment, segments_of
from lle.images import ImageError
from pipelines.config.enhance import EnhanceSettings
from pipelines.inference.clips import ByFrames, container_of, noted, one_core_left
from pipelines.inference.progress import Entry
from pipelines.inference.work import Photo

LEAD = 5.0  # time constants; of what was decided before them, 1 % is left
OPENED_AT_ONCE = 8  # clips whose lengths are asked for


def shared_out(photos: Sequence[Photo], settings: EnhanceSettings) -> list[Photo]:
    """The same, long clips by their segments; those whose length cannot be told are whole."""
    if not settings.video.segment or not any(is_clip_name(each.path) for each in photos):
        return list(photos)
    source, _ = open_files(settings.input[0])

    def segments(photo: Photo) -> list[Photo]:
        count = 1
        if is_clip_name(photo.path):
            with suppress(ImageError, OSError), open_anywhere(source, photo.path) as file:
                count = segments_of(file, settings.video.segment)
        return [replace(photo, segment=index, segments=count) for index in range(count)]

    with ThreadPoolExecutor(OPENED_AT_ONCE) as pool:
        return [each for some in pool.map(segments, photos) for each in some]


def enhance_segment(
    network: nn.Module,
    photo: Photo,
    source: Any,
    target: tuple[Any, str],
    settings: EnhanceSettings,
    tell: Callable[[int], object] = lambda frames: None,
) -> Entry:
    """Enhance a segment of a clip and write it, unless an earlier run has; arguments and errors of `enhance_clip`."""
    filesystem, root = target
    path = inside(filesystem, root, _name(photo, settings))
    if not _is_there(filesystem, path):
        change = ByFrames(network, settings, photo.path)
        with open_anywhere(source, photo.path) as file, one_core_left():
            data = rewrite_segment(
                file,
                change,
                photo.segment,
                photo.segments,
                name=photo.path,
                container=container_of(photo.entry.result),
                crf=settings.video.crf,
                max_pixels=settings.max_pixels,
                lead=LEAD * settings.video.seconds,
                watch=change.watch,
                tell=tell,
            )
        write_atomically(filesystem, path, data)
    return photo.entry


def join_clip(photo: Photo, settings: EnhanceSettings) -> Entry:
    """Write a clip whose segments are all there, and take them away.

    Args:
        photo: any of its segments.
        settings: of the run.

    Raises:
        ImageError: no segment holds a frame.
        OSError: a segment cannot be read, or the clip not written.
    """
    source, _ = open_files(settings.input[0])
    filesystem, root = open_files(settings.output)
    result = photo.entry.result
    names = [_name(replace(photo, segment=index), settings) for index in range(photo.segments)]
    paths = [inside(filesystem, root, name) for name in names]

    def segments() -> Iterator[bytes]:
        for path in paths:
            with open_file(filesystem, path) as file:
                yield file.read()

    with (
        local_copy(source, photo.path) as file,
        written_aside(filesystem, inside(filesystem, root, result)) as unfinished,
    ):
        done = join_segments(
            file, segments(), unfinished, name=photo.path, container=container_of(result), crf=settings.video.crf
        )
    for path in paths:
        with suppress(OSError):
            filesystem.delete_file(path)
    return noted(photo.entry, done)


def joined(
    results: Iterable[tuple[Entry, float]],
    photos: Sequence[Photo],
    join: Callable[[Photo], Entry],
    tell: Callable[[str], object],
) -> Iterator[tuple[Entry, float]]:
    """Results of photos and segments -> the same of photos and whole clips.

    Args:
        results: what became of each, and when its worker began.
        photos: those, and the segments.
        join: makes of any segment of a clip whose segments are all done the clip.
        tell: takes a line about each segment.
    """
    clips = {each.entry.result: each for each in photos if each.segments > 1}
    left, failures = Counter(each.entry.result for each in photos), dict[str, Entry]()
    for entry, began in results:
        result = entry.result
        if clip := clips.get(result):
            left[result] -= 1
            if entry.failed:
                failures.setdefault(result, entry)
            tell(f"{told(entry.photo)}: {clip.segments - left[result]} of {clip.segments} segments")
            if left[result]:
                continue
            entry = failures.get(result) or join(clip)
        yield entry, began


def _name(segment: Photo, settings: EnhanceSettings) -> str:
    """Where it lies below the output: another content, recipe or length of the segments, and it is another file."""
    entry = segment.entry
    told_apart = repr((entry.photo, entry.version, entry.recipe, settings.video.segment))
    key = hashlib.sha256(told_apart.encode(errors="surrogateescape")).hexdigest()[:12]
    folder, base = posixpath.split(entry.result)
    suffix = f".{segment.segment + 1:04}-of-{segment.segments:04}.{key}.segment"
    return posixpath.join(folder, fitting(f".{base}", suffix))


def _is_there(filesystem: Any, path: str) -> bool:
    try:
        with open_file(filesystem, path) as file:
            return bool(file.read(1))
    except FileNotFoundError:
        return False
