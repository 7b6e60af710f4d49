"""Feature preservation: deep features of the enhanced picture stay those of the input (PIE, method 2.3).

L = MSE(F(e), F(I)),    F: VGG16 relu4_3, or the fourth stage of a CLIP tower
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def preservation(enhanced: Tensor, original: Tensor) -> Tensor:
    """Scalar >= 0 from deep features of both, (B, C, h, w); 0 for equal ones."""
    return F.mse_loss(enhanced.float(), original.float())
