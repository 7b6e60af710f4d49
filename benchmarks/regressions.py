"""What has become slower: ratios of our speed to what stands still, today's against those kept in the repository.

    python -m benchmarks.regressions            # minutes; ends with 1 where something fell
    python -m benchmarks.regressions --keep     # and today's become those that later ones are compared with

Each ratio is how many times faster ours is than something that no change of ours touches, both timed in turns in one
process, so that a busy or a slower machine hardly moves it. A ratio has fallen when its median today lies below the
kept one by more than both days' noise, a deviation of the turns estimated from their quartiles, and by a tenth.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from benchmarks.pages import machine, markdown_table, save, stored
from benchmarks.speed import BUNDLED, DENOISING, LARGE, LIGHT_ALONE, SIZES, build, given, picture, set_threads
from benchmarks.training_step import compare_steps
from lle.images import decode, encode
from lle.images.pixels import from_tensor

TURNS = 7
LEAST_FALL = 0.1  # of the kept ratio
QUARTILES_OF_DEVIATION = 1.35  # of a normal distribution
NAME = "regressions"


@dataclass(frozen=True)
class Kept:
    """A ratio of some day.

    Attributes:
        median: times faster than what it is measured against.
        noise: deviation of one turn.
    """

    median: float
    noise: float

    @classmethod
    def of(cls, turns: Sequence[float]) -> Kept:
        """Of at least two turns."""
        low, middle, high = statistics.quantiles(turns, n=4)
        return cls(middle, (high - low) / QUARTILES_OF_DEVIATION)

    def has_fallen_to(self, today: Kept) -> bool:
        """Whether today's is lower by more than chance would make it."""
        noise = (self.noise**2 + today.noise**2) ** 0.5
        return today.median < self.median - max(noise, LEAST_FALL * self.median)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="later runs are compared with this one")
    parser.add_argument("--turns", type=int, default=TURNS)
    arguments = parser.parse_args(argv)
    set_threads(1)
    kept = {name: Kept(**each) for name, each in stored(NAME).get("ratios", {}).items()}
    today = {name: Kept.of(measure(arguments.turns)) for name, measure in RATIOS.items()}
    print(as_text(kept, today))
    if arguments.keep:
        save(NAME, {"machine": machine(), "ratios": {name: vars(each) for name, each in today.items()}})
    return int(any(name in kept and kept[name].has_fallen_to(each) for name, each in today.items()))


def as_text(kept: dict[str, Kept], today: dict[str, Kept]) -> str:
    """A table with a verdict for each ratio; what was not kept is new."""

    def verdict(name: str) -> str:
        if name not in kept:
            return "new"
        return "FELL" if kept[name].has_fallen_to(today[name]) else "as it was"

    def told(ratio: Kept | None) -> str:
        return f"{ratio.median:.2f} ± {ratio.noise:.2f}" if ratio else ""

    rows = [[name, told(kept.get(name)), told(each), verdict(name)] for name, each in today.items()]
    return markdown_table(["times faster", "kept", "today", ""], rows)


def enhancing(ours: str, other: str) -> Callable[[int], list[float]]:
    """Of one picture of 1920 x 1080 by one network of `benchmarks.speed` against another."""

    def measure(turns: int) -> list[float]:
        mine, theirs = (build(name, None) for name in (ours, other))
        image = picture(SIZES[LARGE])
        return _in_turns(lambda: mine(given(mine, image)), lambda: theirs(given(theirs, image)), turns)

    return measure


def decoding(turns: int) -> list[float]:
    """Of a JPEG of 12 MP to a short side of 512 px, against Pillow's whole picture, made smaller."""
    data = encode(from_tensor(picture((3000, 4000))[0]), "jpeg")

    def whole() -> Image.Image:
        return Image.open(io.BytesIO(data)).convert("RGB").resize((683, 512))

    return _in_turns(lambda: decode(data, short_side=512), whole, turns)


def stepping(turns: int) -> list[float]:
    """Of a training step of the small network, against the same image by image; a median, thrice."""
    return [compare_steps(128, 2, turns, ["compact"])["compact"]["ratio"] for _ in range(3)]


RATIOS: dict[str, Callable[[int], list[float]]] = {
    "light alone, against SCI": enhancing(LIGHT_ALONE, "SCI medium"),
    "bundled, against SCI": enhancing(BUNDLED, "SCI medium"),
    "bilateral + denoiser, against SCI": enhancing(DENOISING, "SCI medium"),
    "decoding a photo small, against Pillow": decoding,
    "a training step, against image by image": stepping,
}


def _in_turns(ours: Callable[[], Any], theirs: Callable[[], Any], turns: int) -> list[float]:
    """Processor time of theirs over ours, turn by turn; each runs once before."""
    with torch.inference_mode():
        ours(), theirs()
        return [_seconds(theirs) / _seconds(ours) for _ in range(turns)]


def _seconds(function: Callable[[], Any]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())
