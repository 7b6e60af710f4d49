"""What each term adds: short trainings that differ in one setting, on the same photos, from the same seed.

    python -m benchmarks.ablation --data DIR [--only NAME ...] [--runs DIR]

DIR as for `benchmarks.pretrained`. Measured on the SICE scenes held out of the training, on Kodak's photos
under-exposed with the noise of a camera, and on the same photos as they are, which should stay so. LOL eval15 is not
looked at. Numbers are kept in benchmarks/results/ablation.json as they come; what is there is not trained again. The
table in docs/benchmarks.md is written from that file; --table does only this.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.pages import PAGE, machine, markdown_table, replace_section, save, stored
from benchmarks.pretrained import REPOSITORY, split

SMALL = ("--data.image_size", "128", "--data.prompt_size", "112")
INTOLERANT = (  # a photo that is a little darker than good is as wrong as any
    *("--objective.restoration.tolerance", "0", "--curves.s_curve.under", "0.75", "1"),
    *("--curves.gamma.under", "1.5", "4", "--curves.tone.under", "1.5", "4"),
)
RESTORATION = (
    *("--preset", "restoration", "--schedule.enhancement.steps", "600", "--loop.validate_every", "600"),
    *("--schedule.denoising.steps", "0", *INTOLERANT),
    *("--optimiser.ema_decay", "0.98"),  # the preset's would remember the start of so short a training
)
LITTLE = (*RESTORATION, "--data.image_size", "64", "--schedule.enhancement.steps", "300")  # a step of 128 px takes 5 s
TOLERANT = (
    *("--objective.restoration.tolerance", "1.25", "--curves.s_curve.under", "0.85", "1"),
    *("--curves.gamma.under", "2.2", "4", "--curves.tone.under", "2.2", "4"),
)
GUIDED = ("--objective.guidance.weight", "0.05", "--schedule.prompt_init.steps", "60")
HYBRID = (
    *("--preset", "hybrid", *SMALL, "--schedule.rounds", "2", "--schedule.prompt_init.steps", "100"),
    *("--schedule.enhancement.steps", "150", "--schedule.refinement.steps", "50", "--loop.validate_every", "75"),
)
CAPTIONS = ("--prior.guidance", "captions", "--prior.identity_model", "bundled")
PIE = ("--preset", "pie", *SMALL, "--enhancer.arch", "compact", "--schedule.enhancement.steps", "300")


class Variation(NamedTuple):
    """One training.

    Attributes:
        base: settings it shares with others.
        changed: what it has of its own.
    """

    base: tuple[str, ...]
    changed: tuple[str, ...] = ()


def without(base: tuple[str, ...], *terms: str) -> Variation:
    """The base with the weight of some terms, or shares, at 0."""
    return Variation(base, tuple(word for term in terms for word in (f"--objective.{term}", "0")))


VARIATIONS = {
    "restoration": Variation(RESTORATION),
    "... guided by the bundled prior": Variation(RESTORATION, GUIDED),
    "... guided by an untrained prior": Variation(RESTORATION, (*GUIDED, "--prior.model", "untrained")),
    "... without structure": without(RESTORATION, "restoration.structure"),
    "... without detail": without(RESTORATION, "restoration.detail"),
    "... without photos left as they are": without(RESTORATION, "restoration.clean_share"),
    "... tolerant of what is a little darker, as the preset": Variation(RESTORATION, TOLERANT),
    "... compact network": Variation(RESTORATION, ("--enhancer.arch", "compact")),
    "... denoising for 600 steps more": Variation(RESTORATION, ("--schedule.denoising.steps", "600")),
    "hybrid": Variation(HYBRID),
    "... with an untrained prior": Variation(HYBRID, ("--prior.model", "untrained")),
    "... without guidance": without(HYBRID, "guidance.weight"),
    "... without identity": without(HYBRID, "identity.weight"),
    "... without smoothness": without(HYBRID, "smoothness.weight"),
    "... without preservation": without(HYBRID, "preservation.weight"),
    "... without regions": without(HYBRID, "regional.weight"),
    "... without contrast": without(HYBRID, "pixel_contrast.weight", "feature_contrast.weight"),
    "... with four crops": Variation(HYBRID, ("--prior.crops", "4")),
    "... guided by a latent pair": Variation(HYBRID, ("--prior.guidance", "latent")),
    "... guided by a residual": Variation(HYBRID, ("--prior.guidance", "residual")),
    "... guided by graded captions": Variation(HYBRID, ("--prior.model", "graded", *CAPTIONS)),
    "... guided by the same captions, untrained": Variation(HYBRID, ("--prior.model", "ungraded", *CAPTIONS)),
    "pie, compact network": Variation(PIE),
    "restoration, 300 steps of 64 px": Variation(LITTLE),
    "... faithful network": Variation(LITTLE, ("--enhancer.arch", "retinex")),
    "restoration, no denoiser": Variation(RESTORATION, ("--enhancer.denoise", "0")),
}
COLUMNS = (
    ("SICE PSNR", "sice", "psnr", "mean", 2),
    ("SSIM", "sice", "ssim", "mean", 3),
    ("GT-mean", "sice", "psnr_gt_mean", "mean", 2),
    ("made noise: GT-mean", "made", "psnr_gt_mean", "mean", 2),
    ("SSIM", "made", "ssim", "mean", 3),
    ("good: dB to input", "good", "unchanged", "mean", 1),
    ("worst", "good", "unchanged", "worst", 1),
)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    if arguments.data:
        for name in arguments.only or VARIATIONS:
            if name not in stored("ablation").get("rows", {}) or arguments.only:
                keep(name, measured(train(name, arguments), arguments))
    replace_section(PAGE, "ablation", as_text(stored("ablation")))
    print("table in docs/benchmarks.md")
    return 0


def train(name: str, arguments: argparse.Namespace) -> Path:
    """The folder of one training, which is run unless it is there.

    Raises:
        CalledProcessError: it failed.
    """
    run = f"ablation-{list(VARIATIONS).index(name):02d}"
    folder = arguments.runs.resolve() / run
    if not (folder / "model").exists():
        photos = split(arguments.data.resolve(), arguments.runs.resolve() / "ablation-photos")
        base, changed = VARIATIONS[name]
        given = [word for setting, path in photos.items() for word in (f"--data.{setting}", str(path))]
        command = [sys.executable, "pipelines/train.py", *base, *changed, *given, "--scaling.threads_per_worker", "1"]
        command += ["--name", run, "--runs", str(folder.parent), "--tracking.model_name", "lle-enhancer-research"]
        subprocess.run(command, cwd=REPOSITORY, check=True)
    return folder


def measured(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Mean and worst of each metric by set of photos."""
    from benchmarks.quality import MAX_PIXELS, find_sets
    from pipelines.evaluation.job import summarise
    from pipelines.evaluation.metrics import load_metric_suite
    from pipelines.evaluation.worker import GOOD, LOW, Photo, measure_photo
    from pipelines.models.resolve import find_model

    made = under_exposed(arguments.data.resolve() / "kodak24", arguments.runs.resolve() / "ablation-made")
    dark, well_lit = str(made["dark"]), str(made["well_lit"])
    sets = {name: photos for name, photos in find_sets(arguments.data, 0).items() if name in ("sice", "good")}
    sets["made"] = [
        Photo(LOW, dark, str(path), well_lit, f"{well_lit}/{path.name}") for path in sorted(made["dark"].iterdir())
    ]
    model, suite = find_model(str(folder / "model"), ""), load_metric_suite("")
    found = {
        name: summarise([measure_photo(model, suite, photo, MAX_PIXELS, shown=False) for photo in photos])[
            GOOD if name == "good" else LOW
        ]
        for name, photos in sets.items()
    }
    numbers = {
        name: {metric: {"mean": each["mean"], "worst": each["worst"]} for metric, each in metrics.items()}
        for name, metrics in found.items()
    }
    return {"sets": numbers}


