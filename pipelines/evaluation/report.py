"""The report of an evaluation: all numbers, beside those of the baselines, and the photos that came out worst."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.evaluation.worker import GOOD, LOW, Measured
from pipelines.reporting.html_report import Case, Gallery, Headline, HtmlReport, Table, badness, worst_first
from pipelines.reporting.pictures import BASELINE, LABELS
from pipelines.reporting.words import SPACE, better_by, direction, gain_of, number, plain

COMPARED = ("input", "auto-exposure", BASELINE)
Summary = Mapping[str, Mapping[str, Mapping[str, Any]]]
TITLES = {LOW: "Photos to enhance", GOOD: "Photos that were good already"}
SHOWN_VALUES = ("unchanged", "psnr", "ssim", "our_prior_well_lit")


def evaluation_report(
    name: str,
    about: Mapping[str, Any],
    summary: Summary,
    measured: list[Measured],
    baselines: Mapping[str, Summary] | None = None,
) -> HtmlReport:
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
    return HtmlReport(
        kind="evaluation",
        title=name,
        about=f"{about['parameters']:,} parameters" + (f"; {refused} photos skipped" if refused else ""),
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
