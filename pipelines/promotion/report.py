"""The report of a promotion: who won and why, both models' numbers, and the photos that gain least."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pipelines.config.promote import PromotionSettings
from pipelines.evaluation.job import summarise
from pipelines.evaluation.report import TITLES, Summary, slider_views
from pipelines.evaluation.worker import GOOD, LOW
from pipelines.promotion.decision import INPUT, Comparison, the
from pipelines.reporting.html_report import Case, Gallery, Headline, HtmlReport, Table
from pipelines.reporting.pictures import BASELINE
from pipelines.reporting.words import better_by, direction, number, plain
from pipelines.voting.report import percent, span

CANDIDATE, TRUTH = "candidate", "ground truth"
FAILED = "FAILED"


def promotion_report(
    settings: PromotionSettings, compared: Comparison, cases: Sequence[Case], details: Mapping[str, str]
) -> HtmlReport:
    """The report of a promotion.

    Args:
        settings: the promotion's.
        compared: what was found.
        cases: see `worst_cases`.
        details: names and values for the end of the page.
    """
    against = f"the champion, version {compared.champion}, and" if compared.champion else "no champion yet, but"
    asked = [["passed" if each.passed else FAILED, each.finding] for each in compared.checks]
    return HtmlReport(
        kind="promotion",
        title=f"{compared.model}, version {compared.candidate}",
        about=f"against {against} baselines that learn nothing",
        verdict=_verdict(settings, compared),
        headlines=list(_headlines(settings, compared)),
        tables=[
            Table("What was asked of it", ["", "found"], asked, strong=FAILED, prose=True),
            *([beside_baselines(settings.metric, _summaries(compared))] if compared.baselines else []),
            *_side_by_side(settings, compared),
        ],
        galleries=[Gallery(f"Photos that gain least over {the(compared.rival)}", cases, len(compared.gained))],
        details=details,
    )


def least_gained(settings: PromotionSettings, compared: Comparison) -> list[str]:
    """Names of the photos that gain least, the worst first."""
    return sorted(compared.gained, key=lambda name: compared.gained[name])[: settings.worst]


def worst_cases(settings: PromotionSettings, compared: Comparison) -> list[Case]:
    """The photos that gain least, the worst first, with the views that the measuring made of them: the rival's on the
    left of the divider, the candidate's on its right.
    """
    metric, cases = settings.metric, list[Case]()
    before, after = (
        {each.name: each for each in found if each.group == LOW} for found in (compared.theirs, compared.ours)
    )
    for name in least_gained(settings, compared):
        old, new = slider_views(before[name].views), slider_views(after[name].views)
        views = {compared.rival: old["enhanced"], CANDIDATE: new["enhanced"]}
        views |= {label: new[label] for label in (INPUT, BASELINE, TRUTH) if label in new and label != compared.rival}
        theirs, gain = before[name].values[metric], compared.gained[name]
        note = f"{the(compared.rival)} {number(metric, theirs)}: {better_by(metric, gain)}"
        cases.append(Case(name, views, {metric: after[name].values[metric]}, note))
    return cases


def _verdict(settings: PromotionSettings, compared: Comparison) -> str:
    version, champion = f"Version {compared.candidate}", compared.champion
    failed = [each.finding for each in compared.checks if not each.passed]
    if not failed:
        over = f"version {champion}" if champion else f"{the(compared.rival)}, the best of the baselines"
        return f"{version} has earned its promotion over {over}: {compared.checks[0].finding}."
    stays = f"version {champion} stays {settings.champion}" if champion else f"there is no {settings.champion} yet"
    return f"{version} is not promoted; {stays}. Failed: {'. Failed: '.join(failed)}."


def _headlines(settings: PromotionSettings, compared: Comparison) -> Iterator[Headline]:
    metric, found, gained = settings.metric, compared.checks[0].numbers, compared.gained.values()
    means = [summarise(each)[LOW][metric]["mean"] for each in (compared.theirs, compared.ours)]
    yield Headline(
        f"Gain in {plain(metric)}",
        f"{'+' if found['gain'] > 0 else ''}{number(metric, found['gain'])}",
        f"over {the(compared.rival)}, p = {found['p']:.2g}; wanted: {number(metric, settings.margin)}, "
        f"p of {settings.significance:g}",
    )
    yield Headline(
        plain(metric),
        number(metric, means[1]),
        f"{the(compared.rival)} {number(metric, means[0])}; {direction(metric)} is better",
    )
    better = f"{sum(each > 0 for each in gained)} of {len(gained)}"
    yield Headline("Better on", better, f"photos than {the(compared.rival)}")
    for times in (each.numbers["times_slower"] for each in compared.checks if each.name == "speed"):
        whose, allowed = (
            ("the champion's", settings.max_slower)
            if compared.champion
            else ("the bundled enhancer's", settings.first_slower)
        )
        yield Headline("Time", f"{times:.2f}×", f"{whose}; allowed {allowed:g}×")
    for found in (each.numbers for each in compared.checks if each.name == "votes"):
        interval = f"95 % interval {span(found['low'], found['high'])}"
        wanted = f"wanted: above {percent(settings.votes.min_win_rate)}"
        yield Headline(
            "Preferred by people", percent(found["win_rate"]), f"of {found['votes']} votes; {interval}; {wanted}"
        )


def beside_baselines(metric: str, summaries: Mapping[str, Summary]) -> Table:
    """Means of the metrics that are asked about: the candidate, the champion, the baselines; fits 80 columns."""
    wanted = [(LOW, metric), (LOW, "over_exposed"), (LOW, "colour_cast"), (GOOD, "unchanged")]
    columns = [(group, name) for group, name in wanted if name in summaries[CANDIDATE].get(group, {})]
    return Table(
        "Beside the baselines, means over the photos",
        ["", *(f"{plain(name)}\n({direction(name)} is better)" for _, name in columns)],
        [
            [model, *(number(name, summary[group][name]["mean"]) for group, name in columns)]
            for model, summary in summaries.items()
        ],
        strong=CANDIDATE,
    )


def _summaries(compared: Comparison) -> dict[str, Summary]:
    champion = {compared.rival: compared.theirs} if compared.champion else {}
    found = {CANDIDATE: compared.ours, **champion, **compared.baselines}
    return {name: summarise(measured) for name, measured in found.items()}


def _side_by_side(settings: PromotionSettings, compared: Comparison) -> Iterator[Table]:
    """A table for each set: both models' mean and worst photo by each metric."""
    before, after = summarise(compared.theirs), summarise(compared.ours)
    for group, part in after.items():
        rows = [
            [
                plain(metric),
                *(number(metric, found[key]) for key in ("mean", "worst") for found in (before[group][metric], new)),
                direction(metric),
            ]
            for metric, new in part.items()
            if metric in before.get(group, {})
        ]
        columns = [f"{who}, {what}" for what in ("mean", "worst") for who in (compared.rival, CANDIDATE)]
        yield Table(TITLES[group], ["metric", *columns, "better is"], rows, strong=plain(settings.metric))
