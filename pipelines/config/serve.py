"""Settings of the endpoint."""

from __future__ import annotations

from pydantic import model_validator

from lle.config.fields import Settings, setting
from pipelines.config.fields import Cluster, Tracking


class CanarySettings(Settings):
    """A second model that answers some of the requests, and is compared with the first."""

    model: str = setting("", "What enhances them, as `model`, such as models:/NAME@canary; empty: none.", unit="URI")
    share: float = setting(
        0.05, "Share of the photos that it answers; the same photo always goes the same way.", gt=0, lt=1
    )
    replicas: int = setting(1, "Its processes.", ge=1, le=10_000)


class ServeSettings(Settings):
    """An endpoint that takes photos and gives them back enhanced."""

    model: str = setting(
        "bundled",
        "What enhances: models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID, the folder of a saved model, "
        "published:NAME=FILE, baseline:NAME, or bundled, which ships with the package.",
        unit="URI",
        min_length=1,
    )
    name: str = setting(
        "lle",
        "Of the application; no other of this name may be served on the cluster.",
        pattern=r"^[A-Za-z0-9_-]{1,60}$",
    )
    route: str = setting(
        "/enhance",
        "Path below which it answers; no other application may have it.",
        pattern=r"^(/[A-Za-z0-9_-]{1,60})+$",
    )
    host: str = setting(
        "127.0.0.1",
        "Address to listen at, where Ray Serve does not run yet; others than this machine reach 0.0.0.0.",
        min_length=1,
    )
    port: int = setting(8000, "Port, where Ray Serve does not run yet.", ge=1, le=65_535)
    replace: bool = setting(False, "Take the place of an application of this name, as after a run that was killed.")
    replicas: int = setting(2, "Processes that enhance.", ge=1, le=10_000)
    cpus: int = setting(1, "Cores of each of them.", ge=1, le=1024)
    max_megabytes: int = setting(100, "Larger files are refused.", unit="MB", ge=1, le=2048)
    max_pixels: int = setting(80_000_000, "Larger photos are refused.", unit="px", ge=1024, le=178_000_000)
    max_waiting: int = setting(64, "Photos under way at once; more are refused for the moment.", ge=1, le=100_000)
    seconds: float = setting(120.0, "A photo that takes longer is given up.", unit="s", gt=0)
    batch_pixels: int = setting(
        4_000_000,
        "Photos that wait are enhanced together up to so many pixels, those of one size at once.",
        unit="px",
        ge=1,
    )
    follow: float = setting(
        30.0, "How often aliases of models are looked up; where one has moved, its new version is served. 0: never.",
        unit="s", ge=0,
    )  # fmt: skip
    canary: CanarySettings = setting(CanarySettings(), "A model to try on some of the requests.")
    tracking: Tracking = setting(Tracking(), "MLflow.")
    cluster: Cluster = setting(Cluster(), "Ray.")

    @model_validator(mode="after")
    def _two_models(self) -> ServeSettings:
        if self.canary.model and self.canary.model == self.model:
            raise ValueError(f"canary.model: {self.model} is the model itself; name another, or leave it out")
        return self
