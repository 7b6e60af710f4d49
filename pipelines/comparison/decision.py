"""What a comparison finds: by how much one model is better than another, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from statistics import mean, stdev
from typing import Any

from lle.metrics import METRICS
from pipelines.evaluation.job import summarise
from pipelines.evaluation.worker import GOOD, Measured
from pipelines.models.named import NamedModel
from pipelines.reporting.html_report import RANKED_BY
from pipelines.reporting.words import gain_of, number

UNTOUCHED = "baseline:input"
Summaries = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By model and metric what `evaluation.job.summarise` says: mean, worst, ..."""


@dataclass(frozen=True)
class ComparedSet:
    """One set of photos, measured with every model.

    Attributes:
        name: of the set.
        group: `low`, or `good` for photos that should stay as they are.
        uri: where it lies; `truth_uri` its ground truth, empty without one.
        measured: the same photos by model, in the same order.
    """

    name: str
    group: str
    uri: str
    truth_uri: str
    measured: Mapping[str, Sequence[Measured]]

    @cached_property
    def summaries(self) -> Summaries:
        """By model and metric: mean, worst, and what `summarise` says else."""
        return {model: summarise(each)[self.group] for model, each in self.measured.items()}

    @property
    def metric(self) -> str:
        """What the set is ranked by: likeness to the input, PSNR, or without ground truth our own judge."""
        values = next(iter(self.measured.values()))[0].values
        return next(name for name in RANKED_BY if name in values)

    def gains(self, model: str, other: str) -> dict[str, float]:
        """By photo: by how much a model is better than another by the set's metric."""
        theirs = {each.name: each.values for each in self.measured[other]}
        return {
            each.name: gain_of(self.metric, each.values[self.metric], theirs[each.name][self.metric])
            for each in self.measured[model]
            if self.metric in each.values and self.metric in theirs.get(each.name, {})
        }

    def losses(self, model: str) -> dict[str, float]:
        """By photo: by how much the best of the others is better."""
        every = [self.gains(model, other) for other in self.measured if other != model]
        return {name: -min(gained[name] for gained in every if name in gained) for name in every[0]}


@dataclass(frozen=True)
class Difference:
    """By how much one model is better than another at the mean of some photos.

    Attributes:
        gain: positive for better.
        low, high: its 95 % interval by Student's t; both are the gain for a single photo.
        better, photos: on how many it is better, of how many.
        p: of Wilcoxon's signed-rank test, two-sided.
    """

    gain: float
    low: float
    high: float
    better: int
    photos: int
    p: float


def difference(gained: Sequence[float]) -> Difference:
    """What gains on one or more photos say."""
    from scipy.stats import t as student
    from scipy.stats import wilcoxon

    count, gain = len(gained), mean(gained)
    reach = float(student.ppf(0.975, count - 1)) * stdev(gained) / sqrt(count) if count > 1 else 0.0
    p = float(wilcoxon(gained).pvalue) if any(gained) else 1.0
    return Difference(gain, gain - reach, gain + reach, sum(each > 0 for each in gained), count, p)


def best_by(metric: str, summaries: Summaries, models: Mapping[str, NamedModel]) -> list[str]:
    """The models that are best by a metric, as far as its digits tell.

    The photo as it is does not count where leaving alone is best by nature: by guards, and by likeness to the input.
    """
    alone = METRICS[metric].guards or METRICS[metric].compares == GOOD
    asked = [name for name in summaries if metric in summaries[name] and not (alone and models[name].uri == UNTOUCHED)]
    if not asked:
        return []
    means = {name: summaries[name][metric]["mean"] for name in asked}
    best = max(asked, key=lambda name: gain_of(metric, means[name], 0.0))
    return [name for name in asked if number(metric, means[name]) == number(metric, means[best])]
