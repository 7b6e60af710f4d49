"""What a person sees of a sweep: a table, and plots of what was tried and what mattered."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import optuna
from rich.console import Console
from rich.table import Table

from lle.metrics import HIGHER_IS_BETTER
from pipelines.jobs.search import Distribution, Plan, Search
from pipelines.jobs.tracking import TrackedRun, metric_history

LOGGER = logging.getLogger(__name__)
ROWS = 20
FEWEST_FOR_IMPORTANCE = 3


@dataclass(frozen=True)
class Tried:
    """A trial that has ended.

    Attributes:
        name: of its run and folder.
        drawn: what it drew, by dotted path.
        outcome: `finished`, `stopped early` or `failed`.
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


def print_trials(console: Console, tried: Sequence[Tried], measure: str) -> None:
    """How many there were of each outcome, the best trials, and the best settings."""
    table = Table(
        title=f"{measure}, {'higher' if HIGHER_IS_BETTER[measure] else 'lower'} is better", title_justify="left"
    )
    for column in ("trial", "outcome", measure):
        table.add_column(column)
    for path in tried[0].drawn:
        table.add_column(path, overflow="fold")
    for each in tried[:ROWS]:
        value = "" if each.value is None else f"{each.value:.4f}"
        cells = [f"{drawn:.3g}" if isinstance(drawn, float) else str(drawn) for drawn in each.drawn.values()]
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
        console.print(f"best        {best.name}: {measure} {best.value:.4f}")
        for path, drawn in best.drawn.items():
            console.print(f"            {path}: {drawn}")


def write_plots(plan: Plan, tried: Sequence[Tried], parent: TrackedRun, measure: str) -> None:
    """`parallel_coordinates.png`, `importance.png` and `terms.png` in the sweep's folder, as far as there is enough."""
    study = study_of(plan.search, tried, measure)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls its plots experimental
        axes = optuna.visualization.matplotlib.plot_parallel_coordinate(study, target_name=measure)
        axes.figure.set_size_inches(2 + 2 * len(plan.search), 5)
        _save(axes.figure, plan.folder / "parallel_coordinates.png")
        if len(study.trials) >= FEWEST_FOR_IMPORTANCE:
            axes = optuna.visualization.matplotlib.plot_param_importances(study, target_name=measure)
            _save(axes.figure, plan.folder / "importance.png")
    draw_terms(tried, parent, plan.folder / "terms.png")


def study_of(search: Search, tried: Sequence[Tried], measure: str) -> optuna.Study:
    """The trials that have a value, whoever drew them, in the terms of Optuna's plots."""
    study = optuna.create_study(direction="maximize" if HIGHER_IS_BETTER[measure] else "minimize")
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
