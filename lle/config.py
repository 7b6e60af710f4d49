"""Every setting of a training, typed, bounded and documented where it is defined.

A tree of frozen models: `TrainSettings` is the root, a dotted path such as `objective.guidance.weight` names a leaf.
Presets, files and the command line fill the same tree (see docs/settings.md). `EvaluationSettings`,
`PrepareSettings`, `EnhanceSettings` and `TuneSettings` stand beside it.
This module imports no torch: it must load in a few tenths of a second.

"Paper" in a description is CLIP-LIT (ICCV 2023) unless another is named; its values are the defaults.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo


def setting(
    default: Any,
    about: str,
    *,
    unit: str = "",
    source: str = "",
    needs: str = "",
    phases: Sequence[str] = (),
    **bounds: Any,
) -> Any:
    """One documented field.

    Args:
        default: value when nobody says otherwise.
        about: what it does, one sentence.
        unit: unit of the value, empty for choices and counts without one.
        source: where the default comes from.
        needs: `path=value` of another setting without which this one has no effect, `path!=value` for the opposite;
            the command line warns when such a setting is given in vain.
        phases: of a weight or a term, the phases of the schedule that compute it; one that acts in none of those
            which a training walks is refused.
        bounds: pydantic's `ge`, `gt`, `le`, `lt`, `min_length`, ...
    """
    remarks = "; ".join(remark for remark in (unit, source) if remark)
    description = f"{about} [{remarks}]" if remarks else about
    extra: dict[str, Any] = ({"needs": needs} if needs else {}) | ({"phases": list(phases)} if phases else {})
    return Field(default, description=description, json_schema_extra=extra or None, **bounds)


def _phases(info: FieldInfo) -> list[str]:
    extra = info.json_schema_extra
    return list(extra.get("phases", [])) if isinstance(extra, dict) else []  # type: ignore[arg-type]


def _rising(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    if low > high:
        raise ValueError(f"({low}, {high}) runs downwards; write the smaller number first: [{high}, {low}]")
    return bounds


def _not_negative(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] < 0:
        raise ValueError(f"{bounds} begins below 0; give numbers of at least 0")
    return bounds


def _parts(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[1] > 1:
        raise ValueError(f"{bounds} ends above 1; give parts of at most 1")
    return bounds


def _above_zero(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] <= 0:
        raise ValueError(f"{bounds} begins at or below 0; give numbers above 0")
    return bounds


def _without_password(uri: str) -> str:
    if re.search(r"^https?://[^/]*@|://[^/]*:[^/]*@|\b(password|token|secret)=", uri, re.IGNORECASE):
        raise ValueError(
            "holds a password, which every record of the run would repeat; leave it out, and export "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or the whole URI as MLFLOW_TRACKING_URI"
        )
    return uri


TrackingUri = Annotated[str, AfterValidator(_without_password)]
Range = Annotated[tuple[float, float], AfterValidator(_rising)]
PositiveRange = Annotated[tuple[float, float], AfterValidator(_rising), AfterValidator(_not_negative)]
PartRange = Annotated[PositiveRange, AfterValidator(_parts)]


LayerWeight = Annotated[float, Field(ge=0)]
LayerWeights = tuple[LayerWeight, LayerWeight, LayerWeight, LayerWeight, LayerWeight]


class Settings(BaseModel):
    """A branch of the tree: unknown keys are errors, values cannot change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class DataSettings(Settings):
    """Where the photos are and what is taken from them."""

    dark: str = setting("", "Folder or URI prefix of low-light or backlit photos.", unit="folder or URI")
    well_lit: str = setting("", "Folder or URI prefix of well-lit photos, unpaired.", unit="folder or URI")
    pairs_low: str = setting("", "Held-out dark photos with ground truth, for validation only.", unit="folder or URI")
    pairs_high: str = setting(
        "",
        "Ground truth of data.pairs_low: the same paths below it; suffixes may differ.",
        unit="folder or URI",
        needs="data.pairs_low!=",
    )
    samples: bool = setting(
        False, "Use photos of installed packages, darkened by the camera model, when no folders are given."
    )
    image_size: int = setting(
        512, "Side of the square pictures the enhancer trains on.", unit="px", source="paper 4.1", ge=32, le=4096
    )
    prompt_size: int = setting(
        256, "Side of the square pictures the prompts learn from.", unit="px", source="paper 4.1", ge=32, le=4096
    )
    crop_share: float = setting(
        0.0,
        "Share of training pictures that are a random square of the photo, not the whole photo squeezed to a square; "
        "they keep its grain, which a denoiser must see.",
        source="ours",
        ge=0,
        le=1,
    )
    crop_side: Annotated[PartRange, AfterValidator(_above_zero)] = setting(
        (0.4, 1.0),
        "Side of those squares, drawn evenly in ratios.",
        unit="of the photo's shorter side",
        source="ours",
        needs="data.crop_share!=0",
    )
    max_pixels: int = setting(80_000_000, "Larger pictures are refused from their header.", unit="px", ge=1024)
    validation_images: int = setting(
        16,
        "Photos of each set kept out of training to choose the best enhancer by.",
        unit="photos per set",
        ge=1,
        le=10_000,
    )
    validation_size: int = setting(512, "Longest side of a validation picture.", unit="px", ge=32, le=8192)
    validation_hash: str = setting(
        "",
        "Refuses to train when the photos to validate on are others than those with this SHA-256, as told by the "
        "summary of a run; runs with the same one were measured on the same photos.",
        source="ours",
    )
    decoders: int = setting(2, "Pictures decoded at once, for each worker and stream.", unit="threads", ge=1, le=64)


class AugmentSettings(Settings):
    """Random changes of geometry, the same for every picture of a kind (paper, supplement)."""

    flip: float = setting(0.5, "Probability of a horizontal flip, and of a vertical one.", source="paper", ge=0, le=1)
    mirror: float = setting(
        0.0, "Probability of a horizontal flip alone, for photos with the sky above.", source="ours", ge=0, le=1
    )
    transpose: float = setting(0.5, "Probability of swapping height and width.", source="paper", ge=0, le=1)
    zoom: float = setting(0.3, "Probability of a zoom.", source="paper", ge=0, le=1)
    zoom_range: Range = setting((0.7, 1.3), "Zoom factor, drawn uniformly.", source="paper", needs="augment.zoom!=0")
    rotation: float = setting(0.3, "Probability of a rotation with reflected borders.", source="paper", ge=0, le=1)
    rotation_degrees: float = setting(
        90.0,
        "Largest rotation to either side.",
        unit="degrees",
        source="paper",
        ge=0,
        le=180,
        needs="augment.rotation!=0",
    )


