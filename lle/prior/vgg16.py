"""VGG16's features, the ones PIE compares pictures by (method 2.3); torchvision's network and weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from lle.prior.weights import PriorError, find_vgg16

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LAYERS = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512]
STAGES = {3: "relu1_2", 8: "relu2_2", 15: "relu3_3", 22: "relu4_3"}


class VGG16(nn.Module):
    """The part of VGG16 up to relu4_3, frozen. Gradients flow through to the pictures.

    Args:
        features: torchvision's layers 0 to 22.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: nn.Sequential) -> None:
        super().__init__()
        self.features = features.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """relu1_2, relu2_2, relu3_3 and relu4_3 of RGB in [0, 1], (B, 3, H, W): each (B, C, h, w)."""
        x, stages = (image - self.mean) / self.std, []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in STAGES:
                stages.append(x)
        return stages


def load_vgg16(weights: str) -> VGG16:
    """VGG16 from a file of torchvision's weights, on the CPU.

    Raises:
        PriorError: no torchvision, no such file, or the weights of something else.
    """
    path = find_vgg16(weights)
    try:
        from torchvision.models.vgg import make_layers
    except ImportError as error:
        raise PriorError(
            "prior.features: vgg16 needs torchvision; install it, or take --prior.features tower"
        ) from error
    features = make_layers(LAYERS)
    for layer in features:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    wanted = set(features.state_dict())
    try:
        found: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        named = {name.removeprefix("features."): weight for name, weight in found.items()}
        features.load_state_dict({name: weight for name, weight in named.items() if name in wanted})
    except Exception as error:  # torch.load has many ways to refuse a file
        raise PriorError(
            f"prior.vgg16_weights: {Path(path).name} does not hold torchvision's VGG16 "
            f"({(str(error).splitlines() or [type(error).__name__])[0][:120]}); give the file of vgg16's weights"
        ) from error
    return VGG16(features)
