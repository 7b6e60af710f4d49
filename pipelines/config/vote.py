"""Settings of the page that asks people."""

from __future__ import annotations

from pydantic import model_validator

from lle.config.fields import Places, Settings, setting
from pipelines.config.compare import MODELS
from pipelines.config.fields import Tracking


class VotingSettings(Settings):
    """A page on this machine that asks people which of two pictures is better, without saying whose they are."""

    models: Places = setting((), f"Whose pictures are shown, two or more; {MODELS}")
    photos: str = setting("", "Photos to enhance and show.", unit="folder or URI")
    votes: str = setting(
        "votes.jsonl", "Votes, a line of JSON each; further ones are added.", unit="file", min_length=1
    )
    tally: bool = setting(False, "Only print what the votes say.")
    count: int = setting(0, "Photos to show at most, drawn by the seed; 0: all.", unit="photos", ge=0)
    seed: int = setting(0, "Order and sides are drawn from it, for each person anew.", ge=0, le=2**32 - 1)
    port: int = setting(8322, "Port on 127.0.0.1; 0: any that is free.", ge=0, le=65_535)
    open: bool = setting(False, "Open the page in the browser.")
    max_pixels: int = setting(80_000_000, "Larger pictures are skipped.", unit="px", ge=1024)
    tracking: Tracking = setting(Tracking(), "MLflow.")

    @model_validator(mode="after")
    def _something_to_ask(self) -> VotingSettings:
        if self.tally:
            return self
        if len(self.models) < 2:
            raise ValueError("models: name two or more, with --models (or give --tally)")
        if not self.photos:
            raise ValueError("photos: name a folder of photos to show, with --photos (or give --tally)")
        return self
