"""What a model does to the colours of a photo as a table for editors: a three-dimensional .cube of Adobe's format.

    colour -> sRGB(f(min(w x, 1); k)),    k = 2 s sinh(u + d(x))

Exposure, white balance and strength are the photo's. Where tones are kept, d is that of a colour whose
surroundings are as light as itself. What the model does to places, its local light and its denoiser, no table of
colours can hold. The format: "Cube LUT Specification 1.0", Adobe 2013; red changes fastest.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lle.enhancers.base import checked_strength
from lle.enhancers.exposure import OneExposure
from lle.enhancers.light import log_light, relight
from lle.exposure.camera import srgb_to_linear
from lle.images.pixels import check_pixels, white
from lle.model import Model

SIZE = 65
"""Knots a side. With 33, common too, very dark photos differ by more than twice as much: the curve bends most near
black."""


@torch.inference_mode()
def cube(model: Model, pixels: np.ndarray, strength: float = 1.0, size: int = SIZE) -> str:
    """The text of a .cube file, of a photo's sRGB values to enhanced ones.

    Args:
        model: of arch `scene` or `exposure`.
        pixels: the photo, RGB, uint8 or uint16, (H, W, 3).
        strength: from 0, colours as they are, over 1 to 1.5.
        size: knots a side.

    Raises:
        ValueError: another model, shape, type or strength.
    """
    enhancer = model.enhancer
    if not isinstance(enhancer, OneExposure):
        raise ValueError(
            f"enhancer.arch: {model.settings.arch} has no one exposure for a photo; take a model of arch scene or "
            "exposure"
        )
    check_pixels(pixels, depths=(np.uint8, np.uint16))
    lines = ['TITLE "lle"', f"LUT_3D_SIZE {size}"]
    for red, green, blue in _table(enhancer, pixels, checked_strength(strength), size).tolist():
        lines.append(f"{red:.6f} {green:.6f} {blue:.6f}")
    return "\n".join(lines) + "\n"


def _table(enhancer: OneExposure, pixels: np.ndarray, strength: float, size: int) -> Tensor:
    """Enhanced colours in [0, 1], (size^3, 3)."""
    image = torch.from_numpy(pixels.astype(np.float32) / white(pixels.dtype)).permute(2, 0, 1)[None]
    device = next(enhancer.parameters()).device
    light, _ = enhancer.light(image.to(device))
    knots = torch.linspace(0, 1, size, device=device)
    blue, green, red = torch.meshgrid(knots, knots, knots, indexing="ij")
    linear = srgb_to_linear(torch.stack([red, green, blue]).reshape(1, 3, size**2, size))
    local = None if light.base is None else light.stops(log_light(linear))
    return relight(linear, light, local, strength)[0][0].reshape(3, -1).T
