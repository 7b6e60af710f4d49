"""The card of a registered model says what people must know before they use it."""

from __future__ import annotations

import pytest

from lle.config import DataSettings, EnhancerSettings, TrackingSettings, TrainSettings
from lle.enhancers import build_enhancer
from lle.model import Model
from pipelines.jobs.card import model_card
from pipelines.jobs.ingest import PhotoSet, TrainingPhotos
from pipelines.jobs.quality import Quality
from pipelines.jobs.tracking import names_hash

PHOTOS = TrainingPhotos(
    dark=PhotoSet("s3://photos/dark", ("a.jpg", "b.jpg"), {"c.jpg": "damaged"}),
    well_lit=PhotoSet("s3://photos/day", ("d.jpg",)),
    held_out_dark=PhotoSet("s3://photos/dark", ()),
    held_out_well_lit=PhotoSet("s3://photos/day", ()),
)


@pytest.fixture
def model() -> Model:
    settings = EnhancerSettings(kind="compact", look=32, width=4)
    return Model(build_enhancer(settings), settings)


def settings(**tracking: str) -> TrainSettings:
    data = DataSettings(dark=PHOTOS.dark.uri, well_lit=PHOTOS.well_lit.uri)
    return TrainSettings(name="night", seed=7, data=data, tracking=TrackingSettings(**tracking))


def test_it_names_data_numbers_terms_and_settings(model: Model):
    quality = [Quality("input", (("1.png", 8.0, 0.2),)), Quality("enhanced", (("1.png", 18.25, 0.75),))]
    card = model_card(settings(terms="CC BY 4.0."), PHOTOS, model, quality, "abc123")
    parameters = sum(each.numel() for each in model.parameters())
    for text in (
        "# lle-enhancer: night",
        f"A `compact` enhancer of {parameters:,} parameters",
        "MLflow run abc123",
        f"| dark | 2 | s3://photos/dark | {names_hash(PHOTOS.dark)} |",
        "One file was set aside before the training began",
        "| enhanced | 18.25 | 0.750 |",
        "## Terms of use\n\nCC BY 4.0.",
        "seed: 7",
    ):
        assert text in card


def test_what_nobody_said_is_called_unsaid(model: Model):
    card = model_card(settings(), PHOTOS, model, [], "abc123")
    assert "Not stated (`tracking.terms`)" in card and "None: no pairs were given." in card
