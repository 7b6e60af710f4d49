"""A promotion as a job: measure candidate and champion on the same photos, decide, record, move the alias, tell."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from rich.console import Console

from cluster.connect import ClusterError, connect
from cluster.lasting import refuse_throwaway
from cluster.redaction import redacted
from cluster.storage import StorageError
from lle.config import PromotionSettings
from lle.images import decode, encode, resize, to_tensor
from lle.model import enhance
from pipelines.jobs.champion import PromotionError, Registry
from pipelines.jobs.command_line import stopped
from pipelines.jobs.decision import CHAMPION, INPUT, Check, Comparison, check_gain, check_guards, gains, refuse_too_few
from pipelines.jobs.evaluation import LEAST_SLOTS, RUNS, print_summary, result_files, summarise
from pipelines.jobs.evaluation_set import check_unchanged, contents_hash, read_contents, write_manifest
from pipelines.jobs.ingest import DataError, read_photo
from pipelines.jobs.measures import Measures, load_measures
from pipelines.jobs.measuring import LOW, PICTURE_HEIGHT, Photo, find_evaluated_photos, measure_photos
from pipelines.jobs.models import ModelError, NamedModel, find_model
from pipelines.jobs.page import REPORT, Case, render
from pipelines.jobs.promotion_page import CANDIDATE, TRUTH, promotion_page, worst_cases
from pipelines.jobs.report import side_by_side
from pipelines.jobs.tracking import TrackingError, git_revision, record_evaluation, tracking_uri

NO_CHAMPION = "control:input"
TIMED_PHOTOS, TIMED_ROUNDS, TIMED_SIDE = 3, 5, 1024


def run(settings: PromotionSettings) -> int:
    """`promote` or `roll_back` as a job: tables and reasons on stdout, mistakes as one sentence on stderr.

    Returns:
        0: there is a new champion; 1: all is as it was.
    """
    console = Console(soft_wrap=True, highlight=False, markup=False)
    tracking = tracking_uri(settings.tracking, RUNS)
    registry = Registry(tracking, settings.model, settings.champion)
    try:
        refuse_throwaway({"tracking": tracking, "manifest": settings.manifest if settings.repin else ""})
        if settings.rollback:
            before, now = registry.roll_back()
            console.print(f"version {now} of {settings.model} is {settings.champion} again, in place of {before}")
            return 0
        return 0 if promote(settings, registry, console) else 1
    except (PromotionError, DataError, ModelError, StorageError, TrackingError, ClusterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, SystemExit) as stop:
        return stopped(stop, "the same command begins anew")


def promote(settings: PromotionSettings, registry: Registry, console: Console) -> bool:
    """Compare, record, and move the alias where every check is passed.

    Returns:
        Whether the candidate is champion now.

    Raises:
        PromotionError, DataError, ModelError, StorageError, TrackingError, ClusterError: one sentence each; the
            alias stays where it was.
    """
    version, champion = registry.version(settings.candidate), registry.champion
    if version == champion:
        raise PromotionError(f"candidate: {settings.candidate} is version {version}, which is the champion already")
    candidate = find_model(f"models:/{settings.model}/{version}", registry.uri)
    rival = find_model(f"models:/{settings.model}/{champion}" if champion else NO_CHAMPION, registry.uri)
    measures = find_measures(settings)
    photos, refused = find_evaluated_photos(settings.low, settings.high, settings.good, 0, settings.max_pixels)
    refuse_too_few(sum(photo.group == LOW for photo in photos), settings.significance)
    contents = read_contents(photos, settings.max_pixels)
    refuse_other_photos(settings, contents, registry.evaluation_set)

    against = f"the champion, version {champion}" if champion else "the input, for there is no champion yet"
    console.print(f"version {version} of {settings.model} against {against}, on {len(photos)} photos ...")
    for path, reason in refused.items():
        console.print(f"set aside: {path}: {reason}")
    with connect(settings.address, cpus=LEAST_SLOTS) as resources:
        ours, theirs = (
            sorted(
                measure_photos(model, measures, photos, settings.max_pixels, resources, console.print),
                key=lambda each: (each.group, each.name),
            )
            for model in (candidate, rival)
        )
    for model, measured in ((rival, theirs), (candidate, ours)):
        print_summary(console, model.name, summarise(measured))

    gained = gains(settings.measure, theirs, ours)
    checks = [check_gain(settings, list(gained.values()))]
    if champion:  # the input is neither slow nor over-exposed: guards compare enhancers
        timed = [photo for photo in photos if photo.group == LOW and photo.name in gained]
        checks += check_guards(settings, theirs, ours, times_slower(candidate, rival, timed, settings.max_pixels))
    for check in checks:
        console.print(f"{'passed' if check.passed else 'FAILED'}  {check.finding}")

    compared = Comparison(settings.model, version, champion, theirs, ours, gained, checks)
    about = {"evaluation_set": contents_hash(contents), "revision": git_revision()}
    decision = {
        "model": settings.model,
        "candidate": version,
        "champion": champion,
        "earned": compared.earned,
        "checks": [asdict(check) for check in checks],
        **about,
    }
    cases = worst_cases(settings, compared)
    files = {
        REPORT: render(promotion_page(settings, compared, cases, about)),
        "decision.json": (json.dumps(decision, indent=2) + "\n").encode(),
        "manifest.json": (json.dumps(contents, indent=2) + "\n").encode(),
        **_below(CANDIDATE, result_files(ours, {"model": candidate.uri})),
        **_below(compared.rival, result_files(theirs, {"model": rival.uri})),
        **worst_pictures(cases),
    }
    run_id = record(settings, registry.uri, version, checks, gained, files)
    console.print(f"{REPORT}, decision, tables and worst pictures in run {run_id} of {redacted(registry.uri)}")
    if not compared.earned:
        console.print(f"not promoted: {', '.join(check.name for check in checks if not check.passed)}")
        return False
    registry.promote(version, champion, contents_hash(contents), run_id)
    console.print(f"version {version} of {settings.model} is {settings.champion}")
    return True


def find_measures(settings: PromotionSettings) -> Measures:
    """The metrics at hand, the one that decides among them.

    Raises:
        DataError: its weights are not at hand.
    """
    try:
        measures = load_measures(settings.weights)
    except ValueError as error:
        raise DataError(str(error)) from error
    if settings.measure in measures.skipped:
        raise DataError(f"measure: {settings.measure} cannot decide: {measures.skipped[settings.measure]}")
    return measures


def refuse_other_photos(settings: PromotionSettings, contents: dict[str, str], pinned: str) -> None:
    """See that the photos are those that are pinned, in the file and in the registry; or pin them anew.

    Raises:
        DataError: they are not.
    """
    if settings.repin:
        if settings.manifest:
            write_manifest(contents, settings.manifest)
        return
    if settings.manifest:
        check_unchanged(contents, settings.manifest)
    if pinned and pinned != contents_hash(contents):
        raise DataError(
            f"low, high and good: not the photos of the last promotion of {settings.model} (SHA-256 {pinned[:12]}..., "
            "see manifest.json in its run); give those, or pin these with --repin"
        )


def times_slower(candidate: NamedModel, rival: NamedModel, photos: Sequence[Photo], max_pixels: int) -> float:
    """The candidate's time over the rival's on some photos, on this machine's CPU: taken in turns, the best of five."""
    some = [photos[index] for index in np.linspace(0, len(photos) - 1, TIMED_PHOTOS).round().astype(int)]
    images = []
    for photo in some:
        pixels = read_photo(photo.uri, photo.path, max_pixels)
        scale = min(1.0, TIMED_SIDE / max(pixels.shape[:2]))
        images.append(to_tensor(resize(pixels, (round(pixels.shape[0] * scale), round(pixels.shape[1] * scale)))))
    best = [float("inf"), float("inf")]
    for _ in range(TIMED_ROUNDS):
        for index, model in enumerate((candidate, rival)):
            began = time.perf_counter()
            for image in images:
                enhance(model.network, image)
            best[index] = min(best[index], time.perf_counter() - began)
    return best[0] / best[1]


def worst_pictures(cases: Sequence[Case]) -> dict[str, bytes]:
    """Input, champion, candidate and ground truth side by side, as far as there are such, by file name."""
    files = dict[str, bytes]()
    for rank, case in enumerate(cases, start=1):
        row = [decode(case.views[label]) for label in (INPUT, CHAMPION, CANDIDATE, TRUTH) if label in case.views]
        files[f"worst/{rank}-{case.name.replace('/', '-')}.jpg"] = encode(side_by_side(row, PICTURE_HEIGHT), "jpeg")
    return files


def record(
    settings: PromotionSettings,
    uri: str,
    version: str,
    checks: Sequence[Check],
    gained: dict[str, float],
    files: dict[str, bytes],
) -> str:
    """The decision as a run of MLflow; its id.

    Raises:
        TrackingError: the server does not take it.
    """
    numbers = {f"passed/{check.name}": float(check.passed) for check in checks}
    numbers[f"gain/{settings.measure}"] = float(np.mean(list(gained.values())))
    parameters = {name: str(value) for name, value in settings.model_dump().items()}
    return record_evaluation(uri, settings.experiment, f"{settings.model} {version}", parameters, numbers, files)


def _below(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}
