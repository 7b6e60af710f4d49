"""How good is an enhancer on photos held out of training: the measure that chooses the best one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, cast

import torch
from torch import Tensor

from lle.config.metrics import against_truth
from lle.enhancers import Enhancer
from lle.exposure.reference import reference_camera, taken_again
from lle.faults import Bag
from lle.losses.distribution import apart, means
from lle.metrics import METRICS, psnr
from lle.prior.guidance_heads import GuidanceHead
from lle.prior.towers import Tower
from lle.training.distributed import rank, summed, world_size

Pair = tuple[Tensor, Tensor]
Taken = tuple[Tensor, Tensor]


def chosen_metric(setting: str, pairs: bool) -> str:
    """What chooses the step, the trial and the champion: `loop.metric`, or where that is `auto` PSNR on pairs, and
    without pairs what predicts it best and does not depend on what guides the training.
    """
    if setting != "auto":
        return setting
    return "psnr" if pairs else "restored"


@dataclass(frozen=True)
class ValidationSet:
    """Photos held out of training, uint8, (3, H, W), each of its own size.

    Attributes:
        dark: low-light photos.
        well_lit: well-lit photos of other scenes.
        pairs: dark photos with their ground truth of the same size; may be empty.
    """

    dark: Sequence[Tensor] = field(default_factory=list)
    well_lit: Sequence[Tensor] = field(default_factory=list)
    pairs: Sequence[Pair] = field(default_factory=list)


class _Looks(NamedTuple):
    """Features of this rank's photos, (1, D) each, and the means of each photo, (N, 4), zero where others look."""

    features: Sequence[Tensor]
    means: Tensor


class _Set(NamedTuple):
    """Mean feature and penalty of some photos, and the means of each, (N, 4)."""

    feature: Tensor
    penalty: float
    means: Tensor


@dataclass(frozen=True)
class Validator:
    """Measures an enhancer, the photos shared out over the ranks.

    Args:
        photos: what is measured on.
        tower: the guidance tower, for `feature_gap`.
        device: where to compute.
        metric: one of `lle.config.metrics.choosing()`; `auto` is psnr where there are pairs, else restored.
        reference: takes the photos again that `restored` is measured on, see `lle.faults.reference_of`.
    """

    photos: ValidationSet
    tower: Tower
    device: torch.device
    metric: str = "auto"
    reference: Bag = reference_camera

    @property
    def chosen(self) -> str:
        """The measure that chooses the best enhancer."""
        return chosen_metric(self.metric, bool(self.photos.pairs))

    def better(self, value: float, than: float | None) -> bool:
        """Whether a value of the chosen measure beats another; anything finite beats None."""
        if not math.isfinite(value):
            return False
        return than is None or (value > than if METRICS[self.chosen].higher_is_better else value < than)

    @torch.inference_mode()
    def metrics(self, enhancer: Enhancer, guidance_head: GuidanceHead | None = None) -> dict[str, float]:
        """psnr (dB), ssim and the chosen metric on the pairs, feature_gap, distribution, judge_gap and restored (dB) on
        unpaired photos; the same on every rank.

        feature_gap is |mean f(e) - mean f(W)|^2 in [0, 4], f the unit-norm features of the guidance tower: how far the
        enhanced photos as a set lie from the well-lit ones. Too dark and too bright both widen it. distribution is the
        term of this name on both sets. judge_gap, where a guide is given, is the mean penalty of the enhanced photos
        minus that of the well-lit ones: at 0 the guide cannot tell them apart. restored is the PSNR of well-lit photos
        that the reference camera took again with wrong light, or another fault has, brought back.
        """
        modes = [(part, part.training) for part in enhancer.modules()]
        enhancer.eval()
        found: dict[str, float] = {}
        if self.photos.pairs:
            found |= self._paired(enhancer)
        if self.photos.dark and self.photos.well_lit:
            enhanced = self._judged(self._looked_at(self.photos.dark, enhancer), guidance_head)
            well_lit = self._judged(self._well_lit, guidance_head)
            found["feature_gap"] = float((enhanced.feature - well_lit.feature).square().sum())
            found["distribution"] = float(apart(enhanced.means, well_lit.means))
            if guidance_head is not None:
                found["judge_gap"] = enhanced.penalty - well_lit.penalty
        if self.photos.well_lit:
            found["restored"] = restored(enhancer, self._taken, self.device)
        for part, training in modes:  # of each: parts that rest stay as they are
            part.training = training
        return found

    @cached_property
    def _taken(self) -> list[Taken]:
        """This rank's share of the well-lit photos, each with its wrong exposures: the same at every validation."""
        share = range(rank(), len(self.photos.well_lit), world_size())
        return [taken_again(self.photos.well_lit[index], index, self.reference) for index in share]

    def _paired(self, enhancer: Enhancer) -> dict[str, float]:
        names = list(dict.fromkeys(("psnr", "ssim", *({self.chosen} & set(against_truth())))))
        measures = [cast(Callable[..., Tensor], METRICS[name].measure) for name in names]
        sums = torch.zeros(len(names) + 1, dtype=torch.float64, device=self.device)
        for low, high in self.photos.pairs[rank() :: world_size()]:
            enhanced, truth = enhancer(self._batch(low)).image.float(), self._batch(high)
            found = [measure(enhanced, truth)[0] for measure in measures]
            sums += torch.stack([*found, found[0].new_ones(())]).double()
        *totals, count = summed(sums).tolist()
        return {name: total / count for name, total in zip(names, totals, strict=True)}

    @cached_property
    def _well_lit(self) -> _Looks:
        """The well-lit photos look the same at every validation."""
        return self._looked_at(self.photos.well_lit)

    def _looked_at(self, photos: Sequence[Tensor], enhancer: Enhancer | None = None) -> _Looks:
        """This rank's share of photos, enhanced where an enhancer is given."""
        looks, found = list[Tensor](), torch.zeros(len(photos), 4, dtype=torch.float64, device=self.device)
        for index in range(rank(), len(photos), world_size()):
            image = self._batch(photos[index])
            image = enhancer(image).image if enhancer else image
            looks.append(self.tower(image).features.float())
            found[index] = means(image)[0]
        return _Looks(looks, found)

    def _judged(self, looks: _Looks, guidance_head: GuidanceHead | None) -> _Set:
        """The photos of all ranks together, and what the guide says of them."""
        sums = torch.zeros(self.tower.width + 1, dtype=torch.float64, device=self.device)
        for features in looks.features:
            penalty = guidance_head.penalty(features) if guidance_head is not None else features.new_zeros(1)
            sums += torch.cat([features[0], penalty]).double()
        *_, penalty = features = summed(sums) / len(looks.means)
        return _Set(features[:-1], float(penalty), summed(looks.means))

    def _batch(self, photo: Tensor) -> Tensor:
        return photo[None].to(self.device).float() / 255


@torch.inference_mode()
def restored(enhancer: Enhancer, taken: Sequence[Taken], device: torch.device) -> float:
    """Mean PSNR, dB, of wrong exposures brought back, against their photos, over those of all ranks.

    Args:
        enhancer: in evaluation mode.
        taken: this rank's photos, which the enhancer never saw, and their wrong exposures, from `taken_again`.
        device: where the enhancer is.
    """
    sums = torch.zeros(2, dtype=torch.float64, device=device)
    for photo, wrong in taken:
        truth, image = (each.to(device).float() / 255 for each in (photo, wrong))
        found = psnr(enhancer(image).image.float(), truth.expand_as(image)).double()
        sums += torch.stack([found.sum(), found.new_tensor(len(found))])
    total, count = summed(sums).tolist()
    return total / count