class EnhancerSettings(Settings):
    """The network that brightens."""

    kind: Literal["retinex", "curves", "compact", "bilateral", "exposure", "scene"] = setting(
        "retinex",
        "retinex: the paper's network; curves: PIE's curve maps, both at full resolution; compact: looks at a small "
        "copy, for CPUs; bilateral: looks at a small copy, follows edges, takes noise out; exposure: looks at a small "
        "copy, one exposure and one white balance for the picture, takes noise out; scene: the same by what a picture "
        "shows, with an ImageNet network that ships with the package.",
    )
    padding: Literal["zeros", "reflect"] = setting(
        "zeros",
        "Border of the outer convolutions.",
        source="zeros in the paper's training, reflect in its test",
        needs="enhancer.kind=retinex",
    )
    look: int = setting(
        112,
        "Side of the copy that the compact, the bilateral and the exposure network look at.",
        unit="px",
        ge=32,
        le=512,
        needs="enhancer.kind=compact|bilateral|exposure",
    )
    width: int = setting(
        32,
        "Channels of the compact, the bilateral and the exposure network.",
        unit="channels",
        ge=4,
        le=256,
        needs="enhancer.kind=compact|bilateral|exposure",
    )
    denoise: int = setting(
        32,
        "Channels of the denoiser of the bilateral, the exposure and the scene network; 0: none.",
        unit="channels",
        ge=0,
        le=256,
        multiple_of=4,
        needs="enhancer.kind=bilateral|exposure|scene",
    )
    local: float = setting(
        0.0,
        "How far the exposure of a place may differ from the picture's; 0: one exposure for all.",
        unit="stops",
        ge=0,
        le=4,
        needs="enhancer.kind=exposure",
    )
    camera: bool = setting(
        False,
        "Only five numbers for all photos learn: a camera's cast and how it exposes; for photos of one camera.",
        source="ours",
        needs="enhancer.kind=scene",
    )

    @property
    def has_denoiser(self) -> bool:
        """Whether a part of the network takes noise out."""
        return self.kind in ("bilateral", "exposure", "scene") and self.denoise > 0


