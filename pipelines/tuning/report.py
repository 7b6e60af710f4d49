"""What a person sees of a sweep: a table, and plots of what was tried and what mattered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import optuna
from rich.console import Console
from rich.table import Table

from lle.metrics import METRICS
from pipelines.tracking.runs import TrackedRun, metric_history
from pipelines.tuning.search_space import Distribution, Plan, Search

ROWS = 20
FEWEST_FOR_IMPORTANCE = 3


@dataclass(frozen=True)
class Tried:
    """A trial that has ended.

    Attributes:
        name: of its run and folder.
        drawn: what it drew, by dotted path.
        outcome: `finished`, `stopped early`, `failed`, or `unfinished` where the sweep was interrupted.
        value: its best value of the measure; None where it never came to a validation.
        run_id: its run in MLflow; may be empty.
        reason: why it failed.
    """

    name: str
    drawn: dict[str, Any]
    outcome: str
    value: float | None
    run_id: str = ""
    reason: str = ""


def print_trials(console: Console, tried: Sequence[Tried], metric: str) -> None:
    """How many there were of each outcome, the best trials, and the best settings."""
    table = Table(
        title=f"{metric}, {'higher' if METRICS[metric].higher_is_better else 'lower'} is better", title_justify="left"
    )
    for column in ("trial", "outcome", metric):
        table.add_column(column)
    for path in tried[0].drawn:
        table.add_column(path.replace(".", ".\n"), overflow="fold")
    for each in tried[:ROWS]:
        value = "" if each.value is None else f"{each.value:.4f}"
        drawn_values = [each.drawn[path] for path in tried[0].drawn]
        cells = [f"{drawn:.3g}" if isinstance(drawn, float) else str(drawn) for drawn in drawn_values]
        table.add_row(each.name, each.outcome, value, *cells, style="bold" if each is tried[0] else "")
    console.print(table)
    for each in tried:
        if each.outcome == "failed":
            console.print(f"{each.name} failed: {each.reason}")
    counts = Counter(each.outcome for each in tried)
    console.print(
        f"trials {len(tried)}  finished {counts['finished']}  stopped early {counts['stopped early']}  "
        f"failed {counts['failed']}"
    )
    best = tried[0]
    if best.value is not None:
        console.print(f"best        {best.name}: {metric} {best.value:.4f}")
        for path, drawn in best.drawn.items():
            console.print(f"            {path}: {drawn}")


def write_plots(plan: Plan, tried: Sequence[Tried], parent: TrackedRun, metric: str) -> None:
    """`parallel_coordinates.png`, `importance.png` and `terms.png` in the sweep's folder, as far as there is enough."""
    valued = [each for each in tried if each.value is not None]
    draw_parallel_coordinates(plan.search, valued, metric, plan.folder / "parallel_coordinates.png")
    if len(valued) >= FEWEST_FOR_IMPORTANCE:
        draw_importance(study_of(plan.search, valued, metric), metric, plan.folder / "importance.png")
    draw_terms(tried, parent, plan.folder / "terms.png")


def draw_parallel_coordinates(search: Search, tried: Sequence[Tried], metric: str, file: Path) -> None:
    """One upright axis for each setting and the measure, one line for each trial, dotted where it was stopped."""
    rows = {path: _heights(search[path], [each.drawn[path] for each in tried]) for path in search}
    values = np.array([each.value for each in tried], dtype=float)
    low, high = values.min(), max(values.max(), values.min() + 1e-9)
    rows[metric] = list((values - low) / (high - low))
    figure, axes = plt.subplots(figsize=(2.2 * len(rows), 5))
    colours = plt.get_cmap("viridis")
    for index in reversed(range(len(tried))):  # the best one last, on top
        quality = 1 - index / max(1, len(tried) - 1)
        style = "-" if tried[index].outcome == "finished" else ":"
        axes.plot([row[index] for row in rows.values()], style, color=colours(quality), lw=1 + 2 * (index == 0))
    ends = {path: (f"{each.values[0]}", f"{each.values[-1]}") for path, each in search.items()}
    ends[metric] = (f"{low:.4g}", f"{high:.4g}")
    for place, (path, (bottom, top)) in enumerate(ends.items()):
        axes.axvline(place, color="0.6", lw=0.8)
        axes.text(place, -0.03, bottom, ha="center", va="top", fontsize=8)
        axes.text(place, 1.03, f"{path.replace('.', '.' + chr(10))}\n{top}", ha="center", va="bottom", fontsize=8)
    axes.set_ylim(-0.02, 1.02)
    axes.axis("off")
    axes.set_title("light: better; dotted: stopped early", y=-0.12, fontsize=9)
    _save(figure, file)


def draw_importance(study: optuna.Study, metric: str, file: Path) -> None:
    """How much each setting sets the better trials apart (Optuna's PED-ANOVA)."""
    importance = optuna.importance.get_param_importances(study)
    figure, axes = plt.subplots(figsize=(7, 1 + 0.4 * len(importance)))
    axes.barh(list(importance)[::-1], list(importance.values())[::-1])
    axes.set_xlabel(f"what sets the trials with a better {metric} apart (shares of 1)")
    _save(figure, file)


def study_of(search: Search, tried: Sequence[Tried], metric: str) -> optuna.Study:
    """The trials that have a value, whoever drew them, in the terms of Optuna's plots."""
    study = optuna.create_study(direction="maximize" if METRICS[metric].higher_is_better else "minimize")
    distributions = {path: _distribution(each) for path, each in search.items()}
    for each in tried:
        if each.value is not None:
            study.add_trial(optuna.trial.create_trial(params=each.drawn, distributions=distributions, value=each.value))
    return study


def draw_terms(tried: Sequence[Tried], parent: TrackedRun, file: Path) -> None:
    """One panel for each loss term, one line for each trial, the best one on top."""
    curves = {each.name: metric_history(TrackedRun(parent.uri, each.run_id), "term/") for each in tried if each.run_id}
    terms = sorted({term for terms in curves.values() for term in terms})
    if not terms:
        return
    figure, panels = plt.subplots(len(terms), 1, figsize=(8, 2 * len(terms)), sharex=True, squeeze=False)
    for panel, term in zip(panels[:, 0], terms, strict=True):
        for name in reversed(curves):
            steps = curves[name].get(term, [])
            best = name == tried[0].name
            panel.plot(
                *zip(*steps, strict=True) if steps else ([], []), color="C0" if best else "0.75", lw=2 if best else 1
            )
        panel.set_ylabel(term.removeprefix("term/"))
    panels[0, 0].set_title(f"loss terms, unweighted; in colour: {tried[0].name}")
    panels[-1, 0].set_xlabel("step")
    _save(figure, file)


def _heights(distribution: Distribution, drawn: Sequence[Any]) -> list[float]:
    """Where on its axis, from 0 to 1, each value lies."""
    if distribution.kind == "choice":
        return [distribution.values.index(each) / (len(distribution.values) - 1) for each in drawn]
    scale = np.log if distribution.kind == "loguniform" else np.asarray
    low, high = (float(scale(each)) for each in distribution.values)
    return [(float(scale(each)) - low) / (high - low) for each in drawn]


def _distribution(drawn: Distribution) -> optuna.distributions.BaseDistribution:
    if drawn.kind == "choice":
        return optuna.distributions.CategoricalDistribution(drawn.values)
    low, high = drawn.values
    if drawn.kind == "int":
        return optuna.distributions.IntDistribution(low, high)
    return optuna.distributions.FloatDistribution(low, high, log=drawn.kind == "loguniform")


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file, dpi=110, bbox_inches="tight")
    plt.close(figure)
