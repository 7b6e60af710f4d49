"""An evaluation as a job: find the model and the photos, measure, write the numbers, tell."""

from __future__ import annotations

import csv
import io
import json
import posixpath
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

from cluster.connect import ClusterError, connect
from cluster.redaction import redacted
from cluster.storage import StorageError, explain, fitting, inside, open_uri
from lle.config import EvaluationSettings
from lle.metrics import METRICS
from pipelines.jobs.ingest import DataError
from pipelines.jobs.measures import load_measures
from pipelines.jobs.measuring import GOOD, LOW, Measured, find_evaluated_photos, measure_photos
from pipelines.jobs.models import ModelError, find_model
from pipelines.jobs.page import REPORT, render
from pipelines.jobs.pages import evaluation_page, keep_worst_views
from pipelines.jobs.pairing import stem
from pipelines.jobs.tracking import TrackingError, git_revision, record_evaluation, tracking_uri

RUNS = "runs"
LEAST_SLOTS = 3  # one for Ray Data's own reading, two workers


def run(settings: EvaluationSettings) -> int:
    """`evaluate` as a job: the table on stdout, mistakes as one sentence on stderr; the exit status."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    try:
        evaluate(settings, console)
    except (DataError, ModelError, StorageError, TrackingError, ClusterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def evaluate(settings: EvaluationSettings, console: Console) -> dict[str, Any]:
    """Measure a model and leave report.html, metrics.json, metrics.csv and pictures behind.

    Returns:
        The sets of metrics.json: by set and metric mean, worst, photos, unit and direction.

    Raises:
        DataError, ModelError, StorageError, TrackingError, ClusterError: one sentence each; all but the last two, and
            pairs of different sizes, before a cluster is joined.
    """
    tracking = tracking_uri(settings.tracking, RUNS)
    model = find_model(settings.model, tracking)
    try:
        measures = load_measures(settings.weights)
    except ValueError as error:
        raise DataError(str(error)) from error
    photos, refused = find_evaluated_photos(
        settings.low, settings.high, settings.good, settings.pictures, settings.max_pixels, console.print
    )
    for name, reason in measures.skipped.items():
        console.print(f"{name} is left out: {reason}")
    console.print(f"measuring {model.name} ({model.parameters:,} parameters) on {len(photos)} photos ...")
    measured = [Measured("", path, refused=reason) for path, reason in refused.items()]
    with connect(settings.address, cpus=LEAST_SLOTS) as resources:
        found = measure_photos(model, measures, photos, settings.max_pixels, resources)
        measured += keep_worst_views(found, settings.pictures)
    measured.sort(key=lambda each: (each.group, each.name))
    about = {
        "model": settings.model,
        "parameters": model.parameters,
        "low": settings.low,
        "high": settings.high,
        "good": settings.good,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": git_revision(),
        "skipped": measures.skipped,
    }
    summary = summarise(measured)
    page = evaluation_page(model.name, about, summary, measured)
    files = {**result_files(measured, about), REPORT: render(page)}
    write_files(settings.out, files)
    print_summary(console, model.name, summary)
    for each in measured:
        if each.refused:
            console.print(f"set aside: {each.name}: {each.refused}")
    console.print(f"{REPORT}, numbers and pictures in {settings.out}")
    if settings.log:
        means = {f"{group}/{name}": found["mean"] for group, part in summary.items() for name, found in part.items()}
        parameters = {name: str(value) for name, value in settings.model_dump().items()}
        run_id = record_evaluation(tracking, settings.experiment, model.name, parameters, means, files)
        console.print(f"recorded as run {run_id} in {redacted(tracking)}")
    return summary


def print_summary(console: Console, name: str, summary: dict[str, dict[str, dict[str, Any]]]) -> None:
    """A table for each set: a row for each metric."""
    titles = {LOW: "photos to enhance", GOOD: "photos that were good already"}
    for group, part in summary.items():
        table = Table(title=f"{name}: {titles[group]}", title_justify="left")
        for heading in ("metric", "mean", "worst", "better", "photos"):
            table.add_column(heading, justify="left" if heading in ("metric", "better") else "right")
        for metric, found in part.items():
            unit = f" [{found['unit']}]" if found["unit"] else ""
            better = "higher" if found["higher_is_better"] else "lower"
            cells = f"{found['mean']:.4g}", f"{found['worst']:.4g}", better, str(found["photos"])
            table.add_row(f"{metric}{unit}", *cells)
        console.print(table)


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


def write_files(out: str, files: dict[str, bytes]) -> None:
    """Write files below a folder or URI, folders made as needed.

    Raises:
        DataError: they cannot be written there.
    """
    try:
        filesystem, root = open_uri(out)
        for name, content in files.items():
            path = inside(filesystem, root, name)
            filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            with filesystem.open_output_stream(path) as stream:
                stream.write(content)
    except OSError as error:
        raise DataError(f"out: {out} cannot be written ({explain(error)}); choose another") from error
