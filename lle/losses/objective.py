"""The objective: named terms, weighed and summed.

`TERMS` lists what computes each term in each phase, and what it looks at; `objective.own` adds terms from outside. A
term with weight 0 is not computed. Every term is a mean over pictures, so one set of weights serves any batch size and
any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lle.config import ObjectiveSettings, TrainSettings
from lle.dotted import OwnCodeError, imported
from lle.enhancers import Enhanced
from lle.losses.colour import colour
from lle.losses.contrast import feature_contrast, pixel_contrast
from lle.losses.distribution import distribution
from lle.losses.guidance import guidance, level_guidance
from lle.losses.identity import identity
from lle.losses.preservation import preservation
from lle.losses.rank import margin_loss, rank
from lle.losses.regional import regional_consistency
from lle.losses.restoration import denoising, restoration
from lle.losses.smoothness import smoothness
from lle.losses.task import load_task, task
from lle.losses.two_sided import two_sided
from lle.prior.crops import WHOLE_ONLY, Crops
from lle.prior.graded import Captions
from lle.prior.guidance_heads import GuidanceHead
from lle.prior.towers import Prior

DEEP = 3  # of the stages: the fourth is compared by preservation, those before it by contrast
ENHANCEMENT, DENOISING, RECONSTRUCTION = "enhancement", "denoising", "reconstruction"
PROMPT_INIT, REFINEMENT = "prompt_init", "refinement"
DARK, WELL_LIT, MIS_EXPOSED, REGIONS, RELIT = "dark", "well_lit", "mis_exposed", "regions", "relit"


@dataclass(frozen=True)
class Terms:
    """Values of the terms and what they sum to.

    Attributes:
        values: each term before its weight, by name.
        weights: the weight of each.
    """

    values: dict[str, Tensor]
    weights: dict[str, float]

    @property
    def total(self) -> Tensor:
        """Scalar: the weighted sum, which is minimised."""
        total: Tensor = sum(self.weights[name] * value for name, value in self.values.items())  # type: ignore[assignment]
        return total

    def __or__(self, other: Terms) -> Terms:
        """The terms of both."""
        return Terms(self.values | other.values, self.weights | other.weights)


@dataclass(frozen=True)
class Others:
    """What enhanced pictures are compared with; None where no chosen term asks for it.

    Attributes:
        well_lit: unpaired photos, RGB in [0, 1], (P, 3, H, W).
        mis_exposed: wrong exposures of them, (N, 3, H, W).
        regions: regions of the dark pictures, integers, (B, H, W).
    """

    well_lit: Tensor | None = None
    mis_exposed: Tensor | None = None
    regions: Tensor | None = None


@dataclass(frozen=True)
class Opinions:
    """P(badly lit) of sets of pictures in the prompts' eyes, (B,) each.

    Attributes:
        dark, well_lit: the two sets.
        enhanced: the dark ones as earlier enhancers made them, oldest first.
        over_exposed: the first of the well-lit ones, exposed too long; None where there are none.
        relit: logits, (B, 2), of well-lit photos that were taken again and lifted back, and by how much that missed,
            (B,), where a term asks for them.
    """

    dark: Tensor
    well_lit: Tensor
    enhanced: Sequence[Tensor] = ()
    over_exposed: Tensor | None = None
    relit: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class Sight:
    """What the terms of one step look at.

    Attributes:
        input: what the enhancer was given, RGB in [0, 1], (B, 3, H, W).
        enhanced: what it made of them.
        wanted: what it should have made, (B, 3, H, W), where that is known.
        compared: other pictures and regions, by name.
        judgement: P(badly lit) or the like of the enhanced pictures: the term's value.
        stages: of the identity tower, by the pictures' name; `enhanced` among them.
        look: what `features` comes from.
        task: the network of a task downstream, where a term asks it.
    """

    input: Tensor
    enhanced: Enhanced
    wanted: Tensor | None = None
    compared: Mapping[str, Tensor] = field(default_factory=dict)
    judgement: Tensor | None = None
    stages: Mapping[str, list[Tensor]] = field(default_factory=dict)
    look: Callable[[], Mapping[str, list[Tensor]]] = dict
    task: nn.Module | None = None

    @cached_property
    def features(self) -> Mapping[str, list[Tensor]]:
        """Four stages to compare by preservation and contrast, by the pictures' name."""
        return self.look()


