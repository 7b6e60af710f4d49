"""Our enhancer of few decisions: one exposure and one white balance for the whole picture, then the noise out.

    e = sRGB(f(min(w x, 1); k)),    k = 2 s sinh(u + d),    x: linear light,    f: the curve of `exposure.shoulder`
    e' = e + min(s, 1) (D(e, h) - e),    h = asinh(k / 2) / 8.8

u in [-2.5, 7] and three gains w are read off a thumbnail. Few parameters cannot flatten a picture,
whatever the training photos' darkness was like: contrast stays. d, where it is wanted, are local stops of at most
`local`: a coarse map, fitted to the edges of log light by a guided filter (He et al. 2013) whose slope never turns the
order of tones round. D: the denoiser, told of the light that was added. s: the strength, 1 as trained; 0 leaves the
picture as it is, and k grows with it.

Where tones are kept, d = -.9 softplus(L - .8) - .2 u softplus(-3 - L), L = B + ln f'(0), each of width .5, but u + d is
never below 0 for it: lamps and skies that the exposure would burn get less of it, and so do depths that it would turn
into a veil, for a dark photo's black is the camera's, not the scene's. B, the base of log light, is what that filter
leaves of it: the detail within a lamp is lifted as one.

Without a gradient, full resolution is touched once, in strips of rows or in the tiles of the denoiser.
"""

from __future__ import annotations

from math import log
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.enhancers.base import Enhanced, Enhancer, checked_strength
from lle.enhancers.blocks import PlainBlock, looking, seen, starting_at_zero
from lle.enhancers.denoiser import REACH, Denoiser
from lle.enhancers.resizing import enlarged, shrunk
from lle.enhancers.tiles import EVERYWHERE, WHITE, Where, in_strips, like, pieces, put_together
from lle.exposure.camera import linear_to_srgb, srgb_to_linear
from lle.exposure.shoulder import BRIGHTEST, DARKEST, k_of, shoulder, u_of

BALANCE_RANGE = 0.5
TOLD = 8.8  # u is a logarithm of linear light; the denoiser's exponent a quarter of one of sRGB values, a power of 2.2
BLACK = 1e-3  # of log light, linear
SLOWEST = -0.5  # slope of d by log light: at -1 a brighter place would end up as bright as a darker one
FILTER_RADIUS, FILTER_EPSILON = 4, 0.1  # cells of the small copy; squared log light
BASE_RADIUS, BASE_EPSILON = 8, 0.3
KNEE, KNEE_WIDTH, KEPT = 0.8, 0.5, 0.9  # log of lifted light; the share of what is above it that is taken back
DEEP, DEEPENED = -3.0, 0.2  # the same of what is below it, for each nat of the exposure
LEAST_LIFT = 1e-3


class Light(NamedTuple):
    """What the small copy tells.

    Attributes:
        exposure: u in [-2.5, 7], (B, 1, 1, 1).
        balance: w > 0, (B, 3, 1, 1).
        local: slope and offset of d by log light, (B, 2, size, size); None: no local stops.
        base: slope and offset of B by log light, (B, 2, size, size), where tones are kept; None: they are not.
    """

    exposure: Tensor
    balance: Tensor
    local: Tensor | None = None
    base: Tensor | None = None

    @property
    def by_light(self) -> Tensor | None:
        """The one of the two maps that there is."""
        return self.local if self.base is None else self.base


