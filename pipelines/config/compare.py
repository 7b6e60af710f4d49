"""Settings of a comparison of several models."""

from __future__ import annotations

from pydantic import model_validator

from lle.config.fields import Places, Settings, setting
from pipelines.config.fields import Cluster, Experiment

MODELS = (
    "each like evaluate's --model: models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID, the folder of a saved model, "
    "published:NAME=FILE, or baseline:NAME; MINE=URI calls it MINE."
)


class ComparedPhotos(Settings):
    """Sets of photos to measure on."""

    dark: Places = setting((), "Sets of low-light or backlit photos.", unit="folders or URIs")
    truth: Places = setting(
        (),
        "Ground truth of the first sets of data.dark, in their order: the same paths below each, suffixes may differ, "
        "and sizes; sets beyond have none.",
        unit="folders or URIs",
    )
    good: Places = setting(
        (), "Sets of photos that need no enhancing, to see whether they stay as they are.", unit="folders or URIs"
    )
    max_pixels: int = setting(80_000_000, "Larger pictures are skipped.", unit="px", ge=1024)


class ComparisonSettings(Settings):
    """Measuring several models on several sets of photos, side by side."""

    models: Places = setting(..., f"What to measure, two or more; the first is held against the others; {MODELS}")
    data: ComparedPhotos = setting(ComparedPhotos(), "Photos to measure on.")
    votes: str = setting("", "Votes of people, as vote.py writes them, for the report.", unit="file")
    output: str = setting(
        ..., "Where report.html, metrics.json, metrics.csv and pictures go.", unit="folder or URI", min_length=1
    )
    weights: str = setting(
        "", "Folder that holds, at any depth, the weights of LPIPS and NIQE; without it they are left out."
    )
    pictures: int = setting(
        4, "Photos of each set that are shown: those on which the first model loses most.", unit="photos", ge=0, le=12
    )
    log: bool = setting(False, "Record the numbers in MLflow.")
    tracking: Experiment = setting(Experiment(experiment="lle-comparison"), "MLflow.")
    cluster: Cluster = setting(Cluster(), "Ray.")

    @model_validator(mode="after")
    def _something_to_compare(self) -> ComparisonSettings:
        if len(self.models) < 2:
            raise ValueError("models: one alone is measured by pipelines/evaluate.py; name two or more")
        if len(self.data.truth) > len(self.data.dark):
            raise ValueError(
                f"data.truth: {len(self.data.truth)} sets, and {len(self.data.dark)} in data.dark; each is the ground "
                "truth of one of those"
            )
        if not self.data.dark and not self.data.good:
            raise ValueError(
                "data.dark and data.good: name at least one folder of photos, with --data.dark or --data.good"
            )
        for name, uris in (("dark", self.data.dark), ("good", self.data.good)):
            if len(set(uris)) < len(uris):
                raise ValueError(f"data.{name}: names the same set twice; name each once")
        return self
