"""Two cases that averages hide: photos that are only mildly dark, and backlit ones.

    python -m benchmarks.cases --data DIR [--model NAME=URI ...]

Real pairs of SICE, DIR/train/sice_pairs.csv, at half their size. Mildly dark: of each scene the brightest exposure that
is still darker than the truth, where it is not the pair's own. Backlit: pairs whose dark photo falls, by Otsu's
threshold of its lightness, into a dark foreground and a background at least .3 brighter. A model that was trained on
SICE must not be measured so. The tables in docs/benchmarks.md are written by it.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.pages import PAGE, markdown_table, replace_section
from lle.images import to_tensor
from lle.metrics import psnr, ssim
from pipelines.models.resolve import find_model

ROWS = {"input": "baseline:input", "exposure-shoulder": "baseline:exposure-shoulder", "ours, bundled": "bundled"}
FOREGROUND_SHARES = 0.25, 0.85
DARKEST_FOREGROUND, LEAST_DIFFERENCE = 0.2, 0.3  # of sRGB values
CLOSE = 0.06
SAMPLES = 4096


class Pair(NamedTuple):
    """A photo and its truth, RGB in [0, 1], (1, 3, H, W)."""

    name: str
    photo: Tensor
    truth: Tensor


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    uris = ROWS | dict(each.split("=", 1) for each in arguments.model)
    models = {name: find_model(uri, "").network for name, uri in uris.items()}
    torch.set_num_threads(arguments.threads)
    mild, backlit = list(mild_pairs(arguments.data)), list(backlit_pairs(arguments.data))
    text = (
        f"{len(mild)} mildly dark photos; {len(backlit)} backlit ones: {', '.join(pair.name for pair in backlit)}.\n\n"
        + markdown_table(
            ["mildly dark", "PSNR", "SSIM", "contrast"],
            [[name, *_mild_row(each, mild)] for name, each in models.items()],
        )
        + "\n\n"
        + markdown_table(
            ["backlit", "PSNR", "foreground: distance of the means", f"within {CLOSE}", "background: order kept %"],
            [[name, *_backlit_row(each, backlit)] for name, each in models.items()],
        )
    )
    print(text)
    replace_section(PAGE, "cases", text)
    return 0


def mild_pairs(data: Path) -> Iterator[Pair]:
    """The brightest other exposure of each scene that is darker than the truth, and the truth."""
    with (data / "MANIFEST.csv").open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if "/sice_" in row["path"]]
    light = {row["path"]: float(row["mean_luma"]) for row in rows}
    for pair in _pairs(data):
        truth, own = pair["high"], pair["low"]
        others = [row["path"] for row in rows if row["note"] == f"scene {pair['scene']}" and row["path"] != own]
        darker = [each for each in others if light[own] < light[each] < light[truth]]
        if darker:
            photo, wanted = _read(data / max(darker, key=light.__getitem__)), _read(data / truth)
            if photo.shape == wanted.shape:
                yield Pair(f"scene {pair['scene']}", photo, wanted)


def backlit_pairs(data: Path) -> Iterator[Pair]:
    """Pairs with a dark foreground before something bright."""
    for pair in _pairs(data):
        photo = _read(data / pair["low"])
        front = foreground(photo)
        share, lightness = float(front.float().mean()), photo.mean(dim=1, keepdim=True)
        if not FOREGROUND_SHARES[0] <= share <= FOREGROUND_SHARES[1]:
            continue
        dark, bright = float(lightness[front].mean()), float(lightness[~front].mean())
        if dark < DARKEST_FOREGROUND and bright - dark >= LEAST_DIFFERENCE:
            yield Pair(f"scene {pair['scene']}", photo, _read(data / pair["high"]))


def foreground(photo: Tensor) -> Tensor:
    """Where a photo is darker than Otsu's threshold (1979) of its lightness, bool (1, 1, H, W)."""
    lightness = photo.mean(dim=1, keepdim=True)
    counts = torch.histc(lightness, 256, 0, 1)
    below = counts.cumsum(0)
    sums = (counts * torch.linspace(0, 1, 256)).cumsum(0)
    above = below[-1] - below
    between = below * above * (sums / below.clamp_min(1) - (sums[-1] - sums) / above.clamp_min(1)) ** 2
    return lightness <= (int(between.argmax()) + 0.5) / 256


@torch.inference_mode()
def _mild_row(model: Callable[[Tensor], Tensor], pairs: Sequence[Pair]) -> list[str]:
    found = []
    for pair in pairs:
        out = model(pair.photo)
        found.append([float(psnr(out, pair.truth)), float(ssim(out, pair.truth)), float(out.std() / pair.truth.std())])
    return [f"{value:.{digits}f}" for value, digits in zip(np.mean(found, axis=0), (2, 3, 2), strict=True)]


@torch.inference_mode()
def _backlit_row(model: Callable[[Tensor], Tensor], pairs: Sequence[Pair]) -> list[str]:
    found = []
    for pair in pairs:
        out, front = model(pair.photo), foreground(pair.photo)
        distance = abs(
            float(out.mean(dim=1, keepdim=True)[front].mean() - pair.truth.mean(dim=1, keepdim=True)[front].mean())
        )
        found.append([float(psnr(out, pair.truth)), distance, distance <= CLOSE, order_kept(pair.photo, out, ~front)])
    means = np.mean(np.array(found, dtype=float), axis=0)
    return [
        f"{means[0]:.2f}",
        f"{means[1]:.3f}",
        f"{round(means[2] * len(pairs))} of {len(pairs)}",
        f"{100 * means[3]:.2f}",
    ]


def order_kept(before: Tensor, after: Tensor, where: Tensor) -> float:
    """Share of pairs of places, drawn at random, of which the lighter one is not the darker one afterwards."""
    old, new = (each.mean(dim=1, keepdim=True)[where] for each in (before, after))
    one, other = torch.randint(len(old), (2, SAMPLES), generator=torch.Generator().manual_seed(0))
    step = 1 / 255
    lighter = old[one] - old[other] > step
    return 1 - float((new[other] - new[one] > step)[lighter].float().mean())


def _pairs(data: Path) -> list[dict[str, str]]:
    with (data / "train" / "sice_pairs.csv").open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _read(file: Path) -> Tensor:
    return to_tensor(np.array(Image.open(file).convert("RGB").reduce(2)))[None]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the photos")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=URI", help="another row; repeatable")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
