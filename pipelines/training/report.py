"""What a training found, finished or not: its report, and how it did on pairs as a table and in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from lle.images import from_tensor
from lle.metrics import METRICS
from lle.model import Model, enhance
from pipelines.config.train import RunSettings
from pipelines.evaluation.metrics import MetricSuite
from pipelines.evaluation.quality import Quality
from pipelines.evaluation.report import COMPARED, shown_values, slider_views
from pipelines.reporting.curves import NAMES, Span, curves, spans
from pipelines.reporting.html_report import Case, Gallery, Headline, HtmlReport, Table, view, worst_first
from pipelines.reporting.pictures import without_learning
from pipelines.reporting.words import SPACE, better_by, direction, duration, gain_of, number, plain
from pipelines.tracking.history import VALIDATION, Row


def training_report(
    settings: RunSettings,
    summary: Mapping[str, Any],
    quality: Sequence[Quality],
    history: list[Row],
    cases: Sequence[Case],
) -> HtmlReport:
    """The report of a training.

    Args:
        settings: the training's.
        summary: what `summary.json` holds.
        quality: input, baselines and model on the pairs; may be empty.
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
        Headline("Chosen step", f"{summary['best_step']:,}", f"of {steps:,}"),
        Headline("Time of this job", duration(summary["seconds"])),
        Headline("Speed", f"{summary['images_per_second']:.0f}", "pictures a second"),
        Headline("Waited for photos", f"{100 * summary['data_wait_share']:.1f}{SPACE}%", "of the steps' time"),
    ]
    told = ("skipped_steps", "restarts", "worker_restarts", "steps_lost", "hash", "model", "mlflow_run_id")
    return HtmlReport(
        kind="training",
        title=settings.name,
        about=_about(settings),
        verdict=quality_verdict(quality).replace("enhanced", "the model")
        if quality
        else _unpaired_verdict(summary, history),
        headlines=headlines,
        tables=[quality_table(quality)] if quality else [],
        curves=curves(history, summary["best_step"]),
        spans=spans(history),
        galleries=[Gallery("Held-out photos", worst_first(cases), len(cases))],
        details={
            **_photos(settings),
            **{f"steps of {phase}": str(count) for phase, count in summary["steps"].items()},
            **{name.replace("_", " "): str(summary[name]) for name in told if name in summary},
        },
    )


def unfinished_report(settings: RunSettings, history: list[Row], reason: str) -> HtmlReport:
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
    return HtmlReport(
        kind="training",
        title=settings.name,
        about=_about(settings),
        verdict=f"Not finished: {reason.rstrip('.')}. To go on from the last checkpoint, give the same command with "
        f"--resume --name {settings.name}.",
        headlines=headlines,
        curves=curves(history),
        spans=so_far,
        details=_photos(settings),
    )


def quality_table(qualities: Sequence[Quality]) -> Table:
    """A row for the input, each baseline and the model, which was trained here; a column for each group."""
    groups = qualities[0].groups
    rows = [
        [each.name, *(f"{each.psnr(group):.2f} / {each.ssim(group):.3f}" for group in groups)] for each in qualities
    ]
    return Table("Held-out pairs: PSNR (dB) / SSIM, higher is better", ["", *groups], rows, strong="enhanced")


def quality_verdict(qualities: Sequence[Quality]) -> str:
    """Input, the strongest baseline and the model in a sentence."""
    before, *baselines, model = qualities
    baseline = max(baselines, key=lambda each: each.psnr())
    over_input, over_baseline = (model.psnr() - each.psnr() for each in (before, baseline))
    worse = " One exposure for each photo, found without learning, does more." if over_baseline < 0 else ""
    return (
        f"PSNR on {len(model.pictures)} held-out pairs: {number('psnr', model.psnr())}, "
        f"{better_by('psnr', over_baseline)} than {baseline.name} ({number('psnr', baseline.psnr())}), "
        f"{better_by('psnr', over_input)} than the {before.name} ({number('psnr', before.psnr())}).{worse}"
    ).replace(SPACE, " ")


def enhanced_case(model: Model, suite: MetricSuite, name: str, image: Tensor, truth: Tensor | None) -> Case:
    """A photo, RGB in [0, 1], (3, H, W), enhanced and measured."""
    enhanced = enhance(model, image)
    after = [enhanced, *([] if truth is None else [truth])]
    pictures = [from_tensor(image), without_learning(image), *(from_tensor(each) for each in after)]
    views = slider_views([view(each) for each in pictures])
    return Case(name, views, shown_values(suite(image, enhanced, truth, good=False)))


def _about(settings: RunSettings) -> str:
    return f"{settings.enhancer.arch} enhancer, {settings.schedule.rounds} rounds, seed {settings.seed}"


def _photos(settings: RunSettings) -> dict[str, str]:
    return {"dark": ", ".join(settings.data.dark), "well lit": ", ".join(settings.data.well_lit)}


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
