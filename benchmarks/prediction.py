"""What a validation measure is worth: does it order the trials of a sweep as real pairs do?

    python -m benchmarks.prediction --data DIR --link PHOTOS             # folders of links: what to search on
    python -m benchmarks.prediction --data DIR --sweep runs/NAME [--seeds 0 1 2]
    python -m benchmarks.prediction --where SETTING LOW HIGH             # the first table of some trials

DIR as for `benchmarks.pretrained --unrestricted`, and with train/low, train/low_lol, train/well_lit_lol,
train/sice_pairs.csv and MANIFEST.csv; the pairs are those of `real_pairs`. What each trial has kept is measured on
them, and compared with what can be known without pairs: by Spearman's rank correlation, signed so that 1 is a perfect
order of the trials, with the middle 95 % of what it is when trials are drawn from them at random; and by the PSNR of
the trial that a measure would choose.

With --seeds the settings that the sweep began with and the best that it found are trained from as many seeds.

Numbers go to benchmarks/results/prediction.json, tables into docs/tune.md, plots into docs/images; --table writes the
tables from the stored numbers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image
from scipy.stats import rankdata

from benchmarks.pages import PAGE, machine, markdown_table, replace_section, save, stored
from benchmarks.pretrained import REPOSITORY

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.real_pairs import Pairs


class Known(NamedTuple):
    """What can be known of a trial without pairs.

    Attributes:
        label: for the table.
        axis: for the plot.
        more_is_better: which way is better.
    """

    label: str
    axis: str
    more_is_better: bool


PAGE_OF_SWEEPS, IMAGES = PAGE.parent / "tune.md", PAGE.parent / "images"
PLOTS = ("parallel_coordinates", "importance")
SETS = {"sice": "SICE", "lol": "LOL", "both": "mean of both"}
MEASURES = {
    "loss": Known("training loss at the end", "training loss", False),
    "own": Known("PSNR of photos brought back from the trial's own camera", "own camera, dB", True),
    "restored": Known("`restored`: the same, from the reference camera", "restored, dB", True),
    "feature_gap": Known("`feature_gap`", "feature gap", False),
}
LAST = 10  # step lines whose mean is the loss at the end
WIDEST, COLOURS = 1600, 48  # of plots in the docs, px
REDRAWN, MIDDLE = 2000, (2.5, 97.5)  # times; per cent
BASELINES = {"untouched": "baseline:input", "exposure-shoulder, no learning": "baseline:exposure-shoulder"}
TRAINED = {  # file of the sweep, and whether as many photos are left alone as in the settings that it began with
    "the hand-made camera": ("settings", False),
    "the sweep's best": ("best", False),
    "... but photos left alone as by hand": ("best", True),
}
LEFT_ALONE = ("clean_share", "tolerance")

Trial = Mapping[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    if arguments.link:
        from benchmarks.real_pairs import link

        link(arguments.data.resolve(), arguments.link.resolve())
        return 0
    if arguments.where:
        path, low, high = arguments.where[0], *map(float, arguments.where[1:])
        some = [trial for trial in stored("prediction")["trials"] if low <= trial["drawn"][path] <= high]
        print(f"{len(some)} trials\n{table_of_metrics(some)}")
        return 0
    if arguments.sweep:
        measure(arguments.data.resolve(), arguments.sweep.resolve(), arguments.seeds)
    results = stored("prediction")
    draw(results["trials"], IMAGES / "sweep_prediction.png")
    replace_section(PAGE_OF_SWEEPS, "prediction", as_text(results))
    print(as_text(results))
    return 0


def measure(data: Path, sweep: Path, seeds: Sequence[int]) -> None:
    """Store what the trials of a sweep and the trainings beside it came to."""
    from benchmarks.real_pairs import load_pairs, mean_psnr
    from pipelines.models.resolve import find_model

    pairs = load_pairs(data)
    results = {"rows": {}} | stored("prediction")
    results |= {"machine": machine(), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    run = (sweep / "mlflow_run_id").read_text(encoding="utf-8").strip()
    if results.get("sweep") != run:  # or the trials are measured already
        found, count = measured_trials(sweep, pairs), {name: len(each) for name, each in pairs.items()}
        results |= {"sweep": run, "trials": found, "pairs": count, "rows": {}}
        save("prediction", results)
    for name, uri in BASELINES.items() if not results["rows"] else ():
        results["rows"][name] = [mean_psnr(find_model(uri, "").network, pairs)]
    for name, (file, left_alone) in TRAINED.items() if seeds else ():
        folders = [trained(sweep, file, left_alone, seed) for seed in seeds]
        results["rows"][name] = [mean_psnr(find_model(str(each / "model"), "").network, pairs) for each in folders]
        save("prediction", results)
    for plot in PLOTS:
        copy_small(sweep / f"{plot}.png", IMAGES / f"sweep_{plot}.png")


def measured_trials(sweep: Path, pairs: Pairs) -> list[dict[str, Any]]:
    """Of each trial that left a model: its measures, and its PSNR on each set of real pairs."""
    from benchmarks.real_pairs import mean_psnr
    from pipelines.models.resolve import find_model

    well_lit, found = held_out(sweep), list[dict[str, Any]]()
    for folder in sorted(sweep.glob(f"{sweep.name}-*")):
        if (folder / "model").is_dir():
            real = mean_psnr(find_model(str(folder / "model"), "").network, pairs)
            numbers = recorded(folder) | {"own": by_its_own_camera(folder, well_lit)} | real
            found.append({"name": folder.name, **numbers, "drawn": drawn(folder, sweep)})
            print(folder.name, *(f"{name} {value:.4g}" for name, value in numbers.items()), sep="  ", flush=True)
    if len(found) < 3:
        raise SystemExit(f"--sweep {sweep}: holds {len(found)} trials with a model; a correlation needs three or more")
    return found


def held_out(sweep: Path) -> Sequence[Tensor]:
    """The well-lit photos that no trial of a sweep learned from."""
    from pipelines.config.loading import load_settings
    from pipelines.data.photo_sets import PhotoSet
    from pipelines.data.pinned import photos_of_run
    from pipelines.training.worker import validation_set

    settings = load_settings(["--config", str(sweep / "settings.yaml")]).settings
    photos = photos_of_run(settings.model_copy(update={"name": sweep.name, "resume": True}), str(sweep))
    without_others = replace(photos, held_out_dark=PhotoSet("", ()), pairs_dark=None, pairs_truth=None)
    return validation_set(settings, without_others, lambda path, reason: None).well_lit


def drawn(folder: Path, sweep: Path) -> dict[str, float]:
    """What a trial drew, by path; only numbers."""
    from pipelines.config.loading import load_settings
    from pipelines.config.text import flat
    from pipelines.tuning.search_space import read_search

    plain = flat(load_settings(["--config", str(folder / "settings.yaml")]).settings.model_dump())
    plain |= {
        f"{path}.{place}": part
        for path, whole in plain.items()
        if isinstance(whole, tuple | list)
        for place, part in enumerate(whole)
    }
    return {
        path: float(plain[path]) for path in read_search(sweep / "search.yaml") if isinstance(plain[path], int | float)
    }


def recorded(folder: Path) -> dict[str, float]:
    """The loss of a trial at its end, and its last validation."""
    from pipelines.tracking.address import tracking_uri
    from pipelines.tracking.runs import TrackedRun, metric_history

    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    run = TrackedRun(tracking_uri("", str(folder.parents[1])), summary["mlflow_run_id"])
    ended = {name: [value for _, value in sorted(each)[-LAST:]] for name, each in metric_history(run, "").items()}
    validated = {name: ended[f"validation/{name}"][-1] for name in ("restored", "feature_gap")}
    return {"loss": mean(ended["loss"]), **validated}


def by_its_own_camera(folder: Path, well_lit: Sequence[Tensor]) -> float:
    """PSNR, dB, of photos brought back from the camera that a trial learned from."""
    import torch

    from lle.exposure.reference import taken_again
    from lle.faults import MADE_BY
    from lle.model import load
    from lle.training.validation import restored
    from pipelines.config.loading import load_settings

    settings = load_settings(["--config", str(folder / "settings.yaml")]).settings
    camera = settings.curves.model_copy(update={"under_share": 1 - settings.objective.restoration.over_share})
    bag = MADE_BY["light"].bag(camera)
    taken = [taken_again(photo, index, bag) for index, photo in enumerate(well_lit)]
    return restored(load(folder / "model").enhancer, taken, torch.device("cpu"))


def trained(sweep: Path, file: str, left_alone: bool, seed: int) -> Path:
    """The folder of a training with the settings of a file of the sweep; it is run unless it is there.

    Args:
        sweep: folder.
        file: `settings` or `best`.
        left_alone: as many photos are left alone as in `settings`.
        seed: of the training.

    Raises:
        CalledProcessError: it failed.
    """
    from pipelines.config.loading import load_settings

    folder = sweep.parent / f"{sweep.name}-{file}{'-left-alone' if left_alone else ''}-seed-{seed}"
    if not (folder / "model").is_dir():
        command = [sys.executable, "pipelines/train.py", "--config", str(sweep / f"{file}.yaml"), "--seed", str(seed)]
        command += ["--name", folder.name, "--runs", str(sweep.parent)]
        command += ["--data.pairs_dark", "", "--data.pairs_truth", ""]  # measured afterwards, all of them
        command += ["--tracking.model_name", "lle-enhancer-research"]
        if left_alone:
            began = load_settings(["--config", str(sweep / "settings.yaml")]).settings.objective.restoration
            left = {name: getattr(began, name) for name in LEFT_ALONE}
            command += [word for name in left for word in (f"--objective.restoration.{name}", str(left[name]))]
        subprocess.run(command, cwd=REPOSITORY, check=True)
    return folder


def correlation(trials: Sequence[Trial], measure: str, real: str) -> tuple[float, float, float]:
    """Spearman's rank correlation, 1 where better by the measure is better on real pairs, and the ends of its middle
    95 % over trials drawn with replacement.

    Args:
        trials: numbers by name, three trials or more.
        measure: one of MEASURES, or a set of real pairs.
        real: the set of real pairs that it should predict.
    """
    sign = 1 if measure in SETS or MEASURES[measure].more_is_better else -1
    ours, theirs = (np.array([trial[name] for trial in trials]) for name in (measure, real))
    rows = np.random.default_rng(0).integers(len(trials), size=(REDRAWN, len(trials)))
    low, high = np.nanpercentile(_rank_correlations(sign * ours[rows], theirs[rows]), MIDDLE)
    return float(_rank_correlations(sign * ours[None], theirs[None])[0]), float(low), float(high)


def _rank_correlations(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Of each row, (R, N) and (R, N) to (R,); NaN where all of a row is the same."""
    ranks = (rankdata(each, axis=1) - (each.shape[1] + 1) / 2 for each in (ours, theirs))
    a, b = ranks
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))


