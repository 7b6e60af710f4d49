"""The networks that brighten: one interface, one table, one builder."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lle.config import EnhancerSettings
from lle.enhancers.base import Enhanced, Enhancer
from lle.enhancers.bilateral import BilateralEnhancer
from lle.enhancers.compact import CompactEnhancer
from lle.enhancers.curve_maps import CurveEnhancer
from lle.enhancers.exposure import ExposureEnhancer
from lle.enhancers.retinex import RetinexEnhancer
from lle.enhancers.scene import SceneEnhancer

__all__ = ["NETWORKS", "Enhanced", "Enhancer", "build_enhancer"]

NETWORKS: Mapping[str, Callable[[EnhancerSettings], Enhancer]] = {
    "retinex": lambda chosen: RetinexEnhancer(padding=chosen.padding),
    "curves": lambda chosen: CurveEnhancer(),
    "compact": lambda chosen: CompactEnhancer(thumbnail_size=chosen.thumbnail_size, width=chosen.width),
    "bilateral": lambda chosen: BilateralEnhancer(chosen.thumbnail_size, chosen.width, chosen.denoise),
    "exposure": lambda chosen: ExposureEnhancer(chosen.thumbnail_size, chosen.width, chosen.denoise, chosen.local),
    "scene": lambda chosen: SceneEnhancer(chosen.denoise, chosen.camera),
}
"""Each network by its name in `enhancer.arch`."""


def build_enhancer(settings: EnhancerSettings) -> Enhancer:
    """A freshly initialised network; seed torch before for reproducible weights.

    Raises:
        ValueError: there is no network of that name.
    """
    if settings.arch not in NETWORKS:
        raise ValueError(f"enhancer.arch: there is no network {settings.arch}; choose from {', '.join(NETWORKS)}")
    return NETWORKS[settings.arch](settings)
