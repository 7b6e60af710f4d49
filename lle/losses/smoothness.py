"""Smoothness: maps change slowly over the picture (total variation as in PIE 3.4 and Zero-DCE, method 2.3).

    L = 2 (sum dh^2 / ((h - 1) w) + sum dw^2 / (h (w - 1))) / B

dh, dw: differences of neighbouring rows and columns, summed over the maps.
"""

from __future__ import annotations

from torch import Tensor


def smoothness(maps: Tensor) -> Tensor:
    """Scalar >= 0 from maps (B, M, h, w) with h, w >= 2; 0 for constant maps."""
    batch, _, height, width = maps.shape
    rows = (maps[..., 1:, :] - maps[..., :-1, :]).float().square().sum() / ((height - 1) * width)
    columns = (maps[..., 1:] - maps[..., :-1]).float().square().sum() / (height * (width - 1))
    return 2 * (rows + columns) / batch
