"""Enhancing as a job: find the model, list the photos, leave out what is done, enhance the rest, tell."""

from __future__ import annotations

import os
import posixpath
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache

from rich.console import Console

from cluster.connect import connect
from cluster.lasting import refuse_throwaway
from cluster.lease import held
from cluster.storage import fitting, leads_out, name_below, naming, open_uri, place
from pipelines.config.enhance import EnhanceSettings
from pipelines.data.ingest import DataError, no_picture
from pipelines.data.listing import LeftOut, photos_in
from pipelines.inference.progress import REPORT, UNREAD, Done, Entry
from pipelines.inference.worker import Photo, enhance_photos, written_as
from pipelines.job import FAILED, begun
from pipelines.models.resolve import ModelError, NamedModel, find_model
from pipelines.reporting.closing import there
from pipelines.tracking.runs import tracking_uri

RUNS = "runs"
LEAST_SLOTS = 3  # one for Ray Data's own reading, two workers
SECONDS_BETWEEN_LINES = 10.0
FAILURES_SHOWN = 20
SUFFIX_OF = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "tiff": ".tif", "avif": ".avif"}
WRITTEN_INSTEAD = {"gif": "png", "heic": "jpeg", "heif": "jpeg"}  # what is read, but not written


@dataclass
class Tally:
    """What a run has done so far.

    Attributes:
        done, failed: photos.
        lost: photos for each note of what their results do not hold.
        pixels: of those that are done.
        began: when the first worker began, in seconds since 1970.
    """

    done: int = 0
    failed: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    pixels: int = 0
    began: float = float("inf")

    def speed(self) -> str:
        """Photos and megapixels a second since the first worker began."""
        seconds = max(time.time() - self.began, 1e-3)
        return f"{self.done / seconds:.2f} images/s, {self.pixels / 1e6 / seconds:.2f} megapixels/s"


def run(settings: EnhanceSettings) -> int:
    """`enhance` what is left, with progress on stdout; raises what is told in one sentence.

    Returns:
        0: every photo is done; 1: some failed.
    """
    console = Console(soft_wrap=True, highlight=False, markup=False)
    refuse_throwaway({"output": settings.output})
    with naming("output"), held(settings.output):
        return enhance_what_is_left(settings, console)


def enhance_what_is_left(settings: EnhanceSettings, console: Console) -> int:
    """`run` in an output that nobody else works in."""
    model = find_model(settings.model, tracking_uri(settings.tracking.uri, RUNS))
    refuse_unknown_strength(model, settings.strength)
    with naming("output"):
        done = Done(settings.output)
    photos, skipped = find_work(settings, model.version, done, console.print)
    if done.unreadable:
        console.print(
            f"{done.unreadable} rows of {REPORT} in {settings.output} cannot be read: their photos count as not done, "
            f"and the table is kept as {UNREAD}"
        )
    if photos or done.unreadable:
        with naming("output"):
            done.write_report()  # or who may not write there would learn it from every single photo
    with begun():
        tally = enhance(settings, model, photos, done, console) if photos else Tally()
    console.print(
        f"{tally.done} photos enhanced, {skipped} done before, {tally.failed} failed"
        + (f"; {tally.speed()}" if tally.done else "")
    )
    for note, count in tally.lost.items():
        console.print(f"not kept in {count} of them: {note}")
    console.print(f"photos and {REPORT} in {there(settings.output)}")
    return FAILED if tally.failed else 0


def enhance(settings: EnhanceSettings, model: NamedModel, photos: list[Photo], done: Done, console: Console) -> Tally:
    """Enhance the photos and note what became of each, also when the job is interrupted.

    Raises:
        ClusterError: no cluster.
        StorageError: the report cannot be written.
    """
    tally, told = Tally(), time.monotonic()
    console.print(f"enhancing {len(photos)} photos with {model.name} ({model.parameters:,} parameters) ...")
    try:
        with connect(settings.cluster.address, cpus=max(LEAST_SLOTS, settings.workers + 1)) as resources:
            for entry, began in enhance_photos(model, photos, settings, resources, console.print):
                done.note(entry)
                tally.began = min(tally.began, began)
                tally.failed += bool(entry.failed)
                tally.done += not entry.failed
                tally.pixels += entry.width * entry.height
                if entry.failed and tally.failed <= FAILURES_SHOWN:
                    console.print(f"failed: {entry.photo}: {entry.failed}")
                if entry.note:
                    tally.lost[entry.note] += 1
                    if tally.lost[entry.note] == 1:
                        console.print(f"not kept: {entry.photo}: {entry.note}")
                if time.monotonic() > told + SECONDS_BETWEEN_LINES:
                    console.print(f"{tally.done + tally.failed} of {len(photos)}, {tally.speed()}")
                    told = time.monotonic()
    finally:
        done.write_report()
    return tally


