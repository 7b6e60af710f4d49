"""The Bag of Curves: a well-lit photo, wrongly exposed by a curve drawn at random (PIE, method 2.2).

    tone      V' = V^c                                   V: the value channel of HSV, the largest of RGB
    gamma     I' = I^g                                   on RGB
    log       V' = min(a ln(1 + 255 V) / 255, 1)
    s_curve   V' = (s(V) - s(0)) / (s(1) - s(0)),        s(x) = sigmoid(k (x - m)); ours
    exposure  linear light times 2^stops, sensor noise, 8 bits; where the camera has a response, the light is that of
              the scene before it, l = -ln(1 - A x) / A, and x' = (1 - exp(-A l)) / A comes after the noise; then,
              where wanted, a JPEG file's losses; ours
    backlit   the same with the stops of a random foreground and of its background; ours

Changing V alone keeps hue and saturation: RGB times V'/V. The first three are published; in adaptive mode (ours) the
parameter of any of them is solved for each photo, so that its mean V lands where that of a wrongly exposed
photo does (mean V, unlike mean luma, can reach any value at any saturation).

Shapes: B images, H x W pixels. Randomness comes from one seed per image alone, whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lle.config import BacklitCurve, CurveSettings, ExposureCurve
from lle.exposure import camera
from lle.exposure.camera import Noise

# Parameter of the darkest result and of the brightest, between which the adaptive mode searches; powers stop early, for
# white stays white under any, and would end up alone on black.
EXTREMES = {
    "tone": (12.0, 0.02),
    "gamma": (12.0, 0.02),
    "log": (0.0, 400.0),
    "s_curve": (2.0, -1.0),
    "exposure": (-12.0, 12.0),
}
FAMILIES = (*EXTREMES, "backlit")
SEARCH_STEPS = 24
SEARCH_SIDE = 64
BLUR_RADIUS = 3
POWER = 2.2
# What is drawn for each photo; newer ones stand behind, so that a seed goes on saying of the others what it did.
FAMILY, DIRECTION, PARAMETER, SHOT, READ, BLUR, TOE, BACKGROUND, GREY, RED, GREEN, BLUE = range(12)
SHOULDER, MILD, CAST, FILE, QUALITY, DRAWS = range(12, 18)


def bag_of_curves(image: Tensor, settings: CurveSettings, seeds: Sequence[int], noise: bool = True) -> Tensor:
    """A wrongly exposed version of each photo; differentiable but for rounding, whose gradient passes straight through.

    Args:
        image: well-lit sRGB in [0, 1], (B, 3, H, W).
        settings: families, ranges, share of under-exposed ones.
        seeds: one for each image, >= 0; the same seed gives the same curve and noise on any batch.
        noise: False: what a sensor without noise and a file that rounds nothing would hold of the same exposure.

    Returns:
        sRGB in [0, 1], (B, 3, H, W).

    Raises:
        ValueError: not as many seeds as images.
    """
    if len(seeds) != len(image):
        raise ValueError(f"got {len(seeds)} seeds for {len(image)} images; give one for each")
    if not len(image):
        return image
    draws = _draws(seeds)
    frequencies = torch.tensor([getattr(settings, name).frequency for name in FAMILIES])
    shares = frequencies.cumsum(0) / frequencies.sum()
    family = torch.searchsorted(shares, draws[:, FAMILY].contiguous(), right=True)
    changed, places = [], []
    for index, name in enumerate(FAMILIES):
        rows = (family == index).nonzero().flatten()
        if len(rows):
            own_seeds = [seeds[row] for row in rows.tolist()]
            changed.append(_mis_exposed(image[rows.to(image.device)], name, settings, draws[rows], own_seeds, noise))
            places.append(rows)
    return torch.cat(changed)[torch.cat(places).argsort().to(image.device)]


def tone(image: Tensor, exponent: Tensor | float) -> Tensor:
    """V^exponent: above 1 darkens, below 1 brightens; exponents >= 0, one number or (B,)."""
    value = image.amax(dim=1, keepdim=True)
    return _with_value(image, value, _power(value, _per_image(exponent, image)))


def gamma(image: Tensor, exponent: Tensor | float) -> Tensor:
    """RGB^exponent: above 1 darkens, below 1 brightens; exponents >= 0, one number or (B,)."""
    return _power(image, _per_image(exponent, image))


def log(image: Tensor, factor: Tensor | float) -> Tensor:
    """factor * ln(1 + V) on the 8-bit scale, clipped: about 10 darkens, 40 brightens; one number or (B,)."""
    value = image.amax(dim=1, keepdim=True)
    return _with_value(image, value, (_per_image(factor, image) * torch.log1p(255 * value) / 255).clamp(max=1))


def s_curve(image: Tensor, midpoint: Tensor | float, contrast: float) -> Tensor:
    """A sigmoid on V: below the midpoint darker, above brighter, black and white stay.

    Args:
        image: sRGB in [0, 1], (B, 3, H, W).
        midpoint: V of the steepest slope; high darkens, low brightens; one number or (B,).
        contrast: slope k of the sigmoid, > 0.
    """
    value, middle = image.amax(dim=1, keepdim=True), _per_image(midpoint, image)
    at, black, white = (torch.sigmoid(contrast * (x - middle)) for x in (value, value * 0, value * 0 + 1))
    return _with_value(image, value, (at - black) / (white - black))


def exposure(
    image: Tensor,
    stops: Tensor | float,
    power_law: Tensor,
    noise: tuple[Noise, Tensor] | None = None,
    shoulder: Tensor | None = None,
) -> Tensor:
    """The photo taken with another exposure, as an 8-bit file holds it where there is noise.

    Args:
        image: sRGB in [0, 1], (B, 3, H, W).
        stops: change of exposure, negative darkens; one number, (B,) or (B, 1 or 3, H, W).
        power_law: whether the camera shows light by a pure power of 1 / 2.2, which keeps the ratios of dark colours,
            instead of sRGB's curve, whose straight foot makes them more saturated; bool (B,).
        noise: strength of the sensor's noise in linear light, and its pattern, of mean 0 and variance 1, (B, 3, H, W);
            without it nothing is rounded either.
        shoulder: of the camera's response in [0, 1], (B,), see `camera.scene_light`; None: exposure acts on developed
            light, which clips.
    """
    pure = power_law.view(-1, 1, 1, 1)
    light = torch.where(pure, _power(image, POWER), camera.srgb_to_linear(image))
    if shoulder is not None:
        light = camera.scene_light(light, shoulder)
    light = light * torch.exp2(_per_image(stops, image))
    if noise:
        strength, grain = noise
        light = light + strength.deviation(light) * grain
    if shoulder is not None:
        light = camera.developed(light, shoulder)
    shown = torch.where(pure, _power(light.clamp(0, 1), 1 / POWER), camera.linear_to_srgb(light))
    return shown + (camera.quantise(shown) - shown).detach() if noise else shown


def darker(image: Tensor, stops: Tensor, settings: CurveSettings, seeds: Sequence[int]) -> Tensor:
    """As the bag's camera would have taken each photo with less light, without noise, casts or rounding.

    Args:
        image: sRGB in [0, 1], (B, 3, H, W).
        stops: light that is missing, >= 0, (B,).
        settings: what the camera is.
        seeds: those of `bag_of_curves`: the camera of a seed is one.
    """
    if not settings.exposure.shoulder[1]:
        return camera.expose(image, -stops)
    draws = _draws(seeds)
    return exposure(image, -stops, _power_law(image, settings, draws), shoulder=_shoulder(image, settings, draws))


def sensor_grain(shape: Sequence[int], blur: Tensor, grey: Tensor, seeds: Sequence[int]) -> Tensor:
    """Normal noise of variance 1, correlated between neighbours and channels as after a camera's own processing.

    Args:
        shape: (B, 3, H, W).
        blur: standard deviation of the Gaussian it is blurred by, px, at most 1; 0 leaves it white, (B,).
        grey: part of the variance that the channels share, in [0, 1], (B,); the rest, the colour noise, is blurred
            half as much again.
        seeds: one for each image.
    """
    device = blur.device
    planes = (4, *shape[2:])
    each = [torch.randn(planes, generator=torch.Generator(device).manual_seed(seed), device=device) for seed in seeds]
    shared, own = torch.stack(each).split([1, 3], dim=1)
    part = grey.view(-1, 1, 1, 1)
    return part.sqrt() * _blurred(shared, blur) + (1 - part).sqrt() * _blurred(own, 1.5 * blur)


def _blurred(noise: Tensor, deviation: Tensor) -> Tensor:
    """White noise (B, C, H, W) through a Gaussian of deviation (B,), px, with its variance kept."""
    offsets = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=noise.device)
    kernel = F.normalize(torch.exp(-0.5 * (offsets / deviation.clamp_min(1e-3)[:, None]) ** 2), dim=1)
    batch, channels, height, width = noise.shape
    weight = kernel.repeat_interleave(channels, dim=0)[:, None, :, None]
    grain = F.pad(noise.reshape(1, batch * channels, height, width), [BLUR_RADIUS] * 4, mode="circular")
    with torch.autocast(noise.device.type, enabled=False):
        grain = F.conv2d(
            F.conv2d(grain, weight, groups=batch * channels), weight.transpose(2, 3), groups=batch * channels
        )
    return grain.view(batch, channels, height, width)


def _mis_exposed(
    image: Tensor, name: str, settings: CurveSettings, draws: Tensor, seeds: Sequence[int], noise: bool
) -> Tensor:
    """Photos through curves of one family; draws (B, DRAWS) uniform in [0, 1)."""
    if name == "backlit":
        stops = _backlit_stops(image, settings.backlit, draws, seeds)
        return _photographed(image, stops, settings, draws, seeds, noise)
    family, under = getattr(settings, name), draws[:, DIRECTION] < settings.under_share
    if settings.adaptive:
        target = torch.where(
            under,
            _between(settings.adaptive_under, draws[:, PARAMETER]),
            _between(settings.adaptive_over, draws[:, PARAMETER]),
        )
        shoulder = _shoulder(image, settings, draws) if name == "exposure" else None
        parameter = _solve(image, name, settings, under.to(image.device), target.to(image), shoulder)
    else:
        low, high = (_between(each, draws[:, PARAMETER]) for each in (family.under, family.over))
        if name == "exposure":
            mild = _between(family.mild, draws[:, PARAMETER])
            low = -torch.where(draws[:, MILD] < family.mild_share, mild, low)
        parameter = torch.where(under, low, high).to(image)
    if name == "exposure":
        return _photographed(image, parameter, settings, draws, seeds, noise)
    return _noiseless(image, name, parameter, settings)


def _photographed(
    image: Tensor, stops: Tensor, settings: CurveSettings, draws: Tensor, seeds: Sequence[int], noise: bool
) -> Tensor:
    """Taken again by a camera of `curves.exposure`; stops (B,) or (B, 1, H, W)."""
    camera_of = settings.exposure
    power_law, shoulder = _power_law(image, settings, draws), _shoulder(image, settings, draws)
    most = camera_of.cast * (draws[:, CAST] < camera_of.cast_share)
    cast = (most[:, None] * (2 * draws[:, RED : BLUE + 1] - 1)).to(image)
    stops = _per_image(stops, image) + cast[:, :, None, None]
    if not noise:
        return exposure(image, stops, power_law, shoulder=shoulder)
    shot, read = (
        _between_ratios(bounds, draws[:, place]).to(image)
        for bounds, place in ((camera_of.shot, SHOT), (camera_of.read, READ))
    )
    blur, grey = (
        _between(bounds, draws[:, place]).to(image.device)
        for bounds, place in ((camera_of.blur, BLUR), (camera_of.grey, GREY))
    )
    grain = sensor_grain(image.shape, blur, grey, seeds).to(image)
    return _filed(exposure(image, stops, power_law, (Noise(shot, read), grain), shoulder), camera_of, draws)


def _filed(shown: Tensor, camera_of: ExposureCurve, draws: Tensor) -> Tensor:
    """Some of the photos as JPEG files."""
    rows = (draws[:, FILE] < camera_of.jpeg_share).nonzero().flatten()
    if not len(rows):
        return shown
    quality = (100 * _between(camera_of.jpeg, draws[rows, QUALITY])).round()
    rows = rows.to(shown.device)
    lost = camera.as_jpeg(shown[rows], quality) - shown[rows].detach()
    return shown.index_add(0, rows, lost)


def _draws(seeds: Sequence[int]) -> Tensor:
    """What chance says of each photo, (B, DRAWS), uniform in [0, 1)."""
    return torch.stack([torch.rand(DRAWS, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def _power_law(image: Tensor, settings: CurveSettings, draws: Tensor) -> Tensor:
    return (draws[:, TOE] < settings.exposure.power_law).to(image.device)


def _shoulder(image: Tensor, settings: CurveSettings, draws: Tensor) -> Tensor | None:
    """Of each photo's camera, (B,); None where no camera has any."""
    bounds = settings.exposure.shoulder
    return _between(bounds, draws[:, SHOULDER]).to(image) if bounds[1] else None


