"""The report of a comparison: every model by every metric, photo by photo, and where the first one loses most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lle.metrics import METRICS
from pipelines.comparison.decision import UNTOUCHED, ComparedSet, Summaries, best_by, difference
from pipelines.evaluation.worker import GOOD
from pipelines.models.named import NamedModel
from pipelines.reporting.html_report import Case, Gallery, Headline, HtmlReport, Table
from pipelines.reporting.scatter import Scatter
from pipelines.reporting.words import SPACE, direction, gain_of, number, plain, split
from pipelines.voting.report import verdicts as preferences
from pipelines.voting.report import votes_table
from pipelines.voting.votes import WinRate

INPUT, TRUTH = "input", "ground truth"
ARROWS = {"higher": "↑", "lower": "↓"}


def comparison_report(
    models: Mapping[str, NamedModel],
    sets: Sequence[ComparedSet],
    shown: Mapping[str, Mapping[str, Mapping[str, bytes]]],
    people: Sequence[WinRate],
    details: Mapping[str, str],
) -> HtmlReport:
    """The report of a comparison.

    Args:
        models: by name; the first is held against the others.
        sets: what was measured.
        shown: of each set the photos that are shown, the worst first, by name, with their pictures by label.
        people: win rates by votes, where there are such.
        details: names and values for the end of the page.
    """
    first, *others = models
    photos = sum(len(next(iter(each.measured.values()))) for each in sets)
    return HtmlReport(
        kind="comparison",
        title=f"{first} beside {others[0] if len(others) == 1 else f'{len(others)} others'}",
        about=f"{', '.join(models)}; {photos} photos of {len(sets)} {'set' if len(sets) == 1 else 'sets'}",
        verdict=" ".join([*(verdict(each, models) for each in sets), *preferences(people)]).replace(SPACE, " "),
        headlines=[headline(each, models) for each in sets],
        tables=[
            *(means_table(each, models) for each in sets),
            *([votes_table(people)] if people else []),
            *(differences_table(each, first, others) for each in sets),
        ],
        scatters=[chart for each in sets for chart in scatters(each, first, others)],
        galleries=[
            Gallery(
                title(each),
                cases(each, shown.get(each.name, {}), models),
                len(next(iter(each.measured.values()))),
                f"those first on which {first} loses most to the best of the others",
            )
            for each in sets
        ],
        details=details,
    )


def title(compared: ComparedSet) -> str:
    """A set for people."""
    kind = "good photos, which should stay as they are" if compared.group == GOOD else "photos to enhance"
    return f"{compared.name}: {kind}"


def verdict(compared: ComparedSet, models: Mapping[str, NamedModel]) -> str:
    """Who is best on a set, and how much better than the one behind it."""
    metric, ranked = compared.metric, ranking(compared, models)
    best, *behind = ranked
    mean = number(metric, compared.summaries[best][metric]["mean"])
    found = f"{compared.name}: {best} has the best {plain(metric)}, {mean}"
    if not behind:
        return f"{found}."
    ahead = difference([*compared.gains(best, behind[0]).values()])
    if signed(metric, ahead.gain) == number(metric, 0.0):
        return f"{found}; {behind[0]} is level with it."
    sure = "" if ahead.low > 0 else ", which may be chance"
    return f"{found}; {behind[0]} is behind by {number(metric, ahead.gain)}{sure}."


def headline(compared: ComparedSet, models: Mapping[str, NamedModel]) -> Headline:
    """The first model's mean on a set, beside the best of the others."""
    first, *_ = models
    metric, rival = compared.metric, next(name for name in ranking(compared, models) if name != first)
    ours, theirs = (number(metric, compared.summaries[name][metric]["mean"]) for name in (first, rival))
    return Headline(f"{plain(metric)}, {compared.name}", ours, f"{rival} {theirs}; {direction(metric)} is better")


def ranking(compared: ComparedSet, models: Mapping[str, NamedModel]) -> list[str]:
    """The models by a set's metric, the best first and the photo as it is last."""
    metric, summaries = compared.metric, compared.summaries
    by_mean = sorted(summaries, key=lambda name: gain_of(metric, summaries[name][metric]["mean"], 0.0), reverse=True)
    return sorted(by_mean, key=lambda name: models[name].uri == UNTOUCHED)


