"""What a picture shows, in numbers: the features of EfficientNet-Lite0 (Tan et al. 2019), trained on ImageNet, frozen.

Seven stages of inverted residual blocks (Sandler et al. 2018), ReLU6, no squeeze and excitation, batch normalisation
folded into the convolutions. Of each stage the mean and the standard deviation over all places are kept, and
standardised by those of well-lit photos. The weights are Google's, Apache-2.0 (`assets/MODEL_CARD.md`).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

ASSET = Path(__file__).parent / "assets" / "model.safetensors"  # of the bundled enhancer, which holds it
PREFIX = "tower."
SIDE = 160
STEM = 32


class Stage(NamedTuple):
    """Some blocks of one kind; the first one has the stride."""

    blocks: int
    channels: int
    expansion: int
    kernel: int
    stride: int


STAGES = (
    Stage(1, 16, 1, 3, 1),
    Stage(2, 24, 6, 3, 2),
    Stage(2, 40, 6, 5, 2),
    Stage(3, 80, 6, 3, 2),
    Stage(3, 112, 6, 5, 1),
    Stage(4, 192, 6, 5, 2),
    Stage(1, 320, 6, 3, 1),
)
FEATURES = 2 * sum(stage.channels for stage in STAGES)


class Tower(nn.Module):
    """2,939,120 weights that no training changes: buffers in half precision, computed with in single.

    Attributes:
        mean, deviation: of the features of well-lit photos.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, STEM, 3, stride=2)
        width, stages = STEM, list[nn.Module]()
        for stage in STAGES:
            strides = [stage.stride] + [1] * (stage.blocks - 1)
            blocks = list[nn.Module]()
            for stride in strides:
                blocks.append(Block(width, stage, stride))
                width = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        for name in ("mean", "deviation"):
            self.register_buffer(name, torch.ones(FEATURES))
        if ASSET.is_file():  # a model that is loaded where the package has no assets brings its own
            with safe_open(ASSET, "pt") as file:
                names = [name for name in file.keys() if name.startswith(PREFIX)]  # noqa: SIM118  # it is no mapping
                self.load_state_dict({name.removeprefix(PREFIX): file.get_tensor(name) for name in names})

    def forward(self, image: Tensor) -> Tensor:
        """Features of mean 0 and deviation 1, (B, 1568), float32.

        Args:
            image: RGB in [0, 1], (B, 3, 160, 160).
        """
        return self.features_of(self.maps(image)[1:])

    def maps(self, image: Tensor) -> list[Tensor]:
        """What the stem and the seven stages see, each (B, C, h, w), float32, of the same pictures."""
        with torch.autocast(image.device.type, enabled=False):
            found = [self.stem((image.float() * 255 - 127) / 128)]
            for stage in self.stages:
                found.append(stage(found[-1]))
            return found

    def features_of(self, stages: list[Tensor]) -> Tensor:
        """The features, (B, 1568), of what the stages see."""
        found = [part for each in stages for part in (each.mean(dim=(2, 3)), each.std(dim=(2, 3)))]
        return (torch.cat(found, dim=1) - self.mean) / self.deviation


class Convolution(nn.Module):
    """A convolution that is not trained; "same" padding, what is odd of it at the right and at the bottom."""

    weight: Tensor
    bias: Tensor

    def __init__(self, inputs: int, channels: int, kernel: int, stride: int = 1, groups: int = 1, bend: bool = True):
        super().__init__()
        self.stride, self.groups, self.bend = stride, groups, bend
        self.padding = kernel - stride
        self.register_buffer("weight", torch.zeros(channels, inputs // groups, kernel, kernel, dtype=torch.float16))
        self.register_buffer("bias", torch.zeros(channels, dtype=torch.float16))

    def forward(self, x: Tensor) -> Tensor:
        before, after = self.padding // 2, self.padding - self.padding // 2
        padding = before
        if before != after:
            x, padding = F.pad(x, (before, after, before, after)), 0
        x = F.conv2d(x, self.weight.float(), self.bias.float(), self.stride, padding, groups=self.groups)
        return F.relu6(x) if self.bend else x


class Block(nn.Module):
    """Wider, each channel by itself, narrow again; with its input added where the shapes allow it."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        hidden = stage.expansion * inputs
        self.adds = stride == 1 and inputs == stage.channels
        layers = [Convolution(inputs, hidden, 1)] if stage.expansion > 1 else []
        layers.append(Convolution(hidden, hidden, stage.kernel, stride, groups=hidden))
        layers.append(Convolution(hidden, stage.channels, 1, bend=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.adds else self.layers(x)
