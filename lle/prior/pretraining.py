"""How the bundled prior learns what light is: captions of exposures that a camera model made, and a contrastive loss.

Each picture is given one of eleven exposures in linear light (lle/exposure/camera.py); each exposure has several
captions. The loss is InfoNCE with several positives, in both directions (the supervised contrastive form, Khosla et
al., NeurIPS 2020, L_out):

    L = (L_images + L_captions) / 2
    L_images = mean over images i of -1/|P(i)| * sum over p in P(i) of log softmax_j(s f_i . t_j)[p]

with unit-norm image features f, caption features t, scale s, P(i) the captions of the image's own exposure, and
L_captions the same with images and captions exchanged.

Shapes: B images of S x S pixels, T captions, E features, C exposures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lle.exposure import camera
from lle.exposure.camera import Noise, uniform
from lle.prior import bundled

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from open_clip.model import CLIP

CAPTIONS: dict[str, tuple[str, ...]] = {
    "well-lit": (
        "a well-lit photo", "a well-exposed photo", "a photo with good lighting", "a correctly exposed picture",
        "a picture with balanced light", "a good photo in natural light",
    ),
    "dim": (
        "a dim photo", "a slightly dark photo", "a slightly under-exposed picture", "a photo that is a little too dark",
    ),
    "dark": (
        "a dark photo", "a low-light photo", "an under-exposed picture", "a very dark picture", "a badly lit photo",
    ),
    "noisy": ("a dark and noisy photo", "a grainy low-light photo", "a noisy picture taken at night"),
    "bright": ("a slightly over-exposed photo", "a photo that is a little too bright", "a bright picture"),
    "blown": ("an over-exposed photo", "a photo that is far too bright", "a picture with blown highlights"),
    "backlit": (
        "a backlit photo", "a photo taken against the light", "a dark foreground before a bright background",
        "a picture with a dark subject and a bright sky", "a silhouette",
    ),
    "deep": ("a photo with crushed shadows", "a picture that is too contrasty and dark"),
    "pale": ("a pale photo", "a photo with washed-out shadows"),
    "flat": ("a low-contrast photo", "a hazy photo", "a flat grey picture"),
    "cast": ("a photo with a colour cast", "a photo with a wrong white balance", "a tinted picture"),
}  # fmt: skip
"""What is said of each exposure; the first is the good one."""

TOO_LITTLE_LIGHT = ("dim", "dark", "noisy", "backlit", "deep")
"""The exposures that an enhancer is there to mend."""
WRONG_LIGHT = (*TOO_LITTLE_LIGHT, "bright", "blown", "pale")
"""All exposures but the good one, and but the faults beside light: a well-lit photo may also be flat or tinted."""


@dataclass(frozen=True)
class Recipe:
    """How long and how fast the prior is trained; the same recipe, pictures and number of threads give the same
    weights.
    """

    steps: int = 420
    images_per_exposure: int = 4
    well_lit_images: int = 12
    captions_per_exposure: int = 2
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    warmup: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "images_per_exposure", "well_lit_images", "captions_per_exposure", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give a value above 0")


def pretrain(
    pictures: Sequence[NDArray[np.uint8]],
    recipe: Recipe | None = None,
    config: dict[str, Any] | None = None,
    report: Callable[[int, float, float], None] | None = None,
) -> CLIP:
    """A prior trained from nothing on well-exposed pictures.

    Args:
        pictures: RGB, uint8, (H, W, 3) each, any sizes from 112 pixels up; every one is taken to be well exposed.
        recipe: length, rates and seed; `Recipe()` if absent.
        config: shape of the model; the bundled one's if absent.
        report: called after each step with the step, the loss and the share of images whose exposure was recognised.

    Returns:
        The model in eval mode, float32, on the CPU.

    Raises:
        ValueError: no pictures.
        FloatingPointError: the loss is no longer finite.
    """
    if not pictures:
        raise ValueError("there are no pictures to train on; give at least one")
    recipe = recipe or Recipe()
    config = config or bundled.read_config()
    size, names = config["preprocess_cfg"]["size"], list(CAPTIONS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = bundled.build(config).train()
    generator = torch.Generator().manual_seed(recipe.seed)
    sources = [_working_copy(picture, size) for picture in pictures]
    tokens = {name: tokenise(captions) for name, captions in CAPTIONS.items()}
    optimiser = torch.optim.AdamW(
        _parameter_groups(model, recipe.weight_decay), lr=recipe.learning_rate, betas=(0.9, 0.98)
    )
    # Well-lit photos vary most and everything is measured against them: they get a larger part of the batch.
    counts = [recipe.well_lit_images] + [recipe.images_per_exposure] * (len(names) - 1)
    label_of_image = torch.arange(len(names)).repeat_interleave(torch.tensor(counts))
    for step in range(recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, recipe)
        scenes = _scenes(sources, len(label_of_image), size, generator)
        images = torch.cat(
            [expose_as(name, part, generator) for name, part in zip(names, scenes.split(counts), strict=True)]
        )
        texts, label_of_text = _drawn_captions(tokens, names, recipe.captions_per_exposure, generator)
        image_features = F.normalize(
            model.encode_image(normalise(camera.quantise(images), config["preprocess_cfg"])), dim=-1
        )
        text_features = F.normalize(model.encode_text(texts), dim=-1)
        logits = model.logit_scale.exp() * image_features @ text_features.T
        loss = contrastive_loss(logits, label_of_image, label_of_text)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {step}; lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
        if report:
            recognised = (label_of_text[logits.argmax(dim=1)] == label_of_image).float().mean()
            report(step, loss.item(), recognised.item())
    return model.eval()


def contrastive_loss(logits: Tensor, label_of_image: Tensor, label_of_text: Tensor) -> Tensor:
    """InfoNCE with several positives, in both directions (see the formula at the top).

    Args:
        logits: scaled similarities, (B, T).
        label_of_image: exposure of each image, int64, (B,); each occurs among the captions.
        label_of_text: exposure of each caption, int64, (T,); each occurs among the images.

    Returns:
        Scalar >= 0; with m positives among T captions, log m at best.
    """
    positive = (label_of_image[:, None] == label_of_text[None, :]).to(logits.dtype)
    of_images = -(logits.log_softmax(dim=1) * positive).sum(dim=1) / positive.sum(dim=1)
    of_texts = -(logits.log_softmax(dim=0) * positive).sum(dim=0) / positive.sum(dim=0)
    return (of_images.mean() + of_texts.mean()) / 2


def expose_as(name: str, images: Tensor, generator: torch.Generator) -> Tensor:
    """Well-exposed images as the named exposure of `CAPTIONS` would show them, sRGB in [0, 1], (B, 3, H, W).

    Raises ValueError for a name that is not among the exposures.
    """
    batch = images.shape[0]

    def draw(low: float, high: float) -> Tensor:
        return uniform(batch, low, high, generator, images.device)

    if name == "well-lit":
        return camera.expose(images, draw(-0.3, 0.3))
    if name == "dim":
        return camera.expose(images, draw(-2.2, -0.9), Noise(draw(0, 3e-4), draw(0, 1e-3)), generator)
    if name == "dark":
        return camera.expose(images, draw(-6.0, -2.2), Noise(draw(0, 2e-4), draw(0, 5e-4)), generator)
    if name == "noisy":
        return camera.expose(images, draw(-5.0, -2.0), Noise(draw(1e-3, 6e-3), draw(1e-3, 6e-3)), generator)
    if name == "bright":
        return camera.expose(images, draw(1.3, 2.2))
    if name == "blown":
        return camera.expose(images, draw(2.2, 4.0))
    if name == "backlit":
        return _against_the_light(images, draw, generator)
    if name == "deep":
        return camera.gamma(images, draw(2.0, 4.0))
    if name == "pale":
        return camera.gamma(images, draw(0.25, 0.45))
    if name == "flat":
        return camera.low_contrast(images, draw(0.15, 0.55), draw(0.3, 0.8))
    if name == "cast":
        gains = torch.stack([draw(-1.0, 1.0) for _ in range(3)], dim=1)
        # The two extreme channels lie 2 stops apart at least, or it might be the scene's own colour.
        spread = (gains.amax(dim=1, keepdim=True) - gains.amin(dim=1, keepdim=True)).clamp_min(1e-3)
        return camera.colour_cast(images, torch.exp2(gains * (2.0 / spread).clamp_min(1.0)))
    raise ValueError(f"{name}: no such exposure; choose one of {', '.join(CAPTIONS)}")


def _against_the_light(images: Tensor, draw: Callable[[float, float], Tensor], generator: torch.Generator) -> Tensor:
    """Backlit: exposed for the background, which becomes bright whatever it was, while the foreground becomes dark."""
    mask = camera.backlit_mask(images, draw(0.35, 0.9), generator, follow_light=draw(1.0, 4.0))
    light = camera.srgb_to_linear(images).mean(dim=1, keepdim=True)

    def mean_light(weight: Tensor) -> Tensor:
        return ((light * weight).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3)).clamp_min(1e-6)).clamp_min(1e-4)

    background = torch.log2(draw(0.25, 0.75) / mean_light(1 - mask)).clamp(-1.0, 2.0)
    foreground = (draw(-8.0, -4.3) - torch.log2(mean_light(mask))).clamp(-5.0, -1.5)
    return camera.backlight(images, foreground, mask, background)


@torch.no_grad()
def zero_shot_well_lit(
    model: CLIP, images: Tensor, against: Sequence[str] = WRONG_LIGHT, preprocess: dict[str, Any] | None = None
) -> Tensor:
    """P(well-lit) of each image, from captions alone.

    The captions of each exposure are averaged to one direction (an ensemble of prompts); P is the softmax over
    "well-lit" and the exposures it is weighed against, read at "well-lit".

    Args:
        model: the bundled prior, or any other open_clip model with `encode_image` and `encode_text`.
        images: sRGB in [0, 1], (B, 3, H, W), any size.
        against: the other answers, names of `CAPTIONS`: `WRONG_LIGHT`, or `TOO_LITTLE_LIGHT` where nothing can be too
            bright.
        preprocess: size, mean and std of the model's images; the bundled prior's if absent.

    Returns:
        Probabilities, (B,).
    """
    preprocess = preprocess or bundled.read_config()["preprocess_cfg"]
    ensembles = [CAPTIONS[name] for name in ("well-lit", *against)]
    directions = torch.stack(
        [
            F.normalize(model.encode_text(tokenise(captions).to(images.device)), dim=-1).mean(dim=0)
            for captions in ensembles
        ]
    )
    size = preprocess["size"]
    small = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    features = F.normalize(model.encode_image(normalise(small, preprocess)), dim=-1)
    logits = model.logit_scale.exp() * features @ F.normalize(directions, dim=-1).T
    return logits.softmax(dim=-1)[:, 0]


def normalise(images: Tensor, preprocess: dict[str, Any]) -> Tensor:
    """RGB in [0, 1] to the model's scale: (x - mean) / std per channel, (B, 3, H, W)."""
    mean, std = (images.new_tensor(preprocess[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    return (images - mean) / std


def tokenise(captions: Sequence[str]) -> Tensor:
    """Token ids of CLIP's byte-pair encoding, which open_clip ships, int64, (T, 77)."""
    from open_clip.tokenizer import SimpleTokenizer

    global _tokeniser
    if _tokeniser is None:
        _tokeniser = SimpleTokenizer()
    tokens: Tensor = _tokeniser(list(captions))
    return tokens


_tokeniser: Any = None


def _working_copy(picture: NDArray[np.uint8], size: int) -> Tensor:
    """The picture as uint8 (3, H, W), its shorter side at most three times what the model sees, so that crops are
    cheap.
    """
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    factor = 3 * size / min(image.shape[1:])
    if factor >= 1:
        return image.contiguous()
    smaller = F.interpolate(
        image[None].float(), scale_factor=factor, mode="bilinear", antialias=True, align_corners=False
    )
    return smaller[0].round().clamp(0, 255).to(torch.uint8)


def _scenes(sources: Sequence[Tensor], count: int, size: int, generator: torch.Generator) -> Tensor:
    """Well-exposed scenes, (count, 3, size, size): crops, a third of them collages of two, each by another camera.

    Few photos must stand for all: collages vary the layout, the cameras vary colour and contrast within what is good.
    """
    crops = torch.stack([_well_exposed_crop(sources, size, generator) for _ in range(count)])

    def draw(low: float, high: float) -> Tensor:
        return uniform(count, low, high, generator)

    others = crops[torch.randperm(count, generator=generator)]
    mask = camera.backlit_mask(crops, draw(0.25, 0.75), generator, follow_light=0.0)
    scenes = torch.where((draw(0, 1) < 0.33)[:, None, None, None], crops + mask * (others - crops), crops)
    order = torch.stack([torch.randperm(3, generator=generator) for _ in range(count)])
    order = torch.where((draw(0, 1) < 0.4)[:, None], order, torch.arange(3))
    scenes = scenes.gather(1, order[:, :, None, None].expand_as(scenes))
    grey = camera.luma(scenes)
    scenes = (grey + draw(0.5, 1.3).view(-1, 1, 1, 1) * (scenes - grey)).clamp(0, 1)
    gains = torch.stack([draw(-0.25, 0.25) for _ in range(3)], dim=1)
    scenes = camera.gamma(camera.colour_cast(scenes, torch.exp2(gains)), draw(0.75, 1.3))
    s_curve = scenes * scenes * (3 - 2 * scenes)
    return (scenes + draw(-0.2, 0.8).view(-1, 1, 1, 1) * (s_curve - scenes)).clamp(0, 1)


def _well_exposed_crop(sources: Sequence[Tensor], size: int, generator: torch.Generator) -> Tensor:
    """A crop that is neither dark nor bright as a whole, as parts of a good photo may be; the fifth try stands."""
    for _ in range(5):
        source = sources[int(torch.randint(len(sources), (1,), generator=generator))]
        crop = _crop(source, size, generator)
        if 0.28 < crop.mean() < 0.65:
            break
    return crop


def _crop(source: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A random part of 15 to 100 % of the area, of any usual shape, mirrored half of the time, (3, size, size)."""
    area, shape, down, right, mirror, rough = torch.rand(6, generator=generator).tolist()
    height, width = source.shape[1:]
    stretch = math.sqrt(math.exp((shape - 0.5) * math.log(2.25)))
    side = math.sqrt(0.15 + 0.85 * area)
    tall, wide = min(height, round(height * side * stretch)), min(width, round(width * side / stretch))
    top, left = int(down * (height - tall + 1)), int(right * (width - wide + 1))
    part = source[None, :, top : top + tall, left : left + wide].float() / 255
    # Callers may shrink with or without antialiasing; the prior has seen both.
    image = F.interpolate(part, size=(size, size), mode="bilinear", antialias=rough > 0.25, align_corners=False)[
        0
    ].clamp(0, 1)
    return image.flip(-1) if mirror < 0.5 else image


def _drawn_captions(
    tokens: dict[str, Tensor], names: Sequence[str], count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    drawn, labels = [], []
    for label, name in enumerate(names):
        chosen = torch.randperm(len(tokens[name]), generator=generator)[:count]
        drawn.append(tokens[name][chosen])
        labels += [label] * len(chosen)
    return torch.cat(drawn), torch.tensor(labels)


def _schedule(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then half a cosine down to 0."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    return 0.5 * (1 + math.cos(math.pi * (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)))


def _parameter_groups(model: CLIP, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices only: not on gains, biases, scales, nor on embeddings of tokens that no caption uses."""
    decayed: list[torch.nn.Parameter] = []
    free: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (free if parameter.ndim < 2 or "embedding" in name else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
