"""A number of two things on the same photos as SVG, a dot for each photo, with the line on which both are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from pipelines.reporting.chart import short, ticks_between
from pipelines.reporting.words import number, plain

SIDE, LEFT, RIGHT, TOP, BOTTOM = 360, 46, 12, 12, 44
MOST_DOTS = 600


@dataclass(frozen=True)
class Scatter:
    """Photos by one metric, of two models.

    Attributes:
        title: what is drawn.
        metric: its name.
        across, up: names of the two.
        dots: of each photo its name and both values; at least one.
        higher_is_better: which way is better.
    """

    title: str
    metric: str
    across: str
    up: str
    dots: Sequence[tuple[str, float, float]]
    higher_is_better: bool


def scatter(drawn: Scatter) -> Markup:
    """An SVG element of 360 x 360 units, to be scaled by CSS; each dot tells its photo to the pointer."""
    values = [value for _, *both in drawn.dots for value in both]
    ticks = ticks_between(min(values), max(values))
    low, high = ticks[0], ticks[-1]

    def x(value: float) -> float:
        return round(LEFT + (SIDE - LEFT - RIGHT) * (value - low) / (high - low), 1)

    def y(value: float) -> float:
        return round(SIDE - BOTTOM - (SIDE - TOP - BOTTOM) * (value - low) / (high - low), 1)

    parts = []
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{SIDE - RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>')
        parts.append(f'<line class="grid" x1="{x(tick)}" x2="{x(tick)}" y1="{TOP}" y2="{SIDE - BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y(tick) + 4}" text-anchor="end">{short(tick)}</text>')
        parts.append(f'<text class="tick" x="{x(tick)}" y="{SIDE - 28}" text-anchor="middle">{short(tick)}</text>')
    parts.append(f'<line class="same" x1="{x(low)}" x2="{x(high)}" y1="{y(low)}" y2="{y(high)}"/>')
    for name, across, up in _thinned(drawn.dots):
        told = escape(f"{name}: {drawn.up} {number(drawn.metric, up)}, {drawn.across} {number(drawn.metric, across)}")
        parts.append(f'<circle class="dot each" cx="{x(across)}" cy="{y(up)}" r="4"><title>{told}</title></circle>')
    right, bottom = SIDE - RIGHT, SIDE - BOTTOM
    parts.append(f'<text class="tick" x="{right}" y="{SIDE - 8}" text-anchor="end">{escape(drawn.across)} →</text>')
    place = (LEFT + 8, TOP + 16, "start") if drawn.higher_is_better else (right - 8, bottom - 8, "end")
    said = f"{escape(drawn.up)} is better"
    parts.append(f'<text class="side" x="{place[0]}" y="{place[1]}" text-anchor="{place[2]}">{said}</text>')
    return Markup(
        f'<svg class="chart" viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="{escape(_in_words(drawn))}">'
        f"{''.join(parts)}</svg>"
    )


def _thinned(dots: Sequence[tuple[str, float, float]]) -> Sequence[tuple[str, float, float]]:
    """No more than a page should hold, evenly by how far both are apart: the furthest to either side stay."""
    if len(dots) <= MOST_DOTS:
        return dots
    ordered = sorted(dots, key=lambda dot: dot[2] - dot[1])
    return [ordered[index] for index in np.linspace(0, len(dots) - 1, MOST_DOTS).round().astype(int)]


def _in_words(drawn: Scatter) -> str:
    sign = 1 if drawn.higher_is_better else -1
    better = sum(sign * (up - across) > 0 for _, across, up in drawn.dots)
    return f"{plain(drawn.metric)}: {drawn.up} is better than {drawn.across} on {better} of {len(drawn.dots)} photos"
