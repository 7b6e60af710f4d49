"""Controls that learn nothing: one number for each picture, found so that its mean comes out right (method 5).

Every table has them beside the models. Pictures are RGB in [0, 1], (B, 3, H, W); the mean is that of all its values.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lle.exposure.camera import linear_to_srgb, srgb_to_linear
from lle.exposure.shoulder import expose_with_shoulder, k_of, shoulder

STOPS = 16.0  # gains are looked for up to this far from 1
HALVINGS = 32
EXPOSURE_RANGE = 7.0  # of u in `exposure.shoulder`, to either side
TRIED = 29  # exposures that `best_exposure` tries at a time
THINNED = 4
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


def exposure_shoulder(image: Tensor, target: float = 0.44, darkest: float = -STOPS) -> Tensor:
    """Each picture by the one exposure, in linear light with a shoulder, that brings its mean to `target`.

    Args:
        image: RGB in [0, 1], (B, 3, H, W).
        target: the mean of all values, in (0, 1).
        darkest: stops, as `STOPS`; 0: pictures are never darkened, and those brighter than the target stay as they are.
    """
    light = srgb_to_linear(image)
    # g - 1 / g = 2 sinh(ln g): the gain is that of deep shadows, and 1 the picture as it is.
    return _with_mean(image, target, lambda gain: linear_to_srgb(shoulder(light, gain - 1 / gain)), darkest)


def exposure_shoulder_lift(image: Tensor, target: float = 0.44) -> Tensor:
    """`exposure_shoulder` that only brightens: a picture whose mean is above the target stays as it is."""
    return exposure_shoulder(image, target, darkest=0.0)


def best_exposure(image: Tensor, truth: Tensor) -> Tensor:
    """Each picture by the one exposure with a shoulder that is nearest to its ground truth in the mean of squares.

    No control, for it knows the truth: what the best choice of a single number could reach, to within .01 of u.

    Args:
        image, truth: RGB in [0, 1], (B, 3, H, W), aligned.
    """
    thin = (..., slice(None, None, THINNED), slice(None, None, THINNED))
    centre, reach = image.new_zeros(len(image)), EXPOSURE_RANGE
    for seen in (thin, thin, (...,)):
        steps = torch.linspace(-reach, reach, TRIED, device=image.device, dtype=image.dtype)
        tried = centre[:, None] + steps
        errors = [
            (expose_with_shoulder(image[seen], k_of(u)[:, None, None, None]) - truth[seen]).square().mean(dim=(1, 2, 3))
            for u in tried.unbind(dim=1)
        ]
        centre = tried.gather(1, torch.stack(errors, dim=1).argmin(dim=1, keepdim=True)).squeeze(1)
        reach = 2 * float(steps[1] - steps[0])
    return expose_with_shoulder(image, k_of(centre)[:, None, None, None])


def denoise(image: Tensor) -> Tensor:
    """Guided filter with the picture's own brightness as the guide: noise goes, edges stay (He et al., TPAMI 2013)."""
    from kornia.color import rgb_to_grayscale
    from kornia.filters import guided_blur

    return guided_blur(rgb_to_grayscale(image), image, DENOISE_WINDOW, DENOISE_EPSILON).clamp(0, 1)


def _with_mean(image: Tensor, target: float, brighten: Callable[[Tensor], Tensor], darkest: float = -STOPS) -> Tensor:
    """The picture brightened by the gain that bisection finds, of at least 2^darkest; `brighten` must rise with the
    gain (B, 1, 1, 1).
    """
    low = image.new_full((len(image), 1, 1, 1), darkest)
    high = torch.full_like(low, STOPS)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        too_dark = brighten(middle.exp2()).mean(dim=(1, 2, 3), keepdim=True) < target
        low, high = torch.where(too_dark, middle, low), torch.where(too_dark, high, middle)
    return brighten(((low + high) / 2).exp2())
