"""What one exposure and one white balance for a picture do to its pixels.

    e = sRGB(f(min(w x, 1); k)),    k = 2 s sinh(u + d),    x: linear light,    f: the curve of `exposure.shoulder`

d, where it is wanted, are local stops: a coarse map, fitted to the edges of log light by a guided filter (He et al.
2013) whose slope never turns the order of tones round. Where tones are kept,

    d = -.9 softplus(L - .8) - .2 u softplus(-3 - L),    L = B + ln f'(0),    each of width .5,

but u + d is never below 0 for it: lamps and skies that the exposure would burn get less of it, and so do depths that it
would turn into a veil, for a dark photo's black is the camera's, not the scene's. B, the base of log light, is what
that filter leaves of it: the detail within a lamp is lifted as one. s: the strength.
"""

from __future__ import annotations

from math import log
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lle.enhancers.resizing import enlarged
from lle.enhancers.tiles import WHITE, Where
from lle.exposure.camera import linear_to_srgb, srgb_to_linear
from lle.exposure.shoulder import k_of, shoulder, u_of

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
        max_local: nat by which local stops differ at most.
    """

    exposure: Tensor
    balance: Tensor
    local: Tensor | None = None
    base: Tensor | None = None
    max_local: float = 0.0

    @property
    def by_light(self) -> Tensor | None:
        """The one of the two maps that there is."""
        return self.local if self.base is None else self.base

    @property
    def ends(self) -> tuple[float, float]:
        """Between which `by_light` gives all that matters: B is a log light, and beyond the others nothing changes."""
        return (-self.max_local, self.max_local) if self.base is None else (log(BLACK), log(1 + BLACK))

    def stops(self, found: Tensor) -> Tensor:
        """d of what `by_light` gives for places, both (B, 1, h, w)."""
        if self.base is None:
            return found.clamp(-self.max_local, self.max_local)
        return tones_kept(self.exposure, found)

    def local_stops(self, linear: Tensor, image: Tensor, where: Where) -> Tensor | None:
        """d of some rows and columns of the image, (B, 1, rows, columns), by their linear light; None: 0."""
        if self.by_light is None:
            return None
        slope, offset = enlarged(self.by_light, image, where).split(1, dim=1)
        return self.stops(slope * log_light(linear) + offset)


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
    return fitted(guide, guide, BASE_RADIUS, BASE_EPSILON)


def told(k: Tensor) -> Tensor:
    """h, what the denoiser is told of the light that was added, of any shape."""
    return u_of(k) / TOLD


def partly(relit: Tensor, denoised: Tensor, strength: float | Tensor) -> Tensor:
    """As much of the denoising as a strength wants, all of it from 1 on, (B, 3, H, W)."""
    if isinstance(strength, Tensor):  # of an export, in which it must not decide on a branch
        return torch.lerp(relit, denoised, strength.clamp(max=1.0))
    return denoised if strength >= 1 else torch.lerp(relit, denoised, strength)


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


def fitted(places: Tensor, guide: Tensor, radius: int = FILTER_RADIUS, epsilon: float = FILTER_EPSILON) -> Tensor:
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
