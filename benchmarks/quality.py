"""The quality table: the input, the controls, published models and ours, all by one protocol.

    python -m benchmarks.quality --data DIR [--model NAME=URI ...]

DIR holds test_paired/lol_eval15, train/sice_pairs.csv, second_camera/pairs, test_unpaired, kodak24, weights/perceptual
and weights/peers; what is missing there is left out, and told. Numbers are kept in benchmarks/results/quality.json as
they come: what is there already is not measured again, unless --again is given. The tables in docs/benchmarks.md and
README.md are written from that file; --table does only this.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.pages import PAGE, machine, markdown_table, replace_section, save, stored
from benchmarks.split import held_out_pairs

README = Path(__file__).parents[1] / "README.md"
BASELINES = (
    *("input", "auto-gain", "auto-gamma", "auto-exposure", "auto-exposure+denoise"),
    *("exposure-shoulder", "exposure-shoulder-lift"),
)
ORACLE = "exposure-shoulder, best k"
PUBLISHED = {
    "CLIP-LIT": ("clip-lit", "cliplit/enhancement_model.pth"),
    "RAVE (unpaired)": ("rave", "rave/rave_unpaired.pth"),
    "SCL-LLE": ("scl-lle", "scl_lle/SCL-LLE.pth"),
    "PIE": ("pie", "pie/PiLLE.pth"),
    "Zero-DCE": ("zero-dce", "zero_dce/Epoch99.pth"),
    "Zero-DCE++": ("zero-dce++", "zero_dcepp/Epoch99.pth"),
    "Zero-DCE++ (s = 12)": ("zero-dce++/12", "zero_dcepp/Epoch99.pth"),
    "SCI medium": ("sci", "sci/medium.pt"),
}
SETS = ("lol", "sice", "camera", "unpaired", "good", "well_lit")
UNPAIRED = ("backlit_cliplit6", "dicm", "lime", "mef")
PACKAGES = ("torch", "torchvision", "numpy", "pillow", "kornia")
MAX_PIXELS = 80_000_000


class Column(NamedTuple):
    """One column of the table: a metric's mean or worst value over a set of photos."""

    heading: str
    photos: str
    metric: str
    statistic: str
    digits: int


COLUMNS = (
    Column("LOL PSNR", "lol", "psnr", "mean", 2),
    Column("SSIM", "lol", "ssim", "mean", 3),
    Column("GT-mean", "lol", "psnr_gt_mean", "mean", 2),
    Column("LPIPS", "lol", "lpips", "mean", 3),
    Column("NIQE", "lol", "niqe", "mean", 2),
    Column("burnt %", "lol", "over_exposed", "mean", 2),
    Column("colour error °", "lol", "colour_error", "mean", 1),
    Column("SICE PSNR", "sice", "psnr", "mean", 2),
    Column("SSIM", "sice", "ssim", "mean", 3),
    Column("2nd camera PSNR", "camera", "psnr", "mean", 2),
    Column("SSIM", "camera", "ssim", "mean", 3),
    Column("unpaired NIQE", "unpaired", "niqe", "mean", 2),
    Column("LOE", "unpaired", "lightness_order_error", "mean", 0),
    Column("burnt %", "unpaired", "over_exposed", "mean", 2),
    Column("Kodak: dB to input", "good", "unchanged", "mean", 1),
    Column("worst", "good", "unchanged", "worst", 1),
    Column("well-lit SICE: dB to input", "well_lit", "unchanged", "mean", 1),
    Column("worst", "well_lit", "unchanged", "worst", 1),
)
HEADLINES = tuple(column for column in COLUMNS if column.metric in ("psnr", "ssim", "unchanged"))


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    results = {"rows": {}} | stored("quality")
    if arguments.data:
        measure(arguments, results)
    replace_section(PAGE, "quality", as_text(results))
    replace_section(README, "quality", as_table(results, HEADLINES))
    print("tables in docs/benchmarks.md and README.md")
    return 0


def measure(arguments: argparse.Namespace, results: dict[str, Any]) -> None:
    """Add to the results what they lack, and store them after each model and set."""
    from benchmarks.oracle import oracle
    from pipelines.evaluation.job import summarise
    from pipelines.evaluation.metrics import load_metric_suite
    from pipelines.evaluation.worker import measure_photo
    from pipelines.models.resolve import find_model
    from pipelines.tracking.address import tracking_uri
    from pipelines.tracking.source import git_revision

    weights = arguments.data / "weights" / "perceptual"
    suite = load_metric_suite(str(weights) if weights.is_dir() else "")
    sets = {
        name: photos for name, photos in find_sets(arguments.data, arguments.limit).items() if name in arguments.sets
    }
    for name, uri in find_models(arguments).items():
        model = find_model(uri, tracking_uri("", "runs")) if name != ORACLE else None
        row = results["rows"].setdefault(name, {"sets": {}})
        row["parameters"] = model.parameters if model else 0
        for set_name, photos in sets.items():
            if not (model or photos[0].truth_path):
                continue
            done = row["sets"].get(set_name, {}).get("photos", 0)
            if done >= len(photos) and not arguments.again:
                continue
            started = time.perf_counter()
            measured = [
                measure_photo(model or oracle(photo, name, MAX_PIXELS), suite, photo, MAX_PIXELS, shown=False)
                for photo in photos
            ]
            refused = [
                f"{each.name}: {each.refused or each.mismatch}" for each in measured if each.refused or each.mismatch
            ]
            if refused:
                raise SystemExit(f"{set_name}: {refused[0]}; {len(refused)} such photos")
            found = summarise(measured)[photos[0].group]
            row["sets"][set_name] = {
                "photos": len(photos),
                "metrics": {metric: {"mean": each["mean"], "worst": each["worst"]} for metric, each in found.items()},
            }
            if set_name == "lol":
                row["sets"]["lol"]["pictures"] = {
                    each.name: {metric: round(value, 5) for metric, value in each.values.items()} for each in measured
                }
            results |= {
                "machine": machine(PACKAGES),
                "revision": git_revision(),
                "date": f"{datetime.now(UTC):%Y-%m-%d}",
            }
            save("quality", results)
            print(f"{name}: {set_name}, {len(photos)} photos, {time.perf_counter() - started:.0f} s", flush=True)


