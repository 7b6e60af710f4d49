"""Whether a candidate has earned it: a paired test over photos, a margin, and guards against harm elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2
from statistics import mean

import numpy as np

from lle.config import PromotionSettings
from lle.metrics import METRICS
from pipelines.jobs.ingest import DataError
from pipelines.jobs.measuring import GOOD, LOW, Measured

CHAMPION, INPUT = "champion", "input"


@dataclass(frozen=True)
class Check:
    """One condition.

    Attributes:
        name: the measure, or `speed`.
        passed: whether it holds.
        finding: what was found and what is wanted, in a sentence.
        numbers: what was found: `gain` and `p`, or `worse` in the measure's unit, or `times_slower`.
    """

    name: str
    passed: bool
    finding: str
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """A candidate beside its rival: the champion, or without one the photos as they are.

    Attributes:
        model: name in the registry.
        candidate, champion: versions; an empty champion where there is none yet.
        theirs, ours: the same photos, measured with the rival and with the candidate.
        gained: see `gains`.
        checks: the gain's first.
    """

    model: str
    candidate: str
    champion: str
    theirs: Sequence[Measured]
    ours: Sequence[Measured]
    gained: Mapping[str, float]
    checks: Sequence[Check]

    @property
    def earned(self) -> bool:
        """Whether every check is passed."""
        return all(check.passed for check in self.checks)

    @property
    def rival(self) -> str:
        """What the candidate is compared with, in a word."""
        return CHAMPION if self.champion else INPUT


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
        f"{settings.measure} {_better(gain)}{' ' + unit if unit else ''} at the mean of {len(gained)} photos, "
        f"p = {p:.2g}; wanted: better by {settings.margin:g} or more, p of {settings.significance:g} or less"
    )
    passed = gain >= settings.margin and p <= settings.significance
    return Check(settings.measure, passed, finding, {"gain": gain, "p": p})


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
    return [*checks, Check("speed", slower <= settings.most_slower, finding, {"times_slower": slower})]


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
        f"{measure} {mean(after):.4g} {unit} at the mean, the champion's {mean(before):.4g}: {_better(-worse)}; "
        f"allowed: worse by {most:g}"
    )
    yield Check(measure, worse <= most, finding, {"worse": worse})


def _better(gain: float) -> str:
    return f"{'worse' if gain < 0 else 'better'} by {abs(gain):.4g}"
