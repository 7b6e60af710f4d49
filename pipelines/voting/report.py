"""What votes say, as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.reporting.html_report import Table
from pipelines.voting.votes import WinRate

CHANCE = 0.5
COLUMNS = ("", "win rate", "95 % interval", "better, same, worse", "photos", "people")


def votes_table(rates: Sequence[WinRate]) -> Table:
    """A row for each two models, the better one first; a win rate whose whole interval is above half is marked."""
    rows = [
        [
            f"{each.ours} against {each.theirs}",
            percent(each.rate),
            span(each.low, each.high),
            f"{each.wins}, {each.ties}, {each.losses}",
            str(each.photos),
            str(each.voters),
        ]
        for each in rates
    ]
    sure = [(row, 1) for row, each in enumerate(rates) if each.low > CHANCE]
    return Table("What people prefer", COLUMNS, rows, marked=sure)


def verdicts(rates: Sequence[WinRate]) -> list[str]:
    """A sentence for each two models: who is preferred, or that it cannot be told."""
    said = []
    for each in rates:
        asked = f"{counted(each.votes, 'vote')} on {counted(each.photos, 'photo')}"
        found = f"{percent(each.rate)} of {asked}, 95 % interval {span(each.low, each.high)}"
        if each.low > CHANCE:
            said.append(f"People prefer {each.ours} to {each.theirs}: {found}.")
        else:
            said.append(f"Between {each.ours} and {each.theirs} these votes cannot tell: {found} for {each.ours}.")
    return said


def span(low: float, high: float) -> str:
    """`48 to 75 %`."""
    return f"{100 * low:.0f} to {percent(high)}"


def counted(number: int, one: str) -> str:
    """`1 photo`, `2 photos`."""
    return f"{number} {one}{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """`62 %`."""
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"
