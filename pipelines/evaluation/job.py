"""An evaluation as a job: find the model and the photos, measure, write the numbers, tell."""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from statistics import mean
from typing import Any

from mlflow.entities import DatasetInput
from pyarrow import fs
from rich.console import Console
from rich.table import Table

from cluster.connect import connect
from cluster.lasting import refuse_throwaway
from cluster.lease import held
from cluster.storage import explain, failing_as, fitting, inside, naming, open_uri
from lle.metrics import METRICS
from pipelines.config.evaluate import EvaluationSettings
from pipelines.config.promote import PromotionSettings
from pipelines.config.text import flat
from pipelines.data.listing import DataError
from pipelines.data.pairing import stem
from pipelines.evaluation.metrics import load_metric_suite
from pipelines.evaluation.report import COMPARED, TITLES, Summary, evaluation_report, keep_worst_views, verdicts
from pipelines.evaluation.worker import GOOD, LOW, Measured, Photo, find_evaluated_photos, measure_models
from pipelines.job import begun
from pipelines.models.resolve import find_model
from pipelines.reporting.closing import record_of, there
from pipelines.reporting.html_report import REPORT, render
from pipelines.reporting.words import direction, plain, split
from pipelines.tracking.address import tracking_uri
from pipelines.tracking.runs import dataset, record_evaluation, recorded_run
from pipelines.tracking.source import git_revision, source_hash

RUNS = "runs"
PROGRAM = "pipelines/evaluate.py"
NUMBERS, OTHERS = "metrics.json", (REPORT, "metrics.csv", "pictures")
MODEL = "model"
LEAST_SLOTS = 3  # one for Ray Data's own reading, two workers


def run(settings: EvaluationSettings) -> None:
    """`evaluate` with its table on stdout, where nobody else is at work; raises what that does."""
    with naming("output"), held(settings.output):
        evaluate(settings, Console(soft_wrap=True, highlight=False, markup=False))


def evaluate(settings: EvaluationSettings, console: Console) -> dict[str, Any]:
    """Measure a model and leave report.html, metrics.json, metrics.csv and pictures behind.

    Returns:
        The sets of metrics.json: by set and metric mean, worst, photos, unit and direction.

    Raises:
        DataError, ModelError, StorageError, TrackingError, ClusterError: one sentence each; all but the last two, and
            pairs of different sizes, before a cluster is joined.
    """
    data = settings.data
    refuse_foreign_files(settings.output)
    tracking = tracking_uri(settings.tracking.uri, RUNS)
    refuse_throwaway({"output": settings.output, "tracking": tracking if settings.log else ""})
    model = find_model(settings.model, tracking)
    try:
        suite = load_metric_suite(settings.weights)
    except ValueError as error:
        raise DataError(str(error)) from error
    photos, refused = find_evaluated_photos(
        data.dark, data.truth, data.good, settings.pictures, data.max_pixels, console.print
    )
    for name, reason in suite.skipped.items():
        console.print(f"{name} is left out: {reason}")
    baselines = {} if settings.alone else {name: find_model(f"baseline:{name}", tracking) for name in COMPARED}
    baselines = {name: each for name, each in baselines.items() if each.name != model.name}
    beside = f" beside {' and '.join(baselines)}" if baselines else ""
    console.print(f"measuring {model.name} ({model.parameters:,} parameters){beside} on {len(photos)} photos ...")
    measured = [Measured("", path, refused=reason) for path, reason in refused.items()]
    others: dict[str, list[Measured]] = {name: [] for name in baselines}
    with connect(settings.cluster.address, cpus=LEAST_SLOTS) as resources:
        models = {MODEL: model, **baselines}
        found = measure_models(models, suite, photos, data.max_pixels, resources, (MODEL,), console.print)
        measured += keep_worst_views(_sorted_out(found, others), settings.pictures)
    measured.sort(key=lambda each: (each.group, each.name))
    about = {
        "model": settings.model,
        **model.record,
        "parameters": model.parameters,
        "low": data.dark,
        "high": data.truth,
        "good": data.good,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": git_revision(),
        "source_hash": source_hash(),
        "skipped": suite.skipped,
    }
    summary, beside_it = summarise(measured), {name: summarise(each) for name, each in others.items()}
    about |= {"baselines": beside_it} if beside_it else {}
    page = evaluation_report(model.name, about, summary, measured, beside_it)
    files = {**result_files(measured, about), REPORT: render(page)}
    with begun():
        write_files(settings.output, files)
    print_summary(console, model.name, summary, beside_it)
    for each in measured:
        if each.refused:
            console.print(f"skipped: {each.name}: {each.refused}")
    console.print(f"{REPORT}, numbers and pictures in {there(settings.output)}")
    if settings.log:
        means = {f"{group}/{name}": found["mean"] for group, part in summary.items() for name, found in part.items()}
        parameters = {name: str(value) for name, value in flat(settings.model_dump()).items()} | model.record
        run_id = record_evaluation(
            tracking,
            settings.tracking.experiment,
            model.name,
            PROGRAM,
            parameters,
            means,
            files,
            evaluated(settings, photos),
        )
        console.print(f"recorded as run {run_id}: {record_of(recorded_run(tracking, run_id))}")
    return summary


