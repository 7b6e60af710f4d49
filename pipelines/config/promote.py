"""Settings of a promotion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import model_validator

from lle.config.fields import OneOf, Settings, setting
from lle.config.metrics import METRICS, TRUTH, deciding
from pipelines.config.fields import MEASURED_BEFORE, Cluster, Experiment, MeasuredPhotos


class VoteGate(Settings):
    """Whether people prefer the candidate."""

    file: str = setting(
        "",
        "Votes on candidate and champion, or without one on candidate and exposure-shoulder, as vote.py writes them; "
        "empty: nobody is asked.",
        unit="file",
    )
    min_win_rate: float = setting(
        0.5,
        "Gate: the lower end of the 95 % interval of the candidate's win rate must be above it.",
        unit="share of the votes",
        source="ours",
        needs="votes.file!=",
        ge=0,
        lt=1,
    )
    min_votes: int = setting(
        30, "With fewer nothing is decided.", unit="votes", source="ours", needs="votes.file!=", ge=1
    )
    min_photos: int = setting(
        10, "With fewer nothing is decided.", unit="photos", source="ours", needs="votes.file!=", ge=2
    )


class PromotionSettings(Settings):
    """Making a registered version the champion, if it earns it."""

    model: str = setting("lle-enhancer", "Registered model.", min_length=1, max_length=200)
    candidate: str = setting("challenger", "Version that wants to be champion.", unit="alias or number", min_length=1)
    champion: str = setting(
        "champion", "Alias that is moved.", min_length=1, max_length=250, pattern=r"^[a-zA-Z][a-zA-Z0-9_-]*$"
    )
    rollback: bool = setting(False, "Compare nothing: make the version champion that the present one replaced.")
    data: MeasuredPhotos = setting(MeasuredPhotos(), "Photos to measure on.")
    manifest: str = setting(
        "",
        "SHA-256 of every photo: written where it does not exist, else the photos must be those.",
        unit="file or URI",
    )
    repin: bool = setting(False, "The photos are meant to differ from the last promotion's: pin these instead.")
    metric: Annotated[str, OneOf(deciding)] = setting(
        "psnr", "What decides; all but niqe and our_prior_well_lit need data.truth."
    )
    margin: float = setting(0.1, "Least mean gain in the metric.", unit="dB or the metric's unit", source="ours", ge=0)
    significance: float = setting(
        0.05, "Largest p of the signed-rank test over photos that there is no gain.", source="ours", gt=0, le=0.5
    )
    max_over_exposed: float = setting(
        0.005, "Guard: how much larger the mean over-exposed share may be.", unit="share", source="ours", ge=0, le=1
    )
    max_colour_cast: float = setting(
        0.5, "Guard: how much larger the mean colour cast may be.", unit="degrees", source="ours", ge=0, le=90
    )
    max_changed: float = setting(
        1.0, "Guard: how much further from the input good photos may be at the mean.", unit="dB", source="ours", ge=0
    )
    min_unchanged: float = setting(
        20.0,
        "Guard: PSNR to the input that good photos keep at the mean, or the champion's where that is lower.",
        unit="dB",
        source="ours: a root mean square change of a tenth of white",
        ge=0,
        le=100,
    )
    max_slower: float = setting(
        1.25, "Guard: how many times the champion's time it may take on the CPU.", source="ours", ge=1, le=1000
    )
    first_over_exposed: float = setting(
        0.02,
        "Guard of the first champion: how much larger the mean over-exposed share may be than that of the input.",
        unit="share",
        source="ours",
        ge=0,
        le=1,
    )
    first_slower: float = setting(
        50.0,
        "Guard of the first champion: how many times the bundled enhancer's time it may take on the CPU.",
        source="ours; the paper's network takes 39 times",
        ge=1,
        le=100_000,
    )
    votes: VoteGate = setting(VoteGate(), "Votes of people.")
    worst: int = setting(4, "Pictures kept of the photos that lose most.", unit="pictures", ge=0, le=64)
    weights: str = setting(
        "", "Folder that holds, at any depth, the weights of LPIPS and NIQE; without it they are left out."
    )
    tracking: Experiment = setting(Experiment(experiment="lle-promotion"), "MLflow.")
    cluster: Cluster = setting(Cluster(), "Ray.")

    RENAMED: ClassVar[Mapping[str, str]] = {
        **MEASURED_BEFORE,
        "measure": "metric",
        "most_over_exposed": "max_over_exposed",
        "most_colour_cast": "max_colour_cast",
        "most_changed": "max_changed",
        "most_slower": "max_slower",
        "least_unchanged": "min_unchanged",
    }

    @model_validator(mode="after")
    def _something_to_compare(self) -> PromotionSettings:
        if self.rollback:
            return self
        if not self.data.dark:
            raise ValueError(
                "data.dark: name the photos that both are measured on, with --data.dark (or give --rollback)"
            )
        if not self.data.truth and METRICS[self.metric].compares == TRUTH:
            others = ", ".join(each for each in deciding() if METRICS[each].compares != TRUTH)
            raise ValueError(
                f"metric: {self.metric} needs ground truth; give --data.truth, or another metric: {others}"
            )
        if self.metric != "psnr" and "margin" not in self.model_fields_set:
            raise ValueError(
                f"margin: its default is meant for psnr, in dB; give --margin in the unit of {self.metric}"
            )
        if not self.data.truth and not self.data.good:
            raise ValueError(
                "data.good: without ground truth, name photos that need no enhancing, with --data.good; a champion "
                "must leave them as they are"
            )
        return self
