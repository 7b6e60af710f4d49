"""The table of metrics: a function below `lle/metrics/` and a line here, and a metric is there.

It is then measured by the evaluation, may decide a promotion and, where it compares with a ground truth, choose the
best enhancer of a training (`loop.metric`); reports show it, the better way up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lle.dotted import imported

ALONE, INPUT, TRUTH, GOOD, SETS = "alone", "input", "truth", "good", "sets"


class Metric(NamedTuple):
    """What a number means, and how it is found.

    Attributes:
        higher_is_better: which way is better.
        unit: empty for numbers without one.
        about: what is compared, in a few words.
        label: what people call it; empty: the words of its name.
        compares: what its function takes, RGB in [0, 1], (B, 3, H, W): ALONE: enhanced; INPUT: input, enhanced;
            TRUTH: enhanced, ground truth; GOOD: enhanced, input, of photos that were good already. SETS: it is found by
            the validation of a training, from sets of photos.
        function: `module:NAME`, gives (B,); empty: it needs weights, and who loads them measures it.
        min_side: of smaller pictures it is not measured, px.
        guards: it only tells of harm, and a picture that was left alone, or made black, would be best: no promotion is
            decided by it.
    """

    higher_is_better: bool
    unit: str
    about: str
    label: str = ""
    compares: str = ALONE
    function: str = ""
    min_side: int = 1
    guards: bool = False

    @property
    def measure(self) -> Callable[..., Any] | None:
        """The function; None without one."""
        return imported(self.function, "METRICS") if self.function else None


METRICS: dict[str, Metric] = {
    "psnr": Metric(True, "dB", "enhanced against ground truth", "PSNR", TRUTH, "lle.metrics.full_reference:psnr"),
    "ssim": Metric(True, "", "enhanced against ground truth", "SSIM", TRUTH, "lle.metrics.full_reference:ssim", 7),
    "psnr_gt_mean": Metric(
        True,
        "dB",
        "against ground truth, scaled to its mean first",
        "PSNR at equal brightness",
        TRUTH,
        "lle.metrics.full_reference:psnr_gt_mean",
    ),
    "lpips": Metric(False, "", "distance to ground truth in SqueezeNet's features", "LPIPS", TRUTH, min_side=32),
    "colour_error": Metric(
        False,
        "degrees",
        "angle between mean colours of enhanced and ground truth",
        compares=TRUTH,
        function="lle.metrics.full_reference:colour_error",
    ),
    "niqe": Metric(False, "", "distance from the statistics of pristine photos", "NIQE"),
    "lightness_order_error": Metric(
        False,
        "pairs per pixel",
        "pixels whose order of lightness the enhancer turned",
        "Order of lightness turned",
        INPUT,
        "lle.metrics.no_reference:lightness_order_error",
        guards=True,
    ),
    "over_exposed": Metric(
        False,
        "share",
        "pixels with a channel at 250 of 255 or more",
        "Over-exposed",
        function="lle.metrics.no_reference:over_exposed",
        guards=True,
    ),
    "colour_cast": Metric(
        False,
        "degrees",
        "angle of the mean colour from grey",
        function="lle.metrics.no_reference:colour_cast",
        guards=True,
    ),
    "our_prior_well_lit": Metric(
        True, "probability", "P(well lit) in the eyes of our own bundled prior", "Well lit (our own judge)"
    ),
    "unchanged": Metric(
        True,
        "dB",
        "PSNR of enhanced against input, for photos that were good already",
        "Likeness to the input",
        GOOD,
        "lle.metrics.full_reference:psnr",
    ),
    "feature_gap": Metric(False, "", "squared distance of mean CLIP features from well-lit photos", compares=SETS),
    "distribution": Metric(
        False,
        "",
        "how bright and coloured enhanced photos are as a set, from well-lit ones",
        "Light as a set, from well-lit photos",
        SETS,
    ),
    "judge_gap": Metric(
        False,
        "",
        "penalty by what guides, of enhanced dark photos less that of well-lit ones",
        "What guides it: enhanced less well-lit",
        SETS,
    ),
    "restored": Metric(
        True,
        "dB",
        "PSNR of held-out well-lit photos, brought back from a camera's wrong exposures",
        "PSNR of photos brought back",
        SETS,
    ),
}
"""Each metric by its name."""


def against_truth() -> list[str]:
    """Metrics that need nothing but a ground truth."""
    return [name for name, metric in METRICS.items() if metric.compares == TRUTH and metric.function]


def choosing() -> list[str]:
    """What `loop.metric` may be: what a validation measures, but for what its guidance head has a say in."""
    sets = [name for name, metric in METRICS.items() if metric.compares == SETS and name != "judge_gap"]
    return ["auto", *against_truth(), *sets]


def deciding() -> list[str]:
    """What a promotion may be decided by: what is measured on each photo that is to be enhanced, and is no guard."""
    return [name for name, metric in METRICS.items() if metric.compares not in (GOOD, SETS) and not metric.guards]
