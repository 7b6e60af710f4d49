"""Controls that learn nothing: one number for each picture, found so that its mean comes out right (method 5).

Every table has them beside the models. Pictures are RGB in [0, 1], (B, 3, H, W); the mean is that of all its values.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STOPS = 16.0  # gains are looked for up to this far from 1
HALVINGS = 32
DENOISE_WINDOW, DENOISE_EPSILON = 9, 0.01  # pixels; squared brightness


def auto_gain(image: Tensor, target: float = 0.40) -> Tensor:
    """Each picture times the gain that, after clipping, brings its mean to `target`."""
    return _with_mean(image, target, lambda gain: (image * gain).clamp(0, 1))


def auto_gamma(image: Tensor, target: float = 0.45) -> Tensor:
    """Each picture to the power that brings its mean to `target`."""
    return _with_mean(image, target, lambda gain: image.pow(1 / gain))


def auto_exposure(image: Tensor, target: float = 0.40) -> Tensor:
    """Each picture by the soft gain `I g / (1 + (g - 1) Y)`, Y = max of RGB, that brings its mean to `target`.

    White stays white and nothing clips.
    """
    brightest = image.amax(dim=1, keepdim=True)
    return _with_mean(image, target, lambda gain: image * gain / (1 + (gain - 1) * brightest))


def denoise(image: Tensor) -> Tensor:
    """Guided filter with the picture's own brightness as the guide: noise goes, edges stay (He et al., TPAMI 2013)."""
    from kornia.color import rgb_to_grayscale
    from kornia.filters import guided_blur

    return guided_blur(rgb_to_grayscale(image), image, DENOISE_WINDOW, DENOISE_EPSILON).clamp(0, 1)


def _with_mean(image: Tensor, target: float, brighten: Callable[[Tensor], Tensor]) -> Tensor:
    """The picture brightened by the gain that bisection finds; `brighten` must rise with the gain (B, 1, 1, 1)."""
    low = image.new_full((len(image), 1, 1, 1), -STOPS)
    high = -low
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        too_dark = brighten(middle.exp2()).mean(dim=(1, 2, 3), keepdim=True) < target
        low, high = torch.where(too_dark, middle, low), torch.where(too_dark, high, middle)
    return brighten(((low + high) / 2).exp2())
