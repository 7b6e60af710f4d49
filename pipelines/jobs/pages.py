"""The reports of a training, an evaluation and a promotion, filled from what those have found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import mean
from typing import Any

import numpy as np
from torch import Tensor

from lle.config import TrainSettings
from lle.images import from_tensor
from lle.metrics import METRICS
from lle.model import Model, enhance
from pipelines.jobs.history import Row, curves, spans
from pipelines.jobs.measures import Measures
from pipelines.jobs.measuring import GOOD, LOW, Measured
from pipelines.jobs.page import Case, Gallery, Headline, Page, Table, badness, view, worst_first
from pipelines.jobs.quality import Quality
from pipelines.jobs.words import SPACE, duration, number, plain

LABELS = ("input", "enhanced", "ground truth")
TITLES = {LOW: "Photos to enhance", GOOD: "Photos that were good already"}
SHOWN_VALUES = ("unchanged", "psnr", "ssim", "our_prior_well_lit")


def training_page(
    settings: TrainSettings,
    summary: Mapping[str, Any],
    quality: Sequence[Quality],
    history: list[Row],
    cases: Sequence[Case],
) -> Page:
    """The report of a training.

    Args:
        settings: the training's.
        summary: what `summary.json` holds.
        quality: input, control and model on the pairs; may be empty.
        history: see `read_history`.
        cases: held-out photos.
    """
    headlines = []
    by_name = {each.name: each for each in quality}
    if quality:
        model, before, control = by_name["enhanced"], by_name["input"], by_name["auto-exposure"]
        headlines += [
            Headline(
                "PSNR", number("psnr", model.psnr()), f"input {before.psnr():.2f}, auto-exposure {control.psnr():.2f}"
            ),
            Headline("SSIM", f"{model.ssim():.3f}", f"input {before.ssim():.3f}, auto-exposure {control.ssim():.3f}"),
        ]
    elif summary.get("best_value") is not None:
        measure = str(summary["measure"])
        headlines.append(Headline(plain(measure), f"{summary['best_value']:.3f}", METRICS[measure].about))
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
        about=f"{settings.enhancer.kind} enhancer, {settings.schedule.rounds} rounds, seed {settings.seed}",
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


def unfinished_page(settings: TrainSettings, reason: str, history: list[Row]) -> Page:
    """The report of a training that failed or was stopped; the reason as a sentence without its full stop."""
    return Page(
        kind="training",
        title=settings.name,
        verdict=f"Ended at step {history[-1]['step']:,}: {reason}. Go on with --resume --name {settings.name}.",
        curves=curves(history),
        spans=spans(history),
        details={"dark": settings.data.dark, "well lit": settings.data.well_lit},
    )


def evaluation_page(
    name: str,
    about: Mapping[str, Any],
    summary: Mapping[str, Mapping[str, Mapping[str, Any]]],
    measured: list[Measured],
) -> Page:
    """The report of an evaluation.

    Args:
        name: of the model.
        about: what metrics.json begins with.
        summary: by set and metric, as in metrics.json.
        measured: of all photos; those with views are shown.
    """
    headlines, tables, galleries = list[Headline](), list[Table](), list[Gallery]()
    for group, part in summary.items():
        for metric in SHOWN_VALUES:
            if metric in part and (group == GOOD) == (metric == "unchanged"):
                worst = f"worst {number(metric, part[metric]['worst'])}, {part[metric]['photos']} photos"
                headlines.append(Headline(plain(metric), number(metric, part[metric]["mean"]), worst))
        rows = [
            [
                plain(metric),
                number(metric, found["mean"]),
                number(metric, found["worst"]),
                "higher" if found["higher_is_better"] else "lower",
                str(found["photos"]),
            ]
            for metric, found in part.items()
        ]
        tables.append(Table(f"{TITLES[group]}: all metrics", ["metric", "mean", "worst", "better", "photos"], rows))
        members = [each for each in measured if each.group == group and not each.refused]
        cases = worst_first([case_of(each) for each in members if each.views])
        galleries.append(Gallery(TITLES[group], cases, len(members)))
    refused = sum(bool(each.refused) for each in measured)
    return Page(
        kind="evaluation",
        title=name,
        about=f"{about['parameters']:,} parameters" + (f"; {refused} photos set aside" if refused else ""),
        headlines=headlines,
        tables=tables,
        galleries=galleries,
        details={key: str(value) for key, value in about.items() if value},
    )


def promotion_page(
    decision: Mapping[str, Any],
    measure: str,
    gained: Mapping[str, float],
    summaries: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]],
    worst: Mapping[str, Sequence[np.ndarray]],
) -> Page:
    """The report of a promotion.

    Args:
        decision: what decision.json holds.
        measure: by which it was decided.
        gained: by photo, how much better the candidate is.
        summaries: of rival and candidate, in this order, by what they are called: by set and metric.
        worst: pictures by photo, uint8 (H, W, 3), in the order in which they are shown: input, rival, candidate and,
            where there is one, ground truth.
    """
    rival, candidate = summaries
    checks, failed = decision["checks"], [check["finding"] for check in decision["checks"] if not check["passed"]]
    shown = {"input": 0, candidate: 2, **({rival: 1} if decision["champion"] else {}), "ground truth": 3}
    unit = METRICS[measure].unit
    cases = [
        Case(
            f"{name}: {gained[name]:+.3g}{SPACE + unit if unit else ''}",
            {label: view(pictures[place]) for label, place in shown.items() if place < len(pictures)},
        )
        for name, pictures in worst.items()
    ]
    return Page(
        kind="promotion",
        title=f"{decision['model']}: {candidate} against {rival}",
        about=f"{plain(measure)} decides, on {len(gained)} photos",
        verdict=f"{candidate} is the champion now." if not failed else f"Not promoted: {'. '.join(failed)}.",
        headlines=[
            Headline(
                f"Gain in {plain(measure)}",
                f"{mean(gained.values()):+.3g}{SPACE + unit if unit else ''}",
                f"better on {sum(each > 0 for each in gained.values())} of {len(gained)} photos",
            ),
            Headline("Conditions", f"{len(checks) - len(failed)} of {len(checks)}", "hold"),
        ],
        tables=[
            Table(
                "Conditions",
                ["condition", "", "found"],
                [
                    [plain(check["name"]), "passed" if check["passed"] else "FAILED", check["finding"]]
                    for check in checks
                ],
            ),
            *(_comparison(group, summaries) for group in summaries[candidate]),
        ],
        galleries=[Gallery("Photos that gain least or lose most", cases, len(gained))],
        details={key: str(decision[key]) for key in ("evaluation_set", "revision") if decision[key]},
    )


def case_of(measured: Measured) -> Case:
    """A measured photo as the slider shows it."""
    return Case(measured.name, dict(zip(LABELS, measured.views, strict=False)), shown_values(measured.values))


def shown_values(values: Mapping[str, float]) -> dict[str, float]:
    """Those of a photo's numbers that stand beside its picture."""
    return {name: values[name] for name in SHOWN_VALUES if name in values}


