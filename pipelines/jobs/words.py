"""Names and numbers as people read them."""

from __future__ import annotations

from lle.metrics import METRICS

SPACE = "\N{NO-BREAK SPACE}"
ACRONYMS = ("psnr", "ssim", "lpips", "niqe")


def plain(name: str) -> str:
    """A metric's name, such as `PSNR` or `Over exposed`."""
    return name.upper() if name in ACRONYMS else name.replace("_", " ").capitalize()


def number(name: str, value: float) -> str:
    """A metric's value, with its unit where it has one that is said: `18.97 dB`."""
    unit = METRICS[name].unit if name in METRICS else ""
    return f"{value:.2f}{SPACE}{unit}" if unit in ("dB", "degrees") else f"{value:.3f}"


def duration(seconds: float) -> str:
    """Such as `3 min 20 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}{SPACE}h {minutes}{SPACE}min"
    return f"{minutes}{SPACE}min {rest}{SPACE}s" if minutes else f"{rest}{SPACE}s"
