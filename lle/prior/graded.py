"""The graded prior: a CLIP that sees with the ImageNet tower of the bundled enhancer and says how much light it lacks.

    f = normalise(A x/|x| + B h(g)),    g = ln(m / (1 - m)),    h_i = sigmoid(1.5 (g - c_i)),    c = -5 .. 4

x are the features of the frozen tower, m is the mean of the picture's sRGB values, to which such a tower is partly
blind. A and B are learned, and the text tower, which goes on from the bundled prior's and shares its token embeddings;
only they are in the asset (see assets/MODEL_CARD.md). Its captions are graded: each says by how much the light misses,
in nat of the curve of `exposure.shoulder`, as pictures are told apart in `lle.exposure.relit`.

    mu = sum over grades of softmax(s f . t)_i d_i

is what the captions say of a picture: below 0 it lacks light, above it has too much.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.enhancers.tower import FEATURES, SIDE
from lle.enhancers.tower import Tower as ImageNet
from lle.prior.bundled import ASSETS, load_bundled
from lle.prior.crops import resize
from lle.prior.imagenet import DEPTHS
from lle.prior.towers import Seen, Tower
from lle.prior.weights import PriorError

if TYPE_CHECKING:
    from open_clip.model import CLIP

WEIGHTS_FILE = ASSETS / "graded_prior.safetensors"
SHARED = "visual.tower.", "token_embedding."  # what other assets of the package hold
SCALE = 30.0
LEAST = 0.003  # of a mean, so that black pictures have a gradient
STEPS, STEEP = tuple(range(-5, 5)), 1.5
SEEING, LIT = 3.0, 3.0

GRADES: dict[float, tuple[str, ...]] = {
    -4.0: ("a photo that is almost black", "a picture with hardly any light", "a photo in deep night"),
    -3.0: ("a very dark photo", "a photo that is far too dark", "a badly under-exposed picture"),
    -2.2: ("a dark photo", "a photo that lacks three stops of light", "a picture that is much too dark"),
    -1.5: ("a photo that is clearly too dark", "a photo that lacks two stops of light", "an under-exposed picture"),
    -1.0: ("a photo that is too dark", "a photo that lacks more than a stop of light", "a dim picture"),
    -0.5: ("a photo that is a little too dark", "a slightly under-exposed picture", "a slightly dim photo"),
    0.0: ("a well-lit photo", "a well-exposed photo", "a photo with good lighting", "a correctly exposed picture"),
    0.5: ("a photo that is a little too bright", "a slightly over-exposed picture", "a slightly bright photo"),
    1.0: ("a photo that is too bright", "a photo with a stop of light too much", "a bright picture"),
    1.5: ("a photo that is clearly too bright", "a photo with two stops of light too much", "an over-exposed picture"),
    2.2: ("a photo that is far too bright", "a badly over-exposed picture", "a picture with blown highlights"),
}  # fmt: skip
"""Captions by what a picture's light misses, nat."""
FAULTS: dict[str, tuple[str, ...]] = {
    "tinted": ("a tinted picture", "a photo with a wrong white balance"),
    "flat": ("a flat grey picture", "a hazy photo of low contrast"),
    "noisy": ("a noisy picture", "a grainy photo"),
    "halo": ("a picture with halos", "a photo whose shadows and lights were evened out"),
}
"""Captions of what else may be wrong."""


class Eye(nn.Module):
    """The image side, in the place of an open_clip model's `visual`."""

    image_size = SIDE, SIDE
    image_mean, image_std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tower = ImageNet().eval()
        self.content = nn.Linear(FEATURES, width, bias=False)
        self.level = nn.Linear(len(STEPS), width)

    def forward(self, image: Tensor) -> Tensor:
        """Features, (B, width), of RGB in [0, 1], (B, 3, 160, 160)."""
        return self.joint(self.tower(image), mean_light(image))

    def joint(self, features: Tensor, light: Tensor, known: Tensor | float = 1.0) -> Tensor:
        """The same of the tower's features, (B, F), and mean sRGB values, (B,); known 0 hides the latter, (B, 1)."""
        g = torch.log((light + LEAST) / (1 - light + LEAST))
        steps = torch.sigmoid(STEEP * (g[:, None] - g.new_tensor(STEPS)))
        return SEEING * self.content(F.normalize(features, dim=-1)) + LIT * self.level(known * steps)


