"""Train our enhancer, seed by seed: on the research photos, or on the few that anybody may use.

    python -m benchmarks.pretrained --data DIR [--seeds 0 1 2] [--runs runs] [-- SETTING ...]
    python -m benchmarks.pretrained --data DIR --unrestricted --seeds 0

DIR holds train/low, train/well_lit, train/sice_pairs.csv and MANIFEST.csv. The scenes of `split.py` are kept out and
only measure; pairs are never trained on. Each training is `pipelines/train.py --preset restoration`. The models are
registered as `lle-enhancer-research` and stay in the runs' folder: the photos' terms allow research only.

With --unrestricted only DIR/kodak24 is read, beside the sample photos that the bundled prior was trained on; such a
model may ship with the package (`lle/enhancers/assets`). `python -m benchmarks.quality --data DIR --model
NAME=RUNS/NAME-SEED/model` measures either.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.split import held_out_pairs, training_photos
from pipelines.jobs.samples import sample_photos
from pipelines.pretrain_prior import PRIOR_PHOTOS

REPOSITORY = Path(__file__).parent.parent
INTOLERANT = (  # a photo that is a little darker than good is as wrong as any
    *("--objective.restoration.tolerance", "0", "--curves.s_curve.under", "0.75", "1"),
    *("--curves.gamma.under", "1.5", "4", "--curves.tone.under", "1.5", "4"),
)
FEW_PHOTOS = (  # teach little of what good light may look like: more steps, and no tolerance
    *("--data.validation_images", "1", "--schedule.enhancement.steps", "2000", "--optimiser.ema_decay", "0.998"),
    *INTOLERANT,
)


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
    if arguments.unrestricted:
        given += FEW_PHOTOS
    return [
        *(sys.executable, "pipelines/train.py", "--preset", "restoration", *given),
        *("--name", name, "--runs", str(arguments.runs.resolve()), "--seed", str(seed)),
        *("--tracking.model_name", f"lle-enhancer-{arguments.name}", *arguments.settings),
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


def unrestricted(data: Path, into: Path) -> dict[str, Path]:
    """Folders of Kodak's photos and the prior's sample photos as they are, and of under-exposed ones; the latter only
    to measure on.
    """
    import numpy as np
    import torch
    from PIL import Image

    from lle.exposure.camera import darken
    from lle.images import to_tensor

    photos = {path.stem: np.asarray(Image.open(path).convert("RGB")) for path in sorted((data / "kodak24").iterdir())}
    photos |= sample_photos(PRIOR_PHOTOS)
    folders = {"dark": into / "dark", "well_lit": into / "well_lit"}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    for name, photo in photos.items():
        Image.fromarray(photo).save(folders["well_lit"] / f"{name}.png")
        dark = (255 * darken(to_tensor(photo)[None], generator)[0].permute(1, 2, 0)).round().to(torch.uint8)
        Image.fromarray(dark.numpy()).save(folders["dark"] / f"{name}_dark.png")
    return folders


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


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the photos")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--unrestricted", action="store_true", help="train on photos that anybody may use")
    parser.add_argument("settings", nargs="*", help="more settings for every training, after --")
    arguments = parser.parse_args(argv)
    arguments.name = "unrestricted" if arguments.unrestricted else "research"
    return arguments


if __name__ == "__main__":
    sys.exit(main())
