"""Light as physics: wrong exposures of a good photo, made in linear light as a camera would make them.

Every function takes and gives sRGB images in [0, 1], (B, 3, H, W), on any device; parameters are one number or one
number per image, (B,). Randomness comes from a `torch.Generator` alone, which may live on another device than the
images.

Shapes: B images, H x W pixels. Exposure is counted in stops: +1 doubles the light, -1 halves it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lle.images import decode, encode, from_tensor, to_tensor

__all__ = [
    "Noise",
    "as_jpeg",
    "backlight",
    "backlit_mask",
    "colour_cast",
    "darken",
    "developed",
    "expose",
    "gamma",
    "guided_filter",
    "linear_to_srgb",
    "low_contrast",
    "luma",
    "quantise",
    "scene_light",
    "srgb_to_linear",
    "uniform",
]


STRONGEST_SHOULDER = 0.985
"""A of `scene_light` for a response of strength 1: white is then 4.3 times the light that a straight one would need."""


@dataclass(frozen=True)
class Noise:
    """Sensor noise in linear light, full scale 1 (Poisson-Gaussian model, Foi et al. 2008): variance = shot * x +
    read^2.

    Args:
        shot: variance per unit of light, >= 0; one number or (B,). 0.001 is a small sensor at moderate gain.
        read: standard deviation without any light, >= 0; one number or (B,).
    """

    shot: float | Tensor = 0.001
    read: float | Tensor = 0.001

    def __post_init__(self) -> None:
        for name, value in (("shot", self.shot), ("read", self.read)):
            if torch.as_tensor(value).min() < 0:
                raise ValueError(f"noise.{name} is negative; give a variance per light and a deviation of 0 or more")

    def deviation(self, light: Tensor) -> Tensor:
        """Standard deviation at each pixel of linear light >= 0, (B, 3, H, W)."""
        return (_per_image(self.shot, light) * light + _per_image(self.read, light) ** 2).sqrt()


def darken(images: Tensor, generator: torch.Generator, backlit: Tensor | float = 0.5) -> Tensor:
    """Plausible dark versions of well-exposed photos, 8-bit as from a file: under-exposed, or backlit.

    Under-exposed: -2 to -4 stops all over. Backlit: the foreground at -2 to -3.5 stops behind a soft border, the
    background 0 to +0.5 stops. Both with sensor noise of a raised gain, which shows once the photo is brightened
    again.

    Args:
        images: well-exposed sRGB in [0, 1], (B, 3, H, W).
        generator: source of every random choice.
        backlit: which images to backlight, bool (B,), or the share of them (each drawn independently), 0 to 1.

    Returns:
        sRGB in [0, 1] on the 8-bit grid, (B, 3, H, W).
    """
    batch = _checked(images).shape[0]
    if isinstance(backlit, Tensor):
        is_backlit = backlit.to(images.device, torch.bool)
    elif 0 <= backlit <= 1:
        is_backlit = uniform(batch, 0, 1, generator, images.device) < backlit
    else:
        raise ValueError(f"backlit is {backlit}; give a share between 0 and 1, or one truth value per image")
    noise = Noise(
        shot=uniform(batch, 2e-4, 1e-3, generator, images.device),
        read=uniform(batch, 3e-4, 1.5e-3, generator, images.device),
    )
    everywhere = uniform(batch, -4.0, -2.0, generator, images.device)
    foreground = uniform(batch, -3.5, -2.0, generator, images.device)
    background = uniform(batch, 0.0, 0.5, generator, images.device)
    share = uniform(batch, 0.65, 0.85, generator, images.device)

    mask = backlit_mask(images, share, generator)
    stops_map = torch.where(
        _per_image(is_backlit, images),
        _per_image(background, images) + mask * _per_image(foreground - background, images),
        _per_image(everywhere, images),
    )
    return quantise(_expose_map(images, stops_map, noise, generator))


def expose(
    image: Tensor, stops: Tensor | float, noise: Noise | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """The photo taken with another exposure: linear light times 2^stops, sensor noise, clipped at full scale.

    Args:
        image: sRGB in [0, 1], (B, 3, H, W).
        stops: change of exposure; one number or (B,). 0 without noise leaves every pixel as it is.
        noise: sensor noise added to the light that arrives; none if absent.
        generator: source of the noise; required with `noise`.

    Returns:
        sRGB in [0, 1], (B, 3, H, W).
    """
    return _expose_map(_checked(image), _per_image(stops, image), noise, generator)


def backlight(
    image: Tensor,
    stops: Tensor | float,
    mask: Tensor,
    background_stops: Tensor | float = 0.0,
    noise: Noise | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The photo taken against the light: exposed for its background, the foreground by `stops` darker than it was.

    Args:
        image: sRGB in [0, 1], (B, 3, H, W).
        stops: exposure of the foreground, usually negative; one number or (B,).
        mask: 1 in the foreground, 0 in the background, soft between, (B, 1, H, W); see `backlit_mask`.
        background_stops: exposure of the background, 0 or slightly above; one number or (B,).
        noise: as in `expose`.
        generator: as in `expose`.

    Returns:
        sRGB in [0, 1], (B, 3, H, W). Between the two the exposure changes evenly in stops, as light falls off.
    """
    front, back = _per_image(stops, _checked(image)), _per_image(background_stops, image)
    return _expose_map(image, back + mask * (front - back), noise, generator)


