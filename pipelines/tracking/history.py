"""The numbers of a training, step by step: `history.jsonl`, a line of JSON for each step that was told of.

`time` says when it was written down, ISO 8601 in UTC.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from math import inf, isfinite
from pathlib import Path
from typing import Any

from pipelines.reporting.words import plain

HISTORY = "history.jsonl"
VALIDATION = "validation/"
TIME = "time"
NAMES = {
    "prompt_init": "prompts",
    "reconstruction": "copying",
    "enhancement": "enhancing",
    "refinement": "refining the prompts",
    "denoising": "denoising",
}

Row = dict[str, Any]
Points = list[tuple[float, float]]


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


def note(file: Path, numbers: Row) -> None:
    """Add a step's numbers, among them `step`, to a history, with the time."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({TIME: time, **numbers}) + "\n")


def read_history(file: Path) -> list[Row]:
    """The rows of a history by step, one a step; empty without the file.

    Steps that were done again after a restart count as they were done last; half a line at the end, and whatever else
    is no step, is left out.
    """
    by_step: dict[int, Row] = {}
    for row in map(_row, file.read_bytes().split(b"\n") if file.exists() else []):
        if row is None:
            continue
        row.pop(TIME, None)  # for people, and not of the training
        while by_step and next(reversed(by_step)) > row["step"]:
            by_step.popitem()
        by_step.setdefault(row["step"], {}).update(row)
    return list(by_step.values())


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


def _row(line: bytes) -> Row | None:
    """What a line says of a step: numbers, and the name of its phase; None where it says nothing."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or type(said.get("step")) is not int:
        return None
    phase = said.pop("phase", None)
    row: Row = {name: value for name, value in said.items() if isinstance(value, float) or type(value) is int}
    if isinstance(phase, str) and isfinite(row.get("round", inf)):
        row["phase"] = phase
    return row


def _points(rows: Iterable[Row], name: str) -> Points:
    return [(row["step"], row[name]) for row in rows if name in row and isfinite(row[name])]


def _lines(rows: list[Row], phase: str, name: str) -> list[Points]:
    return [
        _points((row for row in rows if span.first < row["step"] <= span.last), name)
        for span in spans(rows)
        if span.phase == phase
    ]
