"""What tells how badly lit a picture looks: a prompt pair, a latent pair or a residual vector (method 1.2, 1.6)."""

from __future__ import annotations

from lle.config import PriorSettings
from lle.prior.prompts import LatentPair, PromptPair
from lle.prior.residual import ResidualVector
from lle.prior.towers import Tower

Guide = PromptPair | LatentPair | ResidualVector


def build_guide(settings: PriorSettings, tower: Tower) -> Guide:
    """The guide named by `prior.guidance`, untaught, on the CPU; seed torch before for a reproducible latent pair."""
    if settings.guidance == "prompts":
        return PromptPair(tower, settings.prompt_tokens)
    return LatentPair(tower) if settings.guidance == "latent" else ResidualVector(tower.width)
