"""One pass over both whole sets, shared out over the ranks: the mean features between which the residual lies (RAVE).

    mean f(W)    and    mean f(I),    f = unit-norm features of the guidance tower

Over-exposed copies of W (`prior.over_exposed_share`) count as badly lit by their share, and so do the results of
earlier rounds on I. Every photo is looked at once, whole and unaugmented; the exposure of a copy follows from its row.
Of sets mixed by weights the small ones are looked at again until the last photo was seen, so that the means hold the
same mixture as the batches.
The result is the same for any number of ranks up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lle.config import TrainSettings
from lle.enhancers import Enhancer
from lle.exposure.camera import expose
from lle.prior.towers import Tower
from lle.training.distributed import rank, summed, world_size
from lle.training.streams import OpenStream

GOLDEN_RATIO = 0.6180339887498949


@torch.no_grad()
def mean_features(
    settings: TrainSettings, tower: Tower, open_stream: OpenStream, frozen_enhancers: Sequence[Enhancer] = ()
) -> tuple[Tensor, Tensor]:
    """Mean features of the well-lit and of the badly lit pictures, (D,) each, the same on every rank.

    Args:
        settings: the whole training's.
        tower: the guidance tower.
        open_stream: opens both sets at their first row.
        earlier: enhancers whose results count as badly lit beside the dark photos.
    """
    good, bad = _Mean(tower), _Mean(tower)
    for _, dark in _once("dark", settings, tower, open_stream):
        for image in (dark, *(each(dark).image for each in frozen_enhancers)):
            bad.add(image)
    share = settings.prior.over_exposed_share
    for rows, well_lit in _once("well_lit", settings, tower, open_stream):
        good.add(well_lit)
        if share:
            low, high = settings.prior.over_exposed_stops
            stops = low + (high - low) * (rows * GOLDEN_RATIO % 1)  # evenly spread, whoever looks at the row
            bad.add(expose(well_lit, stops.to(well_lit)), weight=share)
    return good.everywhere(), bad.everywhere()


class _Mean:
    """Sum of features and of their weights on this rank."""

    def __init__(self, tower: Tower) -> None:
        self._tower = tower
        self._sum = torch.zeros(tower.width + 1, dtype=torch.float64, device=tower.mean.device)

    def add(self, image: Tensor, weight: float = 1.0) -> None:
        features = self._tower(image).features.double()
        self._sum[:-1] += weight * features.sum(dim=0)
        self._sum[-1] += weight * len(features)

    def everywhere(self) -> Tensor:
        total = summed(self._sum)
        return (total[:-1] / total[-1]).float()


def _once(name: str, settings: TrainSettings, tower: Tower, open_stream: OpenStream) -> Iterator[tuple[Tensor, Tensor]]:
    """This rank's share of a pass over a set: rows (B,) of the stream, and pictures (B, 3, S, S) in [0, 1]."""
    stream = open_stream(name, 0)
    try:
        rows = torch.arange(rank(), stream.photos, world_size())
        for batch in rows.split(settings.batch.prompts):
            pictures = stream.take(len(batch)).to(tower.mean.device)
            yield batch.double(), pictures.permute(0, 3, 1, 2).float() / 255
    finally:
        stream.close()
