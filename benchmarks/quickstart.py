"""What the quickstart is worth, and its guidance, and the measure that chooses its step.

    python -m benchmarks.quickstart [--runs runs] [--seeds 0 1 2]

Trains it from several seeds (each draws its own photos and pairs), the same without guidance and with a prior that has
learned nothing, and writes three tables into docs/train.md: quality on the held-out pairs, which nothing is chosen by;
the rounds; and how well each validation measure orders a run's validations (Spearman's rank correlation with PSNR on
the pairs, within each run) and what the step that it chooses lacks to the best. A run that is finished stays as it is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from math import inf
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import spearmanr

from benchmarks.pages import PAGE, markdown_table, replace_section
from benchmarks.pretrained import REPOSITORY
from lle.metrics import METRICS
from pipelines.config.loading import load_settings
from pipelines.tracking.history import HISTORY, VALIDATION, read_history

ROUNDS = 1, 2
VARIANTS = {
    "full": ("the quickstart", ()),
    "none": (
        "... without guidance",
        (
            *("--objective.guidance.weight", "0", "--schedule.prompt_init.steps", "0"),
            *("--schedule.refinement.steps", "0"),
        ),
    ),
    "untrained": ("... guided by an untrained prior", ("--prior.model", "untrained")),
}
TOLERANCE = load_settings(["--data.samples"]).settings.schedule.tolerance
MEASURES = {
    f"`restored`, the latest within {TOLERANCE:g} dB": ("restored", TOLERANCE),
    **{f"`{name}`": (name, 0.0) for name in ("restored", "feature_gap", "judge_gap", "ssim")},
}

Validations = Sequence[Mapping[str, Any]]


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    runs = arguments.runs.resolve()
    trained = {
        name: [train(runs / f"{name}{seed}", seed, settings) for seed in arguments.seeds]
        for name, (_, settings) in VARIANTS.items()
    }
    text = "\n\n".join(
        (table_of_quality(trained), table_of_rounds(trained), table_of_metrics([*chain(*trained.values())]))
    )
    print(text)
    replace_section(PAGE.parent / "train.md", "quickstart", text)
    return 0


def train(folder: Path, seed: int, settings: Iterable[str]) -> Path:
    """The folder of a finished run."""
    if not (folder / "summary.json").exists():
        named = ("--runs", str(folder.parent), "--name", folder.name, "--seed", str(seed))
        subprocess.run([sys.executable, "pipelines/train.py", *named, *settings], cwd=REPOSITORY, check=True)
    return folder


def table_of_quality(trained: Mapping[str, Sequence[Path]]) -> str:
    """PSNR and SSIM on the pairs, mean and deviation over the seeds."""
    summaries = {name: [summary(folder) for folder in folders] for name, folders in trained.items()}
    first = next(iter(summaries.values()))
    rows = [
        [label, spread(each[f"psnr_{key}"] for each in first), spread((each[f"ssim_{key}"] for each in first), 3), ""]
        for label, key in (("input", "input"), ("exposure-shoulder, no learning", "exposure_shoulder"))
    ]
    for name, found in summaries.items():
        values = (spread(each["psnr_enhanced"] for each in found), spread((each["ssim_enhanced"] for each in found), 3))
        rows.append([VARIANTS[name][0], *values, spread((each["seconds"] for each in found), 0)])
    return markdown_table([f"{len(first)} seeds, 8 pairs each", "PSNR", "SSIM", "s"], rows)


def table_of_rounds(trained: Mapping[str, Sequence[Path]]) -> str:
    """PSNR on the pairs of what is kept after each round."""
    rows = []
    for name, folders in trained.items():
        found = [validations(folder) for folder in folders]
        after = [
            [taken([each for each in run if each["round"] <= number], "restored", TOLERANCE)["psnr"] for run in found]
            for number in ROUNDS
        ]
        rows.append([VARIANTS[name][0], *map(spread, after)])
    return markdown_table(["PSNR of what is kept after", *(f"round {number}" for number in ROUNDS)], rows)


def table_of_metrics(folders: Sequence[Path]) -> str:
    """How each measure orders the validations of a run, and what its choice lacks."""
    rows = []
    runs = [validations(folder) for folder in folders]
    for label, (measure, tolerance) in MEASURES.items():
        of = [run for run in runs if all(measure in each for each in run)]
        sign = 1 if METRICS[measure].higher_is_better else -1
        order = [
            sign * spearmanr([each[measure] for each in run], [each["psnr"] for each in run]).statistic for run in of
        ]
        lost = [max(each["psnr"] for each in run) - taken(run, measure, tolerance)["psnr"] for run in of]
        count = sum(len(run) for run in of)
        rows.append([label, str(count), f"{mean(order):.2f}", f"{mean(lost):.2f}", f"{max(lost):.2f}"])
    header = ["", "validations", "rank correlation with PSNR", "dB its step lacks to the best, mean", "most"]
    return markdown_table(header, rows)


def validations(folder: Path) -> list[dict[str, Any]]:
    """Each validation of the enhancement, by the measures' bare names, with its round."""
    found, number = [], 1
    for row in read_history(folder / HISTORY):
        number = int(row.get("round", number))
        if f"{VALIDATION}psnr" in row:
            found.append({key.removeprefix(VALIDATION): row[key] for key in row} | {"round": max(1, number)})
    return found


def taken(found: Validations, measure: str, tolerance: float) -> Mapping[str, Any]:
    """The validation that a measure chooses: the latest behind the best before it by less than a tolerance."""
    sign, reached, chosen = (1 if METRICS[measure].higher_is_better else -1), -inf, found[0]
    for each in found:
        value = sign * each[measure]
        if value > reached - tolerance:
            chosen = each
        reached = max(reached, value)
    return chosen


def summary(folder: Path) -> dict[str, Any]:
    """What a run has left in its summary."""
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return content


def spread(values: Iterable[float], digits: int = 2) -> str:
    """Mean and deviation."""
    found = list(values)
    deviation = f" ± {stdev(found):.{digits}f}" if len(found) > 1 else ""
    return f"{mean(found):.{digits}f}{deviation}"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
