"""The tree: all that the method is set by, checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import model_validator

from lle.config.curves import CurveSettings
from lle.config.data import LIGHT, AugmentSettings, DataSettings, check_folders
from lle.config.fields import Settings, setting
from lle.config.metrics import against_truth
from lle.config.model import EnhancerSettings, PriorSettings
from lle.config.networks import NETWORKS
from lle.config.objective import ENHANCEMENT_TERMS, ObjectiveSettings, RegionSettings, weights_of
from lle.config.schedule import BatchSettings, LoopSettings, OptimiserSettings, ScheduleSettings
from lle.config.weather import HazeSettings, RainSettings


class TrainSettings(Settings):
    """What a training does, wherever it runs."""

    seed: int = setting(0, "Seed of weights, order and augmentation.", ge=0, le=2**31 - 1)
    data: DataSettings = setting(DataSettings(), "Photos.")
    augment: AugmentSettings = setting(AugmentSettings(), "Augmentation.")
    enhancer: EnhancerSettings = setting(EnhancerSettings(), "Network.")
    prior: PriorSettings = setting(PriorSettings(), "CLIP.")
    curves: CurveSettings = setting(CurveSettings(), "Bag of Curves.")
    haze: HazeSettings = setting(HazeSettings(), "Haze.")
    rain: RainSettings = setting(RainSettings(), "Rain, or snow.")
    regions: RegionSettings = setting(RegionSettings(), "Regions.")
    objective: ObjectiveSettings = setting(ObjectiveSettings(), "Loss terms.")
    schedule: ScheduleSettings = setting(ScheduleSettings(), "Phases and rounds.")
    optimiser: OptimiserSettings = setting(OptimiserSettings(), "Adam.")
    batch: BatchSettings = setting(BatchSettings(), "Batch sizes.")
    loop: LoopSettings = setting(LoopSettings(), "The loop.")

    @property
    def learns_prompts(self) -> bool:
        """Whether guidance asks a prompt pair or a latent pair, which must be taught."""
        return self.objective.guidance.weight > 0 and self.prior.guidance in ("prompts", "latent")

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
            guided = self.objective.guidance.weight > 0
            return f"prior.guidance is {self.prior.guidance}" if guided else "objective.guidance.weight is 0"
        if phase == "refinement" and self.schedule.rounds == 1:
            return "schedule.rounds is 1"
        if phase == "denoising" and self.data.fault != LIGHT:
            return f"data.fault is {self.data.fault}, which adds no noise"
        if phase == "denoising" and not self.enhancer.has_denoiser:
            has_none = not self.enhancer.knows("denoise")
            return f"enhancer.arch {self.enhancer.arch} has no denoiser" if has_none else "enhancer.denoise is 0"
        return ""

    @model_validator(mode="after")
    def _consistent(self) -> TrainSettings:
        check_folders(self.data)
        check_fault(self)
        check_level(self)
        objective = self.objective
        if not any(objective.own_weights.values()) and not any(map(objective.weight_of, ENHANCEMENT_TERMS)):
            raise ValueError(
                f"objective: {', '.join(ENHANCEMENT_TERMS[:-1])} and {ENHANCEMENT_TERMS[-1]} all have weight 0; give "
                "one of them a weight, or the enhancer has nothing to learn"
            )
        check_phases(self)
        defaults = {path: value for path, value, _ in weights_of(ObjectiveSettings())}
        values = {path: value for path, value, _ in weights_of(self.objective)}
        if idle := {path: why for path, why in idle_weights(self).items() if values[path] != defaults[path]}:
            raise IdleWeights(idle)
        if self.loop.metric in against_truth() and not (self.data.pairs_dark or self.data.samples):
            raise ValueError(
                f"loop.metric: {self.loop.metric} needs pairs; give data.pairs_dark and data.pairs_truth, "
                "or choose feature_gap or restored"
            )
        return self


DECIDE_ON_EXPOSURES = ("exposure", "scene")
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
    for path, value, phases in weights_of(settings.objective):
        skipped = {phase: why for phase in phases if (why := settings.why_skipped(phase))}
        term = path.split(".")[1]
        if value and len(skipped) == len(phases):
            reasons = " and ".join(dict.fromkeys(skipped.values()))
            idle[path] = f"its phase, {' and '.join(phases)}, is skipped because {reasons}"
        elif value and not settings.objective.weight_of(term):
            idle[path] = f"objective.{term}.weight is 0"
    return idle


def check_fault(settings: TrainSettings) -> None:
    """Refuse what only wrong light has where the fault is another; raises ValueError with the settings' names."""
    restoration = settings.objective.restoration
    only_light = {
        "objective.two_sided.weight": settings.objective.two_sided.weight,
        "objective.restoration.tolerance": restoration.weight and restoration.clean_share and restoration.tolerance,
        "prior.over_exposed_share": settings.prior.over_exposed_share,
    }
    for path, value in only_light.items():
        if value and settings.data.fault != LIGHT:
            raise ValueError(f"{path}: is about wrong light, and data.fault is {settings.data.fault}; give it 0")


def check_level(settings: TrainSettings) -> None:
    """Refuse a judge of exposures that says nothing in their unit; raises ValueError with the settings' names."""
    guidance, enhancer = settings.objective.guidance, settings.enhancer
    if not guidance.weight or guidance.moves != "level":
        return
    if settings.prior.guidance != "captions":
        raise ValueError(
            f"objective.guidance.moves: {settings.prior.guidance} do not say by how much a level misses; give "
            "prior.guidance captions, with prior.model graded, or objective.guidance.moves picture"
        )
    if enhancer.arch in NETWORKS and enhancer.arch not in DECIDE_ON_EXPOSURES:
        raise ValueError(
            f"objective.guidance.moves: enhancer.arch {enhancer.arch} decides on no exposure; take "
            f"{' or '.join(DECIDE_ON_EXPOSURES)}, or objective.guidance.moves picture"
        )


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
