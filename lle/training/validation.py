"""How good is an enhancer on photos kept out of training: the measure that chooses the best one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from lle.config import CurveSettings
from lle.enhancers import Enhancer
from lle.exposure.reference import REFERENCE, TAKES, taken_again
from lle.metrics import HIGHER_IS_BETTER, psnr, ssim
from lle.prior.towers import Tower
from lle.training.distributed import rank, summed, world_size

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class ValidationSet:
    """Photos kept out of training, uint8, (3, H, W), each of its own size.

    Attributes:
        dark: low-light photos.
        well_lit: well-lit photos of other scenes.
        pairs: dark photos with their ground truth of the same size; may be empty.
    """

    dark: Sequence[Tensor] = field(default_factory=list)
    well_lit: Sequence[Tensor] = field(default_factory=list)
    pairs: Sequence[Pair] = field(default_factory=list)


@dataclass(frozen=True)
class Validator:
    """Measures an enhancer, the photos shared out over the ranks.

    Args:
        photos: what is measured on.
        tower: the guidance tower, for `feature_gap`.
        device: where to compute.
        measure: `psnr`, `ssim`, `feature_gap`, `restored` or `auto`, which is psnr where there are pairs, else
            feature_gap.
    """

    photos: ValidationSet
    tower: Tower
    device: torch.device
    measure: str = "auto"

    @property
    def chosen(self) -> str:
        """The measure that chooses the best enhancer."""
        if self.measure != "auto":
            return self.measure
        return "psnr" if self.photos.pairs else "feature_gap"

    def better(self, value: float, than: float | None) -> bool:
        """Whether a value of the chosen measure beats another; anything finite beats None."""
        if not math.isfinite(value):
            return False
        return than is None or (value > than if HIGHER_IS_BETTER[self.chosen] else value < than)

    @torch.inference_mode()
    def measures(self, enhancer: Enhancer) -> dict[str, float]:
        """psnr (dB) and ssim on the pairs, feature_gap and restored (dB) on unpaired photos; the same on every rank.

        feature_gap is |mean f(e) - mean f(W)|^2 in [0, 4], f the unit-norm features of the guidance tower: how far the
        enhanced photos as a set lie from the well-lit ones. Too dark and too bright both widen it. restored is the
        PSNR of well-lit photos that the reference camera took again with wrong light, brought back.
        """
        modes = [(part, part.training) for part in enhancer.modules()]
        enhancer.eval()
        found: dict[str, float] = {}
        if self.photos.pairs:
            found |= self._paired(enhancer)
        if self.photos.dark and self.photos.well_lit:
            enhanced = self._mean_feature(self.photos.dark, enhancer)
            found["feature_gap"] = float((enhanced - self._mean_feature(self.photos.well_lit)).square().sum())
        if self.photos.well_lit:
            found["restored"] = restored(enhancer, self.photos.well_lit, self.device)
        for part, training in modes:  # of each: parts that rest stay as they are
            part.training = training
        return found

    def _paired(self, enhancer: Enhancer) -> dict[str, float]:
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        for low, high in self.photos.pairs[rank() :: world_size()]:
            enhanced, truth = enhancer(self._batch(low)).image.float(), self._batch(high)
            sums += torch.stack([psnr(enhanced, truth)[0], ssim(enhanced, truth)[0], sums.new_ones(())]).double()
        total_psnr, total_ssim, count = summed(sums).tolist()
        return {"psnr": total_psnr / count, "ssim": total_ssim / count}

    def _mean_feature(self, photos: Sequence[Tensor], enhancer: Enhancer | None = None) -> Tensor:
        total: Tensor | None = None
        for photo in photos[rank() :: world_size()]:
            image = self._batch(photo)
            feature = self.tower(enhancer(image).image if enhancer else image).features[0].double()
            feature = F.pad(feature, (0, 1), value=1.0)  # the last place counts the photos
            total = feature if total is None else total + feature
        if total is None:  # fewer photos than ranks: this one has none, but must take part in the sum
            width = self.tower(self._batch(photos[0])).features.shape[1]
            total = torch.zeros(width + 1, dtype=torch.float64, device=self.device)
        everywhere = summed(total)
        return everywhere[:-1] / everywhere[-1]

    def _batch(self, photo: Tensor) -> Tensor:
        return photo[None].to(self.device).float() / 255


@torch.inference_mode()
def restored(
    enhancer: Enhancer, well_lit: Sequence[Tensor], device: torch.device, camera: CurveSettings = REFERENCE
) -> float:
    """Mean PSNR, dB, of a camera's wrong exposures brought back, against the photos; the same on every rank.

    Args:
        enhancer: in evaluation mode.
        well_lit: photos it never saw, uint8, (3, H, W), at least one.
        device: where the enhancer is.
        camera: see `taken_again`.
    """
    sums = torch.zeros(2, dtype=torch.float64, device=device)
    for index in range(rank(), len(well_lit), world_size()):
        photo, wrong = taken_again(well_lit[index], index, camera)
        found = psnr(enhancer(wrong.to(device)).image.float(), photo.to(device).expand_as(wrong))
        sums += torch.stack([found.double().sum(), sums.new_tensor(TAKES)])
    total, count = summed(sums).tolist()
    return total / count
