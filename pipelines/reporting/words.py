"""Names and numbers as people read them."""

from __future__ import annotations

from lle.metrics import METRICS

SPACE = "\N{NO-BREAK SPACE}"


def plain(name: str) -> str:
    """A metric's name as people say it, such as `PSNR` or `Over-exposed`; of another name, the words in it."""
    label = METRICS[name].label if name in METRICS else ""
    return label or name.replace("_", " ").capitalize()


def number(name: str, value: float) -> str:
    """A metric's value with its unit: `18.97 dB`, `2.1 %` of the pixels."""
    unit = METRICS[name].unit if name in METRICS else ""
    if unit == "share":
        return f"{100 * value:.{1 if abs(value) >= 0.1 else 2}f}{SPACE}%"
    return f"{value:.2f}{SPACE}{unit}" if unit in ("dB", "degrees") else f"{value:.3f}"


def split(name: str, value: float) -> tuple[str, str]:
    """A metric's value and its unit apart, for tables that say the unit once."""
    digits, _, unit = number(name, value).partition(SPACE)
    return digits, unit


def direction(name: str) -> str:
    """Which way a metric is better: `higher` or `lower`."""
    return "higher" if METRICS[name].higher_is_better else "lower"


def better_by(name: str, gain: float) -> str:
    """A difference as a judgement, `better by 0.75 dB`; the gain is positive for better, whichever way it runs."""
    size = number(name, abs(gain))
    nothing = size == number(name, 0.0)
    return "no different" if nothing else f"{'worse' if gain < 0 else 'better'} by {size}"


def gain_of(name: str, value: float, baseline: float) -> float:
    """By how much a value is better than another, whichever way the metric runs."""
    return (value - baseline) * (1 if METRICS[name].higher_is_better else -1)


def duration(seconds: float) -> str:
    """Such as `3 min 20 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}{SPACE}h {minutes}{SPACE}min"
    return f"{minutes}{SPACE}min {rest}{SPACE}s" if minutes else f"{rest}{SPACE}s"
