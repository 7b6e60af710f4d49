"""NIQE: how far a picture's statistics lie from those of pristine photos (Mittal et al., IEEE SPL 2013).

    D = sqrt((m1 - m2)^T ((S1 + S2) / 2)^-1 (m1 - m2))

m, S: mean and covariance of 36 features over blocks of 96 x 96 pixels; 1 of pristine photos (published), 2 of the
picture. A block's features are the parameters of asymmetric generalised Gaussians fitted to its locally normalised
brightness and to the products of neighbours along four directions, 18 at full size and 18 at half.

Shapes: N blocks of S x S pixels.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lle.dotted import said
from lle.metrics.full_reference import rounded

BLOCK = 96
FEATURES = 36
WINDOW, WINDOW_SIGMA = 7, 7 / 6
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
LUMA = (0.299, 0.587, 0.114)


class Niqe:
    """The metric with the statistics of pristine photos.

    Args:
        mean: (36,).
        covariance: (36, 36).

    Raises:
        ValueError: other shapes.
    """

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        if mean.shape != (FEATURES,) or covariance.shape != (FEATURES, FEATURES):
            raise ValueError(f"NIQE wants a mean of {FEATURES} features and their covariance")
        self.mean, self.covariance = mean.double(), covariance.double()

    def __call__(self, image: Tensor) -> Tensor:
        """Distance of each picture from pristine ones, (B,), on the CPU; nan where fewer than two blocks have texture.

        Args:
            image: RGB in [0, 1], (B, 3, H, W); what exceeds whole blocks is left out.
        """
        return torch.tensor([self._distance(each) for each in image.cpu()])

    def _distance(self, image: Tensor) -> float:
        features = block_features(image)
        features = features[features.isfinite().all(dim=1)]
        if len(features) < 2:
            return math.nan
        difference = self.mean - features.mean(dim=0)
        spread = (self.covariance + features.T.cov()) / 2
        return float((difference @ torch.linalg.pinv(spread, hermitian=True) @ difference).clamp(min=0).sqrt())


def load_niqe(path: Path) -> Niqe:
    """The metric from a NumPy archive with `mu_pris_param` and `cov_pris_param`.

    Raises:
        ValueError: the file holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            mean, covariance = (torch.from_numpy(arrays[name]) for name in ("mu_pris_param", "cov_pris_param"))
        return Niqe(mean.flatten(), covariance)
    except Exception as error:  # a damaged archive raises nearly anything
        raise ValueError(f"{path}: holds no parameters of NIQE ({said(error)})") from error


def block_features(image: Tensor) -> Tensor:
    """Features of each whole block, (N, 36), nan in flat ones; RGB in [0, 1], (3, H, W)."""
    height, width = (side // BLOCK * BLOCK for side in image.shape[-2:])
    levels = (rounded(image).double() * 255).round()
    luma = (levels * torch.tensor(LUMA, dtype=torch.float64).view(3, 1, 1)).sum(dim=0)[:height, :width]
    if not luma.numel():
        return torch.empty(0, FEATURES, dtype=torch.float64)
    full = luma.round()[None, None]
    half = F.interpolate(full, scale_factor=0.5, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([_scale_features(full, BLOCK), _scale_features(half, BLOCK // 2)], dim=1)


def fit_asymmetric_gaussian(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shape and the scales to the left and right of 0 of each row, by moments (Lasmar et al. 2009).

    Args:
        x: samples, (N, P).

    Returns:
        alpha in [0.2, 10] (2: Gaussian, 1: Laplacian), beta_left, beta_right, (N,) each; nan for rows on one side only.
    """
    left, right = (_root_mean_square(x, side) for side in (x < 0, x > 0))
    ratio = left / right
    moments = x.abs().mean(dim=1).square() / x.square().mean(dim=1)
    wanted = moments * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1).square()
    alphas = torch.arange(0.2, 10.001, 0.001, dtype=torch.float64)
    achieved = (2 * torch.lgamma(2 / alphas) - torch.lgamma(1 / alphas) - torch.lgamma(3 / alphas)).exp()  # rises
    above = torch.searchsorted(achieved, wanted).clamp(1, len(alphas) - 1)
    nearer = above - (wanted - achieved[above - 1] < achieved[above] - wanted).long()
    alpha = torch.where(wanted.isnan(), wanted, alphas[nearer])
    scale = ((torch.lgamma(1 / alpha) - torch.lgamma(3 / alpha)) / 2).exp()
    return alpha, left * scale, right * scale


def _scale_features(luma: Tensor, size: int) -> Tensor:
    """18 features of each block at one scale, (N, 18); brightness from 0 to 255, (1, 1, H, W)."""
    normal = _locally_normalised(luma)
    rows, columns = normal.shape[-2] // size, normal.shape[-1] // size
    blocks = normal.view(rows, size, columns, size).transpose(1, 2).reshape(-1, size, size)
    alpha, left, right = fit_asymmetric_gaussian(blocks.flatten(1))
    features = [alpha, (left + right) / 2]
    for shift in NEIGHBOURS:
        alpha, left, right = fit_asymmetric_gaussian((blocks * blocks.roll(shift, dims=(1, 2))).flatten(1))
        mean = (right - left) * (torch.lgamma(2 / alpha) - torch.lgamma(1 / alpha)).exp()
        features += [alpha, mean, left, right]
    return torch.stack(features, dim=1)


def _locally_normalised(luma: Tensor) -> Tensor:
    """(I - mean) / (deviation + 1), both Gaussian-weighted around each pixel."""
    offset = torch.arange(WINDOW, dtype=luma.dtype) - WINDOW // 2
    line = torch.exp(-offset.square() / (2 * WINDOW_SIGMA**2))
    line = line / line.sum()

    def average(x: Tensor) -> Tensor:
        padded = F.pad(x, [WINDOW // 2] * 4, mode="replicate")
        return F.conv2d(F.conv2d(padded, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1))

    mean = average(luma)
    deviation = (average(luma * luma) - mean * mean).abs().sqrt()
    return (luma - mean) / (deviation + 1)


def _root_mean_square(x: Tensor, where: Tensor) -> Tensor:
    return ((x * where).square().sum(dim=1) / where.sum(dim=1)).sqrt()
