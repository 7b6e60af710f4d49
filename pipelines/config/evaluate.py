"""Settings of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import model_validator

from lle.config.fields import Settings, setting
from pipelines.config.fields import MEASURED_BEFORE, Cluster, Experiment, MeasuredPhotos


class EvaluationSettings(Settings):
    """Measuring one model."""

    model: str = setting(
        ...,
        "What to measure: models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID, the folder of a saved model, "
        "published:NAME=FILE, or baseline:NAME.",
        unit="URI",
        min_length=1,
    )
    data: MeasuredPhotos = setting(MeasuredPhotos(), "Photos to measure on.")
    output: str = setting(..., "Where metrics.json, metrics.csv and pictures go.", unit="folder or URI", min_length=1)
    weights: str = setting(
        "", "Folder that holds, at any depth, the weights of LPIPS and NIQE; without it they are left out."
    )
    pictures: int = setting(8, "Before/after pictures of each set, spread evenly.", unit="pictures", ge=0, le=100_000)
    alone: bool = setting(False, "Measure no baseline beside the model: faster, and nothing to compare with.")
    log: bool = setting(False, "Record the numbers in MLflow.")
    tracking: Experiment = setting(Experiment(experiment="lle-evaluation"), "MLflow.")
    cluster: Cluster = setting(Cluster(), "Ray.")

    RENAMED: ClassVar[Mapping[str, str]] = {**MEASURED_BEFORE, "out": "output"}

    @model_validator(mode="after")
    def _something_to_measure(self) -> EvaluationSettings:
        if self.data.truth and not self.data.dark:
            raise ValueError("data.truth: is the ground truth of data.dark; give --data.dark as well")
        if not self.data.dark and not self.data.good:
            raise ValueError(
                "data.dark and data.good: name at least one folder of photos, with --data.dark or --data.good"
            )
        return self
