"""Contrast: enhanced pictures are nearer to well-lit photos than to wrongly exposed ones (PIE, method 2.3).

    pixel    mean over e of max(mean_W |g(e) - g(W)| - mean_N |g(N) - g(e)| + margin, 0),    g = channel mean
    feature  mean over e and W of softplus(d(e, W) + log mean_N exp(-d(e, N)))

d: squared Frobenius distance of Gram matrices F F^T / (C H W), summed over stages. Every positive and every negative
of the batch counts; with one of each, the feature term is the published softplus(d(e, W) - d(e, N)), and the means
make it independent of their number.

Shapes: B enhanced pictures, P positives, N negatives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def pixel_contrast(enhanced: Tensor, positives: Tensor, negatives: Tensor, margin: float) -> Tensor:
    """Scalar in [0, 1 + margin].

    Args:
        enhanced, positives, negatives: RGB in [0, 1], (B, 3, H, W), (P, 3, H, W), (N, 3, H, W); not aligned.
        margin: by how much the positives are to be nearer.
    """
    grey = [each.float().mean(dim=1).flatten(1) for each in (enhanced, positives, negatives)]
    to_positives, to_negatives = (
        torch.cdist(grey[0], others, p=1).mean(dim=1) / others.shape[1] for others in grey[1:]
    )
    return (to_positives - to_negatives + margin).clamp(min=0).mean()


def feature_contrast(enhanced: Sequence[Tensor], positives: Sequence[Tensor], negatives: Sequence[Tensor]) -> Tensor:
    """Scalar > 0; log 2 where positives and negatives are equally far.

    Args:
        enhanced, positives, negatives: stages of features, each (B, C, h, w), (P, C, h, w), (N, C, h, w).
    """
    to_positives = _gram_distances(enhanced, positives)
    to_negatives = _gram_distances(enhanced, negatives)
    nearest = torch.logsumexp(-to_negatives, dim=1, keepdim=True) - math.log(to_negatives.shape[1])
    return F.softplus(to_positives + nearest).mean()


def gram(features: Tensor) -> Tensor:
    """F F^T / (C h w): which channels respond together, wherever they do; (B, C, h, w) to (B, C, C)."""
    batch, channels, height, width = features.shape
    with torch.autocast(features.device.type, enabled=False):
        flat = features.float().reshape(batch, channels, height * width)
        return flat @ flat.transpose(1, 2) / (channels * height * width)


def _gram_distances(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """d between every two pictures, (B, P)."""
    stages = [(gram(a)[:, None] - gram(b)[None]).square().sum(dim=(2, 3)) for a, b in zip(ours, theirs, strict=True)]
    return torch.stack(stages).sum(dim=0)
