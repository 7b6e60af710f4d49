"""Bags of faults: what makes badly taken photos of good ones. Another fault is one function here.

A bag takes well-lit photos, sRGB in [0, 1], (B, 3, H, W), and a seed for each, and gives what the fault makes of them,
the same shape. The seed alone says what is drawn, whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from lle.config import FAULTS, HazeSettings, RainSettings, TrainSettings
from lle.config.fields import Settings
from lle.exposure.curves import bag_of_curves
from lle.exposure.reference import REFERENCE
from lle.weather.haze import haze
from lle.weather.rain import rain

Bag = Callable[[Tensor, Sequence[int]], Tensor]


class Fault(NamedTuple):
    """A line of the table.

    Attributes:
        make: photos, the fault's branch of settings and seeds to what the fault makes of them.
        reference: settings that stand still, by which validation takes photos again, whatever a training draws.
    """

    make: Callable[[Tensor, Any, Sequence[int]], Tensor]
    reference: Settings

    def bag(self, settings: Settings) -> Bag:
        """What draws by these settings."""
        return lambda image, seeds: self.make(image, settings, seeds)


MADE_BY: dict[str, Fault] = {
    "light": Fault(bag_of_curves, REFERENCE),
    "haze": Fault(haze, HazeSettings()),
    "rain": Fault(rain, RainSettings()),
}
"""By the name in `data.fault`."""

assert MADE_BY.keys() == FAULTS.keys(), "each fault that the settings name has a line here, and no other"


def bag_of(settings: TrainSettings) -> Bag:
    """The bag that a training draws from."""
    return MADE_BY[settings.data.fault].bag(getattr(settings, FAULTS[settings.data.fault]))


def reference_of(fault: str) -> Bag:
    """The same bag for all trainings, for photos that are taken again to choose the best enhancer by."""
    known = MADE_BY[fault]
    return known.bag(known.reference)
