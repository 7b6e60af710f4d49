"""Random geometry of the training pictures, on the device (CLIP-LIT, supplement; method 1.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lle.config import AugmentSettings


def augmentation(settings: AugmentSettings) -> nn.Module:
    """Flips, transpose, zoom and rotation with reflected borders.

    Returns:
        A module from RGB in [0, 1], (B, 3, S, S), to the same; each picture changes on its own. Randomness comes from
        torch's global generator.
    """
    from kornia import augmentation as K  # a second to import, and not needed to use a trained model

    steps: list[nn.Module] = []
    if settings.flip:
        steps += [K.RandomHorizontalFlip(p=settings.flip), K.RandomVerticalFlip(p=settings.flip)]
    if settings.transpose:
        steps.append(RandomTranspose(settings.transpose))
    if settings.zoom:
        steps.append(K.RandomAffine(0, scale=settings.zoom_range, p=settings.zoom, padding_mode="reflection"))
    if settings.rotation:
        degrees = settings.rotation_degrees
        steps.append(K.RandomAffine(degrees, p=settings.rotation, padding_mode="reflection"))
    return nn.Sequential(*steps)


class RandomTranspose(nn.Module):
    """Swaps height and width of square pictures, each with probability p; kornia has no such step."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, image: Tensor) -> Tensor:
        chosen = torch.rand(len(image), device=image.device) < self.p
        return torch.where(chosen.view(-1, 1, 1, 1), image.transpose(2, 3), image)
