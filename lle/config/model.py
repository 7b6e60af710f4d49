"""The network that brightens, and the CLIP that judges it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import field_validator, model_validator

from lle.config.fields import OneOf, Range, Settings, setting
from lle.config.networks import NETWORKS, only_with

RENAMED = {"kind": "arch", "look": "thumbnail_size"}  # in models that version 0.1 saved


class EnhancerSettings(Settings):
    """The network that brightens."""

    arch: Annotated[str, OneOf(lambda: NETWORKS, own="module:Class")] = setting(
        "retinex",
        "; ".join(f"{name}: {network.about}" for name, network in NETWORKS.items())
        + "; module:Class: your own, of PYTHONPATH.",
    )
    padding: Literal["zeros", "reflect"] = setting(
        "zeros",
        "Border of the outer convolutions.",
        source="zeros in the paper's training, reflect in its test",
        needs=only_with("padding"),
    )
    thumbnail_size: int = setting(
        112,
        "Side of the copy that the compact, the bilateral and the exposure network look at.",
        unit="px",
        ge=32,
        le=512,
        needs=only_with("thumbnail_size"),
    )
    width: int = setting(
        32,
        "Channels of the compact, the bilateral and the exposure network.",
        unit="channels",
        ge=4,
        le=256,
        needs=only_with("width"),
    )
    denoise: int = setting(
        32,
        "Channels of the denoiser of the bilateral, the exposure and the scene network; 0: none.",
        unit="channels",
        ge=0,
        le=256,
        multiple_of=4,
        needs=only_with("denoise"),
    )
    local: float = setting(
        0.0,
        "How far the exposure of a place may differ from the picture's; 0: one exposure for all.",
        unit="stops",
        ge=0,
        le=4,
        needs=only_with("local"),
    )
    camera: bool = setting(
        False,
        "Only five numbers for all photos learn: a camera's cast and how it exposes; for photos of one camera.",
        source="ours",
        needs=only_with("camera"),
    )
    fully_believed: bool = setting(
        False,
        "What the head of the scene network says counts fully in use, as while it learns; else by how dark a photo is.",
        source="ours",  # without `needs`: the quickstart sets it, whatever network is chosen
    )
    options: str = setting("", 'Arguments of a class of your own, as JSON: {"depth": 3}; empty: none.')

    @model_validator(mode="before")
    @classmethod
    def _as_named_now(cls, given: Any) -> Any:
        return {RENAMED.get(name, name): value for name, value in given.items()} if isinstance(given, dict) else given

    @property
    def has_denoiser(self) -> bool:
        """Whether a part of the network takes noise out."""
        return self.knows("denoise") and self.denoise > 0

    @property
    def arguments(self) -> dict[str, Any]:
        """What the network's class is called with."""
        if self.arch in NETWORKS:
            return {name: getattr(self, name) for name in NETWORKS[self.arch].takes}
        given: dict[str, Any] = json.loads(self.options or "{}")
        return given

    def knows(self, name: str) -> bool:
        """Whether a setting of this name acts on the network."""
        return self.arch in NETWORKS and name in NETWORKS[self.arch].takes

    @field_validator("options")
    @classmethod
    def _named_arguments(cls, options: str) -> str:
        try:
            given = json.loads(options or "{}")
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            raise ValueError(f'{options[:60]} does not name arguments in JSON; write them like {{"depth": 3}}')
        return options

    @model_validator(mode="after")
    def _options_of_ones_own(self) -> EnhancerSettings:
        if self.options and self.arch in NETWORKS:
            raise ValueError(
                f"enhancer.options: are for a class of your own, and {self.arch} takes none; leave them out, or give "
                "enhancer.arch module:Class"
            )
        return self


class PriorSettings(Settings):
    """The CLIP that knows what good light looks like."""

    model: str = setting(
        "bundled",
        "open_clip model name of the guidance tower; `bundled`; `untrained`, as a baseline: the same, weights random; "
        "`imagenet`, the tower of the bundled enhancer, for prior.guidance latent or residual; `graded`, that with "
        "captions that say how much light is missing; or `ungraded`, its baseline.",
        source="paper: ViT-B-32-quickgelu",
        min_length=1,
    )
    pretrained: str = setting(
        "",
        "Weights of that model: a file, a folder, or open_clip's name for them.",
        source="paper: openai",
        needs="prior.model!=bundled",
    )
    identity_model: str = setting(
        "", "Model of the identity features; empty: the guidance tower serves both.", source="paper: RN101-quickgelu"
    )
    identity_pretrained: str = setting(
        "", "Weights of the identity model.", source="paper: openai", needs="prior.identity_model!="
    )
    features: Literal["tower", "vgg16"] = setting(
        "tower",
        "What sees features for preservation and contrast: the identity tower, or VGG16.",
        source="VGG16 in PIE",
    )
    vgg16_weights: str = setting(
        "", "torchvision's VGG16 weights.", unit="file", source="PIE", needs="prior.features=vgg16"
    )
    guidance: Literal["prompts", "latent", "residual", "captions"] = setting(
        "prompts",
        "What judges the light: prompts learned in the text tower's input; latent: learned in CLIP's joint space; "
        "residual: the direction from the mean dark to the mean well-lit photo, found and not learned; captions: what "
        "the graded prior says, whatever the photos at hand.",
        source="prompts in the paper; latent, residual: RAVE, ECCV 2024",
    )
    prompt_tokens: int = setting(
        16,
        "Learnable tokens of each prompt.",
        unit="tokens",
        source="paper 3.2",
        ge=1,
        le=75,
        needs="prior.guidance=prompts",
    )
    words: tuple[str, str] = setting(
        ("", ""),
        'What the prompts begin with before they learn, badly and well taken: "a hazy photo" "a clear photo"; the '
        "rest, or without words all of both, is X X ... X.",
        source="none in the paper",
        needs="prior.guidance=prompts",
    )
    renew_residual: bool = setting(
        False,
        "Find the residual anew after each round, with the enhanced photos of earlier rounds beside the dark ones.",
        source="ours; RAVE finds it once",
        needs="prior.guidance=residual",
    )
    crops: int = setting(
        0, "Random crops of each enhanced picture that guidance judges beside the whole.", source="ours", ge=0, le=64
    )
    crop_share: float = setting(
        0.5, "Side of a crop.", unit="share of the picture's side", source="ours", gt=0, le=1, needs="prior.crops!=0"
    )
    over_exposed_share: float = setting(
        0.0,
        "Share of well-lit photos that count as badly lit once over-exposed, so that guidance knows `too bright`.",
        source="ours; 0 in the paper",
        ge=0,
        le=1,
    )

    over_exposed_stops: Range = setting(
        (1.0, 3.0), "Over-exposure of those, drawn uniformly.", unit="stops", needs="prior.over_exposed_share!=0"
    )

    @property
    def identity(self) -> tuple[str, str]:
        """Model and weights of the identity tower."""
        return (self.identity_model, self.identity_pretrained) if self.identity_model else (self.model, self.pretrained)
