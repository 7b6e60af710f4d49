"""Pixels as arrays and tensors: checks, sizes, depths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

_STRIP_PIXELS = 2**18


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Antialiased bicubic resize.

    Args:
        image: RGB, uint8, (height, width, 3).
        size: wanted (height, width), each at least 1.

    Returns:
        RGB, uint8, (*size, 3): a new array, also where the size does not change.

    Raises:
        ValueError: wrong array or size.
    """
    check_pixels(image)
    height, width = size
    if min(size) < 1:
        raise ValueError(f"size is {size}; give at least 1 pixel each way, as (height, width)")
    # Far reductions first go through whole-number box averaging: several times faster, and hardly to be told apart.
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0))


def array_of(image: Image.Image) -> np.ndarray:
    """Samples of a loaded image of 8 bits, (height, width) or (height, width, channels): a new array.

    Strip by strip, for Pillow makes two more copies of what is asked for at once.
    """
    shape = (image.height, image.width, len(image.getbands()))
    samples = np.empty(shape if shape[2] > 1 else shape[:2], np.uint8)
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        samples[top : top + rows] = np.asarray(strip)
    return samples


def eight_bits(pixels: np.ndarray) -> np.ndarray:
    """uint16 samples rounded to uint8; uint8 as they are."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def white(dtype: np.dtype) -> int:
    """The sample that stands for 1: 255, or 65535 with 16 bits."""
    return int(np.iinfo(dtype).max)


def check_pixels(image: np.ndarray, *, depths: tuple[type[np.generic], ...] = (np.uint8,)) -> None:
    """Raises ValueError for anything but RGB pixels of these depths."""
    named = " or ".join(np.dtype(each).name for each in depths)
    if not isinstance(image, np.ndarray):
        raise ValueError(f"expected RGB pixels, {named} (height, width, 3), got {type(image).__name__}")
    if image.dtype not in depths or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"expected RGB pixels, {named} (height, width, 3), got {image.dtype} {image.shape}")


def to_tensor(image: np.ndarray) -> Tensor:
    """uint8 (height, width, 3) -> float32 in [0, 1], (3, height, width), on the CPU."""
    import torch

    check_pixels(image)
    return torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1).contiguous().to(torch.float32).div_(255.0)


def from_tensor(tensor: Tensor) -> np.ndarray:
    """RGB (3, height, width), any device and float type -> uint8 (height, width, 3), clamped to [0, 1] and rounded.

    Raises:
        ValueError: another shape or an integer type, or a value that is not a number.
    """
    if tensor.ndim != 3 or tensor.shape[0] != 3 or not tensor.is_floating_point():
        raise ValueError(f"expected a float tensor (3, height, width), got {tensor.dtype} {tuple(tensor.shape)}")
    values = tensor.detach().float()
    if values.isnan().any():
        raise ValueError("the tensor holds values that are not numbers (NaN) and cannot become an image")
    array: np.ndarray = values.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
    return array