def backlit_mask(
    image: Tensor, share: Tensor | float, generator: torch.Generator, follow_light: Tensor | float = 3.0
) -> Tensor:
    """A random foreground for `backlight`: smooth, but its borders follow the photo's own edges.

    The foreground is where a smooth random field, minus `follow_light` times the blurred luma (both with deviation 1
    in each image), is above its own quantile, so skies, walls and windows stay background as they do when the light
    comes from behind. A guided filter (He et al., TPAMI 2013) then fits the soft border to the photo, which keeps
    halos away.

    Args:
        image: sRGB in [0, 1], (B, 3, H, W).
        share: part of the picture that the foreground covers, 0 to 1; one number or (B,).
        generator: source of the field.
        follow_light: 0 ignores the photo; larger values follow its light more closely; one number or (B,).

    Returns:
        Mask in [0, 1], (B, 1, H, W); its mean is the share, up to a few percent.
    """
    batch, _, height, width = _checked(image).shape
    share_b = torch.as_tensor(share, device=image.device, dtype=image.dtype).expand(batch)
    if share_b.min() < 0 or share_b.max() > 1:
        raise ValueError("share lies outside 0 to 1; give the part of the picture that the foreground covers")
    field = torch.stack([_smooth_noise(image, cells, generator) / cells for cells in (1, 2, 4)]).sum(dim=0)
    light = luma(image)
    # Blurring on a coarse grid costs the same at every image size.
    blurred = F.adaptive_avg_pool2d(light, (min(20, height), min(20, width)))
    blurred = F.interpolate(blurred, size=(height, width), mode="bilinear", align_corners=False)
    rank_of = (_standardised(field) - _per_image(follow_light, image) * _standardised(blurred)).flatten(1)
    ordered = rank_of.sort(dim=1).values
    threshold = ordered.gather(1, ((1 - share_b) * (ordered.shape[1] - 1)).round().long()[:, None])
    border = 0.12 * rank_of.std(dim=1, keepdim=True).clamp_min(1e-6)
    mask = torch.sigmoid((rank_of - threshold) / border).view(batch, 1, height, width)
    return guided_filter(mask, light).clamp(0, 1)


def gamma(image: Tensor, exponent: Tensor | float) -> Tensor:
    """A tone curve x^exponent on sRGB values: above 1 darkens, below 1 brightens, black and white stay.

    Raises ValueError unless every exponent is positive.
    """
    exponent_b = _per_image(exponent, _checked(image))
    if exponent_b.min() <= 0:
        raise ValueError("gamma needs exponents above 0; 1 leaves the photo as it is")
    return image.clamp(0, 1) ** exponent_b


