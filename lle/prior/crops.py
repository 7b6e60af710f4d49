"""Semi-local views: the whole picture and random crops of it, so that a dark foreground in a bright frame is seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Crops:
    """Which crops are looked at.

    Attributes:
        count: crops of each picture; 0: the whole picture only.
        share: side of a crop as a share of the picture's, in (0, 1].
    """

    count: int = 0
    share: float = 0.5

    def views(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """The whole pictures, then their crops resized like them; without crops the pictures as they are.

        Args:
            image: RGB in [0, 1], (B, 3, H, W).
            size: height and width of each view, px.

        Returns:
            (B * (1 + count), 3, *size), the B whole pictures first. Positions are uniform and each picture's own, drawn
            from torch's global generator.
        """
        if not self.count:
            return image
        height, width = (max(1, round(self.share * side)) for side in image.shape[-2:])
        free = torch.tensor([image.shape[-2] - height, image.shape[-1] - width])
        corners = (torch.rand(self.count, len(image), 2) * (free + 1)).long().tolist()
        cut = [
            picture[:, top : top + height, left : left + width]
            for crop in corners
            for picture, (top, left) in zip(image, crop, strict=True)
        ]
        return torch.cat([resize(image, size), resize(torch.stack(cut), size)])


WHOLE_ONLY = Crops()


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures (B, 3, H, W) at another size, bilinear and antialiased; the same pictures where it is theirs."""
    return image if image.shape[-2:] == size else F.interpolate(image, size=size, mode="bilinear", antialias=True)
