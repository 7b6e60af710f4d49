"""Baselines that learn nothing: one number for each picture, found so that its mean comes out right (method 5);
for haze, the dark channel prior.

Every table has them beside the models. Pictures are RGB in [0, 1], (B, 3, H, W); the mean is that of all its values.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from lle.exposure.camera import guided_filter, linear_to_srgb, luma, srgb_to_linear
from lle.exposure.shoulder import expose_with_shoulder, k_of, shoulder

STOPS = 16.0  # gains are looked for up to this far from 1
HALVINGS = 32
EXPOSURE_RANGE = 7.0  # of u in `exposure.shoulder`, to either side
TRIED = 29  # exposures that `best_exposure` tries at a time
THINNED = 4
LEVELS = 65_536  # of a histogram, which 8 and 16 bits fill without rounding
PATCH = 15  # pixels a side, of the dark channel
BRIGHTEST_SHARE = 0.001  # of the dark channel, among which the airlight is looked for
LEAST_TRANSMISSION = 0.1
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
    shares = torch.stack([_histogram(each) for each in image])
    light = srgb_to_linear(torch.linspace(0, 1, LEVELS, dtype=image.dtype, device=image.device)).view(1, 1, 1, -1)

    def k_of_gain(gain: Tensor) -> Tensor:
        return gain - 1 / gain  # 2 sinh(ln gain): the gain is that of deep shadows, and 1 the picture as it is

    def mean_by(gain: Tensor) -> Tensor:
        lit = linear_to_srgb(shoulder(light, k_of_gain(gain)))
        return (lit * shares[:, None, None]).sum(dim=-1, keepdim=True)

    gain = _gain_to_mean(image, target, mean_by, darkest)
    return expose_with_shoulder(image, k_of_gain(gain))


def exposure_shoulder_lift(image: Tensor, target: float = 0.44) -> Tensor:
    """`exposure_shoulder` that only brightens: a picture whose mean is above the target stays as it is."""
    return exposure_shoulder(image, target, darkest=0.0)


def best_exposure(image: Tensor, truth: Tensor) -> Tensor:
    """Each picture by the one exposure with a shoulder that is nearest to its ground truth in the mean of squares.

    No baseline, for it knows the truth: what the best choice of a single number could reach, to within .01 of u, found
    on every fourth pixel of every fourth row.

    Args:
        image, truth: RGB in [0, 1], (B, 3, H, W), aligned.
    """
    seen, wanted = (each[..., ::THINNED, ::THINNED] for each in (image, truth))
    centre, reach = image.new_zeros(len(image)), EXPOSURE_RANGE
    for _ in range(3):
        steps = torch.linspace(-reach, reach, TRIED, device=image.device, dtype=image.dtype)
        tried = centre[:, None] + steps
        errors = [
            (expose_with_shoulder(seen, k_of(u)[:, None, None, None]) - wanted).square().mean(dim=(1, 2, 3))
            for u in tried.unbind(dim=1)
        ]
        centre = tried.gather(1, torch.stack(errors, dim=1).argmin(dim=1, keepdim=True)).squeeze(1)
        reach = 2 * float(steps[1] - steps[0])
    return expose_with_shoulder(image, k_of(centre)[:, None, None, None])


def dark_channel(image: Tensor, removed: float = 0.95) -> Tensor:
    """Haze taken out by the dark channel prior (He et al., CVPR 2009), refined by a guided filter (TPAMI 2013).

    In a clear photo's patches some channel of some pixel is nearly black; what light is there is the air's:
    t = 1 - removed * min over a patch and its channels of I / A, and J = (I - A) / max(t, .1) + A. A is the brightest
    of the pixels whose dark channel is in the top thousandth.

    Args:
        image: RGB in [0, 1], (B, 3, H, W).
        removed: share of the haze that is taken away, in (0, 1).
    """
    dark = _darkest_near(image)
    count = max(1, round(BRIGHTEST_SHARE * dark[0].numel()))
    hazy = dark.flatten(1).topk(count, dim=1).indices[:, None]
    candidates = image.flatten(2).gather(2, hazy.expand(-1, 3, -1))
    brightest = candidates.sum(dim=1).argmax(dim=1).view(-1, 1, 1).expand(-1, 3, 1)
    airlight = candidates.gather(2, brightest)[..., None].clamp_min(1e-3)
    transmission = 1 - removed * _darkest_near(image / airlight)
    fitted = guided_filter(transmission, luma(image), radius=8, cells=128).clamp(LEAST_TRANSMISSION, 1)
    return ((image - airlight) / fitted + airlight).clamp(0, 1)


def denoise(image: Tensor) -> Tensor:
    """Guided filter with the picture's own brightness as the guide: noise goes, edges stay (He et al., TPAMI 2013)."""
    from kornia.color import rgb_to_grayscale
    from kornia.filters import guided_blur

    return guided_blur(rgb_to_grayscale(image), image, DENOISE_WINDOW, DENOISE_EPSILON).clamp(0, 1)


def _darkest_near(image: Tensor) -> Tensor:
    """The smallest value of any channel in the patch round each pixel, (B, 1, H, W)."""
    darkest = -image.amin(dim=1, keepdim=True)
    for size, padding in (((PATCH, 1), (PATCH // 2, 0)), ((1, PATCH), (0, PATCH // 2))):
        darkest = F.max_pool2d(darkest, size, stride=1, padding=padding)
    return -darkest


def _with_mean(image: Tensor, target: float, brighten: Callable[[Tensor], Tensor]) -> Tensor:
    """The picture brightened by the gain that brings its mean to the target; `brighten` must rise with the gain."""
    return brighten(_gain_to_mean(image, target, lambda gain: brighten(gain).mean(dim=(1, 2, 3), keepdim=True)))


def _gain_to_mean(image: Tensor, target: float, mean_by: Callable[[Tensor], Tensor], darkest: float = -STOPS) -> Tensor:
    """The gain of each picture, (B, 1, 1, 1), that bisection finds between 2^darkest and 2^STOPS.

    Args:
        image: (B, 3, H, W).
        target: the mean that is wanted.
        mean_by: the mean of each picture by its gain, which must rise with it, both (B, 1, 1, 1).
        darkest: stops.
    """
    low = image.new_full((len(image), 1, 1, 1), darkest)
    high = torch.full_like(low, STOPS)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        too_dark = mean_by(middle.exp2()) < target
        low, high = torch.where(too_dark, middle, low), torch.where(too_dark, high, middle)
    return ((low + high) / 2).exp2()


def _histogram(picture: Tensor) -> Tensor:
    """Share of all values that each level has, (LEVELS,), so that large pictures are searched as fast as small ones."""
    places = (picture.clamp(0, 1) * (LEVELS - 1)).round().flatten().to(torch.int32)
    return torch.bincount(places, minlength=LEVELS).to(picture.dtype) / picture.numel()
