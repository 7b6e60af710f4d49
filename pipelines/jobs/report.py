"""What a person sees of a training: before/after pictures, and the table at its end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from lle.enhancers import Enhancer
from lle.images import from_tensor, resize
from lle.training.validation import ValidationSet
from pipelines.jobs.quality import Quality

ROW_HEIGHT, GAP = 224, 6


@torch.inference_mode()
def before_after(enhancer: Enhancer, photos: ValidationSet, count: int, device: torch.device) -> np.ndarray:
    """Rows of input, enhanced and, where there are pairs, ground truth: one picture, uint8 (H, W, 3).

    Args:
        enhancer: on the device.
        photos: pairs are shown where there are any, else dark photos.
        count: rows at most, spread evenly over the photos.
        device: where to compute.
    """
    shown: list[tuple[Tensor, ...]] = [*photos.pairs] or [(photo,) for photo in photos.dark]
    rows = []
    for index in np.linspace(0, len(shown) - 1, min(count, len(shown))).round().astype(int):
        low, *truth = shown[index]
        enhanced = enhancer(low[None].to(device).float() / 255).image[0].float().cpu()
        pictures = [
            low.permute(1, 2, 0).numpy(),
            from_tensor(enhanced),
            *(each.permute(1, 2, 0).numpy() for each in truth),
        ]
        rows.append(side_by_side(pictures))
    return _stacked(rows)


def side_by_side(pictures: Sequence[np.ndarray], height: int = ROW_HEIGHT) -> np.ndarray:
    """Pictures in one row of a height in px, white between them; uint8, (H, W, 3)."""
    scaled = [resize(each, (height, max(1, round(each.shape[1] * height / each.shape[0])))) for each in pictures]
    gap = np.full((height, GAP, 3), 255, np.uint8)
    return np.concatenate([part for each in scaled for part in (each, gap)][:-1], axis=1)


def print_quality(console: Console, qualities: Sequence[Quality], trained_here: str) -> None:
    """The table at the end of a training: one row for the input, the control and the model, a column for each group."""
    table = Table(title="Held-out pairs: PSNR dB / SSIM", title_justify="left")
    table.add_column("")
    for group in qualities[0].groups:
        table.add_column(group, justify="right")
    for quality in qualities:
        cells = [f"{quality.psnr(group):.2f} / {quality.ssim(group):.3f}" for group in quality.groups]
        table.add_row(quality.name, *cells, style="bold" if quality.name == trained_here else "")
    console.print(table)


def _stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(padded)[:-GAP]
