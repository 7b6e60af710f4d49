"""What is minimised: terms, their weights, and the regions of one of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from lle.config.fields import Settings, phases_of, setting
from lle.dotted import is_dotted


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


LayerWeight = Annotated[float, Field(ge=0)]


LayerWeights = tuple[LayerWeight, LayerWeight, LayerWeight, LayerWeight, LayerWeight]


class Term(Settings):
    """A term of the objective; weight 0 switches it off and it is not computed."""

    weight: float = setting(0.0, "Weight in the sum.", ge=0)


class GuidanceTerm(Term):
    """What guides."""

    moves: Literal["picture", "level"] = setting(
        "picture",
        "picture: whatever would change its mind; level: the mean exposure of a set alone, by what prior.guidance="
        "captions says that it misses, for enhancers whose maps are exposures (scene, exposure).",
        source="ours",  # without `needs`: the preset adapt sets it, also for who takes the judge away
    )


class DistributionTerm(Term):
    """Means of enhanced pictures as those of well-lit photos."""

    level: bool = setting(
        True,
        "Compare the sets' levels, too; without, something else must tell how bright they should be.",
        source="ours",
        needs="objective.distribution.weight!=0",
    )


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


def _dotted(text: str) -> str:
    if not is_dotted(text):
        raise ValueError(f"{text[:80]!r} is no path; write module:Class, such as mypackage.tasks:Plates")
    return text


class TaskTerm(Term):
    """What a network of a task downstream sees in restored photos."""

    module: Annotated[str, AfterValidator(_dotted)] = setting(
        "lle.tasks.general:GeneralFeatures",
        "Its class, by dotted path: lle.tasks.general:GeneralFeatures, lle.tasks.faces:FaceMaps, or your own, of "
        "PYTHONPATH.",
        source="ours",
        needs="objective.task.weight!=0",
    )


def _own_term(text: str) -> str:
    path, _, weight = text.rpartition("=")
    try:
        number = float(weight)
    except ValueError:
        number = -1.0
    if not is_dotted(path) or not 0 <= number < math.inf:
        raise ValueError(
            f"{text[:80]!r} is no term and weight; write module:function=weight, such as "
            "mypackage.losses:exposure_control=10"
        )
    return text


OwnTerm = Annotated[str, AfterValidator(_own_term)]


class ObjectiveSettings(Settings):
    """What is minimised. Every term is a mean over images, so the balance holds at any batch and world size.

    What computes each term in its phases is listed in `lle.losses.objective.TERMS`.
    """

    guidance: GuidanceTerm = setting(
        GuidanceTerm(weight=320.0),
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
    distribution: DistributionTerm = setting(
        DistributionTerm(),
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
    task: TaskTerm = setting(
        TaskTerm(),
        "Distance of restored photos to the well-lit originals in the eyes of a network of a task downstream.",
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
    own: tuple[OwnTerm, ...] = setting(
        (), "Terms of your own, of PYTHONPATH, each with its weight: module:function=weight.", source="ours"
    )

    @classmethod
    def terms(cls) -> Mapping[str, Sequence[str]]:
        """The phases that compute each of our terms, by its name."""
        return {name: phases for name, info in cls.model_fields.items() if (phases := phases_of(info))}

    @property
    def own_weights(self) -> dict[str, float]:
        """The weight of each term of one's own by its path, `module:function`."""
        return {path: float(weight) for path, _, weight in (each.rpartition("=") for each in self.own)}

    def term(self, name: str) -> Term:
        """The settings of a term; one's own has its weight alone."""
        for path, weight in self.own_weights.items():
            if path.partition(":")[2] == name:
                return Term(weight=weight)
        term: Term = getattr(self, name)
        return term

    def weight_of(self, name: str) -> float:
        """The weight of a term."""
        return self.term(name).weight

    @model_validator(mode="after")
    def _names_apart(self) -> ObjectiveSettings:
        taken = set(self.terms())
        for text in self.own:
            name = text.rpartition("=")[0].partition(":")[2]
            if name in taken:
                raise ValueError(f"objective.own: {text}: there is a term {name} already; call the function otherwise")
            taken.add(name)
        return self

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


def weights_of(objective: ObjectiveSettings) -> Iterator[tuple[str, float, Sequence[str]]]:
    """Path, value and phases of each weight: those of the terms, and those of their parts."""
    for name, phases in ObjectiveSettings.terms().items():
        term = getattr(objective, name)
        for part, info in type(term).model_fields.items():
            if part == "weight" or phases_of(info):
                yield f"objective.{name}.{part}", getattr(term, part), phases_of(info) or phases
