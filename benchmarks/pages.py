"""What every benchmark leaves: JSON with machine and versions, and its section of docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def machine(packages: Sequence[str] = ("torch",)) -> dict[str, Any]:
    """Processor, cores, GPU, versions and day; no host name, no path."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "versions": {package: version(package) for package in packages},
        "day": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def told(machine: dict[str, Any]) -> str:
    """One line about the machine."""
    device = machine["gpu"] or f"{machine['processor']}, {machine['cores']} cores"
    versions = ", ".join(f"{package} {number}" for package, number in machine["versions"].items())
    return f"{device}; load {machine['load']} when it began; {versions}; {machine['day']}"


def save(name: str, results: dict[str, Any]) -> Path:
    """Write results, `machine` among them, to results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return path


def stored(name: str) -> dict[str, Any]:
    """What `save` has kept under a name; empty without it."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def replace_section(page: Path, name: str, text: str) -> None:
    """Put a text between the lines `<!-- NAME -->` and `<!-- /NAME -->` of a page.

    Raises:
        ValueError: the page has no such lines.
    """
    content, begin, end = page.read_text(encoding="utf-8"), f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = content.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page}: has no section {name}; write the lines {begin.strip()} and {end} where it belongs")
    page.write_text(f"{before}{begin}\n{text.strip()}\n\n{end}{after}", encoding="utf-8")


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first column is to the left, the others to the right."""
    rule = ["---", *["--:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (headings, rule, *rows))


def peak_memory() -> int | None:
    """Largest memory this process has had on the CPU, MiB; None where the system does not tell (it is not Linux)."""
    try:  # not getrusage: its number goes on from the parent's
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), None)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
