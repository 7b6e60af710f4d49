"""What every benchmark leaves: JSON with machine and versions, and its section of docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def machine() -> dict[str, Any]:
    """Processor, cores, GPU, versions and day; no host name, no path."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "day": date.today().isoformat(),
    }


def save(name: str, results: dict[str, Any]) -> Path:
    """Write results, `machine` among them, to results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    return path


def write_section(name: str, text: str, page: Path = PAGE) -> None:
    """Put a text between the markers `<!-- NAME -->` and `<!-- /NAME -->` of the page; at its end if new."""
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    known = page.read_text(encoding="utf-8") if page.exists() else "# Benchmarks\n"
    before, _, rest = known.partition(opening)
    after = rest.partition(closing)[2] or "\n"
    page.write_text(f"{before.rstrip()}\n\n{opening}\n{text.strip()}\n{closing}{after}", encoding="utf-8")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first column is to the left, the others to the right."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def told(machine: dict[str, Any]) -> str:
    """One line about the machine."""
    device = machine["gpu"] or f"{machine['processor']}, {machine['cores']} cores"
    return f"{device}; load {machine['load']} when it began; torch {machine['torch']}; {machine['day']}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