@dataclass(frozen=True)
class Line:
    """How a term is computed in a phase.

    Attributes:
        term: its name in `ObjectiveSettings`.
        phase: of the schedule.
        value: a scalar from what there is to see and the term's settings.
        of: the pictures that are enhanced for it: dark ones, or wrong exposures of well-lit ones.
        needs: what it compares with, by name in `Others`.
        judges: whether the guide looks at the enhanced pictures.
        stages, features: pictures whose stages, or features, are compared with those of the enhanced ones.
    """

    term: str
    phase: str
    value: Callable[[Any, Any], Tensor]
    of: str = DARK
    needs: tuple[str, ...] = ()
    judges: bool = False
    stages: tuple[str, ...] = ()
    features: tuple[str, ...] = ()


def _ranked(seen: Opinions, term: Any) -> Tensor:
    loss = rank(seen.dark, seen.enhanced, seen.well_lit, term)
    if seen.over_exposed is not None:
        loss = loss + margin_loss(seen.over_exposed, seen.well_lit[: len(seen.over_exposed)], term.far)
    return loss


TERMS = (
    Line("guidance", ENHANCEMENT, lambda see, term: see.judgement, judges=True),
    Line(
        "identity",
        ENHANCEMENT,
        lambda see, term: identity(see.stages["enhanced"], see.stages["input"], term.layers),
        stages=("input",),
    ),
    Line("smoothness", ENHANCEMENT, lambda see, term: smoothness(see.enhanced.maps)),
    Line("colour", ENHANCEMENT, lambda see, term: colour(see.enhanced.image)),
    Line(
        "distribution",
        ENHANCEMENT,
        lambda see, term: distribution(see.enhanced.image, see.compared[WELL_LIT], term.level),
        needs=(WELL_LIT,),
    ),
    Line(
        "regional",
        ENHANCEMENT,
        lambda see, term: regional_consistency(see.enhanced.image, see.compared[REGIONS]),
        needs=(REGIONS,),
    ),
    Line(
        "pixel_contrast",
        ENHANCEMENT,
        lambda see, term: pixel_contrast(
            see.enhanced.image, see.compared[WELL_LIT], see.compared[MIS_EXPOSED], term.margin
        ),
        needs=(WELL_LIT, MIS_EXPOSED),
    ),
    Line(
        "preservation",
        ENHANCEMENT,
        lambda see, term: preservation(see.features["enhanced"][DEEP], see.features["input"][DEEP]),
        features=("input",),
    ),
    Line(
        "feature_contrast",
        ENHANCEMENT,
        lambda see, term: feature_contrast(
            see.features["enhanced"][:DEEP], see.features[WELL_LIT][:DEEP], see.features[MIS_EXPOSED][:DEEP]
        ),
        needs=(WELL_LIT, MIS_EXPOSED),
        features=(WELL_LIT, MIS_EXPOSED),
    ),
    Line(
        "restoration",
        ENHANCEMENT,
        lambda see, term: restoration(see.enhanced.image, see.wanted, term.structure, term.detail),
        of=MIS_EXPOSED,
    ),
    Line(
        "restoration",
        DENOISING,
        lambda see, term: denoising(see.enhanced.image, see.wanted, term.denoising_structure),
        of=MIS_EXPOSED,
    ),
    *(
        Line("task", phase, lambda see, term: task(see.task, see.enhanced.image, see.wanted), of=MIS_EXPOSED)
        for phase in (ENHANCEMENT, DENOISING)
    ),
    Line(
        "reconstruction",
        RECONSTRUCTION,
        lambda see, term: identity(see.stages["enhanced"], see.stages["input"], term.layers),
        stages=("input",),
    ),
    Line("rank", REFINEMENT, _ranked),
    Line("two_sided", PROMPT_INIT, lambda seen, term: two_sided(*seen.relit), needs=(RELIT,)),
    Line("two_sided", REFINEMENT, lambda seen, term: two_sided(*seen.relit), needs=(RELIT,)),
)
"""Every term of the objective in every phase that computes it; they are summed in this order."""

assert {(line.term, line.phase) for line in TERMS} == {
    (name, phase) for name, phases in ObjectiveSettings.terms().items() for phase in phases
}, "each term has a line here for each phase that its setting names, and no other"


def chosen(settings: ObjectiveSettings, phase: str) -> list[Line]:
    """The lines that a phase computes: those whose term has weight."""
    lines = (*TERMS, *own_lines(settings.own))
    return [line for line in lines if line.phase == phase and settings.weight_of(line.term)]


