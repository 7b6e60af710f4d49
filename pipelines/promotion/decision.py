"""Whether a candidate has earned it: a paired test over photos, a margin, and guards against harm elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, log2
from statistics import mean

import numpy as np

from lle.metrics import METRICS
from pipelines.config.promote import PromotionSettings, VoteGate
from pipelines.data.listing import DataError
from pipelines.evaluation.worker import GOOD, LOW, Measured
from pipelines.models.named import NamedModel
from pipelines.models.resolve import BASELINES
from pipelines.reporting.closing import command
from pipelines.reporting.words import SPACE, better_by, direction, gain_of, number, plain
from pipelines.voting.report import percent, span
from pipelines.voting.votes import Vote, win_rate, win_rates

CHAMPION, INPUT = "champion", "input"
NAMED = 3
COMPARED = (INPUT, *BASELINES)


@dataclass(frozen=True)
class Check:
    """One condition.

    Attributes:
        name: the measure, alone or as `MEASURE_over_BASELINE`; a guarded metric; `speed`; or `votes`.
        passed: whether it holds.
        finding: what was found and what is wanted, in a sentence.
        numbers: what was found: `gain` and `p`, or `worse` in the measure's unit, or `times_slower`, or of votes
            `win_rate`, its interval `low` and `high`, `votes` and `photos`.
    """

    name: str
    passed: bool
    finding: str
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """A candidate beside its rival: the champion, or without one the baseline that is best by the measure.

    Attributes:
        model: name in the registry.
        candidate, champion: versions; an empty champion where there is none yet.
        theirs, ours: the same photos, measured with the rival and with the candidate.
        gained: see `gains`.
        checks: the gain's over the rival first.
        baseline: name of the rival where there is no champion.
        baselines: the same photos, measured with each baseline, by its name.
    """

    model: str
    candidate: str
    champion: str
    theirs: Sequence[Measured]
    ours: Sequence[Measured]
    gained: Mapping[str, float]
    checks: Sequence[Check]
    baseline: str = INPUT
    baselines: Mapping[str, Sequence[Measured]] = field(default_factory=dict)

    @property
    def earned(self) -> bool:
        """Whether every check is passed."""
        return all(check.passed for check in self.checks)

    @property
    def rival(self) -> str:
        """What the candidate is compared with, in a word."""
        return CHAMPION if self.champion else self.baseline


def strongest(metric: str, baselines: Mapping[str, Sequence[Measured]]) -> str:
    """The baseline whose mean over the photos to enhance is best."""
    sign = 1 if METRICS[metric].higher_is_better else -1
    means = {name: _means(metric, LOW, measured) for name, measured in baselines.items()}
    return max((name for name in means if means[name]), key=lambda name: sign * mean(means[name]))


def gains(metric: str, rival: Sequence[Measured], candidate: Sequence[Measured]) -> dict[str, float]:
    """By photo to enhance: by how much the candidate is better, whichever way the measure runs."""
    before = {each.name: each.values[metric] for each in rival if each.group == LOW and metric in each.values}
    sign = 1 if METRICS[metric].higher_is_better else -1
    return {
        each.name: sign * (each.values[metric] - before[each.name])
        for each in candidate
        if each.group == LOW and metric in each.values and each.name in before
    }


def check_gain(settings: PromotionSettings, gained: Sequence[float], rival: str = CHAMPION) -> Check:
    """Whether the measure is better by the margin, and by more than chance: Wilcoxon's signed-rank test, one-sided.

    Args:
        settings: measure, margin, significance.
        gained: of each photo.
        rival: what it is compared with: the champion, or a baseline.

    Raises:
        DataError: as `refuse_too_few`.
    """
    refuse_too_few(len(gained), settings.significance)
    from scipy.stats import wilcoxon

    metric, gain = settings.metric, mean(gained)
    p = float(wilcoxon(np.array(gained), alternative="greater").pvalue) if any(gained) else 1.0
    short, unsure = gain < settings.margin, p > settings.significance
    lacking = [f"short by {number(metric, settings.margin - gain)}"] if short else []
    lacking += ["it may be chance"] if unsure and gain > 0 else []
    finding = (
        f"{plain(metric)} against {the(rival)}: {better_by(metric, gain)} at the mean of {len(gained)} photos, "
        f"p = {p:.2g}; wanted: better by {number(metric, settings.margin)} or more, p of {settings.significance:g} or "
        f"less{''.join(f'; {each}' for each in lacking)}"
    )
    name = metric if rival == CHAMPION else f"{metric}_over_{rival}"
    return Check(name, not (short or unsure), finding.replace(SPACE, " "), {"gain": gain, "p": p})


def the(rival: str) -> str:
    """A rival in a sentence: `the champion`, `the input`, `auto-gamma`."""
    return f"the {rival}" if rival in (CHAMPION, INPUT) else rival


def refuse_too_few(photos: int, significance: float) -> None:
    """See that a gain on every one of so many photos would be significant.

    Raises:
        DataError: it would not.
    """
    if 0.5**photos > significance:
        needed = ceil(-log2(significance))
        raise DataError(
            f"data.dark: {photos} photos can never be significant at {significance:g}; give {needed} or more"
        )


def check_guards(
    settings: PromotionSettings,
    rival: Sequence[Measured],
    candidate: Sequence[Measured],
    slower: float,
    first: bool = False,
) -> list[Check]:
    """Whether nothing that is guarded got worse than allowed.

    Args:
        settings: what is allowed.
        rival, candidate: measured on the same photos; for a first champion the rival is the input.
        slower: the candidate's time over the champion's, or for a first one over the bundled enhancer's.
        first: whether there is no champion yet.
    """
    against = INPUT if first else CHAMPION
    max_over_exposed = settings.first_over_exposed if first else settings.max_over_exposed
    checks = [
        *_check_mean("over_exposed", max_over_exposed, against, rival, candidate),
        *_check_mean("colour_cast", settings.max_colour_cast, against, rival, candidate),
        *_check_unchanged(settings, [] if first else rival, candidate),
    ]
    allowed, whose = (
        (settings.first_slower, "the bundled enhancer's") if first else (settings.max_slower, "the champion's")
    )
    finding = f"takes {slower:.2f} times {whose} time on this CPU; allowed: {allowed:g}"
    return [*checks, Check("speed", slower <= allowed, finding, {"times_slower": slower})]


def check_votes(gate: VoteGate, votes: Sequence[Vote], candidate: NamedModel, rival: NamedModel, named: str) -> Check:
    """Whether people prefer the candidate.

    Args:
        gate: how clearly, by how many.
        votes: of any models.
        candidate, rival: the two that are asked about.
        named: the rival in a sentence.

    Raises:
        DataError: the votes are on other models, or too few to decide.
    """
    asked = [vote for vote in votes if vote.versions == {candidate.version, rival.version}]
    more = command("vote", "--models", candidate.uri, rival.uri, "--photos", "DIR", "--votes", gate.file)
    if not asked:
        others = ", ".join(f"{each.ours} and {each.theirs}" for each in win_rates(votes)[:NAMED])
        only = f", only on other models or versions: {others}" if others else ""
        raise DataError(
            f"votes.file: {gate.file} holds no vote on the candidate (weights {candidate.version}) and {named} "
            f"(weights {rival.version}){only}; collect some: {more}"
        )
    found = win_rate(asked, candidate.version, rival.version)
    if found.votes < gate.min_votes or found.photos < gate.min_photos:
        raise DataError(
            f"votes.file: {found.votes} votes on {found.photos} photos are too few to decide between the candidate and "
            f"{named}; wanted: {gate.min_votes} on {gate.min_photos} (votes.min_votes, votes.min_photos); go on: {more}"
        )
    finding = (
        f"People prefer it to {named} in {percent(found.rate)} of {found.votes} votes on {found.photos} photos by "
        f"{found.voters} {'person' if found.voters == 1 else 'people'}, 95 % interval {span(found.low, found.high)}; "
        f"wanted: all of it above {percent(gate.min_win_rate)}"
    )
    numbers = {"win_rate": found.rate, "low": found.low, "high": found.high}
    numbers |= {"votes": found.votes, "photos": found.photos}
    return Check("votes", found.low > gate.min_win_rate, finding.replace(SPACE, " "), numbers)


def _check_mean(
    metric: str, most: float, against: str, rival: Sequence[Measured], candidate: Sequence[Measured]
) -> Iterator[Check]:
    before, after = _means(metric, LOW, rival), _means(metric, LOW, candidate)
    if not before or not after:
        return
    worse = -gain_of(metric, mean(after), mean(before))
    finding = (
        f"{plain(metric)} {number(metric, mean(after))} at the mean, {direction(metric)} is better; "
        f"{the(against)}'s {number(metric, mean(before))}: {better_by(metric, -worse)}; "
        f"allowed: worse by {number(metric, most)}"
    )
    yield Check(metric, worse <= most, finding.replace(SPACE, " "), {"worse": worse})


def _check_unchanged(
    settings: PromotionSettings, champion: Sequence[Measured], candidate: Sequence[Measured]
) -> Iterator[Check]:
    """Good photos stay as near to the input as the champion leaves them, and in any case near."""
    name = "unchanged"
    before, after = _means(name, GOOD, champion), _means(name, GOOD, candidate)
    if not after:
        return
    least, numbers = settings.min_unchanged, {"unchanged": mean(after)}
    passed = mean(after) >= (min(least, mean(before)) if before else least)
    finding = (
        f"{plain(name)} {number(name, mean(after))} at the mean of {len(after)} good photos, higher is better; "
        f"wanted: {number(name, least)} or more"
    )
    if before:
        worse = mean(before) - mean(after)
        passed, numbers = passed and worse <= settings.max_changed, {**numbers, "worse": worse}
        finding += (
            f", or no less than the champion's {number(name, mean(before))}: {better_by(name, -worse)}; "
            f"allowed: worse by {number(name, settings.max_changed)}"
        )
    yield Check(name, passed, finding.replace(SPACE, " "), numbers)


def _means(metric: str, group: str, measured: Sequence[Measured]) -> list[float]:
    return [each.values[metric] for each in measured if each.group == group and metric in each.values]
