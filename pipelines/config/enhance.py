"""Settings of enhancing photos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import model_validator

from lle.config.fields import Places, Settings, setting
from pipelines.config.fields import Cluster, Tracking

OutputFormat = Literal["same", "jpeg", "png", "webp", "tiff", "avif", "cube"]


class VideoSettings(Settings):
    """Clips among what is enhanced."""

    seconds: float = setting(
        1.0, "Time constant with which light follows a clip; 0: each frame by itself, which flickers.", unit="s", ge=0
    )
    max_stops: float = setting(
        4.5,
        "Shadows are lifted by so much at most; below, compressed clips hold blocks alone.",
        unit="stops",
        ge=0,
        le=10,
    )
    denoise: bool = setting(False, "Take the noise out of each frame, too, which is some four times slower.")
    crf: int = setting(
        18, "Constant rate factor of what is written, in x264's scale; smaller is better and larger.", ge=0, le=51
    )
    segment: float = setting(
        60.0,
        "Clips of one and a half times this length and more are done by segments of about this length, which workers "
        "share out and a run that was stopped goes on with; 0: each as a whole.",
        unit="s",
        ge=0,
    )


class EnhanceSettings(Settings):
    """Enhancing photos and clips, folders or prefixes of them."""

    model: str = setting(
        "bundled",
        "What enhances: models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID, the folder of a saved model, "
        "published:NAME=FILE, baseline:NAME, or one of the package: bundled, for light, dehaze or derain.",
        unit="URI",
        min_length=1,
    )
    input: Places = setting(
        (),
        "Photos, clips, folders or prefixes with all below them; `--input` may be left out.",
        unit="folders, files or URIs",
    )
    output: str = setting(
        "",
        "Where they go, under the names they had; empty: beside each photo or folder, as NAME.enhanced.",
        unit="folder or URI",
    )
    format: OutputFormat = setting(
        "same",
        "Kind of the photos written; one that differs from the photo's own is added to its name. cube: no photo, but a "
        "table of its colours for editors.",
    )
    quality: int = setting(
        95, "Of JPEG, WebP and AVIF; from 90 up, JPEG and AVIF keep the full colour resolution.", ge=1, le=100
    )
    strength: float = setting(
        1.0,
        "From 0, the photo as it is, over 1, as trained, to 1.5; only archs exposure and scene know others than 1.",
        ge=0,
        le=1.5,
    )
    side_by_side: bool = setting(False, "Write the photo itself to the left of each result.")
    max_pixels: int = setting(150_000_000, "Larger pictures are refused.", unit="px", ge=1024, le=178_000_000)
    batch_pixels: int = setting(
        4_000_000, "Photos of one size are enhanced together up to so many pixels.", unit="px", ge=1
    )
    workers: int = setting(
        0, "Processes that enhance; 0: this one for a few photos, else one for each GPU or core.", ge=0, le=10_000
    )
    again: bool = setting(False, "Also enhance what an earlier run has done already.")
    video: VideoSettings = setting(VideoSettings(), "Clips.")
    tracking: Tracking = setting(Tracking(), "MLflow.")
    cluster: Cluster = setting(Cluster(), "Ray.")

    RENAMED: ClassVar[Mapping[str, str]] = {"tracking": "tracking.uri", "address": "cluster.address"}

    @model_validator(mode="after")
    def _fits_together(self) -> EnhanceSettings:
        if not self.input:
            raise ValueError("input: no photos; name a photo, a folder or a URI, such as photo.jpg (--help lists all)")
        if self.format == "cube" and self.side_by_side:
            raise ValueError("side_by_side: a cube is no picture; leave out one of the two")
        return self
