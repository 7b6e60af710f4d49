"""Settings of the page that tries a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lle.config.fields import Settings, setting
from pipelines.config.fields import Tracking


class DemoSettings(Settings):
    """A page on this machine to try a model on one photo at a time."""

    model: str = setting(
        "",
        "What enhances: models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID, the folder of a saved model, "
        "published:NAME=FILE, or baseline:NAME; empty: the registered champion, else the bundled model.",
        unit="URI",
    )
    port: int = setting(8321, "Port on 127.0.0.1; 0: any that is free.", ge=0, le=65_535)
    max_pixels: int = setting(150_000_000, "Larger photos are refused.", unit="px", ge=1024, le=178_000_000)
    max_megabytes: int = setting(1216, "Larger files are refused.", unit="MB", ge=1, le=2048)
    open: bool = setting(False, "Open the page in the browser.")
    tracking: Tracking = setting(Tracking(), "MLflow.")

    RENAMED: ClassVar[Mapping[str, str]] = {"tracking": "tracking.uri"}