@cache
def own_lines(own: tuple[str, ...]) -> tuple[Line, ...]:
    """The lines of terms from outside, `module:NAME=weight` each: a function of a `Sight`, computed while enhancing, or
    a `Line`.

    Raises:
        OwnCodeError: one cannot be imported, is neither, or would not be computed as it asks.
    """
    return tuple(_own_line(text.rpartition("=")[0]) for text in own)


def _own_line(path: str) -> Line:
    found, name = imported(path, "objective.own"), path.partition(":")[2]
    if not isinstance(found, Line) and not callable(found):
        raise OwnCodeError(f"objective.own: {path} is no term; give a function of a Sight, or a Line")
    line = found if isinstance(found, Line) else Line(name, ENHANCEMENT, lambda see, term: found(see))
    if line.judges:
        raise OwnCodeError(f"objective.own: {path}: only objective.guidance asks what guides; leave judges out")
    like = [each for each in TERMS if (each.phase, each.of) == (line.phase, line.of)]
    if not like:
        raise OwnCodeError(f"objective.own: {path}: nothing computes terms of {line.of} pictures in {line.phase}")
    seen = {name for each in like for name in (*each.needs, *each.stages, *each.features)}
    if lacking := {*line.needs, *line.stages, *line.features} - seen - {"input"}:
        raise OwnCodeError(f"objective.own: {path}: there is no {' and no '.join(sorted(lacking))} in {line.phase}")

    def value(see: Any, term: Any) -> Tensor:
        found = line.value(see, term)
        if not isinstance(found, Tensor) or found.ndim:
            raise OwnCodeError(f"objective.own: {path} must give one number, a tensor without dimensions")
        return found

    return replace(line, term=name, value=value)


def check_own_terms(settings: TrainSettings) -> None:
    """See that each term and task from outside is there, and computed in a phase that the training walks.

    Raises:
        OwnCodeError: one is not, or the enhancement is left with nothing to learn.
    """
    for line in own_lines(settings.objective.own):
        if settings.objective.weight_of(line.term) and (why := settings.why_skipped(line.phase)):
            raise OwnCodeError(
                f"objective.own: {line.term} acts nowhere, for its phase, {line.phase}, is skipped because {why}; "
                "change that, or leave it out"
            )
    load_task(settings.objective.task)
    if not chosen(settings.objective, ENHANCEMENT):
        raise OwnCodeError("objective: no term with weight is computed while enhancing; give one a weight")


def needed(settings: ObjectiveSettings, phase: str) -> set[str]:
    """What the chosen terms of a phase want: `dark`, `well_lit`, `mis_exposed`, `regions`, `relit`."""
    lines = chosen(settings, phase)
    restored = {WELL_LIT} if any(line.of == MIS_EXPOSED for line in lines) else set()
    return restored | {DARK for line in lines if line.of == DARK} | {name for line in lines for name in line.needs}


