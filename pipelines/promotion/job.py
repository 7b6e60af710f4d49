"""A promotion as a job: measure candidate and champion on the same photos, decide, record, move the alias, tell."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

import numpy as np
from mlflow.entities import DatasetInput
from rich.console import Console

from cluster.connect import connect
from cluster.lasting import refuse_throwaway
from cluster.storage import fitting, local_path
from lle.images import decode, encode, resize, to_tensor
from lle.model import BUNDLED, enhance
from pipelines.config.promote import PromotionSettings
from pipelines.config.text import flat
from pipelines.data.listing import DataError
from pipelines.data.photo_sets import read_photo
from pipelines.evaluation.job import LEAST_SLOTS, RUNS, evaluated, result_files, summarise
from pipelines.evaluation.metrics import MetricSuite, load_metric_suite
from pipelines.evaluation.photos import check_unchanged, contents_hash, read_contents, write_manifest
from pipelines.evaluation.worker import (
    GOOD,
    LOW,
    PICTURE_HEIGHT,
    Measured,
    Photo,
    find_evaluated_photos,
    measure_models,
    measure_photo,
)
from pipelines.job import FAILED, begun
from pipelines.models.champion import PromotionError, Registry
from pipelines.models.named import ModelError, NamedModel
from pipelines.models.resolve import find_model
from pipelines.promotion.decision import (
    CHAMPION,
    COMPARED,
    INPUT,
    Check,
    Comparison,
    check_gain,
    check_guards,
    check_votes,
    gains,
    refuse_too_few,
    strongest,
)
from pipelines.promotion.report import CANDIDATE, TRUTH, beside_baselines, least_gained, promotion_report, worst_cases
from pipelines.reporting.closing import record_of
from pipelines.reporting.html_report import REPORT, Case, render
from pipelines.reporting.pictures import BASELINE, side_by_side
from pipelines.reporting.tables import printable
from pipelines.tracking.address import TrackingError, tracking_uri
from pipelines.tracking.runs import record_evaluation, recorded_run
from pipelines.tracking.source import git_revision, source_hash
from pipelines.voting.votes import read

PROGRAM = "pipelines/promote.py"
NEXT = "When a version does not pass"
TIMED_PHOTOS, TIMED_ROUNDS, TIMED_SIDE = 3, 9, 1024
LEAST_ROUNDS, TIMED_SECONDS = 3, 60.0


def run(settings: PromotionSettings) -> int:
    """`promote` or `roll_back`, with tables and reasons on stdout; raises what those do.

    Returns:
        0: there is a new champion; 1: all is as it was.
    """
    console = Console(soft_wrap=True, highlight=False, markup=False)
    tracking = tracking_uri(settings.tracking.uri, RUNS)
    registry = Registry(tracking, settings.model, settings.champion)
    refuse_throwaway({"tracking": tracking, "manifest": settings.manifest if settings.repin else ""})
    if settings.rollback:
        before, now = roll_back(registry)
        console.print(f"version {now} of {settings.model} is {settings.champion} again, in place of {before}")
        return 0
    return 0 if promote(settings, registry, console) else FAILED


def roll_back(registry: Registry) -> tuple[str, str]:
    """`Registry.roll_back`, to a version that can be used.

    Raises:
        PromotionError: also where its files are gone.
    """
    present, previous = registry.way_back()
    try:
        find_model(f"models:/{registry.name}/{previous}", registry.uri)
    except (ModelError, TrackingError) as error:
        raise PromotionError(
            f"rollback: version {previous}, which version {present} had replaced, cannot be used any more ({error}); "
            f"version {present} stays {registry.alias} until another is promoted with --candidate VERSION"
        ) from error
    with begun():
        return registry.roll_back()


def find_champion(registry: Registry, version: str) -> NamedModel:
    """The champion.

    Raises:
        PromotionError: its files are gone or damaged.
    """
    try:
        return find_model(f"models:/{registry.name}/{version}", registry.uri)
    except (ModelError, TrackingError) as error:
        raise PromotionError(
            f"champion: version {version} of {registry.name} cannot be compared with ({error}); bring its files back, "
            "return to the version before it with --rollback, or delete the version"
        ) from error


def promote(settings: PromotionSettings, registry: Registry, console: Console) -> bool:
    """Compare, record, and move the alias where every check is passed.

    Returns:
        Whether the candidate is champion now.

    Raises:
        PromotionError, DataError, VoteError, ModelError, StorageError, TrackingError, ClusterError: one sentence each;
            the alias stays where it was.
    """
    data, version, champion = settings.data, registry.version(settings.candidate), registry.champion
    if version == champion:
        raise PromotionError(f"candidate: {settings.candidate} is version {version}, which is the champion already")
    candidate = find_model(f"models:/{settings.model}/{version}", registry.uri)
    rivals = {name: find_model(f"baseline:{name}", registry.uri) for name in COMPARED}
    if champion:
        rivals = {CHAMPION: find_champion(registry, champion), **rivals}
    people = asked_people(settings, candidate, rivals, champion)
    suite = find_metric_suite(settings)
    photos, refused = find_evaluated_photos(data.dark, data.truth, data.good, 0, data.max_pixels, console.print)
    refuse_too_few(sum(photo.group == LOW for photo in photos), settings.significance)
    contents = read_contents(photos, data.max_pixels)
    refuse_other_photos(settings, contents, registry.evaluation_set)
    photos += truth_as_good(photos) if not data.good else []

    deleted = "" if champion else registry.deleted_champion
    missing = f"no champion, for version {deleted} was deleted, but" if deleted else "no champion yet, but"
    against = f"the champion, version {champion}, and" if champion else missing
    console.print(
        f"version {version} of {settings.model} against {against} {len(COMPARED)} baselines that learn nothing "
        f"({', '.join(COMPARED)}), on {len(photos)} photos ..."
    )
    if not data.good:
        console.print("no --data.good was given: the ground truth must stay as it is, too")
    for path, reason in refused.items():
        console.print(f"skipped: {path}: {reason}")
    models = {CANDIDATE: candidate, **rivals}
    found: dict[str, list[Measured]] = {name: [] for name in models}
    with connect(settings.cluster.address, cpus=LEAST_SLOTS) as resources:
        shown = (CANDIDATE, CHAMPION)
        measured = measure_models(models, suite, photos, data.max_pixels, resources, shown, console.print)
        for name, each in measured:
            found[name].append(each)
    found = {name: sorted(each, key=lambda one: (one.group, one.name)) for name, each in found.items()}
    with begun():
        compared = compare(settings, version, champion, models, found, photos)
        compared = replace(compared, checks=[*compared.checks, *people])
        summaries = {name: summarise(each) for name, each in found.items()}
        console.print(printable(beside_baselines(settings.metric, summaries)))
        for check in compared.checks:
            console.print(f"{'passed' if check.passed else 'FAILED'}  {check.finding}")
        about = {
            "evaluation_set": contents_hash(contents),
            "candidate_weights": candidate.version,
            **({"champion_weights": rivals[CHAMPION].version} if champion else {}),
            "revision": git_revision(),
            "source_hash": source_hash(),
        }
        decision = {
            "model": settings.model,
            "candidate": version,
            "champion": champion,
            "earned": compared.earned,
            "checks": [asdict(check) for check in compared.checks],
            **about,
        }
        if not champion:
            compared = with_views(settings, compared, rivals[compared.rival], suite, photos)
        cases = worst_cases(settings, compared)
        files = {
            REPORT: render(promotion_report(settings, compared, cases, about)),
            "decision.json": (json.dumps(decision, indent=2) + "\n").encode(),
            "manifest.json": (json.dumps(contents, indent=2) + "\n").encode(),
            **{
                path: content
                for name, each in found.items()
                for path, content in _below(
                    name, result_files(each, {"model": models[name].uri, **models[name].record})
                ).items()
            },
            **worst_pictures(cases),
        }
        described = about | {"candidate_version": version, "champion_version": champion}
        sets = evaluated(settings, photos)
        run_id = record(settings, registry.uri, described, compared.checks, dict(compared.gained), files, sets)
        page = record_of(recorded_run(registry.uri, run_id))
        console.print(f"{REPORT}, decision, tables and worst pictures in run {run_id}: {page}")
        if not compared.earned:
            console.print(f"not promoted: {', '.join(check.name for check in compared.checks if not check.passed)}")
            console.print(f"version {version} stays as it is; what to do next: docs/promote.md, {NEXT}")
            return False
        registry.promote(version, champion, contents_hash(contents), run_id)
    console.print(f"version {version} of {settings.model} is {settings.champion}")
    return True


def asked_people(
    settings: PromotionSettings, candidate: NamedModel, rivals: Mapping[str, NamedModel], champion: str
) -> list[Check]:
    """What people say of the candidate, where votes are given.

    Raises:
        DataError: there are none, on other models, or too few.
        VoteError: the file cannot be used.
    """
    if not settings.votes.file:
        return []
    file = Path(local_path(settings.votes.file, "votes.file"))
    if not file.exists():
        raise DataError(f"votes.file: there is no {settings.votes.file}; collect votes with pipelines/vote.py")
    rival, named = (CHAMPION, f"the champion, version {champion},") if champion else (BASELINE, BASELINE)
    return [check_votes(settings.votes, read(file, "votes.file"), candidate, rivals[rival], named)]


def truth_as_good(photos: Sequence[Photo]) -> list[Photo]:
    """The ground truth of the photos to enhance, as photos that need no enhancing."""
    return [Photo(GOOD, each.truth_uri, each.truth_path) for each in photos if each.truth_path]


def compare(
    settings: PromotionSettings,
    version: str,
    champion: str,
    models: Mapping[str, NamedModel],
    found: Mapping[str, Sequence[Measured]],
    photos: Sequence[Photo],
) -> Comparison:
    """What the gates say of the candidate.

    Args:
        settings: the gates.
        version, champion: of the registry; an empty champion where there is none.
        models, found: candidate, champion and baselines by name, and what was measured with each.
        photos: what they were measured on.
    """
    baselines = {name: found[name] for name in COMPARED}
    ours, rival = found[CANDIDATE], CHAMPION if champion else strongest(settings.metric, baselines)
    order = [rival, *(name for name in COMPARED if name != rival)]
    gained = {name: gains(settings.metric, found[name], ours) for name in order}
    checks = [check_gain(settings, list(each.values()), name) for name, each in gained.items()]
    timed = [photo for photo in photos if photo.group == LOW and photo.name in gained[rival]]
    beside = models[CHAMPION] if champion else find_model(BUNDLED, "")
    slower = times_slower(models[CANDIDATE], beside, timed, settings.data.max_pixels)
    checks += check_guards(settings, found[CHAMPION if champion else INPUT], ours, slower, first=not champion)
    baseline = INPUT if champion else rival
    return Comparison(settings.model, version, champion, found[rival], ours, gained[rival], checks, baseline, baselines)


def with_views(
    settings: PromotionSettings, compared: Comparison, rival: NamedModel, suite: MetricSuite, photos: Sequence[Photo]
) -> Comparison:
    """The comparison with the pictures that the rival, a baseline, makes of the photos that gain least."""
    worst = set(least_gained(settings, compared))
    again = {
        photo.name: measure_photo(rival, suite, photo, settings.data.max_pixels)
        for photo in photos
        if photo.group == LOW and photo.name in worst
    }
    theirs = [again.get(each.name, each) if each.group == LOW else each for each in compared.theirs]
    return replace(compared, theirs=theirs)


def find_metric_suite(settings: PromotionSettings) -> MetricSuite:
    """The metrics at hand, the one that decides among them.

    Raises:
        DataError: its weights are not at hand.
    """
    try:
        suite = load_metric_suite(settings.weights)
    except ValueError as error:
        raise DataError(str(error)) from error
    if settings.metric in suite.skipped:
        raise DataError(f"metric: {settings.metric} cannot decide: {suite.skipped[settings.metric]}")
    return suite


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
            f"data.dark, data.truth and data.good: not the photos of the last promotion of {settings.model} (SHA-256 "
            f"{pinned[:12]}..., see manifest.json in its run); give those, or pin these with --repin"
        )


def times_slower(candidate: NamedModel, rival: NamedModel, photos: Sequence[Photo], max_pixels: int) -> float:
    """The candidate's time over the rival's on some photos, on this machine's CPU: the median over rounds in which each
    takes its turn, the first alternating; a round before them warms both up.
    """
    some = [photos[index] for index in np.linspace(0, len(photos) - 1, TIMED_PHOTOS).round().astype(int)]
    images = []
    for photo in some:
        pixels = read_photo(photo.uri, photo.path, max_pixels)
        scale = min(1.0, TIMED_SIDE / max(pixels.shape[:2]))
        images.append(to_tensor(resize(pixels, (round(pixels.shape[0] * scale), round(pixels.shape[1] * scale)))))

    def seconds(model: NamedModel) -> float:
        began = time.perf_counter()
        for image in images:
            enhance(model.network, image)
        return time.perf_counter() - began

    began, ratios = time.perf_counter(), list[float]()
    for turn in range(TIMED_ROUNDS + 1):
        first, second = (candidate, rival) if turn % 2 else (rival, candidate)
        taken = {id(model): seconds(model) for model in (first, second)}
        if turn:
            ratios.append(taken[id(candidate)] / taken[id(rival)])
        if len(ratios) >= LEAST_ROUNDS and time.perf_counter() - began > TIMED_SECONDS:
            break
    return median(ratios)


def worst_pictures(cases: Sequence[Case]) -> dict[str, bytes]:
    """Input, one exposure without learning, rival, candidate and ground truth side by side, as far as there are such,
    by file name.
    """
    files = dict[str, bytes]()
    for rank, case in enumerate(cases, start=1):
        rival = next(iter(case.views))
        labels = dict.fromkeys(label for label in (INPUT, BASELINE, rival, CANDIDATE, TRUTH) if label in case.views)
        row = [decode(case.views[label]) for label in labels]
        files[f"worst/{fitting(f'{rank}-{case.name}'.replace('/', '-'), '.jpg')}"] = encode(
            side_by_side(row, PICTURE_HEIGHT, list(labels)), "jpeg"
        )
    return files


def record(
    settings: PromotionSettings,
    uri: str,
    described: dict[str, str],
    checks: Sequence[Check],
    gained: dict[str, float],
    files: dict[str, bytes],
    datasets: Sequence[DatasetInput],
) -> str:
    """The decision as a run of MLflow, described by the settings and what they named; its id.

    Raises:
        TrackingError: the server does not take it.
    """
    numbers = {f"passed/{check.name}": float(check.passed) for check in checks}
    numbers[f"gain/{settings.metric}"] = float(np.mean(list(gained.values())))
    parameters = {name: str(value) for name, value in flat(settings.model_dump()).items()} | described
    name = f"{settings.model} {described['candidate_version']}"
    return record_evaluation(uri, settings.tracking.experiment, name, PROGRAM, parameters, numbers, files, datasets)


def _below(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}
