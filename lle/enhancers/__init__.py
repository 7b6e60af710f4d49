"""The networks that brighten: one interface, one builder."""

from __future__ import annotations

from lle.config import EnhancerSettings
from lle.enhancers.base import Enhanced, Enhancer
from lle.enhancers.compact import CompactEnhancer
from lle.enhancers.curve_maps import CurveEnhancer
from lle.enhancers.retinex import RetinexEnhancer

__all__ = ["Enhanced", "Enhancer", "build_enhancer"]


def build_enhancer(settings: EnhancerSettings) -> Enhancer:
    """A freshly initialised network; seed torch before for reproducible weights."""
    if settings.kind == "retinex":
        return RetinexEnhancer(padding=settings.padding)
    if settings.kind == "curves":
        return CurveEnhancer()
    return CompactEnhancer(look=settings.look, width=settings.width)
