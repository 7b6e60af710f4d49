"""Train our enhancer, seed by seed: on the research photos, or on the few that anybody may use.

    python -m benchmarks.pretrained --data DIR [--seeds 0 1 2] [--runs runs] [-- SETTING ...]
    python -m benchmarks.pretrained --data DIR --unrestricted --seeds 0

DIR holds train/low, train/well_lit, train/sice_pairs.csv and MANIFEST.csv. The scenes of `split.py` are kept out and
only measure; pairs are never trained on. Each training is `pipelines/train.py --preset scene`, or another preset. The
models are registered as `lle-enhancer-research` and stay in the runs' folder: the photos' terms allow research only.

With --unrestricted only DIR/kodak24 and DIR/train/free are read, whose terms allow such use; such a model may ship with
the package (`lle/enhancers/assets`). `python -m benchmarks.quality --data DIR --model NAME=RUNS/NAME-SEED/model`
measures either.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image, ImageStat

from benchmarks.split import held_out_pairs, training_photos

REPOSITORY = Path(__file__).parent.parent
NAMELESS = "nextcloud"  # photos whose terms name nobody
GOOD_MEANS = 0.25, 0.58  # darker and brighter ones were meant so, and teach a wrong level


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    choose = unrestricted if arguments.unrestricted else split
    folders = choose(arguments.data.resolve(), arguments.runs.resolve() / f"{arguments.name}-photos")
    for seed in arguments.seeds:
        name = f"{arguments.name}-{seed}"
        code = subprocess.run(command(name, seed, folders, arguments), cwd=REPOSITORY, check=False).returncode
        if code:
            return code
    return 0


def command(name: str, seed: int, folders: dict[str, Path], arguments: argparse.Namespace) -> list[str]:
    """The training of one seed."""
    given = [word for setting, folder in folders.items() for word in (f"--data.{setting}", str(folder))]
    return [
        *(sys.executable, "pipelines/train.py", "--preset", arguments.preset, *given),
        *("--name", name, "--runs", str(arguments.runs.resolve()), "--seed", str(seed)),
        *("--tracking.model_name", f"lle-enhancer-{arguments.name}", *arguments.settings),
    ]


def split(data: Path, into: Path) -> dict[str, Path]:
    """Folders of links: training photos without the held-out scenes, and the pairs of those."""
    pairs = held_out_pairs(data)
    if not pairs:
        raise SystemExit(f"--data {data}: holds no train/sice_pairs.csv; our model is chosen by its scenes")
    return {
        "dark": linked(into / "low", ((photo.name, photo) for photo in training_photos(data, "low"))),
        "well_lit": linked(into / "well_lit", ((photo.name, photo) for photo in training_photos(data, "well_lit"))),
        "pairs_dark": linked(
            into / "pairs_dark", ((f"scene_{pair['scene']}.jpg", data / pair["low"]) for pair in pairs)
        ),
        "pairs_truth": linked(
            into / "pairs_truth", ((f"scene_{pair['scene']}.jpg", data / pair["high"]) for pair in pairs)
        ),
    }


def unrestricted(data: Path, into: Path) -> dict[str, Path]:
    """Folders of links: the photos that models which ship may learn from, and the dark ones of the same terms."""
    kodak = [(f"kodak_{photo.name}", photo) for photo in sorted((data / "kodak24").iterdir())]
    with (data / "train" / "free" / "SOURCES.csv").open(newline="", encoding="utf-8") as lines:
        sources = [row for row in csv.DictReader(lines) if not Path(row["file"]).name.startswith(NAMELESS)]
    dark, well_lit = (
        [(Path(row["file"]).name, data / row["file"]) for row in sources if row["exposure"] == exposure]
        for exposure in ("dark", "well_lit")
    )
    good = [(name, photo) for name, photo in well_lit if GOOD_MEANS[0] <= mean_value(photo) <= GOOD_MEANS[1]]
    return {"dark": linked(into / "dark", dark), "well_lit": linked(into / "well_lit", [*good, *kodak])}


def mean_value(photo: Path) -> float:
    """Mean of a photo's sRGB values, in [0, 1]."""
    return sum(ImageStat.Stat(Image.open(photo).convert("RGB").resize((64, 64))).mean) / (3 * 255)


def linked(folder: Path, photos: Iterable[tuple[str, Path]]) -> Path:
    """The folder with a link for each photo, by name, and none that an earlier split left."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = dict(photos)
    for link in folder.iterdir():
        if link.readlink() != wanted.get(link.name):
            link.unlink()
    for name, photo in wanted.items():
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(photo)
    return folder


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the photos")
    parser.add_argument("--preset", default="scene")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--unrestricted", action="store_true", help="train on photos that anybody may use")
    parser.add_argument("settings", nargs="*", help="more settings for every training, after --")
    arguments = parser.parse_args(argv)
    arguments.name = "unrestricted" if arguments.unrestricted else "research"
    return arguments


if __name__ == "__main__":
    sys.exit(main())
