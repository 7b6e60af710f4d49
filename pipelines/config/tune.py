"""Settings of a sweep: those of the search, and those of the trainings that it tries."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from lle.config.fields import Settings, setting
from pipelines.config.train import RunSettings


class SearchSettings(Settings):
    """A search: how many trainings try what."""

    search: str = setting("light", "What to search: a name from pipelines/searches, or a YAML file.", min_length=1)
    trials: int = setting(20, "Trainings in all.", unit="trainings", ge=1, le=10_000)
    name: str = setting(
        "", "Name of the sweep and its folder; empty: search and time.", pattern=r"^[A-Za-z0-9._-]{0,90}$"
    )
    searcher: Literal["optuna", "random"] = setting(
        "optuna", "optuna: TPE, which learns from the trials before; random: draws evenly."
    )
    grace: int = setting(3, "Validations before which no trial is stopped.", unit="validations", ge=1, le=10_000)
    reduction: float = setting(
        3.0,
        "ASHA: after grace, grace x reduction, ... validations a trial goes on if among the best 1/reduction so far.",
        source="ASHA",
        gt=1,
        le=100,
    )
    concurrent: int = setting(0, "Trials at once; 0: as many as fit the cluster.", unit="trainings", ge=0, le=10_000)


class TuneSettings(SearchSettings, RunSettings):
    """A sweep: many trainings that search settings."""

    resume: bool = setting(False, "Continue the sweep `name`.", needs="name!=")

    @model_validator(mode="after")
    def _trials_report(self) -> TuneSettings:
        if self.scaling.replace_lost:
            raise ValueError(
                "scaling.replace_lost: a search hears of its trials through reports that want all workers; leave it at "
                "false"
            )
        return self
