"""The reference camera: wrong exposures of a photo that are the same for every enhancer, whatever its bag was (ours).

Trainings that learn from different bags cannot be compared by their losses, for each is measured by its own camera.
This one stands still: a camera with a response that takes 1 to 7 stops of light away, a third of the time less, over-
exposes a tenth, lights one in seven from behind and casts a colour over two in five. What is drawn for a photo follows
from its place among the photos alone, and is computed on the CPU, whose random numbers do not depend on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lle.config import BacklitCurve, CurveSettings, ExposureCurve, GammaCurve, LogCurve, ToneCurve
from lle.exposure.curves import bag_of_curves

REFERENCE = CurveSettings(
    under_share=0.9,
    exposure=ExposureCurve(
        frequency=85,
        under=(1.0, 7.0),
        mild_share=0.35,
        mild=(0.3, 1.5),
        over=(0.3, 1.5),
        shoulder=(0.3, 1.0),
        shot=(1e-5, 9e-4),
        read=(2e-5, 1.2e-3),
        blur=(0.2, 0.8),
        grey=(0.3, 0.8),
        power_law=0.5,
        cast=0.35,
        cast_share=0.4,
    ),
    backlit=BacklitCurve(frequency=15),
    gamma=GammaCurve(frequency=0),
    tone=ToneCurve(frequency=0),
    log=LogCurve(frequency=0),
)
TAKES = 3
LARGEST, SMALLEST = 192, 8  # px a side: light shows on small copies, and large ones take the slowest networks seconds


def reference_camera(image: Tensor, seeds: Sequence[int]) -> Tensor:
    """Wrong exposures by this camera, as `bag_of_curves` gives them."""
    return bag_of_curves(image, REFERENCE, seeds)


def taken_again(
    photo: Tensor, index: int, bag: Callable[[Tensor, Sequence[int]], Tensor] = reference_camera
) -> tuple[Tensor, Tensor]:
    """A photo, small, and what a camera makes of it with wrong light, or another fault.

    Args:
        photo: well lit, uint8, (3, H, W).
        index: place of the photo among all; it alone says what is drawn.
        bag: what draws, of `lle.faults`; another camera than the reference camera only to compare.

    Returns:
        The photo, uint8, (3, h, w), its longer side at most 192; what was made of it, uint8, (3, 3, h, w).
    """
    scale = min(1.0, LARGEST / max(photo.shape[-2:]))
    height, width = (max(SMALLEST, round(scale * side)) for side in photo.shape[-2:])
    image = F.interpolate(photo[None].cpu().float() / 255, (height, width), mode="bilinear", antialias=True)
    seeds = [TAKES * index + take for take in range(TAKES)]
    wrong = bag(image.expand(TAKES, -1, -1, -1), seeds)
    photo, wrong = ((255 * each).round().to(torch.uint8) for each in (image[0], wrong))
    return photo, wrong