def of_a_setting(trials: Sequence[Trial], path: str, name: str) -> float:
    """Spearman's rank correlation of what was drawn with a set of real pairs or a measure; 1: more of it, more dB."""
    drawn, found = np.array([trial["drawn"][path] for trial in trials]), np.array([trial[name] for trial in trials])
    return float(_rank_correlations(drawn[None], found[None])[0])


def chosen(trials: Sequence[Trial], measure: str) -> Trial:
    """The trial that a measure calls the best."""
    best = max if MEASURES[measure].more_is_better else min
    return best(trials, key=lambda trial: trial[measure])


def as_text(results: Mapping[str, Any]) -> str:
    """The section of the page: what each measure is worth, and what the sweep's best is."""
    pairs = results["pairs"]
    return (
        f"{len(results['trials'])} trials, {pairs['sice']} pairs of SICE and {pairs['lol']} of LOL's training pairs, "
        f"{results['date']}:\n\n{table_of_metrics(results['trials'])}\n\n"
        "Rank correlation of each number that was searched with PSNR and with `restored`, 1 where more of it is better:"
        f"\n\n{table_of_settings(results['trials'])}\n\n"
        f"PSNR of trainings from several seeds, mean and standard deviation:\n\n{table_of_trainings(results['rows'])}"
    )


