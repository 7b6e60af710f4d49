"""Pictures beside and below each other, what each is above it: before, one exposure without learning, after, truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lle.baselines import exposure_shoulder
from lle.enhancers import Enhancer
from lle.images import from_tensor, resize
from lle.training.validation import ValidationSet

ROW_HEIGHT, GAP = 224, 6
LABEL_HEIGHT, LABEL_SIZE = 24, 16  # px
BASELINE = "exposure-shoulder"  # one exposure, found without learning: what a picture has to beat
LABELS = ("input", BASELINE, "enhanced", "ground truth")


@torch.inference_mode()
def before_after(enhancer: Enhancer, photos: ValidationSet, count: int, device: torch.device) -> np.ndarray:
    """Rows of input, one exposure without learning, enhanced and, where there are pairs, ground truth: one picture,
    uint8 (H, W, 3).

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
        image = low.float() / 255
        enhanced = enhancer(image[None].to(device)).image[0].float().cpu()
        pictures = [
            low.permute(1, 2, 0).numpy(),
            without_learning(image),
            from_tensor(enhanced),
            *(each.permute(1, 2, 0).numpy() for each in truth),
        ]
        rows.append(side_by_side(pictures, labels=LABELS[: len(pictures)]))
    return stacked(rows)


def without_learning(image: Tensor) -> np.ndarray:
    """A photo, RGB in [0, 1], (3, H, W), by the one exposure that needs no learning; uint8 (H, W, 3)."""
    return from_tensor(exposure_shoulder(image[None])[0])


def side_by_side(pictures: Sequence[np.ndarray], height: int = ROW_HEIGHT, labels: Sequence[str] = ()) -> np.ndarray:
    """Pictures in one row of a height in px, white between them, what each is above it; uint8, (H, W, 3).

    Args:
        pictures: uint8, (H, W, 3) each.
        height: of the pictures; labels add `LABEL_HEIGHT`.
        labels: one for each picture, or none.
    """
    scaled = [resize(each, (height, max(1, round(each.shape[1] * height / each.shape[0])))) for each in pictures]
    if labels:
        scaled = [_labelled(each, label) for each, label in zip(scaled, labels, strict=True)]
    gap = np.full((scaled[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([part for each in scaled for part in (each, gap)][:-1], axis=1)


def _labelled(picture: np.ndarray, label: str) -> np.ndarray:
    """A picture below what it is, black on white; one narrower than its label stands to the left."""
    font = ImageFont.load_default(LABEL_SIZE)
    height, width = picture.shape[:2]
    whole = Image.new("RGB", (max(width, round(font.getlength(label)) + 4), height + LABEL_HEIGHT), "white")
    ImageDraw.Draw(whole).text((2, LABEL_HEIGHT / 2), label, "black", font, anchor="lm")
    whole.paste(Image.fromarray(picture), (0, LABEL_HEIGHT))
    return np.asarray(whole)


def stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows below each other, white between them and beside the shorter ones; uint8, (H, W, 3)."""
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(padded)[:-GAP]
