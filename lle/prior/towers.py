"""Frozen CLIP towers: unit-norm image features, the stages of an image tower, and text features of embeddings.

Shapes: B pictures, D the joint dimension of image and text features, T prompt positions, E the text width.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lle.prior.crops import resize
from lle.prior.vgg16 import VGG16
from lle.prior.weights import (
    PACKAGED,
    PriorError,
)


class Seen(NamedTuple):
    """What an image tower sees in a batch.

    Attributes:
        features: unit-norm image features, (B, D).
        stages: features of the stem and of four depths, first to last, each (B, C, h, w); empty unless asked for.
    """

    features: Tensor
    stages: list[Tensor]


class Prior(NamedTuple):
    """The towers of a training; guidance and identity may be the same object.

    Attributes:
        guidance: judges light.
        identity: sees content.
        features: sees what preservation and contrast compare; None: the identity tower does.
    """

    guidance: Tower
    identity: Tower
    features: VGG16 | None = None

    def to(self, device: torch.device) -> Prior:
        """The same towers, moved."""
        return Prior(*(each if each is None else each.to(device) for each in self))  # type: ignore[arg-type]


class Tower(nn.Module):
    """An open_clip model, frozen, at its own resolution and normalisation.

    Args:
        model: an open_clip CLIP or CustomTextCLIP.
        name: its name, for messages.
        mean, std: normalisation of RGB in [0, 1]; None: the model's own.

    Gradients flow through to the pictures, never into the weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        name: str,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.model: Any = model.eval().requires_grad_(False)  # open_clip's classes share no typed interface
        self.name = name
        visual: Any = self.model.visual
        _fold_batch_norms(visual)
        size = visual.image_size
        self.image_size: tuple[int, int] = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
        self.register_buffer("mean", torch.tensor(mean or visual.image_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std or visual.image_std).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> Tower:
        """Stays in evaluation mode: a frozen tower has no other."""
        return super().train(False)

    @property
    def logit_scale(self) -> float:
        """Inverse temperature of the softmax over prompts, at most 100 (method 1.2)."""
        return min(float(self.model.logit_scale.exp()), 100.0)

    @property
    def width(self) -> int:
        """D, found by looking at a black picture."""
        with torch.no_grad():
            return self(self.mean.new_zeros(1, 3, *self.image_size)).features.shape[1]

    def forward(self, image: Tensor, stages: bool = False) -> Seen:
        """Look at whole pictures.

        Args:
            image: RGB in [0, 1], (B, 3, H, W), any size; resized whole to the tower's own.
            stages: also return the stem and four stages, for the identity loss.
        """
        normal = (resize(image, self.image_size) - self.mean) / self.std
        if not stages:
            return Seen(F.normalize(self.model.visual(normal).float(), dim=-1), [])
        return self._with_stages(normal)

    def _with_stages(self, normal: Tensor) -> Seen:
        visual = self.model.visual
        seen = visual.forward_intermediates(normal)
        maps = [each.float() for each in seen["image_intermediates"]]
        if hasattr(visual, "layer4"):  # a ResNet gives its stem and four stages
            stages = maps
        else:
            stem = [visual.conv1(normal).float()] if hasattr(visual, "conv1") else maps[:1]
            stages = stem + [maps[(len(maps) * quarter + 3) // 4 - 1] for quarter in (1, 2, 3, 4)]
        return Seen(F.normalize(seen["image_features"].float(), dim=-1), stages)

    @property
    def text(self) -> Any:
        """The text tower: `model.text` where there is one, else the model itself."""
        text = getattr(self.model, "text", self.model)
        if not hasattr(text, "token_embedding"):
            raise PriorError(
                f"prior.model: the text tower of {self.name} takes no token embeddings, so prompts cannot be learned "
                "in it; choose a model with open_clip's own text tower"
            )
        return text

    def token_ids(self, sentence: str) -> Tensor:
        """Token ids of one sentence, (context,), by the model's own tokeniser."""
        import open_clip

        context = self.text.positional_embedding.shape[0]
        if self.name in PACKAGED:
            return open_clip.SimpleTokenizer(context_length=context)(sentence)[0]
        return open_clip.get_tokenizer(self.name, context_length=context)(sentence)[0]

    def end_position(self, ids: Tensor) -> int:
        """Index of the end token in token ids (context,), where the text feature is read out."""
        end: Any = getattr(self.text, "text_eos_id", getattr(self.text, "eos_id", None))
        return int((ids == end).int().argmax()) if self._text_pool == "eos" else int(ids.argmax())

    @property
    def _text_pool(self) -> str:
        return getattr(self.text, "text_pool_type", getattr(self.text, "pool_type", "argmax"))

    def encode_embeddings(self, embeddings: Tensor, end: int) -> Tensor:
        """Unit-norm text features of token embeddings, equal to `encode_text` for embedded token ids.

        Args:
            embeddings: (P, T, E), without positions; T may stop behind the end token where attention is causal.
            end: index of the end token, where the feature is read out.

        Returns:
            (P, D).
        """
        text = self.text
        length = embeddings.shape[1]
        mask = None if text.attn_mask is None else text.attn_mask[:length, :length]
        x = text.transformer(embeddings + text.positional_embedding[:length], attn_mask=mask)
        position = {"first": 0, "last": length - 1}.get(self._text_pool, end)
        pooled = text.ln_final(x)[:, position]
        projection = text.text_projection
        if projection is not None:
            pooled = projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection
        return F.normalize(pooled, dim=-1)


def _fold_batch_norms(visual: nn.Module) -> None:
    """Make the batch norms of an open_clip ResNet part of the convolutions before them, which a frozen one allows: the
    same features up to rounding, a tenth less work forwards and backwards.
    """
    from open_clip.modified_resnet import ModifiedResNet

    if not isinstance(visual, ModifiedResNet):
        return
    for module in visual.modules():
        children = list(module.named_children())
        for (name, layer), (next_name, following) in pairwise(children):
            if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                module.add_module(name, fuse_conv_bn_eval(layer, following))
                module.add_module(next_name, nn.Identity())
