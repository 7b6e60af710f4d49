"""Every job by its name, and its settings."""

from __future__ import annotations

from collections.abc import Mapping

from lle.config.fields import Settings
from pipelines.config.compare import ComparisonSettings
from pipelines.config.demo import DemoSettings
from pipelines.config.enhance import EnhanceSettings
from pipelines.config.evaluate import EvaluationSettings
from pipelines.config.export import ExportSettings
from pipelines.config.prepare import PrepareSettings
from pipelines.config.pretrain_prior import PriorTrainingSettings
from pipelines.config.promote import PromotionSettings
from pipelines.config.serve import ServeSettings
from pipelines.config.train import RunSettings
from pipelines.config.tune import TuneSettings
from pipelines.config.vote import VotingSettings

JOBS: Mapping[str, type[Settings]] = {
    "train": RunSettings,
    "tune": TuneSettings,
    "evaluate": EvaluationSettings,
    "compare": ComparisonSettings,
    "vote": VotingSettings,
    "promote": PromotionSettings,
    "enhance": EnhanceSettings,
    "prepare": PrepareSettings,
    "export": ExportSettings,
    "demo": DemoSettings,
    "serve": ServeSettings,
    "pretrain_prior": PriorTrainingSettings,
}
