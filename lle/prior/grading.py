"""How the graded prior learns to say how much light is missing: on features of a frozen tower, which looks only once.

Well-lit photos are taken again with wrong light by the reference camera and lifted back, each exposure of a photo by
several amounts that miss by d. What is taught of a picture is

    d' = b d + (1 - b) d0,    d0 = 1.17 (g(m) - g(.44)),    g(m) = ln(m / (1 - m))

d0 is what a picture of mean m misses if all are right at a mean of .44: a few hundred photos know less of what each one
wants than that rule does, so the tower is believed by a part b alone. The loss is the cross-entropy of captions with
the grades near d', softly, and of those of other faults; in each step one caption speaks for its grade.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lle.exposure import camera
from lle.exposure.camera import linear_to_srgb, srgb_to_linear
from lle.exposure.curves import bag_of_curves
from lle.exposure.reference import REFERENCE
from lle.exposure.shoulder import BRIGHTEST, DARKEST, k_of, lift_to_mean, shoulder
from lle.prior import graded
from lle.prior.crops import resize
from lle.prior.graded import FAULTS, GRADES, Eye, mean_light
from lle.prior.pretraining import tokenise

if TYPE_CHECKING:
    from open_clip.model import CLIP

GREY, SLOPE = 0.44, 1.17
MISSES = (0.0, 0.0), (-0.7, 0.7), (-0.7, 0.7), (-2.5, -0.5), (0.5, 2.5), (-2.0, 2.0)
UNTOUCHED_SHARE = 0.12
FAULTLESS = 0
SOFTNESS = 0.3
PART = 19  # pictures in one pass: larger ones leave the processor's cache


@dataclass(frozen=True)
class Recipe:
    """How the graded prior learns."""

    steps: int = 420
    batch: int = 192
    learning_rate: float = 5e-3
    text_rate: float = 5e-4
    dropped: float = 0.5
    light_hidden: float = 0.5
    believed: float = 0.3
    seed: int = 0


class Examples(NamedTuple):
    """What the tower sees of many pictures.

    Attributes:
        features: of the frozen tower, (N, F).
        light: mean sRGB value, (N,).
        missed: d, nat, (N,).
        fault: 0: none; else one more than its place in `FAULTS`, (N,), int64.
    """

    features: Tensor
    light: Tensor
    missed: Tensor
    fault: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Examples]) -> Examples:
        """All of them."""
        return cls(*(torch.cat(each) for each in zip(*parts, strict=True)))


@torch.no_grad()
def looked_at(eye: Eye, views: Tensor, generator: torch.Generator) -> Examples:
    """What the tower sees of views of a well-lit photo in right and wrong light.

    Args:
        eye: holds the tower.
        views: sRGB in [0, 1], (V, 3, H, W).
        generator: source of all chance.
    """
    parts = []
    for pictures, missed, fault in pictures_of(views, generator):
        small = resize(pictures, eye.image_size).clamp(0, 1)
        features = torch.cat([eye.tower(part) for part in small.split(PART)])
        parts.append(Examples(features, mean_light(small), missed, torch.full((len(views),), fault)))
    return Examples.joined(parts)


def pictures_of(views: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Views of a photo, lifted by too little or too much after a wrong exposure, and with faults: sRGB (V, 3, H, W),
    what they miss, (V,), and the fault.
    """
    count = len(views)

    def draw(low: float, high: float) -> Tensor:
        return camera.uniform(count, low, high, generator)

    seeds = torch.randint(2**31, (count,), generator=generator).tolist()
    stays = (draw(0, 1) < UNTOUCHED_SHARE).view(-1, 1, 1, 1)
    wrong = torch.where(stays, views, bag_of_curves(views, REFERENCE, seeds))
    light = srgb_to_linear(wrong)
    lift = lift_to_mean(light, views.mean(dim=(1, 2, 3), keepdim=True))
    for low, high in MISSES:
        lifted = (lift + draw(low, high).view(-1, 1, 1, 1)).clamp(-DARKEST, BRIGHTEST)
        yield linear_to_srgb(shoulder(light, k_of(lifted))), (lifted - lift).flatten(), FAULTLESS
    yield wrong, -lift.flatten(), FAULTLESS
    right = torch.zeros(count)
    yield views, right, FAULTLESS
    for place, name in enumerate(FAULTS, start=1):
        yield with_fault(name, views, draw, generator), right, place


