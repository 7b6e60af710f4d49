"""Branches that several jobs share: where photos to measure on lie, where records go, and which cluster works."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from lle.config.fields import Settings, setting


def _without_password(uri: str) -> str:
    if re.search(r"^https?://[^/]*@|://[^/]*:[^/]*@|\b(password|token|secret)=", uri, re.IGNORECASE):
        raise ValueError(
            "holds a password, which every record of the run would repeat; leave it out, and export "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or the whole URI as MLFLOW_TRACKING_URI"
        )
    return uri


class Tracking(Settings):
    """Where MLflow's records are."""

    uri: Annotated[str, AfterValidator(_without_password)] = setting(
        "",
        "MLflow tracking server or database; empty: MLFLOW_TRACKING_URI, else SQLite in the folder of runs.",
        unit="URI",
    )


class Experiment(Tracking):
    """Where it is recorded in MLflow."""

    experiment: str = setting("lle", "MLflow experiment.", min_length=1, max_length=250)


class Cluster(Settings):
    """Where it runs."""

    address: str = setting(
        "", "Ray cluster to join; empty: RAY_ADDRESS, else a cluster on this machine.", unit="host:port"
    )


class MeasuredPhotos(Settings):
    """Photos to measure on."""

    dark: str = setting("", "Low-light or backlit photos.", unit="folder or URI")
    truth: str = setting(
        "", "Ground truth of data.dark: the same paths below it, suffixes may differ, and sizes.", unit="folder or URI"
    )
    good: str = setting(
        "",
        "Photos that need no enhancing, to see whether they stay as they are; a promotion without them takes the "
        "ground truth as such, too.",
        unit="folder or URI",
    )
    max_pixels: int = setting(80_000_000, "Larger pictures are skipped.", unit="px", ge=1024)


MEASURED_BEFORE = {
    "low": "data.dark",
    "high": "data.truth",
    "good": "data.good",
    "max_pixels": "data.max_pixels",
    "tracking": "tracking.uri",
    "experiment": "tracking.experiment",
    "address": "cluster.address",
}
"""Former names of the settings of an evaluation and a promotion."""
