"""Colour constancy: the means of the channels agree (grey world; Zero-DCE and PIE, method 2.3).

L = mean over pictures of sqrt((r - g)^4 + (r - b)^4 + (g - b)^4),    r, g, b: channel means
"""

from __future__ import annotations

import torch
from torch import Tensor


def colour(enhanced: Tensor) -> Tensor:
    """Scalar in [0, sqrt 2] from RGB in [0, 1], (B, 3, H, W); 0 for pictures without a cast."""
    red, green, blue = enhanced.float().mean(dim=(2, 3)).unbind(dim=1)
    squares = torch.stack([red - green, red - blue, green - blue], dim=1).square()
    return torch.linalg.vector_norm(squares, dim=1).mean()  # whose gradient at grey is 0, unlike a square root's
