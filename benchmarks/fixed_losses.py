"""The losses of a short training of each preset, to the last bit: what a change must not change that changes no number.

    python -m benchmarks.fixed_losses > before.txt
    python -m benchmarks.fixed_losses | diff before.txt -

Every preset, with the bundled prior, on the same made pictures, two steps of each of its phases, by one CPU thread.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lle.config import RegionSettings, TrainSettings
from lle.exposure.camera import linear_to_srgb
from lle.prior.loading import load_prior
from lle.regions import find_regions
from lle.training.hooks import Hooks, Step
from lle.training.loop import train
from lle.training.validation import ValidationSet, Validator
from pipelines.config.loading import load_settings
from pipelines.config.presets import PRESETS

SIDE = 64
STEPS = 2
PHASES = ("prompt_init", "reconstruction", "enhancement", "refinement", "denoising")
SMALL = {
    "data.image_size": SIDE,
    "data.prompt_size": SIDE,
    "batch.enhancement": 2,
    "batch.prompts": 2,
    "optimiser.accumulate": 1,
    "schedule.rounds": 2,
    "loop.precision": "fp32",
    "loop.log_every": 1,
    "loop.validate_every": STEPS,
    "prior.vgg16_weights": "",
    "init_from": "",
    "schedule.reconstruction.restart_below": 0,
    "schedule.enhancement.extend_by": 0,
    "schedule.refinement.extend_by": 0,
    "schedule.prompt_init.extend_by": 0,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", default=sorted(file.stem for file in PRESETS.glob("*.yaml")))
    torch.set_num_threads(1)
    for preset in parser.parse_args(argv).presets:
        for line in losses(short(preset)):
            print(f"{preset}: {line}", flush=True)
    return 0


def short(preset: str) -> TrainSettings:
    """A preset, so small that it takes seconds: two steps of each phase that it has."""
    given = ["--preset", preset, "--data.samples", "--prior", "bundled"]
    schedule = load_settings(given).settings.schedule
    steps = {f"schedule.{phase}.steps": STEPS for phase in PHASES if getattr(schedule, phase).steps}
    options = [word for path, value in (SMALL | steps).items() for word in (f"--{path}", str(value))]
    return load_settings([*given, *options]).settings


def losses(settings: TrainSettings) -> list[str]:
    """A line for each step and each validation, its numbers as hexadecimal floats, which hide nothing."""
    told = list[str]()

    def step(done: Step) -> None:
        numbers = {name: value for name, value in done.metrics.items() if name == "loss" or name.startswith("term/")}
        told.append(f"{done.step} {done.phase.value} {_exact(numbers)}")

    prior = load_prior(settings.prior)
    pairs = [(_picture("dark", row), _picture("well_lit", row)) for row in (900, 901)]
    photos = ValidationSet([low for low, _ in pairs], [high for _, high in pairs], pairs)
    validator = Validator(photos, prior.guidance, torch.device("cpu"))
    hooks = Hooks(step, lambda report: told.append(f"{report.step} {_exact(report.metrics)}"))
    train(settings, prior, lambda name, row: _Made(name, row), validator, hooks)
    return told


@dataclass
class _Made:
    """Pictures that are made as they are asked for."""

    name: str
    row: int
    photos: int = 8

    def take(self, count: int) -> Tensor:
        rows = range(self.row, self.row + count)
        self.row += count
        return torch.stack([_picture(self.name, row).permute(1, 2, 0) for row in rows])

    def take_with_regions(self, count: int) -> tuple[Tensor, Tensor]:
        pictures = self.take(count)
        found = [find_regions(each.numpy(), RegionSettings()) for each in pictures]
        return pictures, torch.stack([torch.from_numpy(each) for each in found])

    def close(self) -> None:
        """Nothing reads ahead."""


def _picture(name: str, row: int) -> Tensor:
    """Soft shapes with noise, uint8, (3, S, S); dark ones have an eighth of the light."""
    generator = torch.Generator().manual_seed(2 * row + (name == "dark"))
    shapes = F.interpolate(torch.rand(1, 3, 6, 6, generator=generator), size=(SIDE, SIDE), mode="bilinear")[0]
    light = (shapes + 0.03 * torch.randn(3, SIDE, SIDE, generator=generator)).clamp(0, 1)
    return (linear_to_srgb(light / 8 if name == "dark" else light) * 255).round().to(torch.uint8)


def _exact(numbers: dict[str, float]) -> str:
    return " ".join(f"{name}={float(value).hex()}" for name, value in sorted(numbers.items()))


if __name__ == "__main__":
    sys.exit(main())
