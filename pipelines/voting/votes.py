"""Votes of people: a file of JSON lines, and what share of them a model wins, with its interval.

A line is one judgement: the photo and the SHA-256 of its file, the two models by name and by version (of
`NamedModel.version`) as they stood left and right, the choice, who voted and when. Lines are only added; where a person
has judged the same pictures again, the last line counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from cluster.storage import explain
from pipelines.job import UserError

LEFT, RIGHT, SAME = "left", "right", "same"
CHOICES = (LEFT, RIGHT, SAME)
CONFIDENCE = 0.95


class VoteError(UserError):
    """A file of votes that cannot be used; the message says what is wrong with it."""


@dataclass(frozen=True)
class Vote:
    """One person's judgement of two pictures of one photo.

    Attributes:
        photo, content: its name, and the SHA-256 of its file.
        left, right: names of the models whose pictures stood there.
        left_version, right_version: what identifies those models, whatever they are called.
        choice: the better one: `left`, `right`, or `same` for neither.
        voter: who.
        time: when, ISO 8601 in UTC.
        seconds: from when both pictures were seen to the choice.
    """

    photo: str
    content: str
    left: str
    right: str
    left_version: str
    right_version: str
    choice: str
    voter: str
    time: str
    seconds: float = 0.0

    @property
    def versions(self) -> frozenset[str]:
        """Of both models, wherever they stood."""
        return frozenset((self.left_version, self.right_version))

    @property
    def question(self) -> tuple[str, str, frozenset[str]]:
        """Who was asked what: the same person, photo and models are the same question."""
        return self.voter, self.content, self.versions


@dataclass(frozen=True)
class WinRate:
    """How often one model's pictures were found better than another's.

    Attributes:
        ours, theirs: names.
        our_version, their_version: of the models.
        wins, ties, losses: votes.
        photos, voters: how many different ones.
        rate: wins, and half of the ties, as a share of all votes.
        low, high: 95 % interval of the rate, over photos.
        on_the_left: share of the decided votes that chose the left picture, whichever it was.
    """

    ours: str
    theirs: str
    our_version: str
    their_version: str
    wins: int
    ties: int
    losses: int
    photos: int
    voters: int
    rate: float
    low: float
    high: float
    on_the_left: float

    @property
    def votes(self) -> int:
        """All of them."""
        return self.wins + self.ties + self.losses


def add(vote: Vote, file: Path) -> None:
    """Write a vote behind those of a file; it is on the disk when this returns. Behind half a line it begins a new one.

    Raises:
        OSError: the file cannot be written.
    """
    line = json.dumps(asdict(vote), ensure_ascii=False) + "\n"
    with file.open("ab+") as lines:
        if lines.tell() and not _ends_a_line(lines.fileno(), lines.tell()):
            line = f"\n{line}"
        lines.write(line.encode())
        lines.flush()
        os.fsync(lines.fileno())


def begin(file: Path) -> None:
    """Make the file, where there is none, and see that it can be written.

    Raises:
        VoteError: it cannot.
    """
    try:
        file.open("ab").close()
    except OSError as error:
        raise VoteError(f"votes: {file} cannot be written ({explain(error)}); name another") from error


def read(file: Path, setting: str = "votes") -> list[Vote]:
    """The votes of a file as they count, in their order; half a line, which a page that was killed leaves, is none.

    Args:
        file: of JSON lines; one that does not exist holds none.
        setting: what to call it in messages.

    Raises:
        VoteError: it cannot be read, or a whole line of it is no vote.
    """
    try:
        lines = file.read_bytes().split(b"\n") if file.exists() else []
    except OSError as error:
        raise VoteError(f"{setting}: {file} cannot be read ({explain(error)})") from error
    counted = dict[tuple[str, str, frozenset[str]], Vote]()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            vote = _vote(json.loads(line))
        except (ValueError, RecursionError):
            if not line.rstrip().endswith(b"}"):
                continue  # half of one
            raise VoteError(
                f"{setting}: line {number} of {file} is no vote; name a file that pipelines/vote.py has written"
            ) from None
        counted.pop(vote.question, None)
        counted[vote.question] = vote
    return [*counted.values()]


def win_rates(votes: Sequence[Vote]) -> list[WinRate]:
    """The win rate of each two models that were judged, that of the better one; in the order of their first votes."""
    found = []
    for versions in dict.fromkeys(vote.versions for vote in votes):
        if len(versions) == 2:
            one, other = sorted(versions)
            rate = win_rate(votes, one, other)
            found.append(rate if rate.rate >= 0.5 else win_rate(votes, other, one))
    return found


def win_rate(votes: Iterable[Vote], ours: str, theirs: str) -> WinRate:
    """How often one model was found better than another.

    Args:
        votes: of any models.
        ours, theirs: versions.

    Raises:
        VoteError: nobody has judged the two.
    """
    asked = [vote for vote in votes if vote.versions == {ours, theirs}]
    if not asked:
        raise VoteError(f"votes: nobody has judged {ours} and {theirs}")
    scores: dict[str, list[float]] = {}
    for vote in asked:
        scores.setdefault(vote.content, []).append(_score(vote, ours))
    names = {version: name for vote in asked for version, name in _names(vote).items()}
    every = [score for each in scores.values() for score in each]
    decided = [vote.choice for vote in asked if vote.choice != SAME]
    rate, low, high = interval([*scores.values()])
    return WinRate(
        names[ours],
        names[theirs],
        ours,
        theirs,
        wins=every.count(1.0),
        ties=every.count(0.5),
        losses=every.count(0.0),
        photos=len(scores),
        voters=len({vote.voter for vote in asked}),
        rate=rate,
        low=low,
        high=high,
        on_the_left=decided.count(LEFT) / len(decided) if decided else 0.5,
    )


def interval(scores: Sequence[Sequence[float]], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """The mean p of scores in [0, 1] and its interval, where those of one photo resemble each other.

        d = G/(G-1) sum_g (sum_i x_gi - n_g p)^2 / n^2  /  (p (1 - p) / (n - 1)),    m = n / max(d, 1)
        (p + q/2m ± sqrt(q/m (p (1 - p) + q/4m))) / (1 + q/m),    q = t^2

    It is Wilson's interval (1927) of as many independent votes m as the n of G photos are worth, by the variance
    between photos (Korn and Graubard, Survey Methodology 1998), with Student's t of G - 1 degrees of freedom in the
    place of the normal quantile. For d, one photo that everybody prefers and one that nobody does are added (ours): or
    few photos on which all agree would seem to say that people always do.

    Args:
        scores: of each photo, one or more.
        confidence: in (0, 1).

    Returns:
        Mean, lower and upper end; the whole of [0, 1] for a single photo.
    """
    from scipy.stats import t as student

    count, photos = sum(map(len, scores)), len(scores)
    mean = sum(map(sum, scores)) / count
    if photos < 2:
        return mean, 0.0, 1.0
    independent = count / max(_design_effect([(sum(each), len(each)) for each in scores]), 1.0)
    quantile = float(student.ppf((1 + confidence) / 2, photos - 1)) ** 2 / independent
    middle, reach = mean + quantile / 2, sqrt(quantile * (mean * (1 - mean) + quantile / 4))
    low, high = ((middle + sign * reach) / (1 + quantile) for sign in (-1, 1))
    return mean, max(low, 0.0), min(high, 1.0)


def _design_effect(photos: Sequence[tuple[float, float]]) -> float:
    """How many times the variance of independent votes theirs is, from the sum and the number of each photo's."""
    usual = sum(size for _, size in photos) / len(photos)
    photos = [*photos, (usual, usual), (0.0, usual)]
    count, groups = sum(size for _, size in photos), len(photos)
    mean = sum(total for total, _ in photos) / count
    between = sum((total - size * mean) ** 2 for total, size in photos) * groups / (groups - 1) / count**2
    return between / (mean * (1 - mean) / (count - 1))


def _score(vote: Vote, ours: str) -> float:
    if vote.choice == SAME:
        return 0.5
    return float((vote.choice == LEFT) == (vote.left_version == ours))


def _names(vote: Vote) -> dict[str, str]:
    return {vote.left_version: vote.left, vote.right_version: vote.right}


def _vote(said: Any) -> Vote:
    """What a line says; raises ValueError where that is no vote."""
    if not isinstance(said, dict):
        raise ValueError("no object")
    words: dict[str, Any] = {name: said.get(name) for name in Vote.__dataclass_fields__ if name != "seconds"}
    seconds = said.get("seconds", 0.0)
    if not all(isinstance(each, str) and each for each in words.values()) or said["choice"] not in CHOICES:
        raise ValueError("not the words of a vote")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ValueError("no number of seconds")
    return Vote(**words, seconds=float(seconds))


def _ends_a_line(descriptor: int, size: int) -> bool:
    return os.pread(descriptor, 1, size - 1) == b"\n"