def means_table(compared: ComparedSet, models: Mapping[str, NamedModel]) -> Table:
    """A row for each model, a column for each metric, the best of each marked."""
    summaries = compared.summaries
    metrics = [metric for metric in METRICS if any(metric in each for each in summaries.values())]
    worst = compared.metric
    columns = ["", *(heading(each, summaries) for each in metrics), f"{plain(worst)} of the worst photo", "parameters"]
    rows, marked = [], []
    for row, (name, summary) in enumerate(summaries.items()):
        cells = [split(metric, summary[metric]["mean"])[0] if metric in summary else "" for metric in metrics]
        lowest = split(worst, summary[worst]["worst"])[0]
        rows.append([name, *cells, lowest, f"{models[name].parameters:,}"])
        marked += [
            (row, column)
            for column, metric in enumerate(metrics, start=1)
            if name in best_by(metric, summaries, models)
        ]
    count = len(next(iter(compared.measured.values())))
    return Table(f"{title(compared)}: means of {count}", columns, rows, marked=marked)


def heading(metric: str, summaries: Summaries) -> str:
    """A metric with its unit, and an arrow to where it is better."""
    value = next(each[metric]["mean"] for each in summaries.values() if metric in each)
    unit = split(metric, value)[1]
    return f"{plain(metric)}{f', {unit}' if unit else ''} {ARROWS[direction(metric)]}"


def differences_table(compared: ComparedSet, first: str, others: Sequence[str]) -> Table:
    """The first model against each other one, by the set's metric."""
    metric, rows, marked = compared.metric, list[list[str]](), list[tuple[int, int]]()
    for row, other in enumerate(others):
        found = difference([*compared.gains(first, other).values()])
        rows.append(
            [
                f"than {other}",
                signed(metric, found.gain),
                f"{signed(metric, found.low)} to {signed(metric, found.high)}",
                f"{found.better} of {found.photos}",
                f"{found.p:.2g}",
            ]
        )
        marked += [(row, 1)] if found.low > 0 else []
    columns = [f"{first} is better", f"by, {plain(metric)}", "95 % interval", "on photos", "p, signed ranks"]
    return Table(f"{compared.name}: {first} against the others", columns, rows, marked=marked)


def signed(metric: str, gain: float) -> str:
    """A gain with its sign; negative for worse."""
    size = number(metric, abs(gain))
    return size if size == number(metric, 0.0) else f"{'+' if gain > 0 else '−'}{size}"


def scatters(compared: ComparedSet, first: str, others: Sequence[str]) -> list[Scatter]:
    """Of each other model, the photos by the set's metric."""
    metric, drawn = compared.metric, list[Scatter]()
    ours = {each.name: each.values[metric] for each in compared.measured[first] if metric in each.values}
    for other in others:
        theirs = {each.name: each.values[metric] for each in compared.measured[other] if metric in each.values}
        dots = [(name, theirs[name], value) for name, value in ours.items() if name in theirs]
        about = f"{plain(metric)}, {compared.name}: {first} over {other}"
        drawn.append(Scatter(about, metric, other, first, dots, METRICS[metric].higher_is_better))
    return drawn


def cases(
    compared: ComparedSet, shown: Mapping[str, Mapping[str, bytes]], models: Mapping[str, NamedModel]
) -> list[Case]:
    """Photos with the pictures of all models: the first model's on the right of the divider, on its left that of the
    other one that is best there.
    """
    first, *others = models
    metric, found = compared.metric, list[Case]()
    for name, pictures in shown.items():
        values = {
            model: one.values[metric]
            for model, members in compared.measured.items()
            for one in members
            if one.name == name
        }
        ranked = sorted(others, key=lambda model: gain_of(metric, values[model], 0.0), reverse=True)
        rival, *_ = [model for model in ranked if models[model].uri != UNTOUCHED] or ranked
        views = {label: pictures[label] for label in (rival, first)} | dict(pictures)
        captions = {label: number(metric, values[label]) if label in values else "" for label in views}
        best = first if gain_of(metric, values[first], values[rival]) >= 0 else rival
        note = f"{plain(metric)} {captions[first]}; {rival} {captions[rival]}"
        found.append(Case(name, views, {}, note, captions, [best]))
    return found
