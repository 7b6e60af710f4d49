"""Settings of an export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from lle.config.fields import Settings, setting
from pipelines.config.fields import Tracking


class ExportSettings(Settings):
    """A model for other runtimes."""

    model: str = setting(
        ...,
        "What to export: models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID, or the folder of a saved model.",
        unit="URI",
        min_length=1,
    )
    output: str = setting(..., "Where model.onnx or model.pt2 goes.", unit="folder", min_length=1)
    format: Literal["onnx", "pt2"] = setting("onnx", "onnx runs anywhere, pt2 wherever torch does.")
    tracking: Tracking = setting(Tracking(), "MLflow.")

    RENAMED: ClassVar[Mapping[str, str]] = {"out": "output", "tracking": "tracking.uri"}
