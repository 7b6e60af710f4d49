"""Regions without labels: parts of a photo that look alike, for the regional term (PIE, method 2.3).

Computed once for each photo, from the input, where photos are decoded; needs scikit-image.
"""

from __future__ import annotations

import numpy as np

from lle.config import RegionSettings

BRIGHT = 0.4


def find_regions(image: np.ndarray, settings: RegionSettings) -> np.ndarray:
    """Region of each pixel, counted from 0 without gaps, (H, W), int32.

    Args:
        image: RGB uint8, (H, W, 3).
        settings: method and its parameters.

    Raises:
        ValueError: a picture without pixels.
    """
    if not image.size:
        raise ValueError(f"regions: a picture of shape {image.shape} has no pixels to divide; leave it out")
    from skimage import segmentation  # half a second to import

    if settings.brighten:
        gain = 255 * BRIGHT / max(float(image.mean()), 1.0)
        image = np.clip(image * gain, 0, 255).astype(np.uint8)
    if settings.method == "slic":
        labels = segmentation.slic(
            image, n_segments=settings.count, compactness=settings.compactness, start_label=0, channel_axis=-1
        )
    else:
        labels = segmentation.felzenszwalb(
            image, scale=settings.scale, sigma=settings.sigma, min_size=settings.min_size, channel_axis=-1
        )
    return labels.astype(np.int32)