class OneExposure(Enhancer):
    """Base of the networks that decide on one exposure and one white balance for a picture.

    Attributes:
        denoiser: None where there is none.
        max_local: stops by which a place may differ, in nat.
        thumbnail_size: side of the copy that is looked at, px.
    """

    denoiser: Denoiser | None
    thumbnail_size: int
    max_local = 0.0
    knows_strength = True
    takes_bytes = True

    def forward(self, image: Tensor, strength: float | Tensor = 1.0) -> Enhanced:
        light, maps = self.light(image)
        return Enhanced(self.under(light, image, strength), maps)

    def under(self, light: Light, image: Tensor, strength: float | Tensor = 1.0) -> Tensor:
        """The picture by what was decided, whoever did, (B, 3, H, W): of bytes where the image is."""

        def lit(where: Where) -> Tensor:
            linear = linear_light(image[(..., *where)])
            relit, k = relight(linear, light, self.local(light, linear, image, where), strength)
            return relit if denoiser is None else torch.cat([relit, told(k).expand_as(relit[:, :1])], dim=1)

        def finished(where: Where) -> Tensor:
            if denoiser is None:
                return lit(where)
            relit, exponent = in_strips(lit, image, where).split([3, 1], dim=1)
            return partly(relit, denoiser(relit, exponent), strength)

        denoiser = self.denoiser_at_work
        tiles = pieces(image, None if denoiser is None else REACH)
        return put_together(finished, image, tiles) if tiles else like(image, finished(EVERYWHERE))

    @property
    def denoiser_at_work(self) -> Denoiser | None:
        """None where there is none, or none is wanted now."""
        return self.denoiser

    def picture(self, image: Tensor, strength: float = 1.0) -> Tensor:
        return self(image, checked_strength(strength)).image

    def light(self, image: Tensor) -> tuple[Light, Tensor]:
        """What the network decides, and u + d before it is fitted to edges, (B, 1, h, w)."""
        return self.light_of(shrunk(image, self.thumbnail_size))

    def light_of(self, small: Tensor) -> tuple[Light, Tensor]:
        """The same of the copy that is looked at, RGB in [0, 1], (B, 3, thumbnail_size, thumbnail_size)."""
        raise NotImplementedError

    def local(self, light: Light, linear: Tensor, image: Tensor, where: Where) -> Tensor | None:
        """d of some rows and columns of the image, (B, 1, rows, columns), by their linear light."""
        by_light = light.by_light
        if by_light is None:
            return None
        slope, offset = enlarged(by_light, image, where).split(1, dim=1)
        return self.stops(light, slope * log_light(linear) + offset)

    def stops(self, light: Light, found: Tensor) -> Tensor:
        """d of what `light.by_light` gives for places, both (B, 1, h, w)."""
        if light.base is None:
            return found.clamp(-self.max_local, self.max_local)
        return tones_kept(light.exposure, found)


class ExposureEnhancer(OneExposure):
    """204,082 parameters with the denoiser at the default widths, 72,036 without, 18,785 more with local stops.

    Args:
        thumbnail_size: side of the copy the network sees, px.
        width: channels.
        denoise: channels of the denoiser; 0: none.
        local: stops by which the exposure of a place may differ from the picture's; 0: one exposure for all.
    """

    def __init__(self, thumbnail_size: int = 64, width: int = 32, denoise: int = 32, local: float = 0.0) -> None:
        super().__init__()
        self.thumbnail_size, self.max_local = thumbnail_size, local * log(2)
        self.fine, self.coarse, self.context = looking(width)
        self.exposure = starting_at_zero(nn.Linear(width, 1))
        self.balance = starting_at_zero(nn.Linear(width, 3))
        self.places = (
            nn.Sequential(PlainBlock(width), starting_at_zero(nn.Conv2d(width, 1, 3, padding=1))) if local else None
        )
        self.denoiser = Denoiser(denoise) if denoise else None

    def light_of(self, small: Tensor) -> tuple[Light, Tensor]:
        features, context = seen(small, self.fine, self.coarse, self.context)
        exposure = _bounded(self.exposure(context).float())[:, :, None, None]
        balance = gains(self.balance(context))
        if self.places is None:
            return Light(exposure, balance, None), exposure.expand(-1, -1, *features.shape[-2:])
        places = self.max_local * F.softsign(self.places(features + context[:, :, None, None]).float())
        local = _fitted(places, log_light(srgb_to_linear(small.float())))
        return Light(exposure, balance, local), exposure + places


def gains(h: Tensor) -> Tensor:
    """White balance of three numbers, (B, 3) -> (B, 3, 1, 1): 1 at 0, at most .5 nat from it."""
    return torch.exp(BALANCE_RANGE * F.softsign(h.float()))[:, :, None, None]


def relight(
    linear: Tensor, light: Light, local: Tensor | None = None, strength: float | Tensor = 1.0
) -> tuple[Tensor, Tensor]:
    """Every pixel by the picture's exposure.

    Args:
        linear: linear light in [0, 1], (B, 3, H, W).
        light: of the whole picture.
        local: d, (B, 1, H, W); None: 0.
        strength: s >= 0, or a tensor of it, (1,).

    Returns:
        sRGB in [0, 1], (B, 3, H, W), and k, (B, 1, 1, 1) or (B, 1, H, W).
    """
    exposure = light.exposure if local is None else light.exposure + local
    k = strength * k_of(exposure)
    balanced = (linear.float() * light.balance**strength).clamp(max=1)
    return linear_to_srgb(shoulder(balanced, k)), k


