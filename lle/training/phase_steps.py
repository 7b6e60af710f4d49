"""What one step computes in each phase: pictures in, weighted terms out (method 1.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.config import TrainSettings
from lle.config.data import LIGHT
from lle.enhancers import Enhanced, Enhancer
from lle.exposure.camera import expose
from lle.exposure.curves import bag_of_curves, darker
from lle.exposure.relit import relit
from lle.faults import bag_of
from lle.losses.classification import classification
from lle.losses.objective import DARK, MIS_EXPOSED, RELIT, Objective, Opinions, Others, Terms, chosen, needed
from lle.prior.prompts import badly_lit
from lle.training.schedule import Phase

SEEDS = 2**62


@dataclass(frozen=True)
class Batch:
    """Unpaired pictures of one step on one rank, RGB in [0, 1], (B, 3, S, S).

    Attributes:
        dark: dark pictures; none of them where nothing judges them.
        well_lit: well-lit ones, where the phase or a term needs them.
        regions: regions of the dark ones, where the regional term has weight, integers, (B, S, S).
    """

    dark: Tensor
    well_lit: Tensor | None = None
    regions: Tensor | None = None


@dataclass(frozen=True)
class PhaseSteps:
    """The steps of all phases.

    Args:
        settings: the whole training's.
        objective: the enhancer's, judged by the bare guide.
        enhancer: the network that learns, under DDP where there are several ranks.
        prompts: the pair that learns, under DDP where there are several ranks; not asked where guidance is a residual.
        earlier: frozen enhancers of earlier rounds, oldest first, at most two; in denoising the last is the one whose
            light rests. Changed by the loop between phases.
    """

    settings: TrainSettings
    objective: Objective
    enhancer: nn.Module
    prompts: nn.Module
    frozen_enhancers: Sequence[Enhancer]

    def terms(self, phase: Phase, batch: Batch) -> Terms:
        """Terms of one step in a phase that trains."""
        return getattr(self, f"_{phase.value}")(batch)

    def _reconstruction(self, batch: Batch) -> Terms:
        enhanced = self.enhancer(batch.dark)
        terms = self.objective.reconstruction(batch.dark, enhanced)
        copy_error = F.mse_loss(enhanced.image.detach().float(), batch.dark)
        return Terms({**terms.values, "copy_error": copy_error}, {**terms.weights, "copy_error": 0.0})

    def _enhancement(self, batch: Batch) -> Terms:
        lines = chosen(self.settings.objective, Phase.ENHANCEMENT)
        if not any(line.of == MIS_EXPOSED for line in lines):
            return self._judged(batch, self.enhancer(batch.dark))
        assert batch.well_lit is not None
        to_restore, wanted = self._to_restore(batch.well_lit, _seeds(batch.well_lit))
        if not any(line.of == DARK for line in lines):
            return self.objective.restoration(self.enhancer(to_restore).image, wanted)
        both: Enhanced = self.enhancer(torch.cat([batch.dark, to_restore]))
        count = len(batch.dark)
        judged = self._judged(batch, Enhanced(*(each[:count] for each in both)))
        return judged | self.objective.restoration(both.image[count:], wanted)

    def _judged(self, batch: Batch, enhanced: Enhanced) -> Terms:
        """Terms of the enhanced dark pictures."""
        compares = MIS_EXPOSED in needed(self.settings.objective, Phase.ENHANCEMENT)
        mis_exposed = self._mis_exposed(batch) if compares else None
        others = Others(batch.well_lit, mis_exposed, batch.regions)
        return self.objective.enhancement(batch.dark, enhanced, others)

    def _mis_exposed(self, batch: Batch) -> Tensor:
        """What the fault makes of each well-lit picture."""
        assert batch.well_lit is not None
        return bag_of(self.settings)(batch.well_lit, _seeds(batch.well_lit))

    def _to_restore(self, well_lit: Tensor, seeds: list[int], noise: bool = True) -> tuple[Tensor, Tensor]:
        """Well-lit pictures with the fault, and what they should become: themselves. A share is left as it is or, where
        the fault is light, only as much darker as its photographer may have wanted it, and should stay so.
        """
        term = self.settings.objective.restoration
        if self.settings.data.fault != LIGHT:
            stays = (torch.tensor(seeds, dtype=torch.float64) / SEEDS < term.clean_share).view(-1, 1, 1, 1)
            return torch.where(stays.to(well_lit.device), well_lit, bag_of(self.settings)(well_lit, seeds)), well_lit
        curves = self.settings.curves.model_copy(update={"under_share": 1 - term.over_share})
        place = torch.tensor(seeds, dtype=torch.float64) / SEEDS
        stays = (place < term.clean_share).view(-1, 1, 1, 1).to(well_lit.device)
        wanted = well_lit
        if term.clean_share and term.tolerance:
            missing = (term.tolerance * place / term.clean_share).to(well_lit)
            wanted = torch.where(stays, darker(well_lit, missing, curves, seeds), well_lit)
        return torch.where(stays, wanted, bag_of_curves(well_lit, curves, seeds, noise)), wanted

    def _denoising(self, batch: Batch) -> Terms:
        assert batch.well_lit is not None
        seeds = _seeds(batch.well_lit)
        with torch.no_grad():
            without_noise = self.frozen_enhancers[-1](self._to_restore(batch.well_lit, seeds, noise=False)[0]).image
        return self.objective.denoising(self.enhancer(self._to_restore(batch.well_lit, seeds)[0]).image, without_noise)

    def _prompt_init(self, batch: Batch) -> Terms:
        assert batch.well_lit is not None
        over = self._over_exposed(batch.well_lit)
        (dark, well_lit, *others), relit = self._seen([batch.dark, batch.well_lit, *over], batch, Phase.PROMPT_INIT)
        found = classification(torch.cat([dark, *others]), well_lit)
        opinions = Opinions(badly_lit(dark), badly_lit(well_lit), relit=relit)
        return Terms({"classification": found}, {"classification": 1.0}) | self.objective.prompt_init(opinions)

    def _refinement(self, batch: Batch) -> Terms:
        assert batch.well_lit is not None
        with torch.no_grad():
            enhanced = [each(batch.dark).image for each in self.frozen_enhancers]
        over = self._over_exposed(batch.well_lit)
        logits, relit = self._seen([batch.dark, batch.well_lit, *enhanced, *over], batch, Phase.REFINEMENT)
        dark, well_lit, *rest = [badly_lit(each) for each in logits]
        opinions = Opinions(dark, well_lit, rest[: len(enhanced)], rest[-1] if over else None, relit)
        return self.objective.refinement(opinions)

    def _seen(
        self, pictures: list[Tensor], batch: Batch, phase: Phase
    ) -> tuple[list[Tensor], tuple[Tensor, Tensor] | None]:
        """Logits of several sets, and of well-lit photos that were taken again and lifted back, where the phase wants
        them, with what the lifts missed.
        """
        if RELIT not in needed(self.settings.objective, phase):
            return self._logits(pictures), None
        assert batch.well_lit is not None
        again, missed = relit(batch.well_lit, self.settings.curves, _seeds(batch.well_lit))
        *logits, of_these = self._logits([*pictures, again])
        return logits, (of_these, missed)

    def _logits(self, pictures: list[Tensor]) -> list[Tensor]:
        """Logits of several sets, (B_i, 2) each, in one pass through the tower and the prompts."""
        with torch.no_grad():
            features = self.objective.prior.guidance(torch.cat(pictures)).features
        return list(self.prompts(features).split([len(each) for each in pictures]))

    def _over_exposed(self, well_lit: Tensor) -> list[Tensor]:
        """A share of the well-lit pictures, exposed too long; an empty list where the share is 0."""
        share = self.settings.prior.over_exposed_share
        chosen = well_lit[: round(share * len(well_lit))]
        if not len(chosen):
            return []
        low, high = self.settings.prior.over_exposed_stops
        stops = torch.empty(len(chosen), device=chosen.device).uniform_(low, high)
        return [expose(chosen, stops)]


def _seeds(images: Tensor) -> list[int]:
    """A seed for each image, from torch's global generator."""
    return torch.randint(SEEDS, (len(images),)).tolist()