def low_contrast(image: Tensor, contrast: Tensor | float, veil: Tensor | float = 0.5) -> Tensor:
    """The photo mixed with a grey veil, as fog or flare does: contrast * x + (1 - contrast) * veil.

    Args:
        image: sRGB in [0, 1], (B, 3, H, W).
        contrast: 1 leaves the photo as it is, 0 leaves only the veil; one number or (B,).
        veil: the grey it is mixed with, in [0, 1]; one number or (B,).
    """
    contrast_b = _per_image(contrast, _checked(image))
    return (contrast_b * image + (1 - contrast_b) * _per_image(veil, image)).clamp(0, 1)


def colour_cast(image: Tensor, gains: Tensor) -> Tensor:
    """A wrong white balance: each channel's linear light times its gain, scaled so that grey keeps its luminance.

    Args:
        image: sRGB in [0, 1], (B, 3, H, W).
        gains: gain of red, green and blue, > 0, (B, 3) or (3,); (1, 1, 1) leaves the photo as it is.
    """
    gains_b = gains.to(image).expand(_checked(image).shape[0], 3)
    gains_b = gains_b / (gains_b * _REC709.to(image)).sum(dim=1, keepdim=True)
    return linear_to_srgb(srgb_to_linear(image) * gains_b[:, :, None, None])


def scene_light(light: Tensor, shoulder: Tensor | float) -> Tensor:
    """The light that a sensor saw before a response with a shoulder developed it: l = -ln(1 - A x) / A, 0 at 0.

    Its slope at black is 1, whatever the shoulder, so shadows and their noise have one scale.

    Args:
        light: linear light of the developed photo in [0, 1], (B, 3, H, W).
        shoulder: strength of the bend in [0, 1], A = .985 times it; 0: none, the light is that of the photo; one
            number or (B,).
    """
    bend = STRONGEST_SHOULDER * _per_image(shoulder, light)
    straight = bend == 0
    safe = torch.where(straight, STRONGEST_SHOULDER, bend)
    return torch.where(straight, light, -torch.log1p(-safe * light) / safe)


def developed(scene: Tensor, shoulder: Tensor | float) -> Tensor:
    """Linear light of the photo of `scene_light`: x = (1 - exp(-A l)) / A, which may exceed 1 where more light fell."""
    bend = STRONGEST_SHOULDER * _per_image(shoulder, scene)
    straight = bend == 0
    safe = torch.where(straight, STRONGEST_SHOULDER, bend)
    return torch.where(straight, scene, -torch.expm1(-safe * scene) / safe)