def tones_kept(exposure: Tensor, base: Tensor) -> Tensor:
    """d <= 0: how much less of an exposure the brightest and the darkest places get.

    The order of tones stays: light k x that is lifted to more than e^.8 grows with the tenth root of x, not at once;
    what stays below e^-3 grows with a power of x above 1.

    Args:
        exposure: u, (B, 1, 1, 1).
        base: B of linear light as `log_light` gives it, (B, 1, H, W).

    Returns:
        (B, 1, H, W); 0 where u <= 0.
    """
    lift = exposure.clamp_min(0)
    k = k_of(exposure.clamp_min(LEAST_LIFT))
    lifted = base + (k / -torch.expm1(-k)).log()
    over = KEPT * F.softplus((lifted - KNEE) / KNEE_WIDTH)
    under = DEEPENED * lift * F.softplus((DEEP - lifted) / KNEE_WIDTH)
    return torch.maximum(-KNEE_WIDTH * (over + under), -lift)


def edge_aware_base(light: Tensor) -> Tensor:
    """Slope and offset by which log light gives its base, (B, 2, H, W), of linear light, (B, 3, H, W)."""
    guide = log_light(light)
    return _fitted(guide, guide, BASE_RADIUS, BASE_EPSILON)


def told(k: Tensor) -> Tensor:
    """h, what the denoiser is told of the light that was added, of any shape."""
    return u_of(k) / TOLD


def partly(relit: Tensor, denoised: Tensor, strength: float | Tensor) -> Tensor:
    """As much of the denoising as a strength wants, all of it from 1 on, (B, 3, H, W)."""
    if isinstance(strength, Tensor):  # of an export, in which it must not decide on a branch
        return torch.lerp(relit, denoised, strength.clamp(max=1.0))
    return denoised if strength >= 1 else torch.lerp(relit, denoised, strength)


def _bounded(h: Tensor) -> Tensor:
    """u between its ends, with one slope on both sides of 0; it approaches them so slowly that it can turn back."""
    return BRIGHTEST * h / (1 + torch.maximum(h, -BRIGHTEST / DARKEST * h))


def linear_light(pixels: Tensor) -> Tensor:
    """Linear light of sRGB in [0, 1] or of bytes, whose 256 values are looked up."""
    if pixels.is_floating_point():
        return srgb_to_linear(pixels)
    return light_of_bytes(pixels.device).index_select(0, pixels.flatten().int()).view(pixels.shape)


def light_of_bytes(device: torch.device) -> Tensor:
    """Linear light of each of the 256 bytes, (256,)."""
    return srgb_to_linear(torch.arange(WHITE + 1, device=device) / WHITE)


def log_light(light: Tensor) -> Tensor:
    """(B, 1, H, W) of linear RGB, (B, 3, H, W)."""
    return (light.mean(dim=1, keepdim=True) + BLACK).log()


def _fitted(places: Tensor, guide: Tensor, radius: int = FILTER_RADIUS, epsilon: float = FILTER_EPSILON) -> Tensor:
    """Slope and offset by which the guide gives the map, locally, (B, 2, size, size), of (B, 1, h, w) and
    (B, 1, size, size).
    """
    wanted = F.interpolate(places, size=guide.shape[-2:], mode="bilinear")

    def mean(x: Tensor) -> Tensor:
        for along in ((1, 0), (0, 1)):  # rows, then columns: of a whole square it takes many times as long
            size, padding = [1 + 2 * radius * each for each in along], [radius * each for each in along]
            x = F.avg_pool2d(x, size, stride=1, padding=padding, count_include_pad=False)
        return x

    mean_p, mean_g = mean(wanted), mean(guide)
    slope = (mean(guide * wanted) - mean_g * mean_p) / (mean(guide**2) - mean_g**2 + epsilon)
    slope = slope.clamp_min(SLOWEST)
    return torch.cat([mean(slope), mean(mean_p - slope * mean_g)], dim=1)
