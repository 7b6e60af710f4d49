"""What votes say, as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.reporting.html_report import Table
from pipelines.voting.votes import WinRate

CHANCE = 0.5
COLUMNS = ("", "win rate", "95 % interval", "better", "same", "worse", "photos", "people")


def votes_table(rates: Sequence[WinRate]) -> Table:
    """A row for each two models, the better one first; a win rate whose whole interval is above half is marked."""
    rows = [
        [
            f"{each.ours} against {each.theirs}",
            percent(each.rate),
            f"{percent(each.low)} to {percent(each.high)}",
            *map(str, (each.wins, each.ties, each.losses, each.photos, each.voters)),
        ]
        for each in rates
    ]
    sure = [(row, 1) for row, each in enumerate(rates) if each.low > CHANCE]
    return Table("What people prefer", COLUMNS, rows, marked=sure)


def verdicts(rates: Sequence[WinRate]) -> list[str]:
    """A sentence for each two models: who is preferred, or that it cannot be told."""
    said = []
    for each in rates:
        found = (
            f"{percent(each.rate)} of {each.votes} votes on {each.photos} photos, 95 % interval {percent(each.low)} to "
            f"{percent(each.high)}"
        )
        if each.low > CHANCE:
            said.append(f"People prefer {each.ours} to {each.theirs}: {found}.")
        else:
            said.append(f"Between {each.ours} and {each.theirs} these votes cannot tell: {found} for {each.ours}.")
    return said


def percent(share: float) -> str:
    """`62 %`."""
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"
