"""What an adaptation to a camera is worth, and its parts: the preset `adapt` on cameras whose truth is known.

    python -m benchmarks.adaptation --data DIR [--rows NAME ...] [--seeds 0 1 2] [--made] [--write]

The second camera is DIR/second_camera: 95 dark and 95 well-lit photos of other scenes teach, 30 pairs only measure.
Made cameras are for choosing by: two casts over SICE's pairs that are not held out and over LOL's training pairs; the
dark photos of one half of the scenes get the cast and are measured, the well-lit ones of the other half teach. Every
photo is read once, as a small copy, and the loop runs in this process: no Ray, no files.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

import lle
from benchmarks.judge_choice import reduced
from benchmarks.pages import PAGE, markdown_table, replace_section
from benchmarks.quickstart import spread
from benchmarks.real_pairs import find_pairs
from benchmarks.split import held_out_pairs
from lle.baselines import exposure_shoulder
from lle.config import TrainSettings
from lle.enhancers.scene import SceneEnhancer
from lle.exposure.camera import linear_to_srgb, srgb_to_linear
from lle.images import read, to_tensor
from lle.metrics import psnr
from lle.prior.loading import load_prior
from lle.training.hooks import Hooks
from lle.training.loop import train
from lle.training.order import photo_at
from lle.training.validation import ValidationSet, Validator
from pipelines.config.loading import load_settings

PRESET = "--preset adapt --enhancer.denoise 0 --data.dark low --data.well_lit well_lit"
SECOND = "second camera"
CASTS = {"reddish": (2.2, 0.8, 0.7), "greenish": (0.7, 1.4, 0.8)}
"""Light of each channel in a made camera's dark photos."""
ROWS = {
    "`--preset adapt`": "",
    "... captions untrained": "--prior.model ungraded",
    "... without a judge, levels compared": "--objective.guidance.weight 0 --objective.distribution.level true",
    "... both tell the level": "--objective.distribution.level true",
    "... captions move everything": "--objective.guidance.moves picture --objective.distribution.level true",
    "... twice the steps, half the rate": "--schedule.enhancement.steps 120 --optimiser.enhancer_lr 2e-2",
}
"""Options that each row adds to the preset."""


class Camera(NamedTuple):
    """Photos to learn from, uint8, (S, S, 3), and pairs to measure with, RGB in [0, 1], (1, 3, H, W)."""

    dark: Sequence[Tensor]
    well_lit: Sequence[Tensor]
    pairs: Sequence[tuple[Tensor, Tensor]]


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    torch.set_num_threads(arguments.threads)
    cameras = made_cameras(arguments.data, arguments.side) if arguments.made else {}
    cameras |= {SECOND: second_camera(arguments.data, arguments.side)}
    rows = {name: ROWS[name] for name in arguments.rows or ROWS}
    told = [["untouched", *(f"{measured(lambda x: x, each):.2f}" for each in cameras.values())]]
    told += [["exposure-shoulder", *(f"{measured(exposure_shoulder, each):.2f}" for each in cameras.values())]]
    bundled = lle.load("bundled")
    told += [["bundled", *(f"{measured(bundled, each):.2f}" for each in cameras.values())]]
    for name, options in rows.items():
        cells = []
        for camera_name, camera in cameras.items():
            found = [adapted(camera, options, seed) for seed in arguments.seeds]
            cells.append(spread(found))
            print(name, camera_name, cells[-1], sep="  ", flush=True)
        told.append([name, *cells])
    header = ["PSNR, dB", *cameras]
    print(text := markdown_table(header, told))
    if arguments.write:
        replace_section(PAGE, "adaptation", text)
    return 0


def adapted(camera: Camera, options: str, seed: int) -> float:
    """PSNR, dB, on a camera's pairs after one adaptation."""
    started = time.perf_counter()
    settings = load_settings([*PRESET.split(), *options.split(), "--seed", str(seed)]).settings
    network = learned(camera, settings)
    value = measured(network.picture, camera)
    assert network.camera is not None
    numbers = " ".join(f"{each:.3f}" for each in network.camera.tolist())
    level = mean(float(network.picture(low).mean()) for low, _ in camera.pairs)
    print(
        f"    seed {seed}: {value:.2f} dB, mean {level:.3f}, {numbers}, {time.perf_counter() - started:.0f} s",
        flush=True,
    )
    return value


