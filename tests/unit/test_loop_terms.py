"""Whole trainings with the terms of PIE and of the hybrid, as their presets have them, on tiny photos."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import CountingTower, PhotoStream, Told, newest, photo, tiny_prior, tiny_settings, tiny_train, tiny_validator
from torch import Tensor

from lle import faults
from lle.config import ENHANCEMENT_TERMS, TrainSettings
from lle.enhancers import Enhancer
from lle.exposure.camera import srgb_to_linear
from lle.prior.towers import Prior
from lle.training.loop import train
from lle.training.schedule import Phase
from pipelines.config.loading import load_settings

PRESETS = ["pie", "hybrid", "restoration", "exposure"]


def tiny_preset(name: str, **objective: Any) -> TrainSettings:
    """The preset's network, terms, curves and augmentation, with the sizes and lengths of `tiny_settings`; restoration
    with its own optimiser.
    """
    preset = load_settings(["--preset", name, "--data.samples"]).settings.model_dump()
    tiny = tiny_settings().model_dump()
    chosen = {branch: preset[branch] for branch in ("objective", "curves", "regions", "augment")}
    chosen["enhancer"] = {**tiny["enhancer"], "arch": preset["enhancer"]["arch"]}
    if name in ("restoration", "exposure"):
        chosen["optimiser"] = preset["optimiser"]
        chosen["objective"]["restoration"]["denoising_structure"] = 0.0  # there is no denoising here
    for term, weight in objective.items():
        chosen["objective"][term]["weight"] = weight
    schedule = {**tiny["schedule"], "rounds": min(preset["schedule"]["rounds"], 3)}
    schedule["reconstruction"]["steps"] = min(preset["schedule"]["reconstruction"]["steps"], 3)
    return TrainSettings(**{**tiny, **chosen, "schedule": schedule})


def terms_of(told: Told, phase: str) -> set[str]:
    """Names of the terms in the log of a phase."""
    lines = [step for step in told.steps if f" {phase} " in f" {step.line}"]
    return {name.removeprefix("term/") for step in lines for name in step.metrics if name.startswith("term/")}


@pytest.fixture(scope="module", params=PRESETS)
def trained(request: pytest.FixtureRequest) -> tuple[str, Any, Told]:
    told = Told()
    return request.param, tiny_train(tiny_preset(request.param), told=told), told


def test_every_term_of_the_preset_is_in_the_log_and_finite(trained):
    name, _, told = trained
    published = {"smoothness", "colour", "preservation", "regional", "pixel_contrast", "feature_contrast"}
    hybrid = published - {"colour"} | {"guidance", "identity"}
    restored = {"restoration"}
    expected = {"pie": published, "hybrid": hybrid, "restoration": restored, "exposure": restored}
    assert terms_of(told, "enhancement") == expected[name]
    assert all(term in told.steps[-1].line for term in terms_of(told, "enhancement"))
    assert torch.isfinite(torch.tensor(told.losses())).all() and told.steps[-1].metrics["skipped_steps"] == 0


def test_the_preset_trains_in_its_phases(trained):
    name, outcome, _ = trained
    steps = {
        "pie": {"enhancement": 3},
        "hybrid": {"prompt_init": 3, "reconstruction": 3, "enhancement": 9, "refinement": 6},
        "restoration": {"enhancement": 3},
        "exposure": {"enhancement": 3},
    }
    assert outcome.finished and outcome.progress.phase_steps == steps[name]


def test_well_lit_photos_are_taken_where_a_term_needs_them(trained):
    name, outcome, _ = trained
    assert (
        outcome.progress.well_lit_row == {"pie": 12, "hybrid": 4 * (3 + 9 + 6), "restoration": 12, "exposure": 12}[name]
    )


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("stop_at", [1, 2])
def test_a_resumed_training_equals_an_uninterrupted_one(name: str, stop_at: int, tmp_path: Path):
    settings = tiny_preset(name, restoration=5.0)
    if name == "hybrid":
        stop_at += 6  # within its first enhancement
    whole, before, after = Told(), Told(tmp_path, stop_at), Told()
    expected = tiny_train(settings, told=whole)
    tiny_train(settings, told=before)
    outcome = tiny_train(settings, told=after, resume=newest(tmp_path))
    assert before.losses() + after.losses() == pytest.approx(whole.losses(), rel=1e-6, abs=1e-6)
    assert outcome.progress == expected.progress
    for weight, wanted in zip(outcome.enhancer.parameters(), expected.enhancer.parameters(), strict=True):
        torch.testing.assert_close(weight, wanted, rtol=0, atol=1e-6)


class Drawn(list):
    """What was asked of the streams."""

    def open(self, name: str, row: int) -> PhotoStream:
        drawn = self

        class Listening(PhotoStream):
            def take_with_regions(self, count: int) -> tuple[Tensor, Tensor]:
                drawn.append("regions")
                return super().take_with_regions(count)

            def take(self, count: int) -> Tensor:
                drawn.append(self.name)
                return super().take(count)

        return Listening(name, row)


@pytest.mark.parametrize(
    ("off", "asked"),
    [
        ([], {"dark", "regions", "well_lit"}),
        (["regional"], {"dark", "well_lit"}),
        (["pixel_contrast", "feature_contrast"], {"dark", "regions"}),
        (["pixel_contrast", "feature_contrast", "regional"], {"dark"}),
    ],
    ids=lambda value: "+".join(sorted(value)) or "none",
)
def test_a_term_of_weight_zero_asks_for_no_pictures_regions_or_curves(
    off: list[str], asked: set[str], monkeypatch: pytest.MonkeyPatch
):
    drawn, made = Drawn(), []
    monkeypatch.setattr(
        "lle.training.phase_steps.bag_of",
        lambda settings: lambda *given: made.append(1) or faults.bag_of(settings)(*given),
    )
    prior = tiny_prior()
    train(tiny_preset("pie", **dict.fromkeys(off, 0.0)), prior, drawn.open, tiny_validator(prior))
    assert set(drawn) == asked
    assert len(made) == (3 if "well_lit" in asked else 0)


@pytest.mark.parametrize(
    "settings",
    [tiny_preset("pie", preservation=0.0, feature_contrast=0.0), tiny_preset("restoration")],
    ids=["pie without features", "restoration"],
)
def test_without_features_no_tower_looks_while_training(settings: TrainSettings):
    tower = CountingTower()
    validator = tiny_validator(tiny_prior())
    train(settings, Prior(tower, tower), PhotoStream, validator)
    assert tower.looks == 0


def only_restoration(smoothness: float = 0.0, **term: Any) -> TrainSettings:
    off = {name: {"weight": 0.0} for name in ENHANCEMENT_TERMS}
    return tiny_settings(
        objective={**off, "smoothness": {"weight": smoothness}, "restoration": {"weight": 1.0, **term}},
        curves={"adaptive": True, "exposure": {"frequency": 10.0}},
        schedule={"reconstruction": {"steps": 0}, "enhancement": {"steps": 60}, "rounds": 1},
        optimiser={"enhancer_lr": 1e-2, "ema_decay": 0.0},
        loop={"validate_every": 100},
    )


def test_an_enhancer_learns_to_undo_curves():
    told = Told()
    tiny_train(only_restoration(over_share=0.0, clean_share=0.0, structure=0.2), told=told)
    losses = told.losses()
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


class Enhancing(list):
    """How many pictures the enhancer took at each pass while it learned."""

    def __call__(self, module: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
        if isinstance(module, Enhancer) and torch.is_grad_enabled():
            self.append(len(given[0]))


@pytest.mark.parametrize(("smoothness", "pictures", "dark_photos"), [(0.0, 4, 0), (1.0, 8, 60 * 4)])
def test_dark_photos_are_read_and_enhanced_beside_those_to_restore_only_where_a_term_judges_them(
    smoothness: float, pictures: int, dark_photos: int
):
    taken = Enhancing()
    listening = torch.nn.modules.module.register_module_forward_pre_hook(taken)
    try:
        outcome = tiny_train(only_restoration(smoothness))
    finally:
        listening.remove()
    assert set(taken) == {pictures}
    assert outcome.progress.dark_row == dark_photos


def test_photos_left_as_they_are_cost_a_copy_nothing():
    told = Told()
    tiny_train(only_restoration(clean_share=1.0), told=told)
    assert told.losses()[0] == pytest.approx(0, abs=1e-6), "the compact network starts as a copy"


def test_photos_left_as_they_are_may_lack_light_and_should_go_on_lacking_it():
    told, light = Told(), list[float]()

    def measure(module: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
        if isinstance(module, Enhancer) and torch.is_grad_enabled():
            light.extend(srgb_to_linear(given[0]).mean(dim=(1, 2, 3)).tolist())

    listening = torch.nn.modules.module.register_module_forward_pre_hook(measure)
    try:
        tiny_train(only_restoration(clean_share=1.0, tolerance=2.0), told=told)
    finally:
        listening.remove()
    assert told.losses()[0] == pytest.approx(0, abs=1e-6), "the compact network starts as a copy"
    photos = torch.stack([photo("well_lit", row) for row in range(100)]).float() / 255
    lacking = torch.tensor(light) / srgb_to_linear(photos).mean()
    assert lacking.max() < 1.6 and 0.15 < lacking.min() < 0.35
    evenly_in_stops = 3 / (4 * math.log(4))  # the mean of 4^-u over u from 0 to 1
    assert float(lacking.mean()) == pytest.approx(evenly_in_stops, rel=0.1)


def test_a_training_without_prompts_or_copying_starts_with_the_enhancement():
    told = Told(stop_at=1)
    outcome = tiny_train(tiny_preset("pie"), told=told)
    assert told.steps[0].phase is Phase.ENHANCEMENT
    assert outcome.progress.schedule.phase is Phase.ENHANCEMENT and outcome.progress.schedule.round == 1