def enhanced_case(model: Model, measures: Measures, name: str, image: Tensor, truth: Tensor | None) -> Case:
    """A photo, RGB in [0, 1], (3, H, W), enhanced and measured."""
    enhanced = enhance(model, image)
    pictures = [image, enhanced, *([] if truth is None else [truth])]
    views = dict(zip(LABELS, (view(from_tensor(each)) for each in pictures), strict=False))
    return Case(name, views, shown_values(measures(image, enhanced, truth, good=False)))


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


def _comparison(group: str, summaries: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]) -> Table:
    """Means and worst values of several models on one set, a row for each metric that all of them have."""
    parts = [summary.get(group, {}) for summary in summaries.values()]
    rows = [
        [
            plain(metric),
            *(
                f"{number(metric, part[metric]['mean'])}, worst {number(metric, part[metric]['worst'])}"
                for part in parts
            ),
            "higher" if METRICS[metric].higher_is_better else "lower",
        ]
        for metric in parts[0]
        if all(metric in part for part in parts)
    ]
    return Table(f"{TITLES[group]}: mean and worst", ["metric", *summaries, "better"], rows)


def _quality_table(quality: Sequence[Quality]) -> Table:
    groups = quality[0].groups
    rows = [
        [each.name, *(f"{each.psnr(group):.2f} dB / {each.ssim(group):.3f}" for group in groups)] for each in quality
    ]
    return Table("Held-out pairs: PSNR / SSIM", ["", *groups], rows, strong="enhanced")
