"""What a judge knows of light: of many exposures of a dark photo it keeps one; the ground truth says how good it is.

    python -m benchmarks.judge_choice --data DIR [--checkpoint NAME=FOLDER ...]

Judge's choice: 37 exposures of each photo by the curve with a shoulder, of which the judge keeps the one it likes best.
Gradient's choice: 50 steps of Adam along the judge's gradient in the exposure alone, beginning with the photo as it is.
A judge that chooses worse than one fixed mean cannot guide a training. Pairs only measure. A checkpoint (a folder below
RUNS/NAME/checkpoints) brings the guide of its training and the prior it stands on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch.nn import functional as F

import lle
from benchmarks.cases import mild_pairs
from benchmarks.pages import PAGE, markdown_table, replace_section
from benchmarks.pretrained import unrestricted
from benchmarks.real_pairs import find_pairs
from benchmarks.split import held_out_pairs
from lle.config import TrainSettings
from lle.enhancers.scene import SceneEnhancer
from lle.exposure.camera import linear_to_srgb, srgb_to_linear
from lle.exposure.shoulder import k_of, shoulder
from lle.images import read, to_tensor
from lle.metrics import psnr
from lle.prior.bundled import load_bundled
from lle.prior.graded import Captions
from lle.prior.guidance_heads import build_guidance_head
from lle.prior.loading import load_prior, load_tower
from lle.prior.pretraining import zero_shot_well_lit
from lle.prior.towers import Tower
from lle.training import checkpoint as checkpoint_files

EXPOSURES = torch.linspace(-1.0, 6.2, 37)
GREY = 0.44
STEPS, RATE, BEGIN = 50, 0.15, 0.01
UNTOUCHED, BEST = "untouched", "best possible"

Judge = Callable[[Tensor], Tensor]  # RGB in [0, 1], (B, 3, H, W), to (B,): the lower, the better
Pairs = Sequence[tuple[Tensor, Tensor]]


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    torch.set_num_threads(arguments.threads)
    judges = find_judges(arguments)
    sets = {name: evenly(each, arguments.photos) for name, each in find_sets(arguments.data, arguments.side).items()}
    rows: dict[str, list[str]] = {name: [name] for name in (UNTOUCHED, *judges, BEST)}
    for pairs in sets.values():
        for name, values in chosen(judges, pairs, arguments.followed).items():
            rows[name].append(values)
    header = ["", *(f"{name} ({len(pairs)})" for name, pairs in sets.items())]
    text = "PSNR, dB, of what each judge keeps; in brackets of where its gradient leads"
    text += f" ({arguments.followed} photos of each set, evenly).\n\n"
    text += markdown_table(header, list(rows.values()))
    print(text)
    replace_section(PAGE, "judge choice", text)
    return 0


def evenly(pairs: Pairs, count: int) -> Pairs:
    """So many pairs of a set at most, spread over it; 0: all."""
    if not count or len(pairs) <= count:
        return pairs
    return [pairs[len(pairs) * index // count] for index in range(count)]


def find_judges(arguments: argparse.Namespace) -> dict[str, Judge]:
    """Judges by name."""
    prior, _ = load_bundled()
    well_lit = _well_lit(arguments.data, arguments.side)
    enhancer = lle.load("bundled").enhancer.requires_grad_(False)
    assert isinstance(enhancer, SceneEnhancer)

    judges: dict[str, Judge] = {
        f"mean of {GREY}": lambda images: (images.mean(dim=(1, 2, 3)) - GREY).abs(),
        "bundled prior, its captions": lambda images: 1 - zero_shot_well_lit(prior, images),
        "bundled prior, mean well-lit photo": nearest_to_mean(load_tower("bundled", ""), well_lit),
        "graded prior, its captions": of_captions("graded"),
        "graded prior, mean well-lit photo": nearest_to_mean(load_tower("graded", ""), well_lit),
        "... untrained, its captions": of_captions("ungraded"),
        "... untrained, mean well-lit photo": nearest_to_mean(load_tower("ungraded", ""), well_lit),
        "the bundled network, untrained": nearest_to_mean(load_tower("untrained", ""), well_lit),
        "head of the bundled enhancer: how far to go": lambda images: enhancer.light(images)[1].flatten().abs(),
    }
    return judges | {name: of_checkpoint(Path(folder)) for name, folder in arguments.checkpoint}


def of_captions(name: str) -> Judge:
    """What the captions of a graded prior say."""
    tower = load_tower(name, "")
    captions = Captions(tower)
    return lambda images: captions.penalty(tower(images).features)


def nearest_to_mean(tower: Tower, well_lit: Sequence[Tensor]) -> Judge:
    """Distance from the mean feature of well-lit photos."""
    with torch.no_grad():
        wanted = F.normalize(torch.cat([tower(photo).features for photo in well_lit]).mean(dim=0), dim=0)
    return lambda images: -tower(images).features @ wanted


def of_checkpoint(folder: Path) -> Judge:
    """Penalty by the guide of a training."""
    checkpoint = checkpoint_files.read(folder)
    settings = TrainSettings(**checkpoint.settings).prior
    tower = load_prior(settings).guidance
    guidance_head = build_guidance_head(settings, tower)
    guidance_head.load_state_dict(checkpoint.part("guide"))
    return lambda images: guidance_head.penalty(tower(images).features)


def chosen(judges: Mapping[str, Judge], pairs: Pairs, followed: int) -> dict[str, str]:
    """Mean PSNR of each judge's choice, with that of its gradient on some of the photos where it has one, of the photos
    themselves, and the best possible.
    """
    kept: dict[str, list[float]] = {name: [] for name in (UNTOUCHED, *judges, BEST)}
    led: dict[str, list[float]] = {name: [] for name in judges}
    follows = {len(pairs) * index // followed for index in range(followed)} if followed else set()
    for number, (photo, truth) in enumerate(pairs):
        light = srgb_to_linear(photo)
        with torch.inference_mode():
            exposed = torch.cat([linear_to_srgb(shoulder(light, k_of(u.view(1, 1, 1, 1)))) for u in EXPOSURES])
            worth = torch.cat([psnr(each[None], truth) for each in exposed])
            for name, judge in judges.items():
                kept[name].append(float(worth[judge(exposed).argmin()]))
        kept[UNTOUCHED].append(float(psnr(photo, truth)))
        kept[BEST].append(float(worth.max()))
        for name, judge in judges.items() if number in follows else ():
            if (found := follow(judge, light)) is not None:
                led[name].append(float(psnr(found, truth)))
    return {
        name: f"{mean(values):.2f}" + (f" ({mean(led[name]):.2f})" if led.get(name) else "")
        for name, values in kept.items()
    }


def follow(judge: Judge, light: Tensor) -> Tensor | None:
    """Where the judge's gradient in u leads, sRGB of `light`'s shape; None where it has none."""
    u = torch.full((1, 1, 1, 1), BEGIN, requires_grad=True)
    optimiser = torch.optim.Adam([u], RATE)
    for _ in range(STEPS):
        penalty = judge(linear_to_srgb(shoulder(light, k_of(u)))).sum()
        if not penalty.requires_grad:
            return None
        optimiser.zero_grad()
        penalty.backward()
        optimiser.step()
        with torch.no_grad():
            u.clamp_(float(EXPOSURES[0]), float(EXPOSURES[-1]))
    with torch.no_grad():
        return linear_to_srgb(shoulder(light, k_of(u)))


def find_sets(data: Path, side: int) -> dict[str, Pairs]:
    """Pairs by set, RGB in [0, 1], (1, 3, H, W): the first two are no test sets."""
    held_out = {pair["scene"] for pair in held_out_pairs(data)}
    own = find_pairs(data)

    def loaded(files: Iterator[tuple[Path, Path]]) -> Pairs:
        return [(_read(low, side), _read(high, side)) for low, high in files]

    def folder(of: Path) -> Iterator[tuple[Path, Path]]:
        return zip(sorted((of / "low").iterdir()), sorted((of / "high").iterdir()), strict=True)

    return {
        "SICE": loaded(pair for scene, pair in own["sice"].items() if scene not in held_out),
        "LOL, training pairs": loaded(iter(own["lol"].values())),
        "SICE held out": loaded(pair for scene, pair in own["sice"].items() if scene in held_out),
        "LOL eval15": loaded(folder(data / "test_paired" / "lol_eval15")),
        "mildly dark": [(reduced(pair.photo, side), reduced(pair.truth, side)) for pair in mild_pairs(data)],
        "second camera": loaded(folder(data / "second_camera" / "pairs")),
    }


def _well_lit(data: Path, side: int) -> list[Tensor]:
    """What the prior and the head of the package have learned from."""
    with TemporaryDirectory() as folder:
        return [
            _read(photo, side) for photo in sorted(unrestricted(data.resolve(), Path(folder))["well_lit"].iterdir())
        ]


def _read(file: Path, side: int) -> Tensor:
    return reduced(to_tensor(read(file))[None], side)


def reduced(image: Tensor, side: int) -> Tensor:
    """A smaller copy, (1, 3, H, W), its short side so many px; itself where it is no larger."""
    scale = side / min(image.shape[-2:])
    if scale >= 1:
        return image
    size = [round(scale * each) for each in image.shape[-2:]]
    return F.interpolate(image, size=size, mode="bilinear", antialias=True)


def _named(text: str) -> tuple[str, str]:
    name, _, folder = text.partition("=")
    if not folder:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=FOLDER")
    return name, folder


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the photos")
    parser.add_argument("--checkpoint", type=_named, action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--followed", type=int, default=10, help="photos of each set on which gradients are followed")
    parser.add_argument("--photos", type=int, default=0, help="of each set, evenly; 0: all")
    parser.add_argument("--side", type=int, default=200, help="short side of the photos, px")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