def with_fault(name: str, views: Tensor, draw: Callable[[float, float], Tensor], generator: torch.Generator) -> Tensor:
    """Well-lit views with another fault of `FAULTS`, sRGB in [0, 1], (V, 3, H, W)."""
    if name == "tinted":
        return camera.colour_cast(views, torch.exp2(torch.stack([draw(-0.8, 0.8) for _ in range(3)], dim=1)))
    if name == "flat":
        return camera.low_contrast(views, draw(0.2, 0.6), draw(0.3, 0.6))
    if name == "noisy":
        grain = torch.randn(views.shape, generator=generator)
        return (views + draw(0.04, 0.15).view(-1, 1, 1, 1) * grain).clamp(0, 1)
    assert name == "halo"
    reach = max(1, min(views.shape[-2:]) // 16)
    value = F.pad(views.amax(dim=1, keepdim=True), (reach,) * 4, mode="reflect")
    around = F.avg_pool2d(value, 2 * reach + 1, stride=1).clamp_min(0.05)
    return (views * (0.5 / around) ** draw(0.4, 0.9).view(-1, 1, 1, 1)).clamp(0, 1)


def learn(examples: Examples, recipe: Recipe, report: Callable[[int, float], None] | None = None) -> CLIP:
    """A graded prior in eval mode, on the CPU; the same examples, recipe and threads give the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return _learn(examples, recipe, report)


def _learn(examples: Examples, recipe: Recipe, report: Callable[[int, float], None] | None) -> CLIP:
    model = graded.build()
    eye = model.visual
    model.requires_grad_(False)
    image_side = [*eye.content.parameters(), *eye.level.parameters()]
    text_side = [model.positional_embedding, model.text_projection, *model.ln_final.parameters()]
    text_side += model.transformer.parameters()
    for parameter in (*image_side, *text_side):
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(
        [{"params": image_side, "lr": recipe.learning_rate}, {"params": text_side, "lr": recipe.text_rate}],
        weight_decay=0.0,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps)
    captions = [tokenise(each) for each in (*GRADES.values(), *FAULTS.values())]
    taught = recipe.believed * examples.missed + (1 - recipe.believed) * miss_of_mean(examples.light)
    for step in range(recipe.steps):
        rows = torch.randint(len(examples.missed), (recipe.batch,))
        features = F.normalize(F.dropout(examples.features[rows].float(), recipe.dropped), dim=-1)
        known = (torch.rand(recipe.batch, 1) >= recipe.light_hidden).float()
        seen = F.normalize(eye.joint(features, examples.light[rows], known), dim=-1)
        said = torch.stack([each[int(torch.randint(len(each), ()))] for each in captions])
        logits = graded.SCALE * seen @ F.normalize(model.encode_text(said), dim=-1).T
        loss = grading(logits, taught[rows], examples.fault[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if report:
            report(step, float(loss.detach()))
    return model.eval().requires_grad_(False)


def grading(logits: Tensor, missed: Tensor, fault: Tensor) -> Tensor:
    """Cross-entropy of the grades with those near what is missed, and of the faults with what is at fault, for pictures
    with a fault and those that hardly miss anything; scalar.

    Args:
        logits: of the grades, then of the faults, (B, grades + faults).
        missed: nat, (B,).
        fault: as in `Examples`, (B,).
    """
    grades = logits.new_tensor(list(GRADES))
    near = (-((missed[:, None] - grades) ** 2) / (2 * SOFTNESS**2)).softmax(dim=1)
    faultless = fault == FAULTLESS
    of_grades = F.cross_entropy(logits[faultless, : len(grades)], near[faultless])
    good = list(GRADES).index(0.0)
    chosen = ~faultless | (missed.abs() < SOFTNESS)
    against = torch.cat([logits[:, good : good + 1], logits[:, len(grades) :]], dim=1)
    return of_grades + F.cross_entropy(against[chosen], fault[chosen])


def miss_of_mean(light: Tensor) -> Tensor:
    """d0, nat, of pictures by their mean sRGB value."""
    return SLOPE * (torch.logit(light, eps=0.01) - torch.logit(torch.tensor(GREY)))