@dataclass(frozen=True)
class Objective:
    """What the enhancer minimises.

    Args:
        settings: weights and layer weights.
        prior: the frozen towers.
        guide: judges the light; gets no gradients here.
        crops: what guidance looks at beside the whole pictures.
        task: a frozen network of a task downstream; None where that term has no weight.
    """

    settings: ObjectiveSettings
    prior: Prior
    guidance_head: GuidanceHead
    crops: Crops = WHOLE_ONLY
    task: nn.Module | None = None

    def reconstruction(self, image: Tensor, enhanced: Enhanced) -> Terms:
        """Terms of the copying phase; image RGB in [0, 1], (B, 3, H, W)."""
        lines = chosen(self.settings, RECONSTRUCTION)
        return self._computed(lines, self._look(lines, image, enhanced))

    def enhancement(self, image: Tensor, enhanced: Enhanced, others: Others | None = None) -> Terms:
        """Terms of the enhancement phase that look at enhanced dark pictures.

        Args:
            image: dark RGB in [0, 1], (B, 3, H, W).
            enhanced: what the enhancer made of them.
            others: what the chosen terms compare them with.

        Raises:
            ValueError: a chosen term has nothing to compare with.
        """
        lines = [line for line in chosen(self.settings, ENHANCEMENT) if line.of == DARK]
        return self._computed(lines, self._look(lines, image, enhanced, others))

    def restoration(self, restored: Tensor, well_lit: Tensor) -> Terms:
        """Terms of restored wrong exposures and the photos they were made of, RGB in [0, 1], (B, 3, H, W)."""
        return self._restored(ENHANCEMENT, restored, well_lit)

    def denoising(self, restored: Tensor, without_noise: Tensor) -> Terms:
        """Terms of restored wrong exposures and what a frozen enhancer makes of them without noise, RGB in [0, 1],
        (B, 3, H, W).
        """
        return self._restored(DENOISING, restored, without_noise)

    def prompt_init(self, seen: Opinions) -> Terms:
        """Terms of the prompts beside their classification, from what they say of each set."""
        return self._computed(chosen(self.settings, PROMPT_INIT), seen)

    def refinement(self, seen: Opinions) -> Terms:
        """Terms of the prompts, from what they say of each set."""
        return self._computed(chosen(self.settings, REFINEMENT), seen)

    def _restored(self, phase: str, restored: Tensor, wanted: Tensor) -> Terms:
        lines = [line for line in chosen(self.settings, phase) if line.of == MIS_EXPOSED]
        return self._computed(lines, Sight(restored, Enhanced(restored, restored), wanted, task=self.task))

    def _computed(self, lines: Sequence[Line], seen: Sight | Opinions) -> Terms:
        values = {line.term: line.value(seen, self.settings.term(line.term)) for line in lines}
        return Terms(values, {name: self.settings.weight_of(name) for name in values})

    def _look(self, lines: Sequence[Line], image: Tensor, enhanced: Enhanced, others: Others | None = None) -> Sight:
        """What some lines want to see; each tower looks at each picture once for all of them."""
        others = others or Others()
        compared = {name: getattr(others, name) for name in (WELL_LIT, MIS_EXPOSED, REGIONS)}
        for line in lines:
            if lacking := [name for name in line.needs if compared[name] is None]:
                what = " and ".join(lacking)
                raise ValueError(f"objective.{line.term}.weight: the step has no {what} to compare with")
        pictures = {"input": image, **compared}
        shared = self.prior.guidance is self.prior.identity
        by_tower = self.prior.features is None
        features = _in_order(name for line in lines for name in line.features)
        stages = _in_order([*(name for line in lines for name in line.stages), *(features if by_tower else [])])
        judgement, ours = None, list[Tensor]()
        if any(line.judges for line in lines):
            views = self.crops.views(enhanced.image, self.prior.guidance.image_size)
            seen = self.prior.guidance(views, stages=shared and bool(stages))
            judgement = self._judgement(seen.features, enhanced)
            ours = [stage[: len(image)] for stage in seen.stages]  # of the whole pictures, which come first
        if stages and not ours:
            ours = self._tower_stages(enhanced.image)
        seen_by_tower = {
            "enhanced": ours,
            **_in_one_pass(self._tower_stages, {name: pictures[name] for name in stages}),
        }

        def look() -> dict[str, list[Tensor]]:
            if self.prior.features is None:
                return {name: _of_unit_scale(seen_by_tower[name]) for name in ("enhanced", *features)}
            own = self.prior.features(enhanced.image)
            return {
                "enhanced": own,
                **_in_one_pass(self.prior.features, {name: pictures[name] for name in features}),
            }

        given = {name: value for name, value in compared.items() if value is not None}
        return Sight(image, enhanced, None, given, judgement, seen_by_tower, look)

    def _judgement(self, features: Tensor, enhanced: Enhanced) -> Tensor:
        if self.settings.guidance.moves == "picture":
            return guidance(features, self.guidance_head)
        assert isinstance(self.guidance_head, Captions), "settings that ask for another are refused"
        return level_guidance(features, self.guidance_head, enhanced.maps)

    def _tower_stages(self, image: Tensor) -> list[Tensor]:
        return self.prior.identity(image, stages=True).stages


def _in_order(names: Iterable[str]) -> list[str]:
    wanted = set(names)
    return [name for name in ("input", WELL_LIT, MIS_EXPOSED) if name in wanted]


@torch.no_grad()
def _in_one_pass(look: Callable[[Tensor], list[Tensor]], pictures: dict[str, Tensor]) -> dict[str, list[Tensor]]:
    """Stages of several sets of pictures that nothing is learned through."""
    if not pictures:
        return {}
    stages = look(torch.cat(list(pictures.values())))
    parts = [stage.split([len(each) for each in pictures.values()]) for stage in stages]
    return {name: [stage[index] for stage in parts] for index, name in enumerate(pictures)}


def _of_unit_scale(stages: list[Tensor]) -> list[Tensor]:
    """The first four stages, each divided by its root mean square in a picture: towers differ a thousandfold."""
    return [
        stage / stage.float().square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(1e-6)
        for stage in stages[: DEEP + 1]
    ]
