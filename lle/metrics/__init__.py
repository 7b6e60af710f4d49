"""Quality of enhanced pictures, with and without a ground truth; `METRICS` lists them, and which way is better."""

from __future__ import annotations

from lle.config.metrics import METRICS, Metric
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
