"""Real pairs that no training of ours learns from, to look at while things are chosen: never a test set.

All aligned pairs of SICE, which models that learn from DATA/train/free and DATA/kodak24 have never seen, and 40 of
LOL's training pairs, each scene once and none that is out of line. LOL eval15 stays unseen.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor, nn

from benchmarks.pretrained import linked, unrestricted
from benchmarks.split import held_out_pairs
from lle.images import decode
from lle.metrics import psnr

CROOKED = "2 px off"  # how the manifest marks pairs of LOL that are not aligned
LOL_PAIRS = 40
BOTH, UNCHANGED = "both", "unchanged"

Pairs = Mapping[str, Sequence[tuple[Tensor, Tensor]]]


def link(data: Path, into: Path) -> None:
    """Folders of links: `well_lit` and `dark` to learn from, `pairs_dark` and `pairs_truth` that report meanwhile."""
    unrestricted(data, into)
    linked(into / "dark", ((photo.name, photo) for photo in sorted((data / "train" / "low").iterdir())))
    pairs, few = find_pairs(data), {pair["scene"] for pair in held_out_pairs(data)}
    chosen = {f"sice_{scene}.jpg": pairs["sice"][scene] for scene in few}
    chosen |= {f"lol_{scene}.jpg": pair for scene, pair in pairs["lol"].items()}
    for place, folder in enumerate(("pairs_dark", "pairs_truth")):
        linked(into / folder, ((name, pair[place]) for name, pair in chosen.items()))


def find_pairs(data: Path) -> dict[str, dict[str, tuple[Path, Path]]]:
    """Dark photo and ground truth by set, `sice` and `lol`, and scene."""
    train = data / "train"
    with (train / "sice_pairs.csv").open(newline="", encoding="utf-8") as lines:
        sice = {row["scene"]: (data / row["low"], data / row["high"]) for row in csv.DictReader(lines)}
    with (data / "MANIFEST.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    crooked = {Path(row["path"]).name for row in rows if CROOKED in row["note"]}
    distinct: dict[str, str] = {}  # the same picture stands there under several names
    for row in rows:
        if row["path"].startswith("train/well_lit_lol/"):
            distinct.setdefault(row["sha256"], Path(row["path"]).name)
    names = sorted(set(distinct.values()) - crooked)
    count = min(LOL_PAIRS, len(names))
    chosen = [names[index * len(names) // count] for index in range(count)]
    lol = {Path(name).stem: (train / "low_lol" / name, train / "well_lit_lol" / name) for name in chosen}
    return {"sice": sice, "lol": lol}


def load_pairs(data: Path) -> Pairs:
    """Pixels of `find_pairs`, uint8, (3, H, W)."""

    def load(path: Path) -> Tensor:
        return torch.from_numpy(decode(path.read_bytes(), str(path))).permute(2, 0, 1)

    return {name: [(load(low), load(high)) for low, high in each.values()] for name, each in find_pairs(data).items()}


@torch.inference_mode()
def mean_psnr(network: nn.Module, pairs: Pairs) -> dict[str, float]:
    """Mean PSNR, dB, of each set, and of both as their mean; as `unchanged` that of SICE's well-lit photos to
    themselves, which should be left as they are.

    Args:
        network: pictures in, pictures out, RGB in [0, 1], (B, 3, H, W).
        pairs: as from `load_pairs`.
    """

    def compared(low: Tensor, high: Tensor) -> float:
        return float(psnr(network(low[None].float() / 255), high[None].float() / 255))

    means = {name: mean(compared(low, high) for low, high in each) for name, each in pairs.items()}
    return means | {BOTH: mean(means.values()), UNCHANGED: mean(compared(high, high) for _, high in pairs["sice"])}
