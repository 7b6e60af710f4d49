"""The numbers of a training, step by step: `history.jsonl`, a line of JSON for each step that was told of.

`time` says when it was written down, ISO 8601 in UTC.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from math import inf, isfinite
from pathlib import Path
from typing import Any

HISTORY = "history.jsonl"
VALIDATION = "validation/"
TIME = "time"

Row = dict[str, Any]


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


def numbers_of(row: Row) -> dict[str, float]:
    """The numbers of a row of the history by MLflow's names; `step` and the time are no numbers of the training."""
    return {
        name: value for name, value in row.items() if name not in ("step", "time") and isinstance(value, int | float)
    }


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
