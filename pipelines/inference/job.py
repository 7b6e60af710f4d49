"""Enhancing as a job: find the model, list the photos, leave out what is done, enhance the rest, tell.

Ray takes ten seconds to start, so a few photos on this machine are enhanced in this process. Both ways work off one
list with one worker, and go on with each other's table.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from cluster.connect import connect
from cluster.lasting import refuse_throwaway
from cluster.lease import held
from cluster.storage import naming, told
from lle.clips import is_clip_name
from pipelines.config.enhance import EnhanceSettings
from pipelines.inference.progress import REPORT, UNREAD, Done, Entry
from pipelines.inference.work import NAMES_SHOWN, Beside, Part, Photo, find_work, parts
from pipelines.inference.worker import enhance_here, enhance_photos
from pipelines.job import FAILED, begun
from pipelines.models.resolve import ModelError, NamedModel, find_model
from pipelines.reporting.closing import IN_A_JOB, shown, there
from pipelines.tracking.address import tracking_uri

RUNS = "runs"
LEAST_SLOTS = 3  # one for Ray Data's own reading, two workers
FEW = 32  # photos; on two cores Ray wins from some 70 on or never (docs/benchmarks.md, Starting up)
SECONDS_BETWEEN_LINES = 10.0
FAILURES_SHOWN = 20


@dataclass
class Tally:
    """What a run has done so far.

    Attributes:
        done, failed: photos and clips.
        clips: of those that are done.
        lost: photos for each note of what their results do not hold.
        pixels: of those that are done.
        began: when the first worker began, in seconds since 1970.
    """

    done: int = 0
    failed: int = 0
    clips: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    pixels: int = 0
    began: float = float("inf")

    def add(self, entry: Entry, began: float) -> None:
        """Count one photo, of a worker that began then."""
        self.began = min(self.began, began)
        self.failed += bool(entry.failed)
        self.done += not entry.failed
        self.clips += not entry.failed and is_clip_name(entry.photo)
        self.pixels += entry.width * entry.height
        if entry.note:
            self.lost[entry.note] += 1

    def named(self) -> str:
        """What is done, in words."""
        photos, clips = f"{self.done - self.clips} photos", f"{self.clips} clip{'s' * (self.clips != 1)}"
        return photos if not self.clips else clips if self.clips == self.done else f"{photos} and {clips}"

    def speed(self) -> str:
        """Photos and megapixels a second since the first worker began."""
        seconds = max(time.time() - self.began, 1e-3)
        return f"{self.done / seconds:.2f} images/s, {self.pixels / 1e6 / seconds:.2f} megapixels/s"


def run(settings: EnhanceSettings) -> int:
    """`enhance` what is left of each input, with progress on stdout; raises what is told in one sentence.

    Returns:
        0: every photo is done; 1: some failed.
    """
    status, todo = 0, parts(settings)
    for part in todo:
        refuse_throwaway({"output": part.settings.output})
    model = find_model(settings.model, tracking_uri(settings.tracking.uri, RUNS))
    refuse_unknown_strength(model, settings.strength)
    if settings.format == "cube" and not model.knows_strength:
        raise ModelError(
            f"format: {model.name} has no one exposure for a photo; for a cube take a model of arch exposure or scene"
        )
    for part in todo:
        with naming("output"), nullcontext() if part.beside else held(part.settings.output):
            status = max(status, enhance_what_is_left(part, model))
    return status


def enhance_what_is_left(part: Part, model: NamedModel) -> int:
    """`run` in an output that nobody else works in."""
    settings = part.settings
    with naming("output"):
        done = Beside(settings.output) if part.beside else Done(settings.output)
    photos, skipped = find_work(settings, model.version, done, say)
    if done.unreadable:
        say(
            f"{done.unreadable} rows of {REPORT} in {settings.output} cannot be read: their photos count as not done, "
            f"and the table is kept as {UNREAD}"
        )
    if photos or done.unreadable:
        with naming("output"):
            done.write_report()  # or who may not write there would learn it from every single photo
    with begun():
        tally = enhance(settings, model, photos, done) if photos else Tally()
    say(
        f"{tally.named()} enhanced, {skipped} done before, {tally.failed} failed"
        + (f"; {tally.speed()}" if tally.done else "")
    )
    for note, count in tally.lost.items():
        say(f"not kept in {count} of them: {note}")
    if isinstance(done, Beside):
        if done.written:
            say(f"written: {_listed(done.written)}")
        if skipped:
            say(f"there already: {_listed(done.there)} (--again writes anew)")
    else:
        say(f"photos and {REPORT} in {there(settings.output)}")
    return FAILED if tally.failed else 0


def enhance(settings: EnhanceSettings, model: NamedModel, photos: list[Photo], done: Done | Beside) -> Tally:
    """Enhance the photos and note what became of each, also when the job is interrupted.

    Raises:
        ClusterError: no cluster.
        StorageError: the report cannot be written.
    """
    tally, last = Tally(), time.monotonic()
    say(f"enhancing {len(photos)} photos with {model.name} ({model.parameters:,} parameters) ...")
    try:
        with ExitStack() as stack:
            if stays_here(settings, len(photos)):
                if settings.workers > 1:
                    say("workers: this process does them all without Ray; pip install 'lle[pipeline]' brings it")
                results = enhance_here(model, photos, settings, say)
            else:
                slots = max(LEAST_SLOTS, settings.workers + 1)
                resources = stack.enter_context(connect(settings.cluster.address, cpus=slots))
                results = enhance_photos(model, photos, settings, resources, say)
            for entry, began in stack.enter_context(closing(results)):
                done.note(entry)
                tally.add(entry, began)
                if entry.failed and tally.failed <= FAILURES_SHOWN:
                    say(f"failed: {told(entry.photo)}: {entry.failed}")
                if entry.note and tally.lost[entry.note] == 1:
                    say(f"not kept: {told(entry.photo)}: {entry.note}")
                if time.monotonic() > last + SECONDS_BETWEEN_LINES:
                    say(f"{tally.done + tally.failed} of {len(photos)}, {tally.speed()}")
                    last = time.monotonic()
    finally:
        done.write_report()
    return tally


def stays_here(settings: EnhanceSettings, photos: int) -> bool:
    """Whether this process enhances them itself: no cluster is named, and they are few or Ray is not installed."""
    if settings.cluster.address or any(os.environ.get(name) for name in ("RAY_ADDRESS", IN_A_JOB)):
        return False
    return (photos <= FEW and settings.workers <= 1) or find_spec("ray") is None


def refuse_unknown_strength(model: NamedModel, strength: float) -> None:
    """See that the model knows the strength before any photo is read.

    Raises:
        ModelError: it does not.
    """
    if strength != 1 and not model.knows_strength:
        raise ModelError(
            f"strength: {model.name} knows none but 1; leave it out, or take a model of arch exposure, scene, haze or "
            "rain"
        )


def say(line: str) -> None:
    """A line for whoever watches, at once."""
    print(line, flush=True)


def _listed(paths: Sequence[str]) -> str:
    """The first few of some paths."""
    more = f" and {len(paths) - NAMES_SHOWN} more" if len(paths) > NAMES_SHOWN else ""
    return ", ".join(told(shown(Path(path))) for path in paths[:NAMES_SHOWN]) + more
