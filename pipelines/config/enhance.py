"""Settings of enhancing photos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from lle.config.fields import Settings, setting
from pipelines.config.fields import Cluster, Tracking

OutputFormat = Literal["same", "jpeg", "png", "webp", "tiff", "avif"]


class EnhanceSettings(Settings):
    """Enhancing a folder or prefix of photos."""

    model: str = setting(
        ...,
        "What enhances: models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID, the folder of a saved model, "
        "published:NAME=FILE, or baseline:NAME.",
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
    tracking: Tracking = setting(Tracking(), "MLflow.")
    cluster: Cluster = setting(Cluster(), "Ray.")

    RENAMED: ClassVar[Mapping[str, str]] = {"tracking": "tracking.uri", "address": "cluster.address"}
