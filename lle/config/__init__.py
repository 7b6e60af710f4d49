"""Every setting of the method, typed, bounded and documented where it is defined.

A tree of frozen models: `TrainSettings` is the root, a dotted path such as `objective.guidance.weight` names a leaf.
Presets, files and the command line fill the same tree (see docs/settings.md); what only a job needs, such as workers
and records, stands in `pipelines.config`. Nothing here imports torch: it must load in a few tenths of a second.

"Paper" in a description is CLIP-LIT (ICCV 2023) unless another is named; its values are the defaults.
"""

from lle.config.curves import (
    BacklitCurve,
    CurveSettings,
    ExposureCurve,
    GammaCurve,
    LogCurve,
    SCurve,
    ToneCurve,
)
from lle.config.data import FAULTS, AugmentSettings, DataSettings
from lle.config.model import EnhancerSettings, PriorSettings
from lle.config.objective import (
    ENHANCEMENT_TERMS,
    DistributionTerm,
    GuidanceTerm,
    IdentityTerm,
    ObjectiveSettings,
    PixelContrastTerm,
    RankTerm,
    RegionSettings,
    RestorationTerm,
    TaskTerm,
    Term,
)
from lle.config.schedule import (
    EnhancementLength,
    LoopSettings,
    PhaseLength,
    ReconstructionLength,
    ScheduleSettings,
)
from lle.config.train import SKIPPABLE_PHASES, IdleWeights, TrainSettings, idle_weights
from lle.config.weather import HazeSettings, RainSettings

__all__ = [
    "ENHANCEMENT_TERMS",
    "FAULTS",
    "SKIPPABLE_PHASES",
    "AugmentSettings",
    "BacklitCurve",
    "CurveSettings",
    "DataSettings",
    "DistributionTerm",
    "EnhancementLength",
    "EnhancerSettings",
    "ExposureCurve",
    "GammaCurve",
    "GuidanceTerm",
    "HazeSettings",
    "IdentityTerm",
    "IdleWeights",
    "LogCurve",
    "LoopSettings",
    "ObjectiveSettings",
    "PhaseLength",
    "PixelContrastTerm",
    "PriorSettings",
    "RainSettings",
    "RankTerm",
    "ReconstructionLength",
    "RegionSettings",
    "RestorationTerm",
    "SCurve",
    "ScheduleSettings",
    "TaskTerm",
    "Term",
    "ToneCurve",
    "TrainSettings",
    "idle_weights",
]
