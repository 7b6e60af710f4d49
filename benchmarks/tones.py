"""What keeping tones is worth: the bundled model's light with other numbers for lamps and for depths, on real pairs.

    python -m benchmarks.tones --data DIR [--model NAME ...]

One exposure and one white balance as the bundled model decides them, without its denoiser, on small copies; what is
kept of the brightest and the darkest places differs from row to row (`lle.enhancers.light`). The first five sets are
no test sets: the numbers were chosen by them. The table in docs/research_model.md is written by it; with --model, only
the numbers as they are, of these models, are printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor

import lle
from benchmarks.cases import Pair, backlit_pairs, mild_pairs
from benchmarks.judge_choice import Pairs, find_sets, reduced
from benchmarks.pages import PAGE, markdown_table, replace_section
from benchmarks.split import held_out_pairs
from lle.enhancers import light
from lle.enhancers.scene import SceneEnhancer
from lle.metrics import psnr


class Tones(NamedTuple):
    """Numbers of `tones_kept`: the share taken back above the knee, and below the depths for each nat."""

    kept: float
    deepened: float
    deep: float = -3.0


ROWS = {
    "none": Tones(0, 0),
    "lamps": Tones(0.9, 0),
    "... and depths, .1": Tones(0.9, 0.1),
    "**... .2**": Tones(0.9, 0.2),
    "... .3": Tones(0.9, 0.3),
    "... .2, below e^-3.5": Tones(0.9, 0.2, -3.5),
    "... .2, below e^-2.7": Tones(0.9, 0.2, -2.7),
    "depths lifted instead, .1": Tones(0.9, -0.1),
}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    torch.set_num_threads(arguments.threads)
    sets = own_sets(arguments.data, arguments.side)
    if arguments.model:
        as_it_is = Tones(light.KEPT, light.DEEPENED, light.DEEP)
        rows = [[name, *measured(light_alone(name), as_it_is, sets)] for name in arguments.model]
    else:
        rows = [[name, *measured(light_alone("bundled"), tones, sets)] for name, tones in ROWS.items()]
    text = "PSNR, contrast.\n\n"
    text += markdown_table(["", *(f"{len(pairs)} {name}" for name, pairs in sets.items())], rows)
    print(text)
    if not arguments.model:
        replace_section(PAGE.parent / "research_model.md", "tones", text)
    return 0


def light_alone(model: str) -> SceneEnhancer:
    """A model's network without its denoiser."""
    enhancer = lle.load(model).enhancer
    assert isinstance(enhancer, SceneEnhancer)
    enhancer.denoiser = None
    return enhancer


def own_sets(data: Path, side: int) -> Mapping[str, Pairs]:
    """Pairs by set, and SICE's truths as good photos; the last one is held out."""
    found, held_out = find_sets(data, side), {f"scene {pair['scene']}" for pair in held_out_pairs(data)}

    def others(pairs: Iterable[Pair]) -> Pairs:
        return [(reduced(each.photo, side), reduced(each.truth, side)) for each in pairs if each.name not in held_out]

    return {
        "SICE": found["SICE"],
        "LOL, training": found["LOL, training pairs"],
        "mildly dark": others(mild_pairs(data)),
        "backlit": others(backlit_pairs(data)),
        "good photos": [(truth, truth) for _, truth in found["SICE"]],
        "SICE, held out": found["SICE held out"],
    }


@torch.inference_mode()
def measured(enhancer: SceneEnhancer, tones: Tones, sets: Mapping[str, Pairs]) -> list[str]:
    """PSNR and contrast of each set."""

    def compared(photo: Tensor, truth: Tensor) -> tuple[float, float]:
        found = enhancer.picture(photo)
        return float(psnr(found, truth)), float(found.std() / truth.std())

    with patch.multiple(light, KEPT=tones.kept, DEEPENED=tones.deepened, DEEP=tones.deep):
        of_sets = [[compared(*pair) for pair in pairs] for pairs in sets.values()]
    return [f"{mean(dB for dB, _ in found):.2f}, {mean(contrast for _, contrast in found):.2f}" for found in of_sets]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the photos")
    parser.add_argument("--model", nargs="+", default=[], help="models of kind scene, by name or folder")
    parser.add_argument("--side", type=int, default=160, help="short side of the photos, px")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