def refuse_foreign_files(output: str) -> None:
    """Refuse a place whose report is not an evaluation's, such as a training's folder: it would be written over.

    Raises:
        DataError: it holds such a file.
        StorageError: it cannot be looked at.
    """
    filesystem, root = open_uri(output)
    with failing_as(f"output: {output} cannot be read"):
        there = {name: filesystem.get_file_info(f"{root}/{name}").type for name in (NUMBERS, *OTHERS)}
    foreign = [name for name in OTHERS if there[name] != fs.FileType.NotFound]
    if foreign and there[NUMBERS] == fs.FileType.NotFound:
        raise DataError(f"output: {output} holds a {foreign[0]} that no evaluation has written; choose another folder")


def evaluated(settings: EvaluationSettings | PromotionSettings, photos: Sequence[Photo]) -> list[DatasetInput]:
    """The sets of an evaluation as MLflow shows them; their digest tells which photos, not what is in them."""
    found = []
    data = settings.data
    for name, group, uri in (("low", LOW, data.dark), ("high", LOW, data.truth), ("good", GOOD, data.good)):
        names = sorted(photo.name for photo in photos if photo.group == group)
        if uri and names:
            digest = sha256(json.dumps(names).encode()).hexdigest()
            found.append(dataset(name, "evaluation", uri, digest, len(names)))
    return found


def print_summary(console: Console, name: str, summary: Summary, baselines: Mapping[str, Summary]) -> None:
    """A table for each set, a row for each metric, the baselines beside it, and what that means; fits 80 columns."""
    for group, part in summary.items():
        title = f"{name}: {TITLES[group].lower()}, means"
        table = Table(title=title, title_justify="left")
        for heading in ("", "model", "worst", *baselines, "better"):
            left = heading in ("", "better")
            shown = heading.replace("-", " ")  # which may be wrapped
            table.add_column(shown, justify="left" if left else "right", overflow="fold")
        for metric, found in part.items():
            values = [found["mean"], found["worst"], *(each[group][metric]["mean"] for each in baselines.values())]
            unit = split(metric, found["mean"])[1]
            label = f"{plain(metric)} ({unit})" if unit else plain(metric)
            table.add_row(label, *(split(metric, value)[0] for value in values), direction(metric))
        console.print(table)
    for sentence in verdicts(name, summary, baselines):
        console.print(sentence)


def _sorted_out(found: Iterable[tuple[str, Measured]], others: dict[str, list[Measured]]) -> Iterator[Measured]:
    """What was measured with the model; what was with the others goes there."""
    for name, measured in found:
        if name == MODEL:
            yield measured
        else:
            others[name].append(measured)


def summarise(measured: Sequence[Measured]) -> dict[str, dict[str, dict[str, Any]]]:
    """By set and metric: mean, worst, number of photos, unit, and which way is better."""
    summary: dict[str, dict[str, dict[str, Any]]] = {}
    for group in (LOW, GOOD):
        rows = [each.values for each in measured if each.group == group]
        for name, metric in METRICS.items():
            if values := [row[name] for row in rows if name in row]:
                summary.setdefault(group, {})[name] = {
                    "mean": mean(values),
                    "worst": min(values) if metric.higher_is_better else max(values),
                    "photos": len(values),
                    "higher_is_better": metric.higher_is_better,
                    "unit": metric.unit,
                    "about": metric.about,
                }
    return summary


def result_files(measured: Sequence[Measured], about: dict[str, Any]) -> dict[str, bytes]:
    """What an evaluation leaves behind, by file name: metrics.json, metrics.csv and pictures.

    Args:
        measured: in the order of the files.
        about: what metrics.json begins with.
    """
    good = [each for each in measured if not each.refused]
    content = {
        **about,
        "sets": summarise(good),
        "refused": {each.name: each.refused for each in measured if each.refused},
        "photos": [{"set": each.group, "name": each.name, **each.values} for each in good],
    }
    table = io.StringIO()
    names = [name for name in METRICS if any(name in each.values for each in good)]
    writer = csv.DictWriter(table, ["set", "name", *names], lineterminator="\n")
    writer.writeheader()
    writer.writerows(content["photos"])
    alike = Counter((each.group, stem(each.name)) for each in good)
    pictures = {
        f"pictures/{each.group}/{picture_name(each.name, alone=alike[each.group, stem(each.name)] == 1)}": each.picture
        for each in good
        if each.picture
    }
    return {
        "metrics.json": (json.dumps(content, indent=2) + "\n").encode(),
        "metrics.csv": table.getvalue().encode(),
        **pictures,
    }


def picture_name(photo: str, alone: bool = True) -> str:
    """The path of a photo's before/after picture: `a.jpg` for `a.png`, or `a.png.jpg` where there is an `a.tif` too."""
    name = posixpath.normpath(photo) if photo else photo
    return fitting(stem(name) if alone else name, ".jpg")


def write_files(output: str, files: dict[str, bytes]) -> None:
    """Write files below a folder or URI, folders made as needed.

    Raises:
        DataError: they cannot be written there.
    """
    try:
        filesystem, root = open_uri(output)
        for name, content in files.items():
            path = inside(filesystem, root, name)
            filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            with filesystem.open_output_stream(path) as stream:
                stream.write(content)
    except OSError as error:
        raise DataError(f"output: {output} cannot be written ({explain(error)}); choose another") from error
