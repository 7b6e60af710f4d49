"""The objective: named terms, weighed and summed.

A term with weight 0 is not computed. Every term is a mean over pictures, so one set of weights serves any batch size
and any number of workers.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lle.config import ObjectiveSettings
from lle.enhancers import Enhanced
from lle.losses.guidance import guidance
from lle.losses.identity import identity
from lle.losses.smoothness import smoothness
from lle.prior.crops import WHOLE_ONLY, Crops
from lle.prior.guides import Guide
from lle.prior.towers import Prior


@dataclass(frozen=True)
class Terms:
    """Values of the terms and what they sum to.

    Attributes:
        values: each term before its weight, by name.
        weights: the weight of each.
    """

    values: dict[str, Tensor]
    weights: dict[str, float]

    @property
    def total(self) -> Tensor:
        """Scalar: the weighted sum, which is minimised."""
        total: Tensor = sum(self.weights[name] * value for name, value in self.values.items())  # type: ignore[assignment]
        return total


@dataclass(frozen=True)
class Objective:
    """What the enhancer minimises.

    Args:
        settings: weights and layer weights.
        prior: the frozen towers.
        guide: judges the light; gets no gradients here.
        crops: what guidance looks at beside the whole pictures.
    """

    settings: ObjectiveSettings
    prior: Prior
    guide: Guide
    crops: Crops = WHOLE_ONLY

    def reconstruction(self, image: Tensor, enhanced: Enhanced) -> Terms:
        """Terms of the copying phase; image RGB in [0, 1], (B, 3, H, W)."""
        term = self.settings.reconstruction
        ours = self.prior.identity(enhanced.image, stages=True).stages
        theirs = self.prior.identity(image, stages=True).stages
        return Terms({"reconstruction": identity(ours, theirs, term.layers)}, {"reconstruction": term.weight})

    def enhancement(self, image: Tensor, enhanced: Enhanced) -> Terms:
        """Terms of the enhancement phase; image RGB in [0, 1], (B, 3, H, W)."""
        chosen = self.settings
        shared = self.prior.guidance is self.prior.identity
        values: dict[str, Tensor] = {}
        seen = None
        if chosen.guidance.weight:
            views = self.crops.views(enhanced.image, self.prior.guidance.image_size)
            seen = self.prior.guidance(views, stages=shared and chosen.identity.weight > 0)
            values["guidance"] = guidance(seen.features, self.guide)
        if chosen.identity.weight:
            if seen and seen.stages:
                ours = [stage[: len(image)] for stage in seen.stages]  # of the whole pictures, which come first
            else:
                ours = self.prior.identity(enhanced.image, stages=True).stages
            theirs = self.prior.identity(image, stages=True).stages
            values["identity"] = identity(ours, theirs, chosen.identity.layers)
        if chosen.smoothness.weight:
            values["smoothness"] = smoothness(enhanced.maps)
        return Terms(values, {name: getattr(chosen, name).weight for name in values})
