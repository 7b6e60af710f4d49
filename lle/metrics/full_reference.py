"""Against the ground truth, as the field measures it: RGB, rounded to 8 bits (method 3)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SSIM_WINDOW = 7


def rounded(image: Tensor) -> Tensor:
    """The picture as an 8-bit file would hold it, RGB in [0, 1]."""
    return (image.clamp(0, 1) * 255).round() / 255


def psnr(image: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each picture, (B,), 100 for equal ones; RGB in [0, 1], (B, 3, H, W)."""
    error = (rounded(image) - rounded(reference)).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error.clamp(min=1e-10))


def psnr_gt_mean(image: Tensor, reference: Tensor) -> Tensor:
    """`psnr` after scaling each picture to its reference's mean: structure and colour without the exposure, (B,)."""
    eight_bit = rounded(image)
    means = [each.mean(dim=(1, 2, 3), keepdim=True) for each in (rounded(reference), eight_bit)]
    return psnr(eight_bit * (means[0] / means[1].clamp(min=1e-6)), reference)


def ssim(image: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity of each picture rounded to 8 bits, (B,), <= 1; see `structural_similarity`.

    Args:
        image, reference: RGB in [0, 1], (B, 3, H, W), both sides at least 7.
    """
    return structural_similarity(rounded(image).double(), rounded(reference).double()).float()


def structural_similarity(image: Tensor, reference: Tensor) -> Tensor:
    """Mean SSIM of each picture, (B,), <= 1 (Wang et al. 2004), differentiable.

    Uniform 7x7 windows inside the picture, sample covariance, K = (0.01, 0.03): scikit-image's default.

    Args:
        image, reference: RGB in [0, 1], (B, 3, H, W), both sides at least 7.
    """
    x, y = image, reference
    pixels = SSIM_WINDOW**2
    sample = pixels / (pixels - 1)

    def mean(z: Tensor) -> Tensor:
        return F.avg_pool2d(z, SSIM_WINDOW, stride=1)

    mean_x, mean_y = mean(x), mean(y)
    var_x = sample * (mean(x * x) - mean_x**2)
    var_y = sample * (mean(y * y) - mean_y**2)
    covariance = sample * (mean(x * y) - mean_x * mean_y)
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    return similarity.mean(dim=(1, 2, 3))


def colour_error(image: Tensor, reference: Tensor) -> Tensor:
    """Angle between the mean colours of a picture and its reference, in degrees from 0 to 90, (B,).

    The angular error of colour constancy, on sRGB values: exposure does not change it. RGB in [0, 1], (B, 3, H, W).
    """
    return angle(*(rounded(each).double().mean(dim=(2, 3)) for each in (image, reference)))


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Degrees between vectors, (B, 3) each, (B,); 0 where one of them is 0."""
    parallel, across = (a * b).sum(dim=1), torch.linalg.cross(a, b).norm(dim=1)
    return torch.rad2deg(torch.atan2(across, parallel)).float()
