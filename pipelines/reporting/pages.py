"""The reports of a training, finished or not, and of an evaluation, filled from what those have found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from lle.images import from_tensor
from lle.metrics import METRICS
from lle.model import Model, enhance
from pipelines.config.train import RunSettings
from pipelines.evaluation.metrics import MetricSuite
from pipelines.evaluation.quality import Quality
from pipelines.evaluation.worker import GOOD, LOW, Measured
from pipelines.reporting.page import Case, Gallery, Headline, Page, Table, badness, view, worst_first
from pipelines.reporting.pictures import BASELINE, LABELS, quality_verdict, without_learning
from pipelines.reporting.words import SPACE, better_by, direction, duration, gain_of, number, plain
from pipelines.tracking.history import NAMES, VALIDATION, Row, Span, curves, spans

COMPARED = ("input", "auto-exposure", BASELINE)
Summary = Mapping[str, Mapping[str, Mapping[str, Any]]]
TITLES = {LOW: "Photos to enhance", GOOD: "Photos that were good already"}
SHOWN_VALUES = ("unchanged", "psnr", "ssim", "our_prior_well_lit")


def training_page(
    settings: RunSettings,
    summary: Mapping[str, Any],
    quality: Sequence[Quality],
    history: list[Row],
    cases: Sequence[Case],
) -> Page:
    """The report of a training.

    Args:
        settings: the training's.
        summary: what `summary.json` holds.
        quality: input, controls and model on the pairs; may be empty.
        history: see `read_history`.
        cases: held-out photos.
    """
    headlines = []
    by_name = {each.name: each for each in quality}
    if quality:
        model, others = by_name["enhanced"], [by_name[name] for name in COMPARED]
        headlines += [
            Headline(
                plain(name),
                number(name, getattr(model, name)()),
                "; ".join(
                    [f"{each.name} {number(name, getattr(each, name)())}" for each in others]
                    + [f"{direction(name)} is better"]
                ),
            )
            for name in ("psnr", "ssim")
        ]
    elif summary.get("best_value") is not None:
        metric = str(summary["metric"])
        note = f"{METRICS[metric].about}; {direction(metric)} is better"
        if begun := [row[f"{VALIDATION}{metric}"] for row in history if f"{VALIDATION}{metric}" in row]:
            note = f"{number(metric, begun[0])} at the first validation; {note}"
        headlines.append(Headline(plain(metric), number(metric, summary["best_value"]), note))
    steps = sum(summary["steps"].values())
    headlines += [
        Headline("Best at step", f"{summary['best_step']:,}", f"of {steps:,}"),
        Headline("Time of this job", duration(summary["seconds"])),
        Headline("Speed", f"{summary['images_per_second']:.0f}", "pictures a second"),
        Headline("Waited for photos", f"{100 * summary['data_wait_share']:.1f}{SPACE}%", "of the steps' time"),
    ]
    told = ("skipped_steps", "restarts", "worker_restarts", "steps_lost", "hash", "model", "mlflow_run_id")
    return Page(
        kind="training",
        title=settings.name,
        about=_about(settings),
        verdict=quality_verdict(quality).replace("enhanced", "the model")
        if quality
        else _unpaired_verdict(summary, history),
        headlines=headlines,
        tables=[_quality_table(quality)] if quality else [],
        curves=curves(history, summary["best_step"]),
        spans=spans(history),
        galleries=[Gallery("Held-out photos", worst_first(cases), len(cases))],
        details={
            "dark": settings.data.dark,
            "well lit": settings.data.well_lit,
            **{f"steps of {phase}": str(count) for phase, count in summary["steps"].items()},
            **{name.replace("_", " "): str(summary[name]) for name in told if name in summary},
        },
    )


def unfinished_page(settings: RunSettings, history: list[Row], reason: str) -> Page:
    """The report of a training that was stopped or failed.

    Args:
        settings: the training's.
        history: see `read_history`; not empty.
        reason: why it ended, in a sentence.
    """
    so_far = spans(history)
    headlines = [Headline("Last step", f"{history[-1]['step']:,}", _where(so_far[-1]) if so_far else "")]
    last = {name: value for row in history for name, value in row.items()}
    for name in last:
        if name.startswith(VALIDATION):
            metric = name.removeprefix(VALIDATION)
            headlines.append(Headline(plain(metric), number(metric, last[name]), "at the last validation"))
    return Page(
        kind="training",
        title=settings.name,
        about=_about(settings),
        verdict=f"Not finished: {reason.rstrip('.')}. To go on from the last checkpoint, give the same command with "
        f"--resume --name {settings.name}.",
        headlines=headlines,
        curves=curves(history),
        spans=so_far,
        details={"dark": settings.data.dark, "well lit": settings.data.well_lit},
    )


def evaluation_page(
    name: str,
    about: Mapping[str, Any],
    summary: Summary,
    measured: list[Measured],
    baselines: Mapping[str, Summary] | None = None,
) -> Page:
    """The report of an evaluation.

    Args:
        name: of the model.
        about: what metrics.json begins with.
        summary: by set and metric, as in metrics.json.
        measured: of all photos; those with views are shown.
        baselines: summaries of what learns nothing, on the same photos, by name.
    """
    baselines = baselines or {}
    headlines, tables, galleries = list[Headline](), list[Table](), list[Gallery]()
    for group, part in summary.items():
        for metric in SHOWN_VALUES:
            if metric in part and (group == GOOD) == (metric == "unchanged"):
                theirs = [
                    f"{other} {number(metric, each[group][metric]['mean'])}"
                    for other, each in baselines.items()
                    if metric in each.get(group, {})
                ]
                said = [*theirs, f"worst {number(metric, part[metric]['worst'])}", f"{direction(metric)} is better"]
                headlines.append(Headline(plain(metric), number(metric, part[metric]["mean"]), "; ".join(said)))
        rows = [
            [
                plain(metric),
                number(metric, found["mean"]),
                *(number(metric, each[group][metric]["mean"]) for each in baselines.values()),
                number(metric, found["worst"]),
                direction(metric),
                str(found["photos"]),
            ]
            for metric, found in part.items()
        ]
        columns = ["metric", name, *baselines, "worst photo", "better is", "photos"]
        tables.append(Table(f"{TITLES[group]}: means of all metrics", columns, rows))
        members = [each for each in measured if each.group == group and not each.refused]
        cases = worst_first([case_of(each) for each in members if each.views])
        galleries.append(Gallery(TITLES[group], cases, len(members)))
    refused = sum(bool(each.refused) for each in measured)
    told = {key: value for key, value in about.items() if value and key != "baselines"}
    return Page(
        kind="evaluation",
        title=name,
        about=f"{about['parameters']:,} parameters" + (f"; {refused} photos set aside" if refused else ""),
        verdict=" ".join(verdicts(name, summary, baselines)),
        headlines=headlines,
        tables=tables,
        galleries=galleries,
        details={key: _in_words(value) for key, value in told.items()},
    )


def verdicts(name: str, summary: Summary, baselines: Mapping[str, Summary]) -> list[str]:
    """What an evaluation found, in a sentence for each set: better or worse than each baseline, and by how much."""
    said = []
    for group, part in summary.items():
        metric = next((each for each in SHOWN_VALUES if each in part and (group == GOOD) == (each == "unchanged")), "")
        if not metric or not baselines:
            continue
        mean = part[metric]["mean"]
        against = [
            f"{better_by(metric, gain_of(metric, mean, theirs))} than {other} ({number(metric, theirs)})"
            for other, each in baselines.items()
            if (group, other) != (GOOD, "input")  # which is as near to itself as can be
            for theirs in [each[group][metric]["mean"]]
        ]
        found = f"{TITLES[group]}: {name} has {plain(metric)} {number(metric, mean)} at the mean"
        said.append(f"{', '.join([found, *against])}.".replace(SPACE, " "))
    return said


def _in_words(value: object) -> str:
    """A detail for the end of the page, names and values in braces spelled out."""
    return "; ".join(f"{key}: {each}" for key, each in value.items()) if isinstance(value, Mapping) else str(value)


def case_of(measured: Measured) -> Case:
    """A measured photo as the slider shows it."""
    return Case(measured.name, slider_views(measured.views), shown_values(measured.values))


def slider_views(views: Sequence[bytes]) -> dict[str, bytes]:
    """Views in the order of `LABELS` as a `Case` has them: the enhanced one second, for it stands on the right."""
    named = dict(zip(LABELS, views, strict=False))
    return {label: named.pop(label) for label in ("input", "enhanced")} | named


def shown_values(values: Mapping[str, float]) -> dict[str, float]:
    """Those of a photo's numbers that stand beside its picture."""
    return {name: values[name] for name in SHOWN_VALUES if name in values}


