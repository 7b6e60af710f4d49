"""LPIPS: distance of two pictures in the features of a network that learned to recognise things (Zhang et al., 2018).

    d = sum over layers l of mean over positions of sum over channels c of w_lc (f_lc - g_lc)^2

f, g: features of the two pictures, of unit norm at each position; w: published, fitted to what people see. The network
is SqueezeNet 1.1, tapped after its first activation and after its fire modules as published.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.dotted import said
from lle.metrics.full_reference import rounded

TAPS = (1, 4, 7, 9, 10, 11, 12)  # indices of torchvision's squeezenet1_1().features
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALLEST_SIDE = 32


class Lpips(nn.Module):
    """The metric with its weights.

    Args:
        trunk: state dict of torchvision's squeezenet1_1, or of its features alone.
        linear: the weights w as published: `lin0.model.1.weight`, ..., (1, C, 1, 1).

    Raises:
        ValueError: weights of something else.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: dict[str, Tensor], linear: dict[str, Tensor]) -> None:
        super().__init__()
        from torchvision.models import squeezenet1_1

        self.trunk = squeezenet1_1(weights=None).features
        features = {name: weight.float() for name, weight in trunk.items() if name.startswith("features.")}
        try:
            self.trunk.load_state_dict({name.removeprefix("features."): weight for name, weight in features.items()})
            weights = [linear[f"lin{index}.model.1.weight"].float() for index in range(len(TAPS))]
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"not the weights of SqueezeNet 1.1 and LPIPS ({said(error)})") from error
        self.linear = nn.ParameterList(weights)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor, reference: Tensor) -> Tensor:
        """Distance of each picture from its reference, (B,), >= 0; RGB in [0, 1], (B, 3, H, W), sides >= 32."""
        pairs = zip(self._features(image), self._features(reference), self.linear, strict=True)
        return torch.stack([(w * (f - g).square()).sum(dim=1).mean(dim=(1, 2)) for f, g, w in pairs]).sum(dim=0)

    def _features(self, image: Tensor) -> list[Tensor]:
        x, found = (rounded(image) - self.mean) / self.std, []
        for index, layer in enumerate(self.trunk):
            x = layer(x)
            if index in TAPS:
                found.append(F.normalize(x, dim=1, eps=1e-10))
        return found


def load_lpips(trunk: Path, linear: Path) -> Lpips:
    """The metric from two files of torch: SqueezeNet 1.1 and LPIPS' linear layers.

    Raises:
        ValueError: files that hold something else.
    """
    checkpoint_files = []
    for path in (trunk, linear):
        try:
            checkpoint_files.append(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # a damaged archive raises nearly anything
            raise ValueError(f"{path}: cannot be loaded safely ({type(error).__name__})") from error
    try:
        return Lpips(*checkpoint_files)
    except ValueError as error:
        raise ValueError(f"{trunk}, {linear}: {error}") from error
