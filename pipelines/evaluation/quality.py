"""How good a model is on pairs with ground truth, beside the baselines that learn nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean

import numpy as np
from torch import Tensor

from lle.baselines import auto_exposure, exposure_shoulder
from lle.images import ImageError, to_tensor
from lle.metrics import psnr, ssim
from lle.model import Model, enhance
from pipelines.data.listing import DataError
from pipelines.data.photo_sets import Photos, PhotoSet, load_photo

BASELINE_PHOTOS = 64
BASELINE_SIDE = 256
GROUPS = ("backlit", "under")


@dataclass(frozen=True)
class Quality:
    """PSNR (dB) and SSIM of each picture.

    Attributes:
        name: of the model or baseline.
        pictures: name below the root of the pairs, psnr, ssim.
    """

    name: str
    pictures: tuple[tuple[str, float, float], ...]

    @property
    def groups(self) -> list[str]:
        """`all`, and the kinds of picture that the file names tell of (`backlit`, `under`)."""
        return ["all", *(group for group in GROUPS if any(group in name for name, _, _ in self.pictures))]

    def psnr(self, group: str = "all") -> float:
        """Mean over a group, dB."""
        return mean(value for name, value, _ in self.pictures if group == "all" or group in name)

    def ssim(self, group: str = "all") -> float:
        """Mean over a group."""
        return mean(value for name, _, value in self.pictures if group == "all" or group in name)


def compare(model: Model, low: PhotoSet, high: PhotoSet, target: float, max_pixels: int) -> list[Quality]:
    """The input, both automatic exposures and the model on pairs, in this order, at full size.

    Args:
        model: the trained model.
        low, high: the pairs, in the same order.
        target: mean brightness that auto-exposure aims at, in (0, 1); exposure-shoulder has its own.
        max_pixels: pixel budget of one picture.

    Raises:
        DataError: a picture of a pair cannot be decoded.
    """
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "input": lambda image: image,
        "auto-exposure": lambda image: auto_exposure(image[None], target)[0],
        "exposure-shoulder": lambda image: exposure_shoulder(image[None])[0],
        "enhanced": lambda image: enhance(model, image),
    }
    found: dict[str, list[tuple[str, float, float]]] = {name: [] for name in ways}
    for picture, low_path, high_path in zip(low.names, low.paths, high.paths, strict=True):
        try:
            image, truth = (
                to_tensor(load_photo(low, low_path, max_pixels)),
                to_tensor(load_photo(high, high_path, max_pixels)),
            )
        except ImageError as error:
            raise DataError(f"data.pairs_dark and data.pairs_truth: {error}") from error
        for name, way in ways.items():
            result = way(image)[None]
            values = float(psnr(result, truth[None])), float(ssim(result, truth[None]))
            found[name].append((picture, *values))
    return [Quality(name, tuple(pictures)) for name, pictures in found.items()]


def mean_brightness(photos: Photos, max_pixels: int) -> float:
    """Mean of RGB in [0, 1] over up to 64 photos of a set, spread evenly: the target of auto-exposure."""
    places = [(each, path) for each in photos.sets for path in each.paths]
    chosen = np.linspace(0, len(places) - 1, min(BASELINE_PHOTOS, len(places))).round().astype(int)
    means = []
    for one, path in (places[index] for index in chosen):
        try:
            means.append(float(load_photo(one, path, max_pixels, BASELINE_SIDE).mean()) / 255)
        except ImageError:  # the training has told of it
            continue
    return mean(means)