def _backlit_stops(image: Tensor, family: BacklitCurve, draws: Tensor, seeds: Sequence[int]) -> Tensor:
    """Exposure of every pixel, (B, 1, H, W)."""
    cover = _between(family.cover, draws[:, DIRECTION]).to(image)
    masks = [
        camera.backlit_mask(each[None], share, torch.Generator().manual_seed(seed))
        for each, share, seed in zip(image, cover, seeds, strict=True)
    ]
    foreground = _per_image(_between(family.foreground, draws[:, PARAMETER]), image)
    background = _per_image(_between(family.background, draws[:, BACKGROUND]), image)
    return background - torch.cat(masks) * (foreground + background)


def _noiseless(
    image: Tensor, name: str, parameter: Tensor, settings: CurveSettings, shoulder: Tensor | None = None
) -> Tensor:
    if name == "s_curve":
        return s_curve(image, parameter, settings.s_curve.contrast)
    if name == "exposure":
        if shoulder is None:
            return camera.expose(image, parameter)
        return exposure(image, parameter, torch.zeros_like(parameter, dtype=torch.bool), shoulder=shoulder)
    return {"tone": tone, "gamma": gamma, "log": log}[name](image, parameter)


@torch.no_grad()
def _solve(
    image: Tensor,
    name: str,
    settings: CurveSettings,
    under: Tensor,
    target: Tensor,
    shoulder: Tensor | None,
) -> Tensor:
    """The parameter that brings each photo's mean V to its target, (B,), by bisection on a sample of its pixels.

    A photo that is dark or bright itself moves at least half the way to black or white all the same.
    """
    height, width = image.shape[-2:]
    sample = image[..., :: max(1, height // SEARCH_SIDE), :: max(1, width // SEARCH_SIDE)]
    own = sample.amax(dim=1).mean(dim=(1, 2))
    target = torch.where(under, torch.minimum(target, own / 2), torch.maximum(target, (1 + own) / 2))
    darker, brighter = (torch.full_like(own, each) for each in EXTREMES[name])
    for _ in range(SEARCH_STEPS):
        middle = (darker + brighter) / 2
        too_dark = _noiseless(sample, name, middle, settings, shoulder).amax(dim=1).mean(dim=(1, 2)) < target
        darker, brighter = torch.where(too_dark, middle, darker), torch.where(too_dark, brighter, middle)
    return (darker + brighter) / 2


def _with_value(image: Tensor, value: Tensor, changed: Tensor) -> Tensor:
    return image * (changed / value.clamp_min(1e-6))


def _power(x: Tensor, exponent: Tensor | float) -> Tensor:
    """x^exponent with 0 at x = 0, where the gradient of a power below 1 would be infinite."""
    lit = x > 0
    return torch.where(lit, torch.where(lit, x, 1.0) ** exponent, 0.0)


def _between(bounds: tuple[float, float], draw: Tensor) -> Tensor:
    low, high = bounds
    return low + (high - low) * draw


def _between_ratios(bounds: tuple[float, float], draw: Tensor) -> Tensor:
    """Evenly in ratios; over four decades where the lower bound is 0."""
    low, high = bounds
    low = max(low, 1e-4 * high)
    return low * (high / low) ** draw if high else 0 * draw


def _per_image(value: Tensor | float, image: Tensor) -> Tensor:
    tensor = torch.as_tensor(value, device=image.device, dtype=image.dtype)
    return tensor if tensor.ndim == 4 else tensor.view(-1, 1, 1, 1)
