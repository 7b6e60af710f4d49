"""Train our enhancer on research photos, seed by seed, with what must be compared with it.

    python -m benchmarks.pretrained --data DIR [--seeds 0 1 2] [--runs runs] [-- SETTING ...]

DIR holds train/low, train/well_lit, train/sice_pairs.csv and MANIFEST.csv. The scenes of `split.py` are kept out and
only choose among the checkpoints; pairs are never trained on. Each training is `pipelines/train.py --preset
restoration`, its models are registered as `lle-enhancer-research` and stay in the runs' folder: the photos' terms allow
research only. Afterwards `python -m benchmarks.quality --data DIR --model NAME=RUNS/NAME/model` measures them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.split import held_out_pairs, training_photos

REPOSITORY = Path(__file__).parent.parent


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    folders = split(arguments.data.resolve(), arguments.runs.resolve() / "research-split")
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
        *(sys.executable, "pipelines/train.py", "--preset", "restoration", *given),
        *("--name", name, "--runs", str(arguments.runs.resolve()), "--seed", str(seed)),
        *("--tracking.model_name", "lle-enhancer-research", *arguments.settings),
    ]


def split(data: Path, into: Path) -> dict[str, Path]:
    """Folders of links: training photos without the held-out scenes, and the pairs of those."""
    pairs = held_out_pairs(data)
    if not pairs:
        raise SystemExit(f"--data {data}: holds no train/sice_pairs.csv; our model is chosen by its scenes")
    return {
        "dark": _linked(into / "low", ((photo.name, photo) for photo in training_photos(data, "low"))),
        "well_lit": _linked(into / "well_lit", ((photo.name, photo) for photo in training_photos(data, "well_lit"))),
        "pairs_low": _linked(
            into / "pairs_low", ((f"scene_{pair['scene']}.jpg", data / pair["low"]) for pair in pairs)
        ),
        "pairs_high": _linked(
            into / "pairs_high", ((f"scene_{pair['scene']}.jpg", data / pair["high"]) for pair in pairs)
        ),
    }


def _linked(folder: Path, photos: Iterable[tuple[str, Path]]) -> Path:
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


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the research photos")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--name", default="research", help="runs are called NAME-SEED")
    parser.add_argument("settings", nargs="*", help="more settings for every training, after --")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