class GradedTower(Tower):
    """The graded prior as a guidance tower: prompts, latent pairs and residuals stand on it, and its own captions."""

    def __init__(self, model: CLIP, name: str) -> None:
        super().__init__(model, name)

    @property
    def width(self) -> int:
        return int(self.model.visual.content.out_features)

    def forward(self, image: Tensor, stages: bool = False) -> Seen:
        small, eye = resize(image, self.image_size), self.model.visual
        maps = eye.tower.maps(small)
        features = F.normalize(eye.joint(eye.tower.features_of(maps[1:]), mean_light(small)), dim=-1)
        return Seen(features, [maps[depth] for depth in DEPTHS] if stages else [])


def mean_light(image: Tensor) -> Tensor:
    """Mean of the sRGB values of each picture, (B,)."""
    return image.float().mean(dim=(1, 2, 3))


def load_graded(trained: bool = True, weights: Path = WEIGHTS_FILE) -> CLIP:
    """The graded prior, frozen, on the CPU; with trained False the same with A, B and a text tower of random weights,
    always the same ones.
    """
    from safetensors.torch import load_file

    model = build(trained)
    if trained:
        learned = {name: tensor.float() for name, tensor in load_file(weights).items()}
        missing, unexpected = model.load_state_dict(learned, strict=False)
        if unexpected or any(not name.startswith(SHARED) for name in missing if name != "attn_mask"):
            raise ValueError(f"{weights}: holds the weights of another prior")
    return model.eval().requires_grad_(False)


def build(trained: bool = True) -> CLIP:
    """A graded prior that has learned nothing yet, on the bundled prior's text tower or on an untrained one."""
    model, _ = load_bundled(trained)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.visual = Eye(model.text_projection.shape[1])
    with torch.no_grad():
        model.logit_scale.fill_(torch.tensor(SCALE).log())
    return model


def learned(model: CLIP) -> dict[str, Tensor]:
    """What the asset holds: all but what other assets of the package do, in half precision."""
    state = model.state_dict()
    return {
        name: tensor.to(torch.float16).contiguous() for name, tensor in state.items() if not name.startswith(SHARED)
    }


class Captions(nn.Module):
    """What the graded captions say of a picture; nothing is learned.

    Args:
        tower: the graded prior.
    """

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        if not isinstance(tower, GradedTower):
            raise PriorError(
                f"prior.guidance: the captions of {tower.name} do not say how much light is missing; give prior.model "
                "graded, or another guidance"
            )
        self.scale = tower.logit_scale
        self.directions = nn.Parameter(directions_of(tower.model, GRADES.values()), requires_grad=False)

    def misses(self, features: Tensor) -> Tensor:
        """mu of unit-norm image features (B, D), nat, (B,)."""
        return expected((self.scale * features.float() @ self.directions.T).softmax(dim=-1))

    def penalty(self, features: Tensor) -> Tensor:
        """How much is missed or too much, in [0, 1], (B,): |mu| as a share of the largest, smooth at 0."""
        missed = self.misses(features)
        return ((missed.square() + SMOOTH**2).sqrt() - SMOOTH) / MOST


SMOOTH, MOST = 0.1, max(map(abs, GRADES))


def expected(chances: Tensor) -> Tensor:
    """What is missed, nat, (B,), by the chances of the grades, (B, grades)."""
    return (chances * chances.new_tensor(list(GRADES))).sum(dim=-1)


@torch.no_grad()
def directions_of(model: CLIP, captions: Iterable[Sequence[str]]) -> Tensor:
    """One unit-norm direction for each group of captions, (groups, D)."""
    from lle.prior.pretraining import tokenise

    device = model.logit_scale.device
    means = [F.normalize(model.encode_text(tokenise(each).to(device)), dim=-1).mean(dim=0) for each in captions]
    return F.normalize(torch.stack(means), dim=-1)