def enhanced_case(model: Model, suite: MetricSuite, name: str, image: Tensor, truth: Tensor | None) -> Case:
    """A photo, RGB in [0, 1], (3, H, W), enhanced and measured."""
    enhanced = enhance(model, image)
    after = [enhanced, *([] if truth is None else [truth])]
    pictures = [from_tensor(image), without_learning(image), *(from_tensor(each) for each in after)]
    views = slider_views([view(each) for each in pictures])
    return Case(name, views, shown_values(suite(image, enhanced, truth, good=False)))


def keep_worst_views(measured: Iterable[Measured], count: int) -> list[Measured]:
    """All of them, in another order; of each set only so many of the worst keep their views."""
    kept: dict[str, list[Measured]] = {}
    found = list[Measured]()
    for each in measured:
        if each.refused:
            found.append(each)
            continue
        worst = kept.setdefault(each.group, [])
        worst.append(each)
        worst.sort(key=lambda one: badness(one.values))
        if len(worst) > count:
            found.append(replace(worst.pop(), views=[]))
    return found + [each for worst in kept.values() for each in worst]


def _about(settings: RunSettings) -> str:
    return f"{settings.enhancer.arch} enhancer, {settings.schedule.rounds} rounds, seed {settings.seed}"


def _where(span: Span) -> str:
    phase = NAMES.get(span.phase, span.phase)
    return f"round {span.round}, {phase}" if span.round else phase


def _unpaired_verdict(summary: Mapping[str, Any], history: Sequence[Row]) -> str:
    """How far a training without pairs came by its own measure, which is no proof."""
    metric = str(summary.get("metric", ""))
    values = [row[f"{VALIDATION}{metric}"] for row in history if f"{VALIDATION}{metric}" in row]
    if not values or summary.get("best_value") is None:
        return ""
    best, gain = summary["best_value"], gain_of(metric, summary["best_value"], values[0])
    return (
        f"{plain(metric)} on held-out photos: {number(metric, best)}, {better_by(metric, gain)} than at the first "
        f"validation ({number(metric, values[0])}). No pairs were given, so nothing here says how near the results "
        "are to the truth: look at the pictures, and measure it with pipelines/evaluate.py."
    ).replace(SPACE, " ")


def _quality_table(quality: Sequence[Quality]) -> Table:
    groups = quality[0].groups
    rows = [
        [each.name, *(f"{each.psnr(group):.2f} dB / {each.ssim(group):.3f}" for group in groups)] for each in quality
    ]
    return Table("Held-out pairs: PSNR / SSIM, higher is better", ["", *groups], rows, strong="enhanced")
