"""The networks that brighten: one interface, one builder."""

from __future__ import annotations

from lle.config import EnhancerSettings
from lle.enhancers.base import Enhanced, Enhancer
from lle.enhancers.bilateral import BilateralEnhancer
from lle.enhancers.compact import CompactEnhancer
from lle.enhancers.curve_maps import CurveEnhancer
from lle.enhancers.exposure import ExposureEnhancer
from lle.enhancers.retinex import RetinexEnhancer

__all__ = ["Enhanced", "Enhancer", "build_enhancer"]


def build_enhancer(settings: EnhancerSettings) -> Enhancer:
    """A freshly initialised network; seed torch before for reproducible weights."""
    if settings.kind == "retinex":
        return RetinexEnhancer(padding=settings.padding)
    if settings.kind == "curves":
        return CurveEnhancer()
    if settings.kind == "bilateral":
        return BilateralEnhancer(settings.look, settings.width, settings.denoise)
    if settings.kind == "exposure":
        return ExposureEnhancer(settings.look, settings.width, settings.denoise, settings.local)
    return CompactEnhancer(look=settings.look, width=settings.width)
