"""What the bits of a raw photo are worth: the same dark exposure enhanced from raw and from an 8-bit JPEG of it.

    python -m benchmarks.raw_bits --photo PHOTO.dng [--crops DIR]

A raw photo is developed, halved in size and scaled until its brightest half per cent is white: the truth. Then it is
exposed so many stops less by a sensor of 14 bits, without noise and with that of 15,000 electrons and 3 of reading. The
raw way keeps what the sensor counted; the other rounds to sRGB of 8 bits and writes a JPEG of quality 95, whose
curve is sRGB's. Both are enhanced alike: by the one exposure that comes nearest to the truth, which shows the bits
alone, and by the bundled model. `levels`: how many of the 128 darker values of 8 bits occur in the first result, green,
at one pixel of ten thousand or more.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import lle
from benchmarks.pages import PAGE, machine, markdown_table, replace_section, save, stored, told
from lle.baselines import best_exposure
from lle.images import decode, eight_bits, encode
from lle.images.colour import srgb_of_linear
from lle.images.raw import RawImage
from lle.metrics import psnr

STOPS = (2, 4, 6, 8)
SENSOR = 2**14 - 1
ELECTRONS, READ_NOISE = 15_000, 3.0
WHITE_SHARE = 0.005
LEAST_SHARE = 1e-4
DARKER = 128
CROP, SHOWN_AT = 320, 6  # px; stops


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, required=True, help="a raw photo, well exposed")
    parser.add_argument("--crops", type=Path, help="folder for crops of the darkest corner at 100 %%")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    light = well_exposed(arguments.photo.read_bytes())
    rows = [row for noisy in (False, True) for stops in STOPS for row in compare(light, stops, noisy, arguments.crops)]
    save("raw_bits", {"machine": machine(("torch", "rawpy")), "photo": arguments.photo.name, "rows": rows})
    replace_section(PAGE, "raw-bits", as_text(stored("raw_bits")))
    print(as_text(stored("raw_bits")))
    return 0


def well_exposed(data: bytes) -> np.ndarray:
    """Linear light in [0, 1] of a raw photo of half the size, (height, width, 3)."""
    light = RawImage(data).light()[..., :3].astype(np.float32)
    height, width = (side // 2 * 2 for side in light.shape[:2])
    halved = light[:height, :width].reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
    return np.clip(halved / np.quantile(halved, 1 - WHITE_SHARE), 0, 1)


def compare(light: np.ndarray, stops: int, noisy: bool, crops: Path | None) -> list[dict[str, Any]]:
    """One dark exposure, from raw and from JPEG."""
    truth = as_batch(srgb_of_linear(np.rint(light * 65_535).astype(np.uint16)))
    raw = srgb_of_linear(counted(light / 2**stops, noisy))
    ways = {"raw": raw, "JPEG": decode(encode(eight_bits(raw), "jpeg", 95))}
    model, rows = lle.load("bundled"), list[dict[str, Any]]()
    for way, pixels in ways.items():
        exposed = best_exposure(as_batch(pixels), truth)
        enhanced = as_batch(model.enhance(pixels))
        rows.append(
            {"stops": stops, "noise": noisy, "from": way, "levels": levels(exposed)}
            | {"exposed": float(psnr(exposed, truth)), "enhanced": float(psnr(enhanced, truth))}
        )
        if crops is not None and stops == SHOWN_AT:
            crops.mkdir(parents=True, exist_ok=True)
            save_crop(exposed, crops / f"{way}{'-noise' if noisy else ''}-exposed.png")
            save_crop(enhanced, crops / f"{way}{'-noise' if noisy else ''}-enhanced.png")
    return rows


def counted(light: np.ndarray, noisy: bool) -> np.ndarray:
    """What a sensor makes of light in [0, 1]: 14 bits, as they lie in 16."""
    if noisy:
        draw = np.random.default_rng(0)
        light = (draw.poisson(light * ELECTRONS) + draw.normal(0, READ_NOISE, light.shape)) / ELECTRONS
    return np.rint(np.rint(np.clip(light, 0, 1) * SENSOR) * (65_535 / SENSOR)).astype(np.uint16)


def as_batch(pixels: np.ndarray) -> torch.Tensor:
    """RGB in [0, 1], (1, 3, H, W), of 8 or 16 bits."""
    full = float(np.iinfo(pixels.dtype).max)
    return torch.from_numpy(pixels.astype(np.float32) / full).permute(2, 0, 1)[None]


def levels(picture: torch.Tensor) -> int:
    """How many of the darker values of 8 bits occur."""
    counts = torch.bincount((picture[0, 1] * 255).round().flatten().int(), minlength=256)
    return int((counts[:DARKER] >= LEAST_SHARE * counts.sum()).sum())


def save_crop(picture: torch.Tensor, path: Path) -> None:
    """The lower left corner, at 100 %."""
    corner = picture[0, :, -CROP:, :CROP].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(corner).save(path)


def as_text(found: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    by_case = {(row["noise"], row["stops"], row["from"]): row for row in found["rows"]}
    rows = []
    for noisy, stops in dict.fromkeys(key[:2] for key in by_case):
        raw, jpeg = (by_case[noisy, stops, way] for way in ("raw", "JPEG"))
        cells = [f"{stops} stops{', with noise' if noisy else ''}"]
        cells += [f"{each[name]:.2f}" for name in ("exposed", "enhanced") for each in (jpeg, raw)]
        rows.append([*cells, jpeg["levels"], raw["levels"]])
    headings = ["darker by", "one exposure: from JPEG", "from raw", "bundled: from JPEG", "from raw"]
    headings += ["levels of 128: from JPEG", "from raw"]
    return f"{found['photo']}; {told(found['machine'])}. PSNR, dB.\n\n{markdown_table(headings, rows)}"


if __name__ == "__main__":
    sys.exit(main())
