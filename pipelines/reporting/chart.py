"""A curve over steps as SVG, its phases as bands: text and lines take their colours from the page around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean

from markupsafe import Markup, escape

from pipelines.reporting.curves import Curve, Points, Span

WIDTH, HEIGHT = 400, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 22, 26
MOST_POINTS = 240


def chart(curve: Curve, spans: Sequence[Span]) -> Markup:
    """An SVG element of 400 x 220 units, to be scaled by CSS.

    Args:
        curve: at least one point.
        spans: the phases of the training; those of an even round or before the first are shaded, rounds are named.
    """
    lines = [_thinned(line) for line in curve.lines if line]
    points = [point for line in lines for point in line] + ([curve.best] if curve.best else [])
    steps, values = [step for step, _ in points], [value for _, value in points]
    first, last = (0.0, max(steps)) if curve.best or len(spans) < 2 else (min(steps), max(steps))
    shown = [span for span in spans if span.last > first and span.first < last]
    if shown:
        first, last = min(first, shown[0].first), max(last, shown[-1].last)
    ticks = ticks_between(min(values), max(values))
    low, high = min(ticks[0], min(values)), max(ticks[-1], max(values))

    def x(step: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (step - first) / max(last - first, 1), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / max(high - low, 1e-12), 1)

    parts = [_bands(shown, x)]
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y(tick) + 4}" text-anchor="end">{short(tick)}</text>')
    for tick in ticks_between(first, last, 4):
        if first <= tick <= last:
            parts.append(f'<text class="tick" x="{x(tick)}" y="{HEIGHT - 8}" text-anchor="middle">{short(tick)}</text>')
    for line in lines:
        path = " ".join(f"{x(step)},{y(value)}" for step, value in line)
        parts.append(f'<polyline class="curve" points="{path}"/>')
        if len(line) == 1:
            parts.append(f'<circle class="dot" cx="{x(line[0][0])}" cy="{y(line[0][1])}" r="2.5"/>')
    if curve.best:
        step, value = curve.best
        parts.append(f'<circle class="best" cx="{x(step)}" cy="{y(value)}" r="4.5"/>')
    about = escape(_in_words(curve, points))
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{about}">{"".join(parts)}</svg>'
    )


def ticks_between(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) apart evenly, the first and last just around the values."""
    if not high > low:
        low, high = low - abs(low or 1) / 2, high + abs(high or 1) / 2
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [round(step * index, 12) for index in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _bands(spans: Sequence[Span], x: object) -> str:
    assert callable(x)
    parts, rounds = [], dict[int, float]()
    for span in spans:
        left, right = x(span.first), x(span.last)
        shade = "odd" if span.round % 2 else "even"
        parts.append(
            f'<rect class="band {shade}" x="{left}" y="{TOP}" width="{max(right - left, 0):.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}"/>'
        )
        if span.round and span.round not in rounds:
            rounds[span.round] = left
    for index, (round, left) in enumerate(rounds.items()):
        right = [*rounds.values(), float(WIDTH - RIGHT)][index + 1]
        text = f"round {round}" if right - left > 44 else str(round)
        if right - left > 12:
            parts.append(f'<text class="round" x="{left + 3}" y="{TOP - 7}">{text}</text>')
        parts.append(f'<line class="mark" x1="{left}" x2="{left}" y1="{TOP - 16}" y2="{HEIGHT - BOTTOM}"/>')
    return "".join(parts)


def _thinned(line: Points) -> Points:
    """Means of neighbours, so that a long training draws no more points than a screen shows."""
    size = math.ceil(len(line) / MOST_POINTS)
    return [
        (mean(step for step, _ in part), mean(value for _, value in part))
        for part in (line[start : start + size] for start in range(0, len(line), size))
    ]


def _in_words(curve: Curve, points: Points) -> str:
    (first, begin), (last, end) = points[0], max(points, key=lambda point: point[0])
    best = f"; the best enhancer at step {curve.best[0]:.0f}: {curve.best[1]:.4g}" if curve.best else ""
    return f"{curve.title}: {begin:.4g} at step {first:.0f}, {end:.4g} at step {last:.0f}{best}"


def short(number: float) -> str:
    """A number of an axis: `12k` for 12,000."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:g}{unit}"
    return f"{number:g}"