def learned(camera: Camera, settings: TrainSettings) -> SceneEnhancer:
    """The enhancer that a training of some settings makes of a camera's photos."""
    prior = load_prior(settings.prior)
    dark, well_lit = ([each.permute(2, 0, 1) for each in some[:2]] for some in (camera.dark, camera.well_lit))
    validator = Validator(ValidationSet(dark, well_lit), prior.guidance, torch.device("cpu"), "distribution")
    photos = {"dark": camera.dark, "well_lit": camera.well_lit}
    bundled = lle.load("bundled").enhancer.state_dict()
    start = {name: weights for name, weights in bundled.items() if not name.startswith("denoiser.")}
    outcome = train(
        settings,
        prior,
        lambda name, row: _Photos(photos[name], settings.seed, row),
        validator,
        Hooks(),
        start=start,
    )
    assert isinstance(outcome.enhancer, SceneEnhancer)
    return outcome.enhancer


@torch.inference_mode()
def measured(enhance: Callable[[Tensor], Tensor], camera: Camera) -> float:
    """Mean PSNR, dB, on the pairs."""
    return mean(float(psnr(enhance(low), high)) for low, high in camera.pairs)


def second_camera(data: Path, side: int) -> Camera:
    """The real one."""
    folder = data / "second_camera"
    dark, well_lit = ([_square(file) for file in sorted((folder / name).iterdir())] for name in ("low", "well_lit"))
    both = zip(*(sorted((folder / "pairs" / name).iterdir()) for name in ("low", "high")), strict=True)
    return Camera(dark, well_lit, [(_read(low, side), _read(high, side)) for low, high in both])


def made_cameras(data: Path, side: int) -> dict[str, Camera]:
    """Casts over real dark photos."""
    held_out, own = {pair["scene"] for pair in held_out_pairs(data)}, find_pairs(data)
    sets = {
        "SICE": [pair for scene, pair in own["sice"].items() if scene not in held_out],
        "LOL": list(own["lol"].values()),
    }
    return {
        f"{name}, {cast}": _made(files[::2], files[1::2], gains, side)
        for name, files in sets.items()
        for cast, gains in CASTS.items()
    }


def _made(
    measured: Sequence[tuple[Path, Path]], others: Sequence[tuple[Path, Path]], cast: Sequence[float], side: int
) -> Camera:
    pairs = [(_cast(_read(low, side), cast), _read(high, side)) for low, high in measured]
    dark = [_bytes(_squeezed(low)) for low, _ in pairs]
    return Camera(dark, [_square(high) for _, high in others], pairs)


def _cast(image: Tensor, gains: Sequence[float]) -> Tensor:
    light = srgb_to_linear(image) * image.new_tensor(gains).view(1, 3, 1, 1)
    return (linear_to_srgb(light.clamp(max=1)) * 255).round() / 255


@dataclass
class _Photos:
    """A few photos, over and over, each time in another order."""

    images: Sequence[Tensor]
    seed: int
    row: int

    @property
    def photos(self) -> int:
        return len(self.images)

    def take(self, count: int) -> Tensor:
        rows = range(self.row, self.row + count)
        self.row += count
        return torch.stack([self.images[photo_at(row, len(self.images), self.seed)] for row in rows])

    def take_with_regions(self, count: int) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing reads ahead."""


def _square(file: Path) -> Tensor:
    return _bytes(_squeezed(to_tensor(read(file))[None]))


def _squeezed(image: Tensor) -> Tensor:
    return F.interpolate(image, size=(128, 128), mode="bilinear", antialias=True)


def _bytes(image: Tensor) -> Tensor:
    return (image[0] * 255).round().to(torch.uint8).permute(1, 2, 0)


def _read(file: Path, side: int) -> Tensor:
    return reduced(to_tensor(read(file))[None], side)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the photos")
    parser.add_argument("--rows", nargs="+", metavar="NAME", choices=ROWS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--made", action="store_true", help="made cameras, too")
    parser.add_argument("--side", type=int, default=160, help="short side of the pairs' photos, px")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
