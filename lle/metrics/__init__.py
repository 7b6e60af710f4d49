"""Quality of enhanced pictures, with and without a ground truth; each metric knows which way is better."""

from __future__ import annotations

from typing import NamedTuple

from lle.metrics.full_reference import (
    SSIM_WINDOW,
    colour_error,
    psnr,
    psnr_gt_mean,
    rounded,
    ssim,
    structural_similarity,
)
from lle.metrics.no_reference import colour_cast, lightness_order_error, over_exposed

__all__ = [
    "HIGHER_IS_BETTER",
    "METRICS",
    "SSIM_WINDOW",
    "Metric",
    "colour_cast",
    "colour_error",
    "lightness_order_error",
    "over_exposed",
    "psnr",
    "psnr_gt_mean",
    "rounded",
    "ssim",
    "structural_similarity",
]


class Metric(NamedTuple):
    """What a number means.

    Attributes:
        higher_is_better: which way is better.
        unit: empty for numbers without one.
        about: what is compared, in a few words.
    """

    higher_is_better: bool
    unit: str
    about: str


METRICS = {
    "psnr": Metric(True, "dB", "enhanced against ground truth"),
    "ssim": Metric(True, "", "enhanced against ground truth"),
    "psnr_gt_mean": Metric(True, "dB", "against ground truth, scaled to its mean first"),
    "lpips": Metric(False, "", "distance to ground truth in SqueezeNet's features"),
    "colour_error": Metric(False, "degrees", "angle between mean colours of enhanced and ground truth"),
    "niqe": Metric(False, "", "distance from the statistics of pristine photos"),
    "lightness_order_error": Metric(False, "pairs per pixel", "pixels whose order of lightness the enhancer turned"),
    "over_exposed": Metric(False, "share", "pixels with a channel at 250 of 255 or more"),
    "colour_cast": Metric(False, "degrees", "angle of the mean colour from grey"),
    "our_prior_well_lit": Metric(True, "probability", "P(well lit) in the eyes of our own bundled prior"),
    "unchanged": Metric(True, "dB", "PSNR of enhanced against input, for photos that were good already"),
    "feature_gap": Metric(False, "", "squared distance of mean CLIP features from well-lit photos"),
    "distribution": Metric(False, "", "how bright and coloured enhanced photos are as a set, from well-lit ones"),
    "judge_gap": Metric(False, "", "penalty by what guides, of enhanced dark photos less that of well-lit ones"),
    "restored": Metric(True, "dB", "PSNR of held-out well-lit photos, brought back from a camera's wrong exposures"),
}
HIGHER_IS_BETTER = {name: metric.higher_is_better for name, metric in METRICS.items()}