def table_of_metrics(trials: Sequence[Trial]) -> str:
    """A row for each measure: its rank correlation with real PSNR, and the real PSNR of the trial it would choose."""
    rows = []
    for name, measure in MEASURES.items():
        choice = chosen(trials, name)
        found = [_with_range(correlation(trials, name, real)) for real in SETS]
        rows.append([measure.label, *found, *(f"{choice[real]:.2f}" for real in SETS)])
    other = [_with_range(correlation(trials, *names)) for names in (("lol", "sice"), ("sice", "lol"))]
    rows.append(["PSNR on the other set of real pairs", *other, *[""] * 4])
    for label, of in (("best trial of all", max), ("median trial", median), ("worst trial", min)):
        rows.append([label, *[""] * 3, *(f"{of([trial[real] for trial in trials]):.2f}" for real in SETS)])
    headings = [f"{name}: {what}" for what in ("ρ", "dB of its choice") for name in SETS.values()]
    return markdown_table(["", *headings], rows)


def table_of_settings(trials: Sequence[Trial]) -> str:
    """A row for each searched number: how it orders the trials by real pairs and by `restored`."""
    names = [*SETS, "unchanged", "restored"]
    rows = [
        [f"`{path}`", *(f"{of_a_setting(trials, path, name):.2f}" for name in names)] for path in trials[0]["drawn"]
    ]
    return markdown_table(["", *SETS.values(), "well-lit SICE to itself", "`restored`"], rows)


