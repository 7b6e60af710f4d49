"""The card of a registered model says what people must know before they use it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lle.config import DataSettings, EnhancerSettings, ScheduleSettings
from lle.enhancers import build_enhancer
from lle.model import Model
from pipelines.config.train import RunSettings, TrackingSettings
from pipelines.data.photo_sets import PhotoSet, names_hash
from pipelines.data.training_photos import TrainingPhotos
from pipelines.evaluation.quality import Quality
from pipelines.training.card import model_card

PHOTOS = TrainingPhotos(
    dark=PhotoSet("s3://photos/dark", ("a.jpg", "b.jpg"), {"c.jpg": "damaged"}),
    well_lit=PhotoSet("s3://photos/day", ("d.jpg",)),
    held_out_dark=PhotoSet("s3://photos/dark", ()),
    held_out_well_lit=PhotoSet("s3://photos/day", ()),
)


@pytest.fixture
def model() -> Model:
    settings = EnhancerSettings(arch="compact", thumbnail_size=32, width=4)
    return Model(build_enhancer(settings), settings)


def settings(fault: str = "light", **tracking: str) -> RunSettings:
    data = DataSettings(dark=PHOTOS.dark.uri, well_lit=PHOTOS.well_lit.uri, fault=fault)
    return RunSettings(name="night", seed=7, data=data, tracking=TrackingSettings(**tracking))


def test_it_names_data_numbers_terms_and_settings(model: Model):
    quality = [Quality("input", (("1.png", 8.0, 0.2),)), Quality("enhanced", (("1.png", 18.25, 0.75),))]
    card = model_card(settings(terms="CC BY 4.0."), PHOTOS, model, quality, "abc123")
    parameters = sum(each.numel() for each in model.parameters())
    for text in (
        "# lle-enhancer: night",
        f"A `compact` enhancer of {parameters:,} parameters",
        "MLflow run abc123",
        f"| dark | 2 | s3://photos/dark | {names_hash(PHOTOS.dark)} |",
        "One file was skipped before the training began",
        "| enhanced | 18.25 | 0.750 |",
        "## Terms of use\n\nCC BY 4.0.",
        "seed: 7",
    ):
        assert text in card


def test_what_nobody_said_is_called_unsaid(model: Model):
    card = model_card(settings(), PHOTOS, model, [], "abc123")
    assert "Not stated (`tracking.terms`)" in card and "None: no pairs were given." in card


ENDED = {
    "metric": "feature_gap",
    "best_step": 240,
    "best_value": 0.125,
    "steps": {"enhancement": 300},
    "finished": True,
}


def test_it_says_what_chose_the_step_and_on_which_photos(model: Model):
    quality = [Quality("input", (("1.png", 8.0, 0.2),)), Quality("enhanced", (("1.png", 18.25, 0.75),))]
    by_gap = model_card(settings(), PHOTOS, model, quality, "abc123", ENDED)
    assert "Step 240 of 300, chosen by Feature gap 0.125 (lower is better) on held-out photos of both sets" in by_gap
    assert "the given pairs" not in by_gap
    by_pairs = model_card(settings(), PHOTOS, model, quality, "abc123", ENDED | {"metric": "psnr", "best_value": 18.0})
    assert "chosen by PSNR 18.00" in by_pairs and "(higher is better) on the given pairs" in by_pairs
    assert "behind the best" not in by_gap
    tolerant = settings().model_copy(update={"schedule": ScheduleSettings(tolerance=0.5)})
    by_gap = model_card(tolerant, PHOTOS, model, quality, "abc123", ENDED)
    assert "of both sets, which are no pairs, the latest that was less than 0.5 behind the best." in by_gap
    stopped = model_card(settings(), PHOTOS, model, quality, "abc123", ENDED | {"finished": False})
    assert "The training was stopped before its end." in stopped
    assert "chosen by" not in model_card(settings(), PHOTOS, model, quality, "abc123")


def test_it_says_which_fault_the_model_mends(model: Model):
    ended = ENDED | {"metric": "restored", "best_value": 24.0}
    card = model_card(settings(fault="haze"), PHOTOS, model, [], "abc123", ended)
    assert "parameters for hazy photos of any size" in card
    assert "on held-out well-lit photos with haze of the measure's own over them" in card
    light = model_card(settings(), PHOTOS, model, [], "abc123", ended)
    assert "for low-light and backlit photos" in light and "took again with wrong light" in light


def test_a_denoiser_that_learned_on_is_told_apart_from_the_light_that_was_chosen(model: Model):
    ended = ENDED | {"steps": {"enhancement": 300, "denoising": 100}, "best_step": 400}
    card = model_card(settings(), PHOTOS, model, [], "abc123", ended)
    assert "Step 400 of 400: the light is that of the enhancement's step with the best Feature gap" in card
    assert "its denoiser learned on to the last validation" in card


def test_pairs_that_were_trained_on_are_told(model: Model):
    quality = [Quality("input", (("a.jpg", 8.0, 0.2),)), Quality("enhanced", (("a.jpg", 18.25, 0.75),))]
    apart = replace(PHOTOS, pairs_dark=PhotoSet("low", ("low/a.jpg",)), pairs_truth=PhotoSet("high", ("high/a.jpg",)))
    shared = replace(apart, pairs_dark=PhotoSet("s3://photos/dark", ("a.jpg",)))
    assert "none of their files is, by its path, among the photos" in model_card(settings(), apart, model, quality, "r")
    assert "1 of their files are among the photos" in model_card(settings(), shared, model, quality, "r")


def test_a_prior_is_named_only_for_what_it_had_a_say_in(model: Model):
    def card(**weights: float) -> str:
        objective = {name: {"weight": weights.get(name, 0.0)} for name in ("guidance", "identity", "rank")}
        objective["reconstruction"], objective["restoration"] = {"weight": 0.0}, {"weight": 1.0}
        schedule = {"reconstruction": {"steps": 0}, "refinement": {"steps": 0}}
        data = {"dark": "dark", "well_lit": "day"}
        given = RunSettings(name="night", data=data, objective=objective, schedule=schedule)
        return model_card(given, PHOTOS, model, [], "abc123")

    assert "No prior had a say in what was learned." in card()
    assert "`bundled` judged the light (prompts)" in card(guidance=1.0)
    assert "`bundled` compared features (identity)" in card(identity=1.0)