def under_exposed(photos: Path, into: Path) -> dict[str, Path]:
    """Folders of photos as they are, `well_lit`, and under-exposed with the noise of a camera, `dark`."""
    import numpy as np
    import torch
    from PIL import Image

    from lle.exposure.camera import darken
    from lle.images import to_tensor

    folders = {"dark": into / "dark", "well_lit": into / "well_lit"}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    for path in sorted(photos.iterdir()):
        photo = np.asarray(Image.open(path).convert("RGB"))
        Image.fromarray(photo).save(folders["well_lit"] / f"{path.stem}.png")
        dark = (255 * darken(to_tensor(photo)[None], generator)[0].permute(1, 2, 0)).round().to(torch.uint8)
        Image.fromarray(dark.numpy()).save(folders["dark"] / f"{path.stem}.png")
    return folders


def keep(name: str, row: dict[str, Any]) -> None:
    """Add a row to what is stored, which another process may have added to meanwhile."""
    results = {"rows": {}} | stored("ablation")
    results["rows"][name] = row
    save("ablation", results | {"machine": machine(), "date": f"{datetime.now(UTC):%Y-%m-%d}"})
    print(f"{name}: measured", flush=True)


def as_text(results: dict[str, Any]) -> str:
    """The section of the page."""
    rows = []
    for name, variation in VARIATIONS.items():
        if name in results["rows"]:
            row = results["rows"][name]
            cells = [f"{row['sets'][photos][metric][which]:.{digits}f}" for _, photos, metric, which, digits in COLUMNS]
            rows.append([name, *cells, f"`{' '.join(variation.changed)}`" if variation.changed else ""])
    return (
        "Short trainings (restoration 600 steps; hybrid 2 rounds of 150 and 50; 128 px; seed 0) that differ in one "
        f"setting. Last measured {results.get('date', '')}, on 26 SICE pairs, 24 photos of Kodak under-exposed with "
        "noise, and the same as they are.\n\n"
        + markdown_table(["", *(column[0] for column in COLUMNS), "changed"], rows)
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", type=Path, help="folder with the photos")
    what.add_argument("--table", action="store_true", help="only write the table from the stored results")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", choices=list(VARIATIONS))
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the trainings")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