def refuse_unknown_strength(model: NamedModel, strength: float) -> None:
    """See that the model knows the strength before any photo is read.

    Raises:
        ModelError: it does not.
    """
    if strength != 1 and not model.knows_strength:
        raise ModelError(
            f"strength: {model.name} knows none but 1; leave it out, or take a model of kind exposure or scene"
        )


def find_work(
    settings: EnhanceSettings, model_version: str, done: Done, tell: Callable[[str], None] = lambda line: None
) -> tuple[list[Photo], int]:
    """The photos of the input that are to be enhanced, and how many are done already.

    Args:
        settings: input, output, kind of file.
        model_version: of what will enhance them.
        done: the notes of the output.
        tell: told what is left out of the input.

    Raises:
        DataError: no photo there, or results would be written over photos.
        StorageError: it cannot be listed.
    """
    with naming("input"):
        place(settings.input)
    with naming("output"):
        _refuse_overwriting(settings)
    recipe = f"{model_version} {settings.format} {settings.quality}" + (
        " side-by-side" if settings.side_by_side else ""
    )
    recipe += f" strength {settings.strength:g}" if settings.strength != 1 else ""
    photos, skipped, photo_of, left_out = list[Photo](), 0, dict[str, str](), LeftOut()
    with naming("input"):
        entries = list(_entries(settings, left_out))
    for path, entry in entries:
        entry = replace(entry, recipe=recipe)
        other = photo_of.setdefault(entry.result, entry.photo)
        if other != entry.photo:
            raise DataError(f"format: {other} and {entry.photo} would both become {entry.result}; rename one of them")
        if done.is_foreign(entry.result):
            raise DataError(
                f"output: {settings.output} holds a {entry.result} that no enhancement wrote; choose another"
            )
        if done.has(entry) and not settings.again:
            skipped += 1
        else:
            photos.append(Photo(path, entry))
    if not photo_of and not left_out:
        raise DataError(f"input: {settings.input} does not exist or holds no file; check the path")
    if not photo_of:
        raise DataError(f"{no_picture('input', settings.input, left_out)}; check the path")
    if left_out:
        tell(str(left_out))
    return photos, skipped


def result_name(photo: str, format: str) -> str:
    """The name of a result: the photo's own where it fits the format, else the format's suffix is added.

    Adding, not replacing: `a.jpg` and `a.png` must not become one file. A name that grows too long for a file system
    is shortened, and keys such as `a//b.jpg` are written with one slash.
    """
    own = written_as(photo)
    if format == "same":
        format = WRITTEN_INSTEAD.get(own, own)
    name = photo if leads_out(photo.lstrip("/")) else posixpath.normpath(photo.lstrip("/"))
    return fitting(name, "" if format == own else SUFFIX_OF[format])


def _entries(settings: EnhanceSettings, left_out: LeftOut) -> Iterator[tuple[str, Entry]]:
    """Path and first notes of each photo of the input; the output is left out where it lies inside, or a link leads."""
    filesystem, root = open_uri(settings.input)
    target = place(settings.output)
    kind = filesystem.type_name
    real = cache(os.path.realpath if kind == "local" else str)
    for file in photos_in(settings.input, left_out):
        name = name_below(root, file.path)
        if not f"{kind}:{real(posixpath.dirname(file.path))}/".startswith(target):
            yield file.path, Entry(name, file.version, "", result_name(name, settings.format))


def _refuse_overwriting(settings: EnhanceSettings) -> None:
    if place(settings.input).startswith(place(settings.output)):
        raise DataError(
            f"output: {settings.output} holds the input, whose photos would be written over; choose another folder"
        )
