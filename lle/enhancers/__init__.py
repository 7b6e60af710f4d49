"""The networks that brighten: one interface, one builder; `NETWORKS` lists ours, a path `module:Class` names others."""

from __future__ import annotations

import torch

from lle.config import EnhancerSettings
from lle.config.networks import NETWORKS
from lle.dotted import OwnCodeError, imported, is_dotted, said
from lle.enhancers.base import Enhanced, Enhancer

__all__ = ["NETWORKS", "Enhanced", "Enhancer", "build_enhancer"]

PROBE = (1, 3, 33, 47)  # sides that halve unevenly: a network must take any


def build_enhancer(settings: EnhancerSettings) -> Enhancer:
    """A freshly initialised network; seed torch before for reproducible weights.

    Raises:
        ValueError: there is no network of that name.
        OwnCodeError: the class that `enhancer.arch` names cannot be imported, or is no network of this kind.
    """
    arch = settings.arch
    if arch in NETWORKS:
        enhancer: Enhancer = imported(NETWORKS[arch].path, "enhancer.arch")(**settings.arguments)
        return enhancer
    if not is_dotted(arch):
        raise ValueError(f"enhancer.arch: there is no network {arch}; choose from {', '.join(NETWORKS)}")
    return _own(arch, settings)


def _own(path: str, settings: EnhancerSettings) -> Enhancer:
    """A network of a class from outside, once it has brightened a picture as ours do."""
    made = imported(path, "enhancer.arch")
    if not (isinstance(made, type) and issubclass(made, Enhancer)):
        raise OwnCodeError(f"enhancer.arch: {path} is no network; derive its class from lle.enhancers.Enhancer")
    try:
        enhancer = made(**settings.arguments)
    except Exception as error:
        raise OwnCodeError(
            f"enhancer.arch: {path} cannot be made with enhancer.options {settings.options or '{}'} ({said(error)})"
        ) from error
    image = torch.full(PROBE, 0.25)
    modes = [(part, part.training) for part in enhancer.modules()]
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            found = enhancer.eval()(image)
    except Exception as error:
        raise OwnCodeError(
            f"enhancer.arch: {path} fails on a picture of {PROBE[2]} x {PROBE[3]} ({said(error)}); it must take any "
            "size"
        ) from error
    for part, training in modes:
        part.training = training
    if not isinstance(found, Enhanced) or found.image.shape != image.shape or found.maps.ndim != 4:
        raise OwnCodeError(
            f"enhancer.arch: {path} must give Enhanced(image, maps), the image (B, 3, H, W) like its input and maps "
            "(B, M, h, w)"
        )
    return enhancer
