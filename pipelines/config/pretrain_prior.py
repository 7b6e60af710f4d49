"""Settings of the training of the priors that ship."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lle.config.fields import Settings, setting


class PriorTrainingSettings(Settings):
    """Training the small CLIP of the package, or its graded prior."""

    output: str = setting(
        ...,
        "Where light_prior.safetensors (and evaluation.json) go, or graded_prior.safetensors.",
        unit="folder",
        min_length=1,
    )
    graded: str = setting(
        "", "Well-lit photos: the graded prior learns from them, in the place of the other.", unit="folder"
    )
    kodak: str = setting("", "Kodak's 24 photos, to train on; without them the prior is weaker.", unit="folder")
    evaluate: str = setting("", "Test photos: test_paired, test_unpaired, train.", unit="folder")
    views: int = setting(6, "Views of each photo, of twelve pictures each.", unit="views", ge=1, needs="graded!=")
    steps: int = setting(420, "Training steps.", ge=1)
    leaves: int = setting(120, "Dead-leaves scenes to train on.", unit="scenes", ge=1)
    seed: int = setting(0, "Seed of weights, crops and exposures.", ge=0, le=2**31 - 1)
    threads: int = setting(
        1, "CPU threads; the numbers depend on it in the last bits; 0: torch's choice.", unit="threads", ge=0
    )

    RENAMED: ClassVar[Mapping[str, str]] = {"out": "output"}
