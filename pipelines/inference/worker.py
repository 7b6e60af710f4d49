"""Photos through a network: workers read, enhance and write them; Ray Data hands out their names, or this process does.

Clips are one unit of work each (`inference.clips`), long ones several (`inference.segments`). Of photos:

name -> bytes -> pixels (B, H, W, 3), photos of one size together -> enhanced, the same -> bytes, with all that belongs
to the photo
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from cluster.allocator import ALLOCATOR
from cluster.connect import nodes
from cluster.storage import explain, from_anywhere, inside, open_file, open_files, told, write_atomically
from cluster.waiting import told_while_waiting
from lle.clips import is_clip_name
from lle.cube import cube
from lle.dotted import said
from lle.images import (
    ImageError,
    Picture,
    decode_picture,
    encode_picture,
    losses,
    most_bytes,
    read_bounded,
    read_header,
)
from lle.model import Model, enhance_pixels
from pipelines.config.enhance import EnhanceSettings
from pipelines.inference.clips import beside, enhance_clip
from pipelines.inference.progress import Entry
from pipelines.inference.segments import enhance_segment, join_clip, joined, shared_out
from pipelines.inference.work import Photo, written_as
from pipelines.models.resolve import NamedModel

PHOTOS_PER_THREAD = 8
LEAST_THREADS = 2  # one reads and writes while another computes
SECONDS_BETWEEN_LINES = 10.0  # of a clip
MOST_THREADS = 8  # of this process: each holds a photo


@dataclass(frozen=True)
class File:
    """A photo that was read, with the size that its header tells."""

    photo: Photo
    data: bytes
    size: tuple[int, int]


def enhance_photos(
    model: NamedModel,
    photos: Sequence[Photo],
    settings: EnhanceSettings,
    resources: dict[str, float],
    tell: Callable[[str], object],
) -> Generator[tuple[Entry, float], None, None]:
    """Enhance photos on a joined Ray cluster, in the order in which they are done.

    Args:
        model: sent to the workers.
        photos: of any number; only their names are held here.
        settings: input, output, kind of file, workers.
        resources: of the cluster; a worker for each GPU, else for each CPU but one, unless the settings say otherwise;
            those begin for which there is room.
        tell: takes a line about what is waited for.

    Yields:
        What became of a photo, and when its worker began to work, in seconds since 1970.
    """
    import pyarrow
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    pieces = shared_out(photos, settings)
    workers = min(settings.workers or gpus or max(1, cpus - 1), len(pieces))
    there = settings.model_copy(
        update={"input": tuple(map(from_anywhere, settings.input)), "output": from_anywhere(settings.output)}
    )
    cores = cores_beside_a_gpu(nodes(), workers) if gpus else 1
    threads = max(LEAST_THREADS, cores)
    per_batch = min(threads * PHOTOS_PER_THREAD, math.ceil(len(pieces) / workers))
    # A batch is a block from the start: cutting them up on the cluster, or asking there how large they are, as
    # `from_arrow` does, would be a task that waits for a CPU of its own and does not say so.
    tables = [pyarrow.Table.from_pylist([asdict(each) for each in unit]) for unit in units(pieces, per_batch)]
    done = ray.data.from_blocks(tables).map_batches(
        Worker,
        batch_size=None,
        batch_format="pyarrow",
        fn_constructor_args=(model, there, threads),
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=cores,
        num_gpus=min(1, gpus / workers),
        runtime_env={"env_vars": ALLOCATOR},
    )
    begun = False

    def results() -> Iterator[tuple[Entry, float]]:
        nonlocal begun
        for row in done.iter_rows():
            begun = True
            began = row.pop("began")
            yield Entry(**row), began

    join = ray.remote(num_cpus=0)(joined_or_failed)  # waits for disks rather than for processors
    with told_while_waiting(tell, lambda: begun):
        yield from joined(results(), pieces, lambda clip: ray.get(join.remote(clip, there)), tell)


def enhance_here(
    model: NamedModel,
    photos: Sequence[Photo],
    settings: EnhanceSettings,
    tell: Callable[[str], object],
) -> Generator[tuple[Entry, float], None, None]:
    """Enhance photos in this process, by the same worker, without Ray: what `enhance_photos` yields."""
    threads = min(max(LEAST_THREADS, os.cpu_count() or 1), MOST_THREADS)
    worker, pieces = Worker(model, settings, threads, tell), shared_out(photos, settings)

    def results() -> Iterator[tuple[Entry, float]]:
        for first in range(0, len(pieces), threads * PHOTOS_PER_THREAD):
            for entry in worker.enhance(pieces[first : first + threads * PHOTOS_PER_THREAD]):
                yield entry, worker.began

    yield from joined(results(), pieces, lambda clip: joined_or_failed(clip, settings), tell)


def units(photos: Sequence[Photo], per_batch: int) -> list[Sequence[Photo]]:
    """What a worker is handed at once: so many photos, or one clip or segment; those, which take longest, first."""
    clips = [[each] for each in photos if is_clip_name(each.path)]
    others = [each for each in photos if not is_clip_name(each.path)]
    return [*clips, *(others[first : first + per_batch] for first in range(0, len(others), per_batch))]


def cores_beside_a_gpu(machines: Sequence[dict[str, float]], workers: int) -> int:
    """CPUs for each of some workers that share the GPUs: what any machine with GPUs has, but one, shared out."""
    with_gpus = [machine for machine in machines if machine.get("GPU")]
    for_a_worker = workers / sum(machine["GPU"] for machine in with_gpus)  # GPUs have at least one worker each
    fewest = min((machine.get("CPU", 0) - 1) / machine["GPU"] for machine in with_gpus)
    return max(1, int(fewest / max(1, math.ceil(for_a_worker))))


class Worker:
    """Keeps the model on its device from batch to batch.

    Args:
        model: what enhances.
        settings: input, output, kind of file.
        threads: photos that are read, decoded, encoded or written at once; one at a time is enhanced.
        tell: takes a line about how far a clip is.
    """

    def __init__(
        self,
        model: NamedModel,
        settings: EnhanceSettings,
        threads: int = LEAST_THREADS,
        tell: Callable[[str], object] = lambda line: None,
    ) -> None:
        self._network, self._settings, self._threads, self._tell = model.network, settings, threads, tell
        self._source, _ = open_files(settings.input[0])
        self._target, self._root = open_files(settings.output)
        self._one_at_a_time = threading.Lock()
        self.began = time.time()
        if torch.cuda.is_available():
            self._network.cuda()

    def __call__(self, batch: Any) -> Any:
        """From a table of the fields of `Photo` to one of the fields of `Entry` and `began`."""
        import pyarrow

        photos = [Photo(**row | {"entry": Entry(**row["entry"])}) for row in batch.to_pylist()]
        return pyarrow.Table.from_pylist([asdict(entry) | {"began": self.began} for entry in self.enhance(photos)])

    def enhance(self, photos: Sequence[Photo]) -> Iterator[Entry]:
        """What became of each; whatever is wrong with one of them is noted, never raised."""
        pool = ThreadPoolExecutor(self._threads)
        try:
            read = [*pool.map(self._read, [each for each in photos if not is_clip_name(each.path)])]
            yield from (each for each in read if isinstance(each, Entry))
            stacks = same_size([each for each in read if isinstance(each, File)], self._settings.batch_pixels)
            for entries in pool.map(self._enhance_stack, stacks):
                yield from entries
        finally:
            pool.shutdown(cancel_futures=True)  # a job that is stopped finishes the photos under way and no others
        yield from (self._enhance_clip(each) for each in photos if is_clip_name(each.path))

    def _enhance_clip(self, clip: Photo) -> Entry:
        """One clip or segment, with threads of its own."""
        began = last = time.monotonic()
        whole = clip.segments == 1
        name = told(clip.entry.photo) + ("" if whole else f", segment {clip.segment + 1} of {clip.segments}")

        def tell(frames: int) -> None:
            nonlocal last
            if time.monotonic() > last + SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                self._tell(f"{name}: {frames} frames, {frames / (last - began):.1f} a second")

        enhance = enhance_clip if whole else enhance_segment
        try:
            return enhance(self._network, clip, self._source, (self._target, self._root), self._settings, tell)
        except Exception as error:
            return failed(clip, error)

    def _read(self, photo: Photo) -> File | Entry:
        try:
            with open_file(self._source, photo.path) as stream:
                data = read_bounded(stream, most_bytes(self._settings.max_pixels), photo.path)
            header = read_header(data, photo.path, self._settings.max_pixels)
        except Exception as error:
            return failed(photo, error)
        return File(photo, data, (header.height, header.width))

    def _enhance_stack(self, files: list[File]) -> list[Entry]:
        """Photos of one size; where they fail together, each alone."""
        try:
            pictures = [
                decode_picture(each.data, each.photo.path, max_pixels=self._settings.max_pixels) for each in files
            ]
            if len({picture.pixels.dtype for picture in pictures}) > 1:
                return [entry for each in files for entry in self._enhance_stack([each])]
            alone = len(pictures) == 1  # may be large: it is not copied
            pixels = pictures[0].pixels[None] if alone else np.stack([picture.pixels for picture in pictures])
            if self._settings.format == "cube":
                return [self._write_cube(*each) for each in zip(files, pictures, strict=True)]
            with self._one_at_a_time:
                enhanced = enhance_pixels(self._network, pixels, self._settings.strength)
            results = [self._result(*each) for each in zip(pictures, enhanced, strict=True)]
        except Exception as error:
            if len(files) == 1:
                return [failed(files[0].photo, error)]
            return [entry for each in files for entry in self._enhance_stack([each])]
        del pictures, pixels, enhanced  # a large photo's memory is what its encoder needs
        return [self._write(*each) for each in zip(files, results, strict=True)]

    def _write_cube(self, file: File, picture: Picture) -> Entry:
        entry = file.photo.entry
        try:
            assert isinstance(self._network, Model)  # the job has seen to it
            text = cube(self._network, picture.pixels, self._settings.strength)
            write_atomically(self._target, inside(self._target, self._root, entry.result), text.encode())
        except Exception as error:
            return failed(file.photo, error)
        return replace(entry, height=file.size[0], width=file.size[1])

    def _result(self, picture: Picture, enhanced: np.ndarray) -> Picture:
        result = picture.enhanced(enhanced)
        return picture_beside(picture, result) if self._settings.side_by_side else result

    def _write(self, file: File, result: Picture) -> Entry:
        entry = file.photo.entry
        try:
            format = written_as(entry.result)
            data = encode_picture(result, format, self._settings.quality)
            write_atomically(self._target, inside(self._target, self._root, entry.result), data)
        except Exception as error:
            return failed(file.photo, error)
        return replace(entry, height=file.size[0], width=file.size[1], note=", ".join(losses(result, format)))


def picture_beside(photo: Picture, result: Picture) -> Picture:
    """The photo to the left of its result."""
    alpha = None if photo.alpha is None else beside(photo.alpha, photo.alpha)
    return replace(result, pixels=beside(photo.own, result.pixels), alpha=alpha)


def same_size(files: Sequence[File], most_pixels: int) -> list[list[File]]:
    """Files in stacks of one size and so many pixels at most; a larger photo makes a stack by itself."""
    stacks: list[list[File]] = []
    for file in sorted(files, key=lambda each: each.size):
        if stacks and stacks[-1][0].size == file.size and (len(stacks[-1]) + 1) * math.prod(file.size) <= most_pixels:
            stacks[-1].append(file)
        else:
            stacks.append([file])
    return stacks


def joined_or_failed(clip: Photo, settings: EnhanceSettings) -> Entry:
    """A clip of its segments, or the entry that says why not."""
    try:
        return join_clip(clip, settings)
    except Exception as error:
        return failed(clip, error)


def failed(photo: Photo, error: Exception) -> Entry:
    """The entry that says why, in a line."""
    if isinstance(error, ImageError):
        reason = error.reason
    elif isinstance(error, MemoryError | torch.OutOfMemoryError):
        reason = "does not fit into memory; give fewer --workers, or a machine with more"
    elif isinstance(error, OSError):
        reason = explain(error)
    else:
        reason = said(error)
    return replace(photo.entry, failed=reason)
