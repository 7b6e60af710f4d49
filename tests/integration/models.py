"""Models that tests register, serve and compare."""

from __future__ import annotations

import torch

from lle.config import EnhancerSettings
from lle.enhancers import build_enhancer
from lle.model import Model


def brightener(bias: float) -> Model:
    """Brightens by a constant number of stops."""
    settings = EnhancerSettings(arch="compact", thumbnail_size=32, width=4)
    torch.manual_seed(0)
    enhancer = build_enhancer(settings)
    torch.nn.init.constant_(enhancer.head.bias, bias)
    return Model(enhancer.requires_grad_(False), settings)
