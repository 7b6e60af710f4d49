"""A comparison as a job: find models and photos, measure all by all, write report and numbers, tell."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.connect import connect
from cluster.lasting import refuse_throwaway
from cluster.lease import held
from cluster.storage import local_path, naming
from lle.images import decode, encode, from_tensor, to_tensor
from lle.metrics import METRICS
from lle.model import enhance
from pipelines.comparison.decision import ComparedSet, difference
from pipelines.comparison.report import INPUT, TRUTH, comparison_report, differences_table, means_table
from pipelines.config.compare import ComparedPhotos, ComparisonSettings
from pipelines.config.text import flat
from pipelines.data.listing import DataError
from pipelines.data.photo_sets import read_photo
from pipelines.evaluation.job import LEAST_SLOTS, RUNS, picture_name, refuse_foreign_files, write_files
from pipelines.evaluation.metrics import load_metric_suite
from pipelines.evaluation.worker import (
    GOOD,
    LOW,
    PICTURE_HEIGHT,
    Measured,
    Photo,
    find_evaluated_photos,
    measure_models,
)
from pipelines.job import begun
from pipelines.models.named import NamedModel
from pipelines.models.resolve import find_models
from pipelines.reporting.closing import record_of, there
from pipelines.reporting.html_report import REPORT, render, view
from pipelines.reporting.pictures import side_by_side
from pipelines.reporting.tables import printable, turned
from pipelines.tracking.address import tracking_uri
from pipelines.tracking.runs import record_evaluation, recorded_run
from pipelines.tracking.source import git_revision, source_hash
from pipelines.voting.report import votes_table
from pipelines.voting.votes import VoteError, WinRate, read, win_rates

PROGRAM = "pipelines/compare.py"


def run(settings: ComparisonSettings) -> None:
    """`compare` with its tables on stdout, where nobody else is at work; raises what that does."""
    with naming("output"), held(settings.output):
        compare(settings, Console(soft_wrap=True, highlight=False, markup=False))


def compare(settings: ComparisonSettings, console: Console) -> list[ComparedSet]:
    """Measure models on sets of photos and leave report.html, metrics.json, metrics.csv and pictures behind.

    Raises:
        DataError, ModelError, VoteError, StorageError, TrackingError, ClusterError: one sentence each.
    """
    refuse_foreign_files(settings.output)
    tracking = tracking_uri(settings.tracking.uri, RUNS)
    refuse_throwaway({"output": settings.output, "tracking": tracking if settings.log else ""})
    people = preferences(settings.votes)
    models = find_models(settings.models, tracking)
    try:
        suite = load_metric_suite(settings.weights)
    except ValueError as error:
        raise DataError(str(error)) from error
    photos, refused = find_sets(settings.data, console)
    for name, reason in suite.skipped.items():
        console.print(f"{name} is left out: {reason}")
    console.print(f"measuring {', '.join(models)} on {len(photos)} photos ...")
    (first, *others), limit = models, settings.data.max_pixels
    with connect(settings.cluster.address, cpus=LEAST_SLOTS) as resources:
        measured = list(measure_models(models, suite, photos, limit, resources, (), console.print))
    sets = compared_sets(settings.data, [*models], measured)
    places = {(each.source, each.name): each for each in photos}
    refused |= {f"{each.source}/{each.name}": each.refused for _, each in measured if each.refused}
    about = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": git_revision(),
        "source_hash": source_hash(),
        "skipped": suite.skipped,
        "models": {
            name: {"model": model.uri, **model.record, "parameters": model.parameters} for name, model in models.items()
        },
    }
    with begun():
        if not sets:
            raise DataError("data.dark and data.good: no photo could be measured; see metrics of one with evaluate.py")
        shown = {
            each.name: {
                name: pictures_of(models, places[each.name, name], limit)
                for name in losing_most(each, first, settings.pictures)
            }
            for each in sets
        }
        details = {name: f"{model.found_at or model.uri}, {model.version}" for name, model in models.items()}
        details |= {each.name: " and ".join(filter(None, (each.uri, each.truth_uri))) for each in sets}
        details |= {key: str(about[key]) for key in ("time", "revision", "source_hash")}
        page = comparison_report(models, sets, shown, people, details)
        files = {**result_files(sets, about, refused), **rows(shown), REPORT: render(page)}
        write_files(settings.output, files)
        for each in sets:
            console.print(printable(turned(means_table(each, models))))
            console.print(printable(differences_table(each, first, others)))
        if people:
            console.print(printable(votes_table(people)))
        console.print(page.verdict)
        for name, reason in refused.items():
            console.print(f"skipped: {name}: {reason}")
        console.print(f"{REPORT}, numbers and pictures in {there(settings.output)}")
        if settings.log:
            console.print(record(settings, tracking, models, sets, files))
    return sets


def preferences(votes: str) -> list[WinRate]:
    """The win rates of a file of votes; none without a file.

    Raises:
        VoteError: it is not there or holds none.
    """
    if not votes:
        return []
    found = win_rates(read(Path(local_path(votes, "votes"))))
    if not found:
        raise VoteError(f"votes: {votes} holds no vote; collect some with pipelines/vote.py, or leave it out")
    return found


def find_sets(data: ComparedPhotos, console: Console) -> tuple[list[Photo], dict[str, str]]:
    """The photos of all sets, each with the name of its own, and those that were skipped with their reason.

    Raises:
        DataError: as `find_evaluated_photos`.
    """
    photos, refused = list[Photo](), dict[str, str]()
    for name, group, uri, truth in named_sets(data):
        dark, good = (uri, "") if group == LOW else ("", uri)
        found, bad = find_evaluated_photos(dark, truth, good, 0, data.max_pixels, console.print)
        photos += [replace(photo, source=name) for photo in found]
        refused |= bad
    return photos, refused


def named_sets(data: ComparedPhotos) -> list[tuple[str, str, str, str]]:
    """Name, group, URI and ground truth of each set; names are the ends of the paths, as long as they must be to
    differ.
    """
    truths = [*data.truth, *[""] * (len(data.dark) - len(data.truth))]
    sets = [(LOW, uri, truth) for uri, truth in zip(data.dark, truths, strict=True)]
    sets += [(GOOD, uri, "") for uri in data.good]
    names = short_names([uri for _, uri, _ in sets])
    return [(name, *each) for name, each in zip(names, sets, strict=True)]


def short_names(uris: Sequence[str]) -> list[str]:
    """The last parts of some paths, as many as make them differ."""
    parts = [[part for part in uri.split("/") if part] for uri in uris]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({number})" for number, name in enumerate(names, start=1)]


def compared_sets(
    data: ComparedPhotos, models: Sequence[str], measured: Sequence[tuple[str, Measured]]
) -> list[ComparedSet]:
    """What was measured by set and model, photos by name; a set of which none could be measured is left out."""
    found = []
    for name, group, uri, truth in named_sets(data):
        members = sorted(
            ((by, each) for by, each in measured if each.source == name and not each.refused),
            key=lambda one: one[1].name,
        )
        by_model = {model: [each for by, each in members if by == model] for model in models}
        if members:
            found.append(ComparedSet(name, group, uri, truth, by_model))
    return found


def losing_most(compared: ComparedSet, first: str, count: int) -> list[str]:
    """Names of the photos on which the best of the others is furthest before a model, the furthest first."""
    losses = compared.losses(first)
    return sorted(losses, key=lambda name: -losses[name])[:count]


def pictures_of(models: Mapping[str, NamedModel], photo: Photo, max_pixels: int) -> dict[str, bytes]:
    """A photo as it is, by every model, and its ground truth, as small JPEGs by label; made here, for they are few."""
    before = read_photo(photo.uri, photo.path, max_pixels)
    image = to_tensor(before)
    shown = {INPUT: before} | {name: from_tensor(enhance(model.network, image)) for name, model in models.items()}
    if photo.truth_path:
        shown[TRUTH] = read_photo(photo.truth_uri, photo.truth_path, max_pixels)
    return {label: view(pixels) for label, pixels in shown.items()}


def record(
    settings: ComparisonSettings,
    tracking: str,
    models: Mapping[str, NamedModel],
    sets: Sequence[ComparedSet],
    files: dict[str, bytes],
) -> str:
    """Keep a comparison as a run of MLflow; where it is, in a line.

    Raises:
        TrackingError: the server does not take it.
    """
    means = {
        f"{each.name}/{model}/{metric}": found["mean"]
        for each in sets
        for model, summary in each.summaries.items()
        for metric, found in summary.items()
    }
    parameters = {name: str(value) for name, value in flat(settings.model_dump()).items()}
    parameters |= {f"weights_hash/{name}": model.version for name, model in models.items()}
    run_id = record_evaluation(
        tracking,
        settings.tracking.experiment,
        " ".join(models)[:200],
        PROGRAM,
        {allowed(name): value for name, value in parameters.items()},
        {allowed(name): value for name, value in means.items()},
        files,
    )
    return f"recorded as run {run_id}: {record_of(recorded_run(tracking, run_id))}"


def allowed(name: str) -> str:
    """A name as MLflow takes it."""
    return re.sub(r"[^\w .:/-]", "_", name)[:250]


def result_files(sets: Sequence[ComparedSet], about: Mapping[str, Any], refused: Mapping[str, str]) -> dict[str, bytes]:
    """metrics.json and metrics.csv of a comparison.

    Args:
        sets: what was measured.
        about: what metrics.json begins with.
        refused: photos that were skipped, with the reason.
    """
    first, *others = sets[0].measured
    content = {
        **about,
        "sets": {
            each.name: {
                "kind": each.group,
                "photos_at": each.uri,
                "truth_at": each.truth_uri,
                "metric": each.metric,
                "models": each.summaries,
                f"{first} against": {
                    other: asdict(difference([*each.gains(first, other).values()])) for other in others
                },
            }
            for each in sets
        },
        "refused": refused,
    }
    photos = [
        {"set": each.name, "name": one.name, "model": model, **one.values}
        for each in sets
        for model, members in each.measured.items()
        for one in members
    ]
    table = io.StringIO()
    names = [name for name in METRICS if any(name in row for row in photos)]
    writer = csv.DictWriter(table, ["set", "name", "model", *names], lineterminator="\n")
    writer.writeheader()
    writer.writerows(photos)
    numbers = json.dumps({**content, "photos": photos}, indent=2) + "\n"
    return {"metrics.json": numbers.encode(), "metrics.csv": table.getvalue().encode()}


def rows(shown: Mapping[str, Mapping[str, Mapping[str, bytes]]]) -> dict[str, bytes]:
    """All pictures of each photo side by side, labelled, by file name."""
    files = dict[str, bytes]()
    for source, photos in shown.items():
        for name, views in photos.items():
            joined = side_by_side([decode(each) for each in views.values()], PICTURE_HEIGHT, [*views])
            files[f"pictures/{source}/{picture_name(name, alone=False)}"] = encode(joined, "jpeg")
    return files