class PriorSettings(Settings):
    """The CLIP that knows what good light looks like."""

    model: str = setting(
        "bundled",
        "open_clip model name of the guidance tower; `bundled`; `untrained`, as a control: the same, weights random; "
        "or `imagenet`, the tower of the bundled enhancer, for prior.guidance latent or residual.",
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
    guidance: Literal["prompts", "latent", "residual"] = setting(
        "prompts",
        "What judges the light: prompts learned in the text tower's input; latent: learned in CLIP's joint space; "
        "residual: the direction from the mean dark to the mean well-lit photo, found and not learned.",
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


class CurveFamily(Settings):
    """One family of curves and how often it is drawn."""

    frequency: float = setting(0.0, "How often it is drawn, relative to the other families.", ge=0)


class ToneCurve(CurveFamily):
    """V to a power, V the value channel of HSV; hue and saturation stay."""

    under: PositiveRange = setting(
        (6.0, 6.0), "Exponent of under-exposing curves.", source="PIE", needs="curves.adaptive=false"
    )
    over: PositiveRange = setting(
        (0.1, 0.1), "Exponent of over-exposing curves.", source="PIE", needs="curves.adaptive=false"
    )


class GammaCurve(CurveFamily):
    """RGB to a power."""

    under: PositiveRange = setting(
        (5.0, 8.0), "Exponent of under-exposing curves.", source="PIE", needs="curves.adaptive=false"
    )
    over: PositiveRange = setting(
        (0.0, 0.2), "Exponent of over-exposing curves.", source="PIE", needs="curves.adaptive=false"
    )


class LogCurve(CurveFamily):
    """A multiple of ln(1 + V) on the 8-bit scale."""

    under: PositiveRange = setting(
        (10.0, 10.0), "Factor of under-exposing curves.", source="PIE", needs="curves.adaptive=false"
    )
    over: PositiveRange = setting(
        (40.0, 40.0), "Factor of over-exposing curves.", source="PIE", needs="curves.adaptive=false"
    )


class SCurve(CurveFamily):
    """A sigmoid on V, as cameras and photographers set contrast."""

    under: PositiveRange = setting(
        (0.75, 1.0), "Midpoint of under-exposing curves.", source="ours", needs="curves.adaptive=false"
    )
    over: PositiveRange = setting(
        (0.0, 0.15), "Midpoint of over-exposing curves.", source="ours", needs="curves.adaptive=false"
    )
    contrast: float = setting(8.0, "Slope of the sigmoid.", source="ours", gt=0, le=100)


class BacklitCurve(CurveFamily):
    """A foreground in the shade of what is behind it, with the noise of `curves.exposure`; always under-exposing."""

    foreground: PositiveRange = setting((1.5, 4.0), "Light taken from the foreground.", unit="stops", source="ours")
    background: PositiveRange = setting((0.0, 0.4), "Light added behind it.", unit="stops", source="ours")
    cover: PartRange = setting((0.4, 0.85), "Part of the picture that the foreground covers.", source="ours")


class ExposureCurve(CurveFamily):
    """Another exposure in linear light, with sensor noise, rounded to 8 bits: the camera, also of `curves.backlit`."""

    under: PositiveRange = setting(
        (2.5, 5.0), "Light taken away.", unit="stops", source="ours", needs="curves.adaptive=false"
    )
    over: PositiveRange = setting(
        (1.0, 3.0), "Light added.", unit="stops", source="ours", needs="curves.adaptive=false"
    )
    shot: PositiveRange = setting(
        (2e-4, 1e-3),
        "Noise that grows with light, drawn evenly in ratios.",
        unit="variance per unit of linear light",
        source="ours",
    )
    read: PositiveRange = setting(
        (3e-4, 1.5e-3),
        "Noise without light, drawn evenly in ratios.",
        unit="standard deviation in linear light",
        source="ours",
    )
    blur: PositiveRange = setting(
        (0.0, 0.7), "Gaussian that makes noise correlate between neighbours.", unit="px", source="ours"
    )
    grey: PartRange = setting(
        (0.0, 0.0),
        "Part of the noise that red, green and blue share, as after demosaicing; the rest has 1.5 times the blur.",
        unit="of its variance",
        source="ours; 0.5 in the dark photos of LOL",
    )
    shoulder: PartRange = setting(
        (0.0, 0.0),
        "Shoulder of the camera's response, drawn evenly: exposure, casts and noise act on the light before it, and "
        "highlights bend instead of clipping; 0: they act on developed light.",
        unit="of the strongest",
        source="ours",
    )
    mild_share: float = setting(
        0.0,
        "Share of the under-exposed photos that lack as much light as `mild` says, instead of `under`.",
        source="ours",
        ge=0,
        le=1,
        needs="curves.adaptive=false",
    )
    mild: PositiveRange = setting(
        (0.3, 1.5),
        "Light taken away from those.",
        unit="stops",
        source="ours",
        needs="curves.exposure.mild_share!=0",
    )
    cast: float = setting(
        0.0,
        "Largest colour cast: each channel gets up to so much light more or less.",
        unit="stops",
        source="ours",
        ge=0,
        le=4,
    )
    cast_share: float = setting(
        1.0,
        "Share of the photos that have a cast.",
        source="ours",
        ge=0,
        le=1,
        needs="curves.exposure.cast!=0",
    )
    power_law: float = setting(
        0.0,
        "Share of cameras that show light by a pure power of 1 / 2.2; sRGB's straight foot saturates dark colours.",
        source="ours",
        ge=0,
        le=1,
    )


class CurveSettings(Settings):
    """The Bag of Curves: wrong exposures of well-lit photos (PIE, method 2.2)."""

    under_share: float = setting(
        0.5, "Share of under-exposing curves; the others over-expose.", source="PIE", ge=0, le=1
    )
    adaptive: bool = setting(
        False,
        "Solve each curve's parameter for its photo, instead of drawing it from the family's range.",
        source="ours",
    )
    adaptive_under: PositiveRange = setting(
        (0.04, 0.18),
        "Mean V of under-exposed photos, V the largest of RGB.",
        unit="of white",
        source="ours",
        needs="curves.adaptive=true",
    )
    adaptive_over: PositiveRange = setting(
        (0.75, 0.95), "Mean V of over-exposed photos.", unit="of white", source="ours", needs="curves.adaptive=true"
    )
    tone: ToneCurve = setting(ToneCurve(frequency=4.0), "Power of V.", source="PIE")
    gamma: GammaCurve = setting(GammaCurve(frequency=4.0), "Power of RGB.", source="PIE")
    log: LogCurve = setting(LogCurve(frequency=3.0), "Logarithm of V.", source="PIE")
    s_curve: SCurve = setting(SCurve(), "Sigmoid of V.", source="ours")
    exposure: ExposureCurve = setting(ExposureCurve(), "Linear light.", source="ours")
    backlit: BacklitCurve = setting(BacklitCurve(), "Light from behind.", source="ours")

    @model_validator(mode="after")
    def _something_to_draw(self) -> CurveSettings:
        families = (self.tone, self.gamma, self.log, self.s_curve, self.exposure, self.backlit)
        if not any(family.frequency for family in families):
            raise ValueError("curves: every family has frequency 0; give one of them, such as curves.gamma, more")
        return self


class RegionSettings(Settings):
    """Regions without labels, for the regional term (PIE, method 2.3)."""

    method: Literal["felzenszwalb", "slic"] = setting(
        "felzenszwalb", "felzenszwalb: follows edges; slic: superpixels of about one size.", source="PIE"
    )
    brighten: bool = setting(
        False,
        "Multiply the photo to a mean of 0.4 before: in a very dark one, regions melt into one another.",
        source="ours",
    )
    scale: float = setting(
        100.0, "Larger gives larger regions.", source="PIE", gt=0, needs="regions.method=felzenszwalb"
    )
    sigma: float = setting(0.5, "Blur before.", unit="px", source="PIE", ge=0, needs="regions.method=felzenszwalb")
    min_size: int = setting(
        300, "Smaller regions join a neighbour.", unit="px", source="PIE", ge=1, needs="regions.method=felzenszwalb"
    )
    count: int = setting(200, "Superpixels, about.", unit="regions", source="ours", ge=1, needs="regions.method=slic")
    compactness: float = setting(
        10.0, "Larger gives squarer superpixels.", source="scikit-image", gt=0, needs="regions.method=slic"
    )


class Term(Settings):
    """A term of the objective; weight 0 switches it off and it is not computed."""

    weight: float = setting(0.0, "Weight in the sum.", ge=0)


class IdentityTerm(Term):
    """Feature distance to the input picture."""

    layers: LayerWeights = setting(
        (1.0, 1.0, 1.0, 1.0, 1.0), "Weights of the stem and the four stages.", source="paper 3.3"
    )


class PixelContrastTerm(Term):
    """Brightness nearer to well-lit photos than to wrong exposures of them."""

    margin: float = setting(
        0.3, "By how much nearer.", source="PIE", ge=0, le=1, needs="objective.pixel_contrast.weight!=0"
    )


class RankTerm(Term):
    """Order of the sets in the prompts' eyes: input, older enhanced, newer enhanced, well-lit."""

    weight: float = setting(200.0, "Weight in the sum.", source="published code", ge=0)
    first: float = setting(
        1.0,
        "Margin between input and well-lit while nothing is enhanced yet.",
        unit="probability",
        source="published code",
        ge=0,
        le=1,
    )
    far: float = setting(
        0.9,
        "Margin from the input to well-lit and to the oldest enhanced set.",
        unit="probability",
        source="paper 4.1",
        ge=0,
        le=1,
    )
    single: float = setting(
        0.2, "Margin from the only enhanced set to well-lit.", unit="probability", source="paper 4.1", ge=0, le=1
    )
    near: float = setting(
        0.1,
        "Margin from older to newer enhanced set, and from newer to well-lit.",
        unit="probability",
        source="paper 4.1",
        ge=0,
        le=1,
    )


class RestorationTerm(Term):
    """Undo a curve of the bag: from a wrong exposure of a well-lit photo back to the photo."""

    structure: float = setting(
        0.0,
        "Weight of 1 - SSIM of the channels' mean beside the mean absolute difference.",
        source="ours",
        ge=0,
        phases=["enhancement"],
    )
    denoising_structure: float = setting(
        0.0,
        "Weight of 1 - SSIM of RGB beside the mean absolute difference while the denoiser learns alone.",
        source="ours",
        ge=0,
        phases=["denoising"],
    )
    over_share: float = setting(
        0.2,
        "Share of over-exposing curves among those to undo.",
        source="ours",
        ge=0,
        le=1,
        needs="objective.restoration.weight!=0",
    )
    detail: float = setting(
        0.0,
        "Weight of the difference that remains once the light is right, place by place; teaches the denoiser.",
        source="ours",
        ge=0,
        phases=["enhancement"],
    )
    clean_share: float = setting(
        0.25,
        "Share of well-lit photos left as they are, so that a good photo comes back as it went in.",
        source="ours",
        ge=0,
        le=1,
        needs="objective.restoration.weight!=0",
    )
    tolerance: float = setting(
        0.0,
        "Light that those photos may lack and should go on lacking, drawn evenly: a little darker may be meant so.",
        unit="stops",
        source="ours",
        ge=0,
        le=4,
        needs="objective.restoration.clean_share!=0",
    )


class ObjectiveSettings(Settings):
    """What is minimised. Every term is a mean over images, so the balance holds at any batch and world size.

    What computes each term in its phases is listed in `lle.losses.objective.TERMS`.
    """

    guidance: Term = setting(
        Term(weight=320.0),
        "P(badly lit) of the enhanced picture.",
        source="320 : 180 is the paper at batch 8",
        phases=["enhancement"],
    )
    identity: IdentityTerm = setting(
        IdentityTerm(weight=180.0, layers=(1.0, 1.0, 1.0, 1.0, 0.5)),
        "Distance to the input in feature space while enhancing.",
        source="paper 3.3",
        phases=["enhancement"],
    )
    smoothness: Term = setting(
        Term(),
        "Total variation of the light map; the compact network needs it.",
        source="ours",
        phases=["enhancement"],
    )
    colour: Term = setting(Term(), "Differences between the channel means.", source="PIE", phases=["enhancement"])
    distribution: Term = setting(
        Term(),
        "Distance of the means of enhanced pictures, as a distribution, from those of well-lit photos.",
        source="ours",
        phases=["enhancement"],
    )
    preservation: Term = setting(
        Term(), "Distance to the input in deep features.", source="PIE", phases=["enhancement"]
    )
    regional: Term = setting(
        Term(), "Variance of brightness inside each region of the input.", source="PIE", phases=["enhancement"]
    )
    pixel_contrast: PixelContrastTerm = setting(
        PixelContrastTerm(),
        "Brightness towards well-lit photos, away from wrong exposures of them.",
        source="PIE",
        phases=["enhancement"],
    )
    feature_contrast: Term = setting(
        Term(), "The same in Gram matrices of shallow features.", source="PIE", phases=["enhancement"]
    )
    restoration: RestorationTerm = setting(
        RestorationTerm(),
        "Distance of restored photos to the well-lit originals.",
        source="ours",
        phases=["enhancement", "denoising"],
    )
    reconstruction: IdentityTerm = setting(
        IdentityTerm(weight=25.0),
        "Distance to the input while learning to copy.",
        source="published code",
        phases=["reconstruction"],
    )
    rank: RankTerm = setting(
        RankTerm(), "Order of the sets while prompts are refined.", source="paper 3.4", phases=["refinement"]
    )
    two_sided: Term = setting(
        Term(),
        "What guides also learns by how much well-lit photos, taken again by the camera of curves and lifted back, "
        "miss their light: too dark and too bright alike.",
        source="ours",
        phases=["prompt_init", "refinement"],
    )

    @classmethod
    def terms(cls) -> Mapping[str, Sequence[str]]:
        """The phases that compute each term, by its name."""
        return {name: _phases(info) for name, info in cls.model_fields.items()}

    def weight_of(self, name: str) -> float:
        """The weight of a term."""
        term: Term = getattr(self, name)
        return term.weight

    @model_validator(mode="after")
    def _layers_to_compare(self) -> ObjectiveSettings:
        for name in ("identity", "reconstruction"):
            term: IdentityTerm = getattr(self, name)
            if term.weight and not any(term.layers):
                raise ValueError(
                    f"objective.{name}.layers: all are 0, so objective.{name}.weight ({term.weight:g}) acts nowhere; "
                    "give one of them more, or the weight 0"
                )
        return self


ENHANCEMENT_TERMS = tuple(name for name, phases in ObjectiveSettings.terms().items() if "enhancement" in phases)


class PhaseLength(Settings):
    """Length of a phase, and when it goes on for longer."""

    steps: int = setting(1000, "Steps of the phase; 0: skipped.", unit="steps", ge=0)
    extend_by: int = setting(
        0, "Steps added each time the loss is still too high; 0: fixed length.", unit="steps", ge=0
    )
    extend_above: float = setting(0.0, "Loss (mean of the last 20 steps) above which the phase is extended.", ge=0)
    max_extensions: int = setting(
        20, "Extensions before the phase ends all the same.", source="ours; endless in the published code", ge=0
    )


class EnhancementLength(PhaseLength):
    """Length of the phase that no training can do without."""

    steps: int = setting(2100, "Steps of the phase.", unit="steps", source="published code", ge=1)


class ReconstructionLength(Settings):
    """Length of the copying phase, and the check that the light map lives."""

    steps: int = setting(1000, "Steps of the phase; 0: skipped.", unit="steps", source="published code", ge=0)
    check_at: int = setting(100, "Step at which the light map must live.", unit="steps", source="published code", ge=1)
    restart_below: float = setting(
        8.0, "PSNR to the input under which the network starts anew.", unit="dB", source="published code", ge=0
    )
    max_restarts: int = setting(5, "New starts before the training is given up.", ge=0, le=100)


class ScheduleSettings(Settings):
    """Phases: prompt initialisation, reconstruction, rounds of enhancement and prompt refinement, then denoising."""

    prompt_init: PhaseLength = setting(
        PhaseLength(steps=8000), "Prompts learn dark from well-lit.", source="published code"
    )
    reconstruction: ReconstructionLength = setting(ReconstructionLength(), "The enhancer learns to copy.")
    enhancement: EnhancementLength = setting(
        EnhancementLength(extend_by=60, extend_above=90.0),
        "The enhancer follows the prompts.",
        source="published code",
    )
    refinement: PhaseLength = setting(
        PhaseLength(steps=1000, extend_by=100, extend_above=60.0),
        "The prompts learn what is still wrong.",
        source="published code",
    )
    rounds: int = setting(
        20,
        "Rounds; the last one ends after its enhancement, for nothing would use its prompts.",
        unit="rounds",
        source="about 70,000 steps, as in the published code",
        ge=1,
        le=1000,
    )
    from_best: bool = setting(
        False,
        "Each round begins with the best enhancer so far by loop.measure, and with fresh optimiser moments, instead of "
        "where the last one stopped; a round that does not come beyond its beginning is undone, with the prompts that "
        "led it there.",
        source="ours",
    )
    patience: int = setting(
        0, "Validations without a better value after which a round ends; 0: it goes on.", unit="validations", ge=0
    )
    least_gap: float = setting(
        -1.0,
        "A round ends when what guides it hardly tells the enhanced validation photos from the well-lit ones: their "
        "mean penalties (P(badly lit), with prompts) differ by less than this; -1: it goes on.",
        source="ours",
        ge=-1,
        le=1,
    )
    denoising: PhaseLength = setting(
        PhaseLength(steps=0),
        "The light of the best enhancer rests, and its denoiser learns on by restoration; skipped where there is none.",
        source="ours",
    )


class OptimiserSettings(Settings):
    """Adam, one for the enhancer and one for the prompts."""

    enhancer_lr: float = setting(2e-5, "Learning rate of the enhancer.", source="paper 4.1", gt=0, le=1)
    prompt_lr: float = setting(5e-6, "Learning rate of the prompts.", source="paper 4.1", gt=0, le=1)
    weight_decay: float = setting(1e-3, "L2 penalty inside Adam.", source="published code", ge=0, le=1)
    clip_norm: float = setting(0.0, "Largest gradient norm; 0: no clipping.", source="paper: none", ge=0)
    accumulate: int = setting(1, "Micro-batches summed into one step.", unit="micro-batches", ge=1, le=1024)
    decay: Literal["none", "cosine"] = setting(
        "none",
        "cosine: the enhancer's learning rate falls along half a cosine to 0 over all steps of enhancement, and again "
        "over those of denoising.",
        source="ours; none in the paper",
    )
    ema_decay: float = setting(
        0.0, "Decay of the averaged weights that are validated and saved; 0: none.", source="paper: none", ge=0, lt=1
    )


class BatchSettings(Settings):
    """Pictures in one step, over all workers together: results do not change with the number of workers."""

    enhancement: int = setting(
        8,
        "Dark pictures in a step of reconstruction or enhancement.",
        unit="pictures",
        source="paper 4.1",
        ge=1,
        le=65536,
    )
    prompts: int = setting(
        16, "Pictures of each set in a step of the prompts.", unit="pictures", source="paper 4.1", ge=1, le=65536
    )


class LoopSettings(Settings):
    """How the loop runs, whatever it trains."""

    precision: Literal["auto", "fp32", "bf16"] = setting("auto", "auto: bf16 where CUDA supports it, else fp32.")
    log_every: int = setting(10, "Steps between two step lines.", unit="steps", ge=1)
    validate_every: int = setting(
        200, "Steps of enhancement between two validations; each phase also ends with one.", unit="steps", ge=1
    )
    checkpoint_every: int = setting(500, "Steps between two checkpoints.", unit="steps", ge=1)
    keep_checkpoints: int = setting(2, "Newest checkpoints kept, beside the last of each round.", ge=1, le=1000)
    non_finite_limit: int = setting(
        10, "Steps with a non-finite loss or gradient that are skipped before training stops.", unit="steps", ge=0
    )
    profile: bool = setting(
        False, "`--profile`: a trace of ten steps of the first worker, for ui.perfetto.dev, among the run's artifacts."
    )
    measure: Literal["auto", "psnr", "ssim", "feature_gap", "distribution", "restored"] = setting(
        "auto",
        "What chooses the best enhancer; auto: psnr where pairs are given, else restored: PSNR of photos "
        "kept out, well lit, that a camera, the same for all trainings, took again with wrong light.",
    )


class ScalingSettings(Settings):
    """Workers of the distributed training."""

    workers: int = setting(1, "Ray Train workers, one process each.", unit="workers", ge=1, le=4096)
    min_workers: int = setting(
        0,
        "Workers that training begins and goes on with while machines are missing; 0: always `workers`. What is left "
        "of a batch that their number does not divide is left out of the step.",
        unit="workers",
        ge=0,
        le=4096,
    )
    gpu: Literal["auto", "true", "false"] = setting(
        "auto", "auto: a GPU for each worker where the cluster has that many, or `min_workers`."
    )
    cpus_per_worker: float = setting(
        0.0,
        "CPUs reserved for each worker; 0: what the cluster has, shared out, one at most.",
        unit="CPUs",
        ge=0,
        le=256,
    )
    threads_per_worker: int = setting(
        0,
        "torch threads of a worker; 0: the cores of its machine divided by the workers.",
        unit="threads",
        ge=0,
        le=256,
    )
    max_failures: int = setting(
        2, "Times a lost worker is replaced and training goes on from the last checkpoint.", ge=0, le=1000
    )
    grow_every: float = setting(
        60.0,
        "How often training with fewer than `workers` looks for machines that came; it goes on with them from its last "
        "checkpoint.",
        unit="s",
        ge=1,
        le=86400,
    )
    hang_limit: float = setting(
        1800.0,
        "Time without a step after which a worker counts as hung: it says where it stood, ends, and is replaced.",
        unit="s",
        ge=1,
        le=86400,
    )

    @property
    def is_elastic(self) -> bool:
        """Whether the number of workers may change during a training."""
        return 0 < self.min_workers < self.workers

    @model_validator(mode="after")
    def _fewest_and_most(self) -> ScalingSettings:
        if self.min_workers > self.workers:
            raise ValueError(
                f"scaling.min_workers: {self.min_workers} is more than scaling.workers ({self.workers}); choose fewer"
            )
        return self


class TrackingSettings(Settings):
    """The record in MLflow."""

    uri: TrackingUri = setting(
        "", "MLflow tracking server or database; empty: MLFLOW_TRACKING_URI, else SQLite beside the runs.", unit="URI"
    )
    experiment: str = setting("lle", "MLflow experiment.", min_length=1, max_length=250)
    model_name: str = setting("lle-enhancer", "Registered model.", min_length=1, max_length=250)
    alias: str = setting(
        "challenger", "Alias the new version gets.", min_length=1, max_length=250, pattern=r"^[a-zA-Z0-9_-]+$"
    )
    register_model: bool = setting(True, "Register the trained model.")
    terms: str = setting(
        "", "Who may use the trained model for what, for its card; empty: the card says that nobody stated it."
    )
    pictures: int = setting(4, "Validation pictures in each before/after grid.", unit="pictures", ge=1, le=64)


class ClusterSettings(Settings):
    """Where it runs."""

    address: str = setting(
        "", "Ray cluster to join; empty: RAY_ADDRESS, else a cluster on this machine.", unit="host:port"
    )
    wait_minutes: float = setting(
        0.0,
        "How long a training waits for machines that the cluster's autoscaler brings; 0: it takes what is there.",
        unit="minutes",
        ge=0,
        le=1440,
    )


class TrainSettings(Settings):
    """A training, whole."""

    name: str = setting(
        "", "Name of the run and its folder; empty: preset and time.", pattern=r"^[A-Za-z0-9._-]{0,100}$"
    )
    runs: str = setting(
        "runs",
        "Folder that holds the run folders; with several machines, one that all of them see, or name `checkpoints`.",
        unit="folder or URI",
        min_length=1,
    )
    checkpoints: str = setting(
        "",
        "Folder or s3:// prefix for checkpoints, one folder each run; empty: the run's folder. Machines that share no "
        "file system need an object store.",
        unit="folder or URI",
    )
    resume: bool = setting(False, "Continue the run `name` from its last checkpoint.", needs="name!=")
    init_from: str = setting(
        "",
        "Model whose weights the network begins with, of the same `enhancer` settings: bundled, models:/NAME@ALIAS, "
        "runs:/ID, published:NAME=FILE, or the folder of a saved model; empty: a fresh network.",
        unit="model",
    )
    seed: int = setting(0, "Seed of weights, order and augmentation.", ge=0, le=2**31 - 1)
    data: DataSettings = setting(DataSettings(), "Photos.")
    augment: AugmentSettings = setting(AugmentSettings(), "Augmentation.")
    enhancer: EnhancerSettings = setting(EnhancerSettings(), "Network.")
    prior: PriorSettings = setting(PriorSettings(), "CLIP.")
    curves: CurveSettings = setting(CurveSettings(), "Bag of Curves.")
    regions: RegionSettings = setting(RegionSettings(), "Regions.")
    objective: ObjectiveSettings = setting(ObjectiveSettings(), "Loss terms.")
    schedule: ScheduleSettings = setting(ScheduleSettings(), "Phases and rounds.")
    optimiser: OptimiserSettings = setting(OptimiserSettings(), "Adam.")
    batch: BatchSettings = setting(BatchSettings(), "Batch sizes.")
    loop: LoopSettings = setting(LoopSettings(), "The loop.")
    scaling: ScalingSettings = setting(ScalingSettings(), "Workers.")
    tracking: TrackingSettings = setting(TrackingSettings(), "MLflow.")
    cluster: ClusterSettings = setting(ClusterSettings(), "Ray.")

    @property
    def learns_prompts(self) -> bool:
        """Whether guidance asks a prompt pair or a latent pair, which must be taught."""
        return self.objective.guidance.weight > 0 and self.prior.guidance != "residual"

    @property
    def phases(self) -> ScheduleSettings:
        """The schedule as it is walked: phases that nothing needs have 0 steps, whatever was asked of them."""
        skipped = {
            name: getattr(self.schedule, name).model_copy(update={"steps": 0})
            for name in SKIPPABLE_PHASES
            if self.why_skipped(name)
        }
        return self.schedule.model_copy(update=skipped)

    def why_skipped(self, phase: str) -> str:
        """What makes a training walk past a phase, such as `schedule.rounds is 1`; empty where it does not."""
        if phase in SKIPPABLE_PHASES and not getattr(self.schedule, phase).steps:
            return f"schedule.{phase}.steps is 0"
        if phase in ("prompt_init", "refinement") and not self.learns_prompts:
            return "prior.guidance is residual" if self.objective.guidance.weight else "objective.guidance.weight is 0"
        if phase == "refinement" and self.schedule.rounds == 1:
            return "schedule.rounds is 1"
        if phase == "denoising" and not self.enhancer.has_denoiser:
            has_none = self.enhancer.kind != "bilateral"
            return f"enhancer.kind {self.enhancer.kind} has no denoiser" if has_none else "enhancer.denoise is 0"
        return ""

    @model_validator(mode="after")
    def _consistent(self) -> TrainSettings:
        check_folders(self.data)
        micro = self.scaling.workers * self.optimiser.accumulate
        for name in ("enhancement", "prompts"):
            if (size := getattr(self.batch, name)) % micro:
                raise ValueError(
                    f"batch.{name}: {size} pictures cannot be shared equally by {self.scaling.workers} workers x "
                    f"{self.optimiser.accumulate} micro-batches (scaling.workers, optimiser.accumulate); "
                    f"choose a multiple of {micro}"
                )
        if not any(getattr(self.objective, name).weight for name in ENHANCEMENT_TERMS):
            raise ValueError(
                f"objective: {', '.join(ENHANCEMENT_TERMS[:-1])} and {ENHANCEMENT_TERMS[-1]} all have weight 0; give "
                "one of them a weight, or the enhancer has nothing to learn"
            )
        check_phases(self)
        defaults = {path: value for path, value, _ in _weights(ObjectiveSettings())}
        values = {path: value for path, value, _ in _weights(self.objective)}
        if idle := {path: why for path, why in idle_weights(self).items() if values[path] != defaults[path]}:
            raise IdleWeights(idle)
        if self.resume and not self.name:
            raise ValueError("resume: say which run to continue with --name")
        if self.loop.measure in ("psnr", "ssim") and not (self.data.pairs_low or self.data.samples):
            raise ValueError(
                f"loop.measure: {self.loop.measure} needs pairs; give data.pairs_low and data.pairs_high, "
                "or choose feature_gap or restored"
            )
        return self


SKIPPABLE_PHASES = ("prompt_init", "reconstruction", "refinement", "denoising")


class IdleWeights(ValueError):
    """Weights of the objective that no phase of the training would ever use.

    Attributes:
        reasons: why, by the setting's path.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        path, why = next(iter(reasons.items()))
        super().__init__(f"{path}: acts nowhere, for {why}; change that, or give {path} 0")
        self.reasons = dict(reasons)


def idle_weights(settings: TrainSettings) -> dict[str, str]:
    """Why weights of the objective that are above 0 act in no phase that the training walks, by their path."""
    idle = {}
    for path, value, phases in _weights(settings.objective):
        skipped = {phase: why for phase in phases if (why := settings.why_skipped(phase))}
        term = path.split(".")[1]
        if value and len(skipped) == len(phases):
            reasons = " and ".join(dict.fromkeys(skipped.values()))
            idle[path] = f"its phase, {' and '.join(phases)}, is skipped because {reasons}"
        elif value and not settings.objective.weight_of(term):
            idle[path] = f"objective.{term}.weight is 0"
    return idle


def _weights(objective: ObjectiveSettings) -> Iterator[tuple[str, float, Sequence[str]]]:
    """Path, value and phases of each weight: those of the terms, and those of their parts."""
    for name, phases in ObjectiveSettings.terms().items():
        term = getattr(objective, name)
        for part, info in type(term).model_fields.items():
            if part == "weight" or _phases(info):
                yield f"objective.{name}.{part}", getattr(term, part), _phases(info) or phases


def check_phases(settings: TrainSettings) -> None:
    """Refuse phases that learn nothing, and prompts that are asked untaught; raises ValueError with their names."""
    phases = settings.phases
    for term, phase in (("reconstruction", "reconstruction"), ("rank", "refinement"), ("restoration", "denoising")):
        if getattr(phases, phase).steps and not getattr(settings.objective, term).weight:
            raise ValueError(
                f"objective.{term}.weight: at 0 a whole phase learns nothing; give it a weight, "
                f"or skip the phase with schedule.{phase}.steps 0"
            )
    if settings.learns_prompts and not phases.prompt_init.steps:
        raise ValueError(
            f"schedule.prompt_init.steps: at 0 nothing teaches the {settings.prior.guidance} what is badly lit before "
            f"the first round asks, and objective.guidance.weight is {settings.objective.guidance.weight:g}; give it "
            "steps, or take prior.guidance residual, or weight 0"
        )


def check_folders(data: DataSettings) -> None:
    """Refuse combinations of folders that cannot be trained on; raises ValueError with the settings' names."""
    if bool(data.dark) != bool(data.well_lit):
        given, missing = ("dark", "well_lit") if data.dark else ("well_lit", "dark")
        raise ValueError(f"data.{missing}: missing beside data.{given}; training needs both sets")
    if not data.dark and not data.samples:
        raise ValueError(
            "data.dark and data.well_lit: name two folders of photos, or pass --data.samples for sample photos"
        )
    if data.dark and data.dark.rstrip("/") == data.well_lit.rstrip("/"):
        raise ValueError(f"data.dark and data.well_lit: both are {data.dark}; the two sets must differ")
    if bool(data.pairs_low) != bool(data.pairs_high):
        raise ValueError("data.pairs_low and data.pairs_high: give both or neither")


class TuneSettings(Settings):
    """A sweep: many trainings that search settings."""

    search: str = setting("light", "What to search: a name from pipelines/searches, or a YAML file.", min_length=1)
    trials: int = setting(20, "Trainings in all.", unit="trainings", ge=1, le=10_000)
    name: str = setting(
        "", "Name of the sweep and its folder; empty: search and time.", pattern=r"^[A-Za-z0-9._-]{0,90}$"
    )
    searcher: Literal["optuna", "random"] = setting(
        "optuna", "optuna: TPE, which learns from the trials before; random: draws evenly."
    )
    grace: int = setting(3, "Validations before which no trial is stopped.", unit="validations", ge=1, le=10_000)
    reduction: float = setting(
        3.0,
        "ASHA: after grace, grace x reduction, ... validations a trial goes on if among the best 1/reduction so far.",
        source="ASHA",
        gt=1,
        le=100,
    )
    concurrent: int = setting(0, "Trials at once; 0: as many as fit the cluster.", unit="trainings", ge=0, le=10_000)
    resume: str = setting("", "Name of an interrupted sweep to go on with.", pattern=r"^[A-Za-z0-9._-]{0,90}$")


class EvaluationSettings(Settings):
    """Measuring one model."""

    model: str = setting(
        ...,
        "What to measure: models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID, the folder of a saved model, "
        "published:NAME=FILE, or control:NAME.",
        unit="URI",
        min_length=1,
    )
    low: str = setting("", "Low-light or backlit photos.", unit="folder or URI")
    high: str = setting(
        "", "Ground truth of low: the same paths below it, suffixes may differ, and sizes.", unit="folder or URI"
    )
    good: str = setting(
        "", "Photos that need no enhancing, to see whether they stay as they are.", unit="folder or URI"
    )
    out: str = setting(..., "Where metrics.json, metrics.csv and pictures go.", unit="folder or URI", min_length=1)
    weights: str = setting(
        "", "Folder that holds, at any depth, the weights of LPIPS and NIQE; without it they are left out."
    )
    pictures: int = setting(8, "Before/after pictures of each set, spread evenly.", unit="pictures", ge=0, le=100_000)
    max_pixels: int = setting(80_000_000, "Larger pictures are set aside.", unit="px", ge=1024)
    alone: bool = setting(False, "Measure no baseline beside the model: faster, and nothing to compare with.")
    log: bool = setting(False, "Record the numbers in MLflow.")
    tracking: TrackingUri = setting(
        "", "MLflow server or database; empty: MLFLOW_TRACKING_URI, else SQLite in the folder runs.", unit="URI"
    )
    experiment: str = setting("lle-evaluation", "MLflow experiment.", min_length=1, max_length=250)
    address: str = setting(
        "", "Ray cluster to join; empty: RAY_ADDRESS, else a cluster on this machine.", unit="host:port"
    )

    @model_validator(mode="after")
    def _something_to_measure(self) -> EvaluationSettings:
        if self.high and not self.low:
            raise ValueError("high: is the ground truth of low; give --low as well")
        if not self.low and not self.good:
            raise ValueError("low and good: name at least one folder of photos, with --low or --good")
        return self


class ExportSettings(Settings):
    """A model for other runtimes."""

    model: str = setting(
        ...,
        "What to export: models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID, or the folder of a saved model.",
        unit="URI",
        min_length=1,
    )
    out: str = setting(..., "Where model.onnx or model.pt2 goes.", unit="folder", min_length=1)
    format: Literal["onnx", "pt2"] = setting("onnx", "onnx runs anywhere, pt2 wherever torch does.")
    tracking: TrackingUri = setting(
        "", "MLflow server or database; empty: MLFLOW_TRACKING_URI, else SQLite in the folder runs.", unit="URI"
    )


class PromotionSettings(Settings):
    """Making a registered version the champion, if it earns it."""

    model: str = setting("lle-enhancer", "Registered model.", min_length=1, max_length=200)
    candidate: str = setting("challenger", "Version that wants to be champion.", unit="alias or number", min_length=1)
    champion: str = setting(
        "champion", "Alias that is moved.", min_length=1, max_length=250, pattern=r"^[a-zA-Z][a-zA-Z0-9_-]*$"
    )
    rollback: bool = setting(False, "Compare nothing: make the version champion that the present one replaced.")
    low: str = setting("", "Low-light or backlit photos that both are measured on.", unit="folder or URI")
    high: str = setting(
        "", "Ground truth of low: the same paths below it, suffixes may differ, and sizes.", unit="folder or URI"
    )
    good: str = setting(
        "",
        "Photos that need no enhancing and must stay as they are; empty: the ground truth serves as such, too.",
        unit="folder or URI",
    )
    manifest: str = setting(
        "",
        "SHA-256 of every photo: written where it does not exist, else the photos must be those.",
        unit="file or URI",
    )
    repin: bool = setting(False, "The photos are meant to differ from the last promotion's: pin these instead.")
    measure: Literal["psnr", "ssim", "psnr_gt_mean", "lpips", "niqe", "colour_error", "our_prior_well_lit"] = setting(
        "psnr", "What decides; all but niqe and our_prior_well_lit need high."
    )
    margin: float = setting(
        0.1, "Least mean gain in the measure.", unit="dB or the measure's unit", source="ours", ge=0
    )
    significance: float = setting(
        0.05, "Largest p of the signed-rank test over photos that there is no gain.", source="ours", gt=0, le=0.5
    )
    most_over_exposed: float = setting(
        0.005, "Guard: how much larger the mean over-exposed share may be.", unit="share", source="ours", ge=0, le=1
    )
    most_colour_cast: float = setting(
        0.5, "Guard: how much larger the mean colour cast may be.", unit="degrees", source="ours", ge=0, le=90
    )
    most_changed: float = setting(
        1.0, "Guard: how much further from the input good photos may be at the mean.", unit="dB", source="ours", ge=0
    )
    least_unchanged: float = setting(
        20.0,
        "Guard: PSNR to the input that good photos keep at the mean, or the champion's where that is lower.",
        unit="dB",
        source="ours: a root mean square change of a tenth of white",
        ge=0,
        le=100,
    )
    most_slower: float = setting(
        1.25, "Guard: how many times the champion's time it may take on the CPU.", source="ours", ge=1, le=1000
    )
    first_over_exposed: float = setting(
        0.02,
        "Guard of the first champion: how much larger the mean over-exposed share may be than that of the input.",
        unit="share",
        source="ours",
        ge=0,
        le=1,
    )
    first_slower: float = setting(
        50.0,
        "Guard of the first champion: how many times the bundled enhancer's time it may take on the CPU.",
        source="ours; the paper's network takes 39 times",
        ge=1,
        le=100_000,
    )
    worst: int = setting(4, "Pictures kept of the photos that lose most.", unit="pictures", ge=0, le=64)
    weights: str = setting(
        "", "Folder that holds, at any depth, the weights of LPIPS and NIQE; without it they are left out."
    )
    max_pixels: int = setting(80_000_000, "Larger pictures are set aside.", unit="px", ge=1024)
    tracking: TrackingUri = setting(
        "", "MLflow server or database; empty: MLFLOW_TRACKING_URI, else SQLite in the folder runs.", unit="URI"
    )
    experiment: str = setting("lle-promotion", "MLflow experiment.", min_length=1, max_length=250)
    address: str = setting(
        "", "Ray cluster to join; empty: RAY_ADDRESS, else a cluster on this machine.", unit="host:port"
    )

    @model_validator(mode="after")
    def _something_to_compare(self) -> PromotionSettings:
        if self.rollback:
            return self
        if not self.low:
            raise ValueError("low: name the photos that both are measured on, with --low (or give --rollback)")
        if not self.high and self.measure not in ("niqe", "our_prior_well_lit"):
            raise ValueError(
                f"measure: {self.measure} needs ground truth; give --high, or another measure: niqe, our_prior_well_lit"
            )
        if self.measure != "psnr" and "margin" not in self.model_fields_set:
            raise ValueError(
                f"margin: its default is meant for psnr, in dB; give --margin in the unit of {self.measure}"
            )
        if not self.high and not self.good:
            raise ValueError(
                "good: without ground truth, name photos that need no enhancing, with --good; a champion must leave "
                "them as they are"
            )
        return self


class DemoSettings(Settings):
    """A page on this machine to try a model on one photo at a time."""

    model: str = setting(
        "",
        "What enhances: models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID, the folder of a saved model, "
        "published:NAME=FILE, or control:NAME; empty: the registered champion, else the bundled model.",
        unit="URI",
    )
    port: int = setting(8321, "Port on 127.0.0.1; 0: any that is free.", ge=0, le=65_535)
    max_pixels: int = setting(150_000_000, "Larger photos are refused.", unit="px", ge=1024, le=178_000_000)
    max_megabytes: int = setting(1216, "Larger files are refused.", unit="MB", ge=1, le=2048)
    open: bool = setting(False, "Open the page in the browser.")
    tracking: TrackingUri = setting(
        "", "MLflow server or database; empty: MLFLOW_TRACKING_URI, else SQLite in the folder runs.", unit="URI"
    )


class PrepareSettings(Settings):
    """Any prefix of pictures into shards of one size, and a manifest."""

    input: str = setting(..., "Pictures, searched with all folders.", unit="folder or URI", min_length=1)
    output: str = setting(..., "Where shards and manifest go.", unit="folder or URI", min_length=1)
    short_side: int = setting(
        512, "Shorter side of the stored pictures; smaller ones stay as they are.", unit="px", ge=32, le=8192
    )
    format: Literal["jpeg", "webp", "png"] = setting("jpeg", "How pictures are stored; png loses nothing.")
    quality: int = setting(95, "Of jpeg and webp; from 90 up, jpeg keeps the full colour resolution.", ge=1, le=100)
    max_pixels: int = setting(80_000_000, "Larger pictures are refused from their header.", unit="px", ge=1024)
    max_megabytes: int = setting(256, "Larger files are refused unread.", unit="MB", ge=1, le=100_000)
    part_files: int = setting(512, "Files of a part, the unit of work and of resuming.", unit="files", ge=1, le=100_000)
    shard_megabytes: int = setting(128, "Largest shard; a part may have several.", unit="MB", ge=1, le=128)
    decoders: int = setting(2, "Pictures read and decoded at once, for each task.", unit="threads", ge=1, le=64)
    similar_bits: int = setting(
        4,
        "Pictures of equal light whose 64-bit perceptual hashes differ in no more are marked as duplicates; 0: only "
        "exact copies are.",
        unit="bits",
        source="ours",
        ge=0,
        le=8,
    )
    split: Literal["none", "statistics", "prior"] = setting(
        "none",
        "Divide into dark, well lit and neither by a score: statistics, the mean luma; prior, the bundled prior's "
        "P(well lit), which also knows backlit.",
    )
    dark_below: float = setting(0.3, "A lower score is dark.", unit="score", source="ours", ge=0, le=1)
    well_lit_from: float = setting(
        0.4, "This score or a higher one is well lit.", unit="score", source="ours", ge=0, le=1
    )
    most_over_exposed: float = setting(
        0.2, "A well-lit picture is over-exposed in no larger part.", unit="of its pixels", source="ours", ge=0, le=1
    )
    address: str = setting(
        "", "Ray cluster to join; empty: RAY_ADDRESS, else a cluster on this machine.", unit="host:port"
    )

    @model_validator(mode="after")
    def _dark_is_below_well_lit(self) -> PrepareSettings:
        if self.dark_below > self.well_lit_from:
            raise ValueError(
                f"dark_below: {self.dark_below} is above well_lit_from, {self.well_lit_from}; give a smaller one"
            )
        return self


OutputFormat = Literal["same", "jpeg", "png", "webp", "tiff", "avif"]


class EnhanceSettings(Settings):
    """Enhancing a folder or prefix of photos."""

    model: str = setting(
        ...,
        "What enhances: models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID, the folder of a saved model, "
        "published:NAME=FILE, or control:NAME.",
        unit="URI",
        min_length=1,
    )
    input: str = setting(..., "Photos, with all folders below; or one photo.", unit="folder, file or URI", min_length=1)
    output: str = setting(..., "Where they go, under the names they had.", unit="folder or URI", min_length=1)
    format: OutputFormat = setting(
        "same", "Kind of the files written; one that differs from the photo's own is added to its name."
    )
    quality: int = setting(
        95, "Of JPEG, WebP and AVIF; from 90 up, JPEG and AVIF keep the full colour resolution.", ge=1, le=100
    )
    strength: float = setting(
        1.0,
        "From 0, the photo as it is, over 1, as trained, to 1.5; only kinds exposure and scene know others than 1.",
        ge=0,
        le=1.5,
    )
    side_by_side: bool = setting(False, "Write the photo itself to the left of each result.")
    max_pixels: int = setting(150_000_000, "Larger pictures are refused.", unit="px", ge=1024, le=178_000_000)
    batch_pixels: int = setting(
        4_000_000, "Photos of one size are enhanced together up to so many pixels.", unit="px", ge=1
    )
    workers: int = setting(0, "Processes that enhance; 0: one for each GPU, else for each core.", ge=0, le=10_000)
    again: bool = setting(False, "Also enhance what an earlier run has done already.")
    tracking: TrackingUri = setting(
        "", "MLflow server or database; empty: MLFLOW_TRACKING_URI, else SQLite in the folder runs.", unit="URI"
    )
    address: str = setting(
        "", "Ray cluster to join; empty: RAY_ADDRESS, else a cluster on this machine.", unit="host:port"
    )
