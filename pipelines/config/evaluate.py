"""Settings of an evaluation."""

from __future__ import annotations

from pydantic import model_validator

from lle.config.fields import Settings, setting
from pipelines.config.fields import TrackingUri


class EvaluationSettings(Settings):
    """Measuring one model."""

    model: str = setting(
        ...,
        "What to measure: models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID, the folder of a saved model, "
        "published:NAME=FILE, or baseline:NAME.",
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
