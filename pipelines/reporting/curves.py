"""A training's history as curves over steps, and its phases as spans of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from math import isfinite

from pipelines.reporting.words import plain
from pipelines.tracking.history import VALIDATION, Row


@dataclass(frozen=True)
class Span:
    """Steps of one phase.

    Attributes:
        phase: its name in the schedule.
        round: its round; 0 before the first.
        first, last: steps done before and after it.
    """

    phase: str
    round: int
    first: int
    last: int


@dataclass(frozen=True)
class Curve:
    """A number over steps.

    Attributes:
        title: what is drawn.
        lines: its points, (step, value), a line for each span that it was measured in.
        best: the point to mark.
    """

    title: str
    lines: list[Points]
    best: tuple[float, float] | None = None


Points = list[tuple[float, float]]

NAMES = {
    "prompt_init": "prompts",
    "reconstruction": "copying",
    "enhancement": "enhancing",
    "refinement": "refining the prompts",
    "denoising": "denoising",
}


def spans(rows: Iterable[Row]) -> list[Span]:
    """The phases that a history went through, one behind the other."""
    found: list[Span] = []
    told = (row for row in rows if "phase" in row)
    for (phase, round), steps in groupby(told, key=lambda row: (row["phase"], int(row["round"]))):
        first = found[-1].last if found else 0
        found.append(Span(phase, round, first, [row["step"] for row in steps][-1]))
    return found


def curves(rows: list[Row], best_step: int | None = None) -> list[Curve]:
    """Validation measures over the whole training, then each phase's loss, then the terms of the enhancement's.

    Args:
        rows: a history.
        best_step: where the best enhancer was found.
    """
    measures = dict.fromkeys(name for row in rows for name in row if name.startswith(VALIDATION))
    drawn = [
        Curve(
            f"{plain(name.removeprefix(VALIDATION))}, held-out photos",
            [points := _points(rows, name)],
            next((point for point in points if point[0] == best_step), None),
        )
        for name in measures
    ]
    phases = dict.fromkeys(span.phase for span in spans(rows))
    drawn += [Curve(f"Loss, {NAMES.get(phase, phase)}", _lines(rows, phase, "loss")) for phase in phases]
    terms = dict.fromkeys(
        name for row in rows if row.get("phase") == "enhancement" for name in row if name.startswith("term/")
    )
    if len(terms) > 1:
        drawn += [Curve(f"Term {name.removeprefix('term/')}", _lines(rows, "enhancement", name)) for name in terms]
    return [curve for curve in drawn if any(curve.lines)]


def _points(rows: Iterable[Row], name: str) -> Points:
    return [(row["step"], row[name]) for row in rows if name in row and isfinite(row[name])]


def _lines(rows: list[Row], phase: str, name: str) -> list[Points]:
    return [
        _points((row for row in rows if span.first < row["step"] <= span.last), name)
        for span in spans(rows)
        if span.phase == phase
    ]
