"""Settings of a preparation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import model_validator

from lle.config.fields import Settings, setting
from pipelines.config.fields import Cluster


class PrepareSettings(Settings):
    """Any prefix of pictures into shards of one size, and a manifest."""

    input: str = setting(..., "Pictures, searched with all folders.", unit="folder or URI", min_length=1)
    output: str = setting(..., "Where shards and manifest go.", unit="folder or URI", min_length=1)
    short_side: int = setting(
        512, "Shorter side of the stored pictures; smaller ones stay as they are.", unit="px", ge=32, le=8192
    )
    format: Literal["jpeg", "webp", "png"] = setting("jpeg", "How pictures are stored; png loses nothing.")
    quality: int = setting(95, "Of jpeg and webp; from 90 up, jpeg keeps the full colour resolution.", ge=1, le=100)
    max_pixels: int = setting(80_000_000, "Larger pictures are refused from their header.", unit="px", ge=1024)
    max_megabytes: int = setting(256, "Larger files are refused unread.", unit="MB", ge=1, le=100_000)
    part_files: int = setting(512, "Files of a part, the unit of work and of resuming.", unit="files", ge=1, le=100_000)
    shard_megabytes: int = setting(128, "Largest shard; a part may have several.", unit="MB", ge=1, le=128)
    decoders: int = setting(2, "Pictures read and decoded at once, for each task.", unit="threads", ge=1, le=64)
    similar_bits: int = setting(
        4,
        "Pictures of equal light whose 64-bit perceptual hashes differ in no more are marked as duplicates; 0: only "
        "exact copies are.",
        unit="bits",
        source="ours",
        ge=0,
        le=8,
    )
    split: Literal["none", "statistics", "prior"] = setting(
        "none",
        "Divide into dark, well lit and neither by a score: statistics, the mean luma; prior, the bundled prior's "
        "P(well lit), which also knows backlit.",
    )
    dark_below: float = setting(0.3, "A lower score is dark.", unit="score", source="ours", ge=0, le=1)
    well_lit_from: float = setting(
        0.4, "This score or a higher one is well lit.", unit="score", source="ours", ge=0, le=1
    )
    max_over_exposed: float = setting(
        0.2, "A well-lit picture is over-exposed in no larger part.", unit="of its pixels", source="ours", ge=0, le=1
    )
    cluster: Cluster = setting(Cluster(), "Ray.")

    RENAMED: ClassVar[Mapping[str, str]] = {"address": "cluster.address", "most_over_exposed": "max_over_exposed"}

    @model_validator(mode="after")
    def _dark_is_below_well_lit(self) -> PrepareSettings:
        if self.dark_below > self.well_lit_from:
            raise ValueError(
                f"dark_below: {self.dark_below} is above well_lit_from, {self.well_lit_from}; give a smaller one"
            )
        return self
