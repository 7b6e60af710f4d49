"""Haze: light of the scene that is lost on its way, and light of the air that is added (Koschmieder; Narasimhan 2002).

    I = J t + A (1 - t),    t = exp(-beta d)

J: the photo; d: a depth that it could have, see `depth`; A: the airlight, near white. Mixed in sRGB values, for in
these one airlight fits all places of real pairs, or in linear light.

Shapes: B images, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lle.config.weather import HazeSettings
from lle.exposure.camera import linear_to_srgb, quantise, srgb_to_linear
from lle.weather.depth import made_up_depth
from lle.weather.draws import between, check_seeds, drawn, in_ratios, of_images

DENSITY, NEAR, EVEN, AIRLIGHT, LINEAR, RED, GREEN, BLUE = range(8)


def haze(image: Tensor, settings: HazeSettings, seeds: Sequence[int]) -> Tensor:
    """Each photo as it would be through haze, as an 8-bit file holds it.

    Args:
        image: clear sRGB in [0, 1], (B, 3, H, W).
        settings: density, depth and airlight.
        seeds: one for each image, >= 0; the same seed gives the same haze in any batch.

    Returns:
        sRGB in [0, 1], (B, 3, H, W).

    Raises:
        ValueError: not as many seeds as images.
    """
    check_seeds(image, seeds)
    if not len(image):
        return image
    draws = drawn(seeds, 8)
    near = torch.where(draws[:, EVEN] < settings.even_share, 1.0, between(settings.near, draws[:, NEAR]))
    depth = made_up_depth(image, near, seeds)
    transmission = torch.exp(-of_images(in_ratios(settings.density, draws[:, DENSITY]), image) * depth)
    tint = settings.tint * (2 * draws[:, RED : BLUE + 1] - 1)
    airlight = of_images(between(settings.airlight, draws[:, AIRLIGHT])[:, None] + tint, image).clamp(0, 1)
    linear = of_images(draws[:, LINEAR] < settings.linear_share, image).bool()
    shown = through_air(image, transmission, airlight)
    if settings.linear_share:
        light = through_air(srgb_to_linear(image), transmission, srgb_to_linear(airlight))
        shown = torch.where(linear, linear_to_srgb(light), shown)
    return quantise(shown)


def through_air(scene: Tensor, transmission: Tensor, airlight: Tensor) -> Tensor:
    """J t + A (1 - t), (B, 3, H, W); t in [0, 1], (B, 1, H, W); A in [0, 1], (B, 3, 1, 1)."""
    return airlight + (scene - airlight) * transmission
