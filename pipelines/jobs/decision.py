"""Whether a candidate has earned it: a paired test over photos, a margin, and guards against harm elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log2
from statistics import mean

import numpy as np

from lle.config import PromotionSettings
from lle.metrics import METRICS
from pipelines.jobs.ingest import DataError
from pipelines.jobs.measuring import GOOD, LOW, Measured


@dataclass(frozen=True)
class Check:
    """One condition: its name, whether it holds, and the numbers in a sentence."""

    name: str
    passed: bool
    finding: str


def gains(measure: str, rival: Sequence[Measured], candidate: Sequence[Measured]) -> dict[str, float]:
    """By photo to enhance: by how much the candidate is better, whichever way the measure runs."""
    before = {each.name: each.values[measure] for each in rival if each.group == LOW and measure in each.values}
    sign = 1 if METRICS[measure].higher_is_better else -1
    return {
        each.name: sign * (each.values[measure] - before[each.name])
        for each in candidate
        if each.group == LOW and measure in each.values and each.name in before
    }


def check_gain(settings: PromotionSettings, gained: Sequence[float]) -> Check:
    """Whether the measure is better by the margin, and by more than chance: Wilcoxon's signed-rank test, one-sided.

    Args:
        settings: measure, margin, significance.
        gained: of each photo.

    Raises:
        DataError: as `refuse_too_few`.
    """
    refuse_too_few(len(gained), settings.significance)
    from scipy.stats import wilcoxon

    gain = mean(gained)
    p = float(wilcoxon(np.array(gained), alternative="greater").pvalue) if any(gained) else 1.0
    unit = METRICS[settings.measure].unit
    finding = (
        f"{settings.measure} better by {gain:.4g}{' ' + unit if unit else ''} at the mean of {len(gained)} photos, p = "
        f"{p:.2g}; wanted: {settings.margin:g} or more, p of {settings.significance:g} or less"
    )
    return Check(settings.measure, gain >= settings.margin and p <= settings.significance, finding)


def refuse_too_few(photos: int, significance: float) -> None:
    """See that a gain on every one of so many photos would be significant.

    Raises:
        DataError: it would not.
    """
    if 0.5**photos > significance:
        needed = ceil(-log2(significance))
        raise DataError(f"low: {photos} photos can never be significant at {significance:g}; give {needed} or more")


def check_guards(
    settings: PromotionSettings,
    rival: Sequence[Measured],
    candidate: Sequence[Measured],
    slower: float,
) -> list[Check]:
    """Whether nothing that is guarded got worse than allowed.

    Args:
        settings: what is allowed.
        rival, candidate: measured on the same photos.
        slower: the candidate's time over the rival's.
    """
    guards = (
        ("over_exposed", LOW, settings.most_over_exposed),
        ("colour_cast", LOW, settings.most_colour_cast),
        ("unchanged", GOOD, settings.most_changed),
    )
    checks = [check for guard in guards for check in _check_mean(*guard, rival, candidate)]
    finding = f"takes {slower:.2f} times the champion's time; allowed: {settings.most_slower:g}"
    return [*checks, Check("speed", slower <= settings.most_slower, finding)]


def _check_mean(
    measure: str, group: str, most: float, rival: Sequence[Measured], candidate: Sequence[Measured]
) -> Iterator[Check]:
    before, after = (
        [each.values[measure] for each in measured if each.group == group and measure in each.values]
        for measured in (rival, candidate)
    )
    if not before or not after:
        return
    worse = (mean(before) - mean(after)) * (1 if METRICS[measure].higher_is_better else -1)
    unit = METRICS[measure].unit
    finding = (
        f"{measure} {mean(after):.4g} {unit} at the mean, the champion's {mean(before):.4g}; worse by {worse:.4g}, "
    )
    yield Check(measure, worse <= most, f"{finding}allowed: {most:g}")
