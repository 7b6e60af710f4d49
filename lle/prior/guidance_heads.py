"""What tells how badly lit a picture looks: a prompt pair, a latent pair or a residual vector (method 1.2, 1.6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lle.config import PriorSettings
from lle.prior.graded import Captions
from lle.prior.prompts import LatentPair, PromptPair
from lle.prior.residual import ResidualVector
from lle.prior.towers import Tower

GuidanceHead = PromptPair | LatentPair | ResidualVector | Captions

GUIDANCE_HEADS: Mapping[str, Callable[[PriorSettings, Tower], GuidanceHead]] = {
    "prompts": lambda settings, tower: PromptPair(tower, settings.prompt_tokens, settings.words),
    "latent": lambda settings, tower: LatentPair(tower),
    "captions": lambda settings, tower: Captions(tower),
    "residual": lambda settings, tower: ResidualVector(tower.width),
}
"""Each guide by its name in `prior.guidance`."""


def build_guidance_head(settings: PriorSettings, tower: Tower) -> GuidanceHead:
    """The guide named by `prior.guidance`, untaught, on the CPU; seed torch before for a reproducible latent pair.

    Raises:
        ValueError: there is no guide of that name.
    """
    if settings.guidance not in GUIDANCE_HEADS:
        raise ValueError(
            f"prior.guidance: there is no guidance head {settings.guidance}; choose from {', '.join(GUIDANCE_HEADS)}"
        )
    return GUIDANCE_HEADS[settings.guidance](settings, tower)