def find_models(arguments: argparse.Namespace) -> dict[str, str]:
    """URIs by the name of their row: controls, published checkpoints that are there, and what was named."""
    peers = arguments.data / "weights" / "peers"
    models = {name: f"baseline:{name}" for name in BASELINES} | {ORACLE: "the ground truth"}
    for name, (network, file) in PUBLISHED.items():
        if (peers / file).is_file():
            models[name] = f"published:{network}={peers / file}"
        else:
            print(f"{name} is left out: {file} is not in {peers}")
    for pair in arguments.model:
        name, equals, uri = pair.partition("=")
        if not (name and equals and uri):
            raise SystemExit(f"--model {pair}: give NAME=URI, the name for the table and what it stands for")
        models[name] = uri
    if unknown := set(arguments.only) - set(models):
        raise SystemExit(f"--only {unknown.pop()}: no such row; choose from {', '.join(models)}")
    return {name: uri for name, uri in models.items() if not arguments.only or name in arguments.only}


def find_sets(data: Path, limit: int) -> dict[str, list[Any]]:
    """Photos by set; `limit` of each at most, spread evenly, except LOL's."""
    from pipelines.evaluation.worker import GOOD, LOW, Photo, find_evaluated_photos

    def folder(low: str = "", high: str = "", good: str = "") -> list[Any]:
        low, high, good = (str(data / each) if each else "" for each in (low, high, good))
        if not all(Path(each).is_dir() for each in (low, high, good) if each):
            print(f"{low or good} is left out: there is no such folder")
            return []
        return find_evaluated_photos(low, high, good, 0, MAX_PIXELS)[0]

    lol = folder("test_paired/lol_eval15/low", "test_paired/lol_eval15/high")
    pairs = held_out_pairs(data)
    others = {
        "sice": [Photo(LOW, str(data), str(data / pair["low"]), str(data), str(data / pair["high"])) for pair in pairs],
        "camera": folder("second_camera/pairs/low", "second_camera/pairs/high"),
        "well_lit": [Photo(GOOD, str(data), str(data / each)) for each in sorted({pair["high"] for pair in pairs})],
        "unpaired": [photo for name in UNPAIRED for photo in folder(f"test_unpaired/{name}")],
        "good": folder(good="kodak24"),
    }
    assert all(photo.group == GOOD for photo in others["good"])
    return {"lol": lol} | {name: _evenly(photos, limit) for name, photos in others.items() if photos}


def as_text(results: dict[str, Any]) -> str:
    """The section of the page: how it was measured, and a row for each model."""
    photos = dict.fromkeys(SETS, 0)
    for row in results["rows"].values():
        photos |= {name: found["photos"] for name, found in row["sets"].items()}
    versions = results.get("machine", {}).get("versions", {})
    measured = ", ".join(f"{package} {number}" for package, number in versions.items())
    return (
        f"{photos['lol']} pairs of LOL eval15, {photos['sice']} aligned pairs of SICE (scenes that no training of "
        f"ours sees), {photos['camera']} pairs of a camera that nothing was trained for, {photos['unpaired']} unpaired "
        "photos (backlit, DICM, LIME, MEF), "
        f"{photos['good']} good photos of Kodak and {photos['well_lit']} of those SICE scenes. "
        f"Measured {results.get('date', '')} with {measured}. The row `{ORACLE}` knows the ground truth: what one "
        "exposure for each photo could reach.\n\n" + as_table(results, COLUMNS)
    )


def as_table(results: dict[str, Any], columns: Sequence[Column]) -> str:
    """A row for each model: controls, what the best of them could be, published ones, ours."""
    known = [*BASELINES, ORACLE, *PUBLISHED]
    names = [name for name in known if name in results["rows"]]
    names += [name for name in results["rows"] if name not in known]
    rows = []
    for name in names:
        row = results["rows"][name]
        cells = []
        for column in columns:
            found = row["sets"].get(column.photos, {}).get("metrics", {}).get(column.metric)
            scale = 100 if column.metric == "over_exposed" else 1
            cells.append(f"{found[column.statistic] * scale:.{column.digits}f}" if found else "")
        rows.append([name, f"{row['parameters']:,}", *cells])
    return markdown_table(["", "parameters", *(column.heading for column in columns)], rows)


def _evenly(photos: list[Any], limit: int) -> list[Any]:
    if not limit or len(photos) <= limit:
        return photos
    return [photos[index * len(photos) // limit] for index in range(limit)]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", type=Path, help="folder with the photos and weights")
    what.add_argument("--table", action="store_true", help="only write the table from the stored results")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=URI", help="a model of ours; repeatable")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="measure only these rows")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS, help="measure only these sets")
    parser.add_argument("--limit", type=int, default=0, help="photos of each set but LOL's; 0: all")
    parser.add_argument("--again", action="store_true", help="measure again what the results hold already")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
