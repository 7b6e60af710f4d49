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
    output: str = setting(..., "Where the files go: model.onnx, or what the format makes.", unit="folder", min_length=1)
    format: Literal["onnx", "pt2", "tiles", "litert", "coreml"] = setting(
        "onnx",
        "onnx runs anywhere, pt2 wherever torch does; tiles: ONNX in two files, for pictures that memory does not hold "
        "whole; litert and coreml: the same two for Android and Apple.",
    )
    tracking: Tracking = setting(Tracking(), "MLflow.")

    RENAMED: ClassVar[Mapping[str, str]] = {"out": "output", "tracking": "tracking.uri"}