def luma(image: Tensor) -> Tensor:
    """Rec. 709 weighted mean of the channels of sRGB values (luma), (B, 3, H, W) -> (B, 1, H, W)."""
    return (image * _REC709.to(image).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def quantise(image: Tensor) -> Tensor:
    """Rounded to the 256 values of an 8-bit file, still floats in [0, 1]."""
    return (image.clamp(0, 1) * 255).round() / 255


def as_jpeg(image: Tensor, quality: Tensor | int) -> Tensor:
    """As a JPEG file holds it: cosines of blocks of 8 x 8 px, rounded, and below 90 colours at half the resolution.

    Args:
        image: sRGB in [0, 1], (B, 3, H, W).
        quality: from 1 to 100; one number or (B,).

    Returns:
        sRGB in [0, 1] on the 8-bit grid, (B, 3, H, W).
    """
    qualities = torch.as_tensor(quality).expand(_checked(image).shape[0]).tolist()
    pixels = [from_tensor(each) for each in image.detach()]
    files = [encode(each, "jpeg", int(own)) for each, own in zip(pixels, qualities, strict=True)]
    return torch.stack([to_tensor(decode(file)) for file in files]).to(image)


def srgb_to_linear(image: Tensor) -> Tensor:
    """sRGB values to linear light, both in [0, 1] (IEC 61966-2-1)."""
    image = image.clamp(0, 1)
    return torch.lerp(image / 12.92, ((image + 0.055) / 1.055) ** 2.4, _beyond(image, 0.04045))


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Linear light to sRGB values, both in [0, 1]; light above full scale clips (IEC 61966-2-1)."""
    linear = linear.clamp(0, 1)
    # clamp_min keeps the gradient of what is not taken finite at black.
    curved = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.lerp(linear * 12.92, curved, _beyond(linear, 0.0031308))


def uniform(
    batch: int, low: float, high: float, generator: torch.Generator, device: torch.device | str | None = None
) -> Tensor:
    """Numbers between low and high, one per image, (B,), from the generator, moved to the device."""
    draw = torch.rand(batch, generator=generator, device=generator.device)
    return (low + (high - low) * draw).to(device or generator.device)


def _beyond(values: Tensor, edge: float) -> Tensor:
    """1 above the edge, else 0, for `lerp`, which then gives what `where` would, to the last bit and much faster."""
    return (values.detach() - edge).sign_().clamp_min_(0)


_REC709 = torch.tensor([0.2126, 0.7152, 0.0722])


def _expose_map(image: Tensor, stops: Tensor, noise: Noise | None, generator: torch.Generator | None) -> Tensor:
    if noise is None:
        exposed = linear_to_srgb(srgb_to_linear(image) * torch.exp2(stops))
        # 0 stops is the identity to the last bit, which the two power functions alone would miss.
        return torch.where(stops == 0, image, exposed)
    if generator is None:
        raise ValueError("noise needs a generator; pass torch.Generator().manual_seed(0) or your own")
    light = srgb_to_linear(image) * torch.exp2(stops)
    return linear_to_srgb(light + noise.deviation(light) * _normal(image.shape, generator, image))


def _smooth_noise(image: Tensor, cells: int, generator: torch.Generator) -> Tensor:
    """A random field with about `cells` hills along each side, (B, 1, H, W)."""
    coarse = _normal((image.shape[0], 1, cells + 1, cells + 1), generator, image)
    return F.interpolate(coarse, size=image.shape[-2:], mode="bicubic", align_corners=True)


def guided_filter(mask: Tensor, guide: Tensor, radius: int = 4, cells: int = 64, epsilon: float = 1e-3) -> Tensor:
    """The mask as a locally linear function of the guide, both (B, 1, H, W).

    The two coefficients are found on a grid of at most `cells` x `cells` (fast guided filter, He and Sun, 2015).
    """
    size = guide.shape[-2:]
    grid = (min(cells, size[0]), min(cells, size[1]))

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)

    p, g = F.adaptive_avg_pool2d(mask, grid), F.adaptive_avg_pool2d(guide, grid)
    mean_p, mean_g = mean(p), mean(g)
    slope = (mean(g * p) - mean_g * mean_p) / (mean(g * g) - mean_g**2 + epsilon)
    coefficients = torch.cat([mean(slope), mean(mean_p - slope * mean_g)], dim=1)
    slope, offset = F.interpolate(coefficients, size=size, mode="bilinear", align_corners=False).split(1, dim=1)
    return slope * guide + offset


def _standardised(field: Tensor) -> Tensor:
    mean = field.mean(dim=(1, 2, 3), keepdim=True)
    return (field - mean) / field.std(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)


def _normal(shape: tuple[int, ...] | torch.Size, generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device).to(like)


def _per_image(value: Tensor | float, image: Tensor) -> Tensor:
    """One number, (B,) or (B, 1, H, W) as something that multiplies (B, 3, H, W); truth values stay truth values."""
    tensor = torch.as_tensor(value, device=image.device)
    if tensor.dtype != torch.bool:
        tensor = tensor.to(image.dtype)
    if tensor.ndim == 1:
        if tensor.shape[0] != image.shape[0]:
            raise ValueError(
                f"got {tensor.shape[0]} values for {image.shape[0]} images; give one number, or one per image"
            )
        return tensor.view(-1, 1, 1, 1)
    return tensor


def _checked(image: Tensor) -> Tensor:
    if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
        raise ValueError(f"images must be float RGB of shape (B, 3, H, W); got {image.dtype} {tuple(image.shape)}")
    return image
