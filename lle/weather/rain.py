"""Rain: streaks of several sizes at one slant, and the veil of drops too far to tell apart (ours).

    I = J + s (b - m J),    s = 1 - prod over layers (1 - a_l min(N_l * K_l, 1)),    then a veil

N_l: drops at random places, of random light; K_l: a line of the layer's length and width; a_l: its brightness; b:
white; m in [0, 1]: from light that is added, as in most made-up sets, to light that hides what is behind it. In sRGB
values. Short and wide lines are flakes of snow.

Shapes: B images, L layers, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lle.config.weather import RainSettings
from lle.exposure.camera import quantise
from lle.weather.draws import between, check_seeds, drawn, in_ratios, of_images

AMOUNT, SLANT, HIDES, VEIL, VEIL_GREY, LAYERS = range(6)
LENGTH, WIDTH, BRIGHTNESS, SHARE = range(4)
JITTER = 0.05  # radians by which a layer differs from the slant
FAINTEST = 0.3  # of the drops of a layer
WIDE = 2.5  # standard deviations that a streak looks wide


def rain(image: Tensor, settings: RainSettings, seeds: Sequence[int]) -> Tensor:
    """Each photo as it would be in rain, as an 8-bit file holds it.

    Args:
        image: dry sRGB in [0, 1], (B, 3, H, W).
        settings: streaks and veil.
        seeds: one for each image, >= 0; the same seed gives the same rain in any batch.

    Returns:
        sRGB in [0, 1], (B, 3, H, W).

    Raises:
        ValueError: not as many seeds as images.
    """
    check_seeds(image, seeds)
    if not len(image):
        return image
    draws = drawn(seeds, 6)
    streaks = _streaks(image, settings, draws, seeds)
    wet = (image + streaks * (1 - of_images(draws[:, HIDES], image) * image)).clamp(0, 1)
    veil = of_images(between(settings.veil, draws[:, VEIL]), image)
    return quantise(wet + veil * (of_images(between((0.5, 1.0), draws[:, VEIL_GREY]), image) - wet))


def _streaks(image: Tensor, settings: RainSettings, draws: Tensor, seeds: Sequence[int]) -> Tensor:
    """Light of all layers together in [0, 1], (B, 1, H, W)."""
    height, width = image.shape[-2:]
    layers = settings.layers
    numbers = drawn([seed + 1 for seed in seeds], layers, 5 + height * width)
    of_layers, drops = numbers[..., :5], numbers[..., 5:].view(-1, layers, height, width).to(image)
    length, across = (
        in_ratios(bounds, of_layers[..., place])
        for bounds, place in ((settings.length, LENGTH), (settings.width, WIDTH))
    )
    falling = torch.arange(layers) < 1 + (draws[:, LAYERS, None] * layers).floor()
    slant = torch.deg2rad(torch.tensor(settings.slant)) * (2 * draws[:, SLANT, None] - 1)
    slant = slant + JITTER * (2 * of_layers[..., 4] - 1)
    share = (0.2 + of_layers[..., SHARE]) * falling
    covered = in_ratios(settings.amount, draws[:, AMOUNT])[:, None] * share / share.sum(dim=1, keepdim=True)
    drop_share = covered / (WIDE * across * (length + WIDE * across))
    lines = torch.fft.rfft2(_lines(height, width, length, across, slant).to(image))
    rarity = drops / drop_share.to(image).clamp_min(1e-12)[..., None, None]
    sown = torch.fft.rfft2(torch.where(rarity < 1, FAINTEST + (1 - FAINTEST) * rarity, 0.0))
    fallen = torch.fft.irfft2(sown * lines, s=(height, width)).clamp(0, 1)
    light = between(settings.brightness, of_layers[..., BRIGHTNESS]).to(image)[..., None, None]
    return 1 - (1 - light * fallen).prod(dim=1, keepdim=True)


def _lines(height: int, width: int, length: Tensor, across: Tensor, slant: Tensor) -> Tensor:
    """A line through the corner of each layer, 1 along it, round the picture's edges, (B, L, H, W)."""
    length, across, slant = (each[..., None, None] for each in (length, across, slant))
    down = ((torch.arange(height) + height // 2) % height - height // 2)[:, None]
    beside = (torch.arange(width) + width // 2) % width - width // 2
    along = (down * slant.cos() + beside * slant.sin()).abs()
    off = down * slant.sin() - beside * slant.cos()
    beyond = (along - length / 2).clamp_min(0)
    return torch.exp(-0.5 * ((off / across) ** 2 + (beyond / across) ** 2))