def table_of_trainings(found: Mapping[str, Sequence[Trial]]) -> str:
    """A row for each model, its PSNR over its seeds."""
    rows = []
    for name, seeds in found.items():
        numbers = [_with_spread([each[real] for each in seeds]) for real in (*SETS, "unchanged")]
        rows.append([name, "" if name in BASELINES else len(seeds), *numbers])
    headings = [*SETS.values(), "well-lit SICE to itself"]
    return markdown_table(["", "seeds", *(f"{name}, dB" for name in headings)], rows)


def draw(trials: Sequence[Trial], file: Path) -> None:
    """One panel for each measure and set of pairs, one dot for each trial."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, len(MEASURES), figsize=(2.6 * len(MEASURES), 4.6), sharey="row", sharex="col")
    for row, real in zip(panels, ("sice", "lol"), strict=True):
        row[0].set_ylabel(f"{SETS[real]}: PSNR, dB", fontsize=8)
        for panel, name in zip(row, MEASURES, strict=True):
            panel.scatter([trial[name] for trial in trials], [trial[real] for trial in trials], s=14)
            panel.set_title(f"ρ = {correlation(trials, name, real)[0]:.2f}", fontsize=9)
            panel.tick_params(labelsize=8)
    for panel, measure in zip(panels[-1], MEASURES.values(), strict=True):
        panel.set_xlabel(f"{measure.axis}\nbetter to the {'right' if measure.more_is_better else 'left'}", fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=90)
    plt.close(figure)


def copy_small(plot: Path, into: Path) -> None:
    """A plot with few colours, at most 1,600 px wide."""
    picture = Image.open(plot).convert("RGB")
    picture.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(into, optimize=True)


def _with_range(found: tuple[float, float, float]) -> str:
    value, low, high = found
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def _with_spread(values: Sequence[float]) -> str:
    return f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the photos")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--link", type=Path, metavar="PHOTOS", help="only make folders of links to search on")
    what.add_argument("--sweep", type=Path, help="folder of a finished sweep")
    what.add_argument("--table", action="store_true", help="only write the tables from the stored results")
    what.add_argument(
        "--where",
        nargs=3,
        metavar=("SETTING", "LOW", "HIGH"),
        help="only print the first table for the stored trials that drew this setting from LOW to HIGH",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[], help="trainings beside the sweep; none: not done")
    arguments = parser.parse_args(argv)
    if not (arguments.table or arguments.where or arguments.data):
        parser.error("--data: name the folder with the photos")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
