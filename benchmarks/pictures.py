"""README's first picture: dark photos that anybody may show, by the exposure without learning and by the bundled model.

    python -m benchmarks.pictures --data DIR

DIR holds train/free. No model of ours was trained on these photos. Look at the picture before it is committed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import lle
from lle.controls import exposure_shoulder
from lle.images import from_tensor, resize, to_tensor
from pipelines.jobs.report import GAP, side_by_side

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "before_after.jpg"
PHOTOS = (
    "matheustt_hidden_temple_custom.jpg",
    "deepin_mike_yukhtenko_a2kd4b0kk4s.jpg",
    "immich_japanese_shop.jpg",
    "gb82_pixel_lossless.jpg",
)
LABELS = ("input", "one exposure, without learning", "bundled model")
HEIGHT, WIDTH = 220, 330


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the photos")
    folder = parser.parse_args(argv).data / "train" / "free" / "dark"
    model, rows = lle.load("bundled"), list[np.ndarray]()
    for index, name in enumerate(PHOTOS):
        photo = _cut(np.array(Image.open(folder / name).convert("RGB")))
        baseline = from_tensor(exposure_shoulder(to_tensor(photo)[None])[0])
        rows.append(side_by_side([photo, baseline, model.enhance(photo)], HEIGHT, LABELS if index == 0 else ()))
    gap = np.full((GAP, *rows[0].shape[1:]), 255, np.uint8)
    Image.fromarray(np.concatenate([part for row in rows for part in (row, gap)][:-1])).save(PICTURE, quality=88)
    print(PICTURE)
    return 0


def _cut(photo: np.ndarray) -> np.ndarray:
    """The middle of a photo in the rows' proportion, at twice their size at most."""
    height, width = photo.shape[:2]
    scale = min(height / HEIGHT, width / WIDTH)
    rows, columns = round(scale * HEIGHT), round(scale * WIDTH)
    top, left = (height - rows) // 2, (width - columns) // 2
    middle = np.ascontiguousarray(photo[top : top + rows, left : left + columns])
    return resize(middle, (2 * HEIGHT, 2 * WIDTH)) if scale > 2 else middle


if __name__ == "__main__":
    sys.exit(main())
