"""Random geometry of the training pictures, on the device (CLIP-LIT, supplement; method 1.4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lle.config import AugmentSettings


def augmentation(settings: AugmentSettings) -> Augmentation:
    """Flips, transpose, zoom and rotation with reflected borders.

    Returns:
        A module from RGB in [0, 1], (B, 3, S, S), to the same; each picture changes on its own. Randomness comes from
        torch's global generator.
    """
    from kornia import augmentation as K  # a second to import, and not needed to use a trained model

    steps: list[nn.Module] = []
    if settings.flip:
        steps += [K.RandomHorizontalFlip(p=settings.flip), K.RandomVerticalFlip(p=settings.flip)]
    if settings.mirror:
        steps.append(K.RandomHorizontalFlip(p=settings.mirror))
    if settings.transpose:
        steps.append(RandomTranspose(settings.transpose))
    if settings.zoom:
        steps.append(K.RandomAffine(0, scale=settings.zoom_range, p=settings.zoom, padding_mode="reflection"))
    if settings.rotation:
        degrees = settings.rotation_degrees
        steps.append(K.RandomAffine(degrees, p=settings.rotation, padding_mode="reflection"))
    return Augmentation(*steps)


class Augmentation(nn.Sequential):
    """Steps that change pictures, and the region maps that belong to them by the same geometry."""

    def with_regions(self, image: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, S, S) and their regions (B, S, S), integers below 2^24; no region is mixed with another."""
        from kornia.constants import Resample

        labels = regions[:, None].to(image.dtype)
        for step in self:
            image = step(image)
            labels = step(labels, params=step._params, resample=Resample.NEAREST)
        return image, labels[:, 0].round().to(regions.dtype)


class RandomTranspose(nn.Module):
    """Swaps height and width of square pictures, each with probability p; kornia has no such step.

    As in kornia's steps, `_params` is what was drawn last, and `params` repeats it.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self._params: dict[str, Tensor] = {}

    def forward(self, image: Tensor, params: dict[str, Tensor] | None = None, **flags: Any) -> Tensor:
        self._params = params or {"batch_prob": torch.rand(len(image), device=image.device) < self.p}
        return torch.where(self._params["batch_prob"].view(-1, 1, 1, 1), image.transpose(2, 3), image)
