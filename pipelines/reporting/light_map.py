"""Where an enhancer put light: stops by which each place became brighter, in colours.

    s = log2((E + e) / (I + e)),    I, E: linear luminance before and after, averaged over cells,    e = 1/2000

It is seen from outside, so that it can be drawn for any model, also for one that predicts no map.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lle.exposure.camera import luma, srgb_to_linear
from lle.images import resize

CELLS = 192  # along the longer side
FLOOR = 1 / 2000  # of full scale: below it, 8-bit files hold mostly rounding
RAMP = ((13, 8, 36), (86, 18, 97), (178, 50, 84), (240, 121, 40), (252, 222, 146))
"""Dark to light: no change (or the least there was) to the most."""


def light_map(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, float, float]:
    """The map in colours, and the stops that its darkest and lightest colour stand for.

    Args:
        before, after: RGB of one size, uint8, (H, W, 3).

    Returns:
        RGB, uint8, (H, W, 3); lowest and highest number of stops, at least one apart.
    """
    stops = torch.log2((_light(after) + FLOOR) / (_light(before) + FLOOR))
    low, high = (float(stops.quantile(share)) for share in (0.01, 0.99))
    low, high = min(low, 0.0), max(high, 1.0)
    place = ((stops - low) / (high - low)).clamp(0, 1).numpy()
    marks = np.linspace(0, 1, len(RAMP))
    colours = np.stack([np.interp(place, marks, [colour[channel] for colour in RAMP]) for channel in range(3)], axis=-1)
    return resize(colours.round().astype(np.uint8), before.shape[:2]), low, high


def _light(pixels: np.ndarray) -> Tensor:
    """Mean linear luminance of cells, (h, w)."""
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 255
    scale = min(1.0, CELLS / max(image.shape[-2:]))
    height, width = (max(1, round(side * scale)) for side in image.shape[-2:])
    return F.adaptive_avg_pool2d(luma(srgb_to_linear(image)), (height, width))[0, 0]
