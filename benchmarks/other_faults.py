"""Haze and rain on pairs: what the networks make of them, beside the photos as they are and what learns nothing.

    python -m benchmarks.other_faults --data DIR [--haze MODEL] [--rain MODEL] [--pictures DIR]

DIR holds `other_tasks/haze` and `other_tasks/rain`, each with `input` and `truth`, and `kodak24`, clear photos that
should come back as they went in. Half of the pairs, told by a hash of their names, may be looked at while things are
chosen; the other half only reports. It also measures in which values haze is mixed. Pictures are of that half.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from benchmarks.pages import PAGE, machine, markdown_table, replace_section, save, told
from lle.baselines import dark_channel
from lle.exposure.camera import linear_to_srgb, quantise, srgb_to_linear
from lle.images import decode
from lle.metrics import psnr, ssim
from lle.model import load
from pipelines.reporting.pictures import side_by_side

NAME = "other-faults"
LOOKED_AT, REPORTED = "looked at", "reported"
SETS = {
    "haze": {
        "sots": "RESIDE indoor, made up",
        "syn": "RESIDE outdoor, made up",
        "ohaze": "O-HAZE, real",
        "revide": "REVIDE, real",
    },
    "rain": {"r100h": "Rain100H, heavy, made up", "ddn": "DDN, light, made up"},
}
WINDOW = 12  # px of a picture of half the size, in which haze is taken for even
TEXTURE = 1e-3  # variance that a window needs to tell anything
SPACES, WHAT = ("srgb", "linear"), ("remains", "airlights_differ")
THIN, THICK = 0.05, 0.8  # transmissions between which an airlight can be told

Restore = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Pair:
    """A photo with a fault and the truth, uint8, (3, H, W)."""

    name: str
    faulty: Tensor
    truth: Tensor

    @property
    def part(self) -> str:
        """Which half it belongs to."""
        return LOOKED_AT if sha256(self.name.encode()).digest()[0] % 2 == 0 else REPORTED

    @property
    def source(self) -> str:
        """The data set it comes from, as its name begins."""
        return self.name.partition("_")[0]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of other_tasks and kodak24")
    for fault, shipped in (("haze", "dehaze"), ("rain", "derain")):
        parser.add_argument(f"--{fault}", default=shipped, help=f"model that clears {fault}; default: {shipped}")
    parser.add_argument("--pictures", type=Path, help="folder for input, result and truth side by side")
    chosen = parser.parse_args(argv)
    about = machine()
    restored: dict[str, dict[str, Restore]] = {
        "haze": {"input": _as_it_is, "dark-channel": dark_channel, "ours": load(chosen.haze)},
        "rain": {"input": _as_it_is, "ours": load(chosen.rain)},
    }
    clear = [_read(file) for file in sorted((chosen.data / "kodak24").iterdir())]
    measured = {}
    for fault, rows in restored.items():
        pairs = list(find_pairs(chosen.data / "other_tasks" / fault))
        measured[fault] = {name: measure(restore, pairs, clear) for name, restore in rows.items()}
        if chosen.pictures:
            _show(rows, [pair for pair in pairs if pair.part == LOOKED_AT], chosen.pictures / fault)
    mixing = [dict(name=pair.name, **mixed(pair)) for pair in find_pairs(chosen.data / "other_tasks" / "haze")]
    results = {"machine": about, "measured": measured, "mixing": mixing}
    save(NAME.replace("-", "_"), results)
    replace_section(PAGE, NAME, page(results))
    return 0


def find_pairs(folder: Path) -> Iterator[Pair]:
    """The pairs of `input` and `truth`, by name."""
    for file in sorted((folder / "input").iterdir()):
        yield Pair(file.name, _read(file), _read(folder / "truth" / file.name))


@torch.inference_mode()
def measure(restore: Restore, pairs: Sequence[Pair], clear: Sequence[Tensor]) -> dict[str, Any]:
    """PSNR, dB, and SSIM by half and source, and how near clear photos come back, dB: mean and worst."""
    found: dict[str, list[tuple[float, float]]] = {}
    for pair in pairs:
        result, truth = quantise(restore(_batch(pair.faulty))), _batch(pair.truth)
        numbers = float(psnr(result, truth)), float(ssim(result, truth))
        for group in (pair.part, f"{pair.part}/{pair.source}"):
            found.setdefault(group, []).append(numbers)
    means = {name: [*(mean(each) for each in zip(*of, strict=True)), len(of)] for name, of in sorted(found.items())}
    unchanged = [float(psnr(quantise(restore(_batch(each))), _batch(each))) for each in clear]
    return {"pairs": means, "clear": [mean(unchanged), min(unchanged)]}


def mixed(pair: Pair) -> dict[str, Any]:
    """How well one transmission and one airlight a window describe a pair, in sRGB values and in linear light.

    Returns:
        By space: root mean square of what remains, in sRGB values, and by how much the windows' airlights differ, mean
        deviation of the channels; None where too few windows tell.
    """
    faulty, truth = (F.avg_pool2d(_batch(each), 2) for each in (pair.faulty, pair.truth))
    found = {}
    for space in SPACES:
        hazy, clear = (_windows(each if space == "srgb" else srgb_to_linear(each)) for each in (faulty, truth))
        mean_hazy, mean_clear = hazy.mean(dim=1, keepdim=True), clear.mean(dim=1, keepdim=True)
        spread = (clear - mean_clear).square().sum(dim=(0, 1))
        through = ((hazy - mean_hazy) * (clear - mean_clear)).sum(dim=(0, 1)) / (spread + 1e-6)
        fit = (mean_hazy + through * (clear - mean_clear)).clamp(0, 1)
        off = fit - hazy if space == "srgb" else linear_to_srgb(fit) - linear_to_srgb(hazy)
        textured = spread > TEXTURE * 3 * WINDOW**2
        tells = textured & (through > THIN) & (through < THICK)
        air = ((mean_hazy - through * mean_clear) / (1 - through).clamp_min(0.05))[:, 0, tells]
        found[space] = {
            "remains": float(off.square().mean(dim=(0, 1))[textured].mean().sqrt()) if textured.any() else None,
            "airlights_differ": float(air.std(dim=1).mean()) if int(tells.sum()) > 2 else None,
        }
    return found


def page(results: dict[str, Any]) -> str:
    """The section of the page: a table for each fault, and one of how haze mixes."""
    parts = [told(results["machine"])]
    for fault, rows in results["measured"].items():
        groups = next(iter(rows.values()))["pairs"]
        names = [name for part in (REPORTED, LOOKED_AT) for name in groups if name.partition("/")[0] == part]
        headings = [f"{fault}, PSNR / SSIM", *(_heading(fault, name, groups[name][2]) for name in names)]
        lines = [
            [name, *(f"{row['pairs'][each][0]:.2f} / {row['pairs'][each][1]:.3f}" for each in names), *_clear(row)]
            for name, row in rows.items()
        ]
        parts.append(markdown_table([*headings, "Kodak: dB to input", "worst"], lines))
    real = [each for each in results["mixing"] if each["name"].partition("_")[0] in ("ohaze", "revide")]
    headings = ["real haze, in sRGB; in linear light", "remains", "airlights differ"]
    lines = [
        [Path(each["name"]).stem, *("; ".join(_number(each[space][what]) for space in SPACES) for what in WHAT)]
        for each in real
    ]
    return "\n\n".join([*parts, markdown_table(headings, lines)])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _clear(row: dict[str, Any]) -> list[str]:
    return [f"{each:.1f}" for each in row["clear"]]


def _heading(fault: str, group: str, count: int) -> str:
    part, _, source = group.partition("/")
    return f"{SETS[fault][source]} ({count}, {part})" if source else f"**{part}** ({count})"


def _show(rows: dict[str, Restore], pairs: Sequence[Pair], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for pair in pairs:
        with torch.inference_mode():
            made = {name: _pixels(restore(_batch(pair.faulty))) for name, restore in rows.items()}
        made["truth"] = _pixels(_batch(pair.truth))
        beside = side_by_side(list(made.values()), pair.truth.shape[1])
        Image.fromarray(beside).save(folder / f"{Path(pair.name).stem}.png")


def _windows(image: Tensor) -> Tensor:
    """(1, 3, H, W) to (3, pixels of a window, windows)."""
    return F.unfold(image, WINDOW, stride=WINDOW).view(3, WINDOW**2, -1)


def _read(file: Path) -> Tensor:
    return torch.from_numpy(decode(file.read_bytes(), str(file))).permute(2, 0, 1)


def _batch(photo: Tensor) -> Tensor:
    return photo[None].float() / 255


def _pixels(image: Tensor) -> np.ndarray:
    return (quantise(image)[0] * 255).round().byte().permute(1, 2, 0).numpy()


def _as_it_is(image: Tensor) -> Tensor:
    return image


if __name__ == "__main__":
    sys.exit(main())
