"""The objective: named terms, weighed and summed.

A term with weight 0 is not computed. Every term is a mean over pictures, so one set of weights serves any batch size
and any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lle.config import ObjectiveSettings
from lle.enhancers import Enhanced
from lle.losses.colour import colour
from lle.losses.contrast import feature_contrast, pixel_contrast
from lle.losses.guidance import guidance
from lle.losses.identity import identity
from lle.losses.preservation import preservation
from lle.losses.regional import regional_consistency
from lle.losses.restoration import denoising, restoration
from lle.losses.smoothness import smoothness
from lle.prior.crops import WHOLE_ONLY, Crops
from lle.prior.guides import Guide
from lle.prior.towers import Prior

DEEP = 3  # of the stages: the fourth is compared by preservation, those before it by contrast


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

    def __or__(self, other: Terms) -> Terms:
        """The terms of both."""
        return Terms(self.values | other.values, self.weights | other.weights)


@dataclass(frozen=True)
class Others:
    """What enhanced pictures are compared with; None where no chosen term asks for it.

    Attributes:
        well_lit: unpaired photos, RGB in [0, 1], (P, 3, H, W).
        mis_exposed: wrong exposures of them, (N, 3, H, W).
        regions: regions of the dark pictures, integers, (B, H, W).
    """

    well_lit: Tensor | None = None
    mis_exposed: Tensor | None = None
    regions: Tensor | None = None


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

    def enhancement(self, image: Tensor, enhanced: Enhanced, others: Others | None = None) -> Terms:
        """Terms of the enhancement phase that look at enhanced dark pictures.

        Args:
            image: dark RGB in [0, 1], (B, 3, H, W).
            enhanced: what the enhancer made of them.
            others: what the chosen terms compare them with.
        """
        chosen, others = self.settings, others or Others()
        shared = self.prior.guidance is self.prior.identity
        values: dict[str, Tensor] = {}
        ours: list[Tensor] = []
        if chosen.guidance.weight:
            views = self.crops.views(enhanced.image, self.prior.guidance.image_size)
            seen = self.prior.guidance(views, stages=shared and self._wants_stages)
            values["guidance"] = guidance(seen.features, self.guide)
            ours = [stage[: len(image)] for stage in seen.stages]  # of the whole pictures, which come first
        if self._wants_stages and not ours:
            ours = self._tower_stages(enhanced.image)
        seen_by_tower = _in_one_pass(self._tower_stages, self._compared(image, others, by_tower=True))
        if chosen.identity.weight:
            values["identity"] = identity(ours, seen_by_tower["input"], chosen.identity.layers)
        if chosen.smoothness.weight:
            values["smoothness"] = smoothness(enhanced.maps)
        if chosen.colour.weight:
            values["colour"] = colour(enhanced.image)
        if chosen.regional.weight:
            assert others.regions is not None
            values["regional"] = regional_consistency(enhanced.image, others.regions)
        if chosen.pixel_contrast.weight:
            assert others.well_lit is not None and others.mis_exposed is not None
            values["pixel_contrast"] = pixel_contrast(
                enhanced.image, others.well_lit, others.mis_exposed, chosen.pixel_contrast.margin
            )
        if self._compares_features:
            values |= self._feature_terms(image, enhanced.image, others, ours, seen_by_tower)
        return self._weighed(values)

    def restoration(self, restored: Tensor, well_lit: Tensor) -> Terms:
        """Terms of restored wrong exposures and the photos they were made of, RGB in [0, 1], (B, 3, H, W)."""
        term = self.settings.restoration
        return self._weighed({"restoration": restoration(restored, well_lit, term.structure, term.detail)})

    def denoising(self, restored: Tensor, without_noise: Tensor) -> Terms:
        """Terms of restored wrong exposures and what a frozen enhancer makes of them without noise, RGB in [0, 1],
        (B, 3, H, W).
        """
        structure = self.settings.restoration.denoising_structure
        return self._weighed({"restoration": denoising(restored, without_noise, structure)})

    def _feature_terms(
        self,
        image: Tensor,
        enhanced: Tensor,
        others: Others,
        ours: list[Tensor],
        seen_by_tower: dict[str, list[Tensor]],
    ) -> dict[str, Tensor]:
        chosen, values = self.settings, dict[str, Tensor]()
        if self.prior.features is None:
            ours = _of_unit_scale(ours)
            theirs = {name: _of_unit_scale(stages) for name, stages in seen_by_tower.items()}
        else:
            ours = self.prior.features(enhanced)
            theirs = _in_one_pass(self.prior.features, self._compared(image, others, by_tower=False))
        if chosen.preservation.weight:
            values["preservation"] = preservation(ours[DEEP], theirs["input"][DEEP])
        if chosen.feature_contrast.weight:
            positives, negatives = (theirs[name][:DEEP] for name in ("well_lit", "mis_exposed"))
            values["feature_contrast"] = feature_contrast(ours[:DEEP], positives, negatives)
        return values

    @property
    def _compares_features(self) -> bool:
        return self.settings.preservation.weight > 0 or self.settings.feature_contrast.weight > 0

    @property
    def _wants_stages(self) -> bool:
        """Whether the identity tower's stages are needed."""
        return self.settings.identity.weight > 0 or (self._compares_features and self.prior.features is None)

    def _tower_stages(self, image: Tensor) -> list[Tensor]:
        return self.prior.identity(image, stages=True).stages

    def _compared(self, image: Tensor, others: Others, by_tower: bool) -> dict[str, Tensor]:
        """The pictures that the tower, or VGG16, has to see beside the enhanced ones."""
        chosen, pictures = self.settings, dict[str, Tensor]()
        features = by_tower == (self.prior.features is None)
        if (by_tower and chosen.identity.weight) or (features and chosen.preservation.weight):
            pictures["input"] = image
        if features and chosen.feature_contrast.weight:
            assert others.well_lit is not None and others.mis_exposed is not None
            pictures |= {"well_lit": others.well_lit, "mis_exposed": others.mis_exposed}
        return pictures

    def _weighed(self, values: dict[str, Tensor]) -> Terms:
        return Terms(values, {name: getattr(self.settings, name).weight for name in values})


@torch.no_grad()
def _in_one_pass(look: Callable[[Tensor], list[Tensor]], pictures: dict[str, Tensor]) -> dict[str, list[Tensor]]:
    """Stages of several sets of pictures that nothing is learned through."""
    if not pictures:
        return {}
    stages = look(torch.cat(list(pictures.values())))
    parts = [stage.split([len(each) for each in pictures.values()]) for stage in stages]
    return {name: [stage[index] for stage in parts] for index, name in enumerate(pictures)}


def _of_unit_scale(stages: list[Tensor]) -> list[Tensor]:
    """The first four stages, each divided by its root mean square in a picture: towers differ a thousandfold."""
    return [
        stage / stage.float().square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(1e-6)
        for stage in stages[: DEEP + 1]
    ]
