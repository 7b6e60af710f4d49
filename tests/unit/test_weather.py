"""Haze and rain over photos, and the bags that draw them."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import photo, tiny_settings
from torch import Tensor

from lle.config import FAULTS, HazeSettings, RainSettings
from lle.exposure.camera import linear_to_srgb, srgb_to_linear
from lle.exposure.curves import bag_of_curves
from lle.exposure.reference import reference_camera
from lle.faults import MADE_BY, bag_of, reference_of
from lle.weather.depth import made_up_depth
from lle.weather.haze import haze
from lle.weather.rain import rain

PHOTOS = torch.stack([photo("well_lit", row, 64).permute(2, 0, 1) for row in range(4)]).float() / 255
SEEDS = [3, 1, 4, 15]
EVEN = HazeSettings(density=(1, 1), even_share=1, airlight=(0.8, 0.8), tint=0)
ROUNDING = 0.5 / 255 + 1e-6
STRAIGHT = RainSettings(slant=0, layers=1, veil=(0, 0), brightness=(1, 1), length=(20, 20), width=(0.6, 0.6))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_seed_draws_the_same_fault_in_any_batch_and_another_seed_another(fault: str):
    bag = bag_of(tiny_settings(data={"fault": fault}))
    whole = bag(PHOTOS, SEEDS)
    assert whole.shape == PHOTOS.shape and float(whole.min()) >= 0 and float(whole.max()) <= 1
    for row, seed in enumerate(SEEDS):
        torch.testing.assert_close(bag(PHOTOS[row : row + 1], [seed])[0], whole[row], atol=1.1 / 255, rtol=0)
    assert not torch.equal(bag(PHOTOS[:1], [92]), whole[:1])
    assert bag(PHOTOS[:0], []).shape == (0, 3, 64, 64)
    with pytest.raises(ValueError, match="got 1 seeds for 4 images"):
        bag(PHOTOS, [0])


def test_the_bag_of_light_is_the_bag_of_curves_and_its_reference_the_reference_camera():
    settings = tiny_settings()
    assert torch.equal(bag_of(settings)(PHOTOS, SEEDS), bag_of_curves(PHOTOS, settings.curves, SEEDS))
    assert torch.equal(reference_of("light")(PHOTOS, SEEDS), reference_camera(PHOTOS, SEEDS))


def test_what_validates_stands_still_whatever_a_training_draws():
    thick = bag_of(tiny_settings(data={"fault": "haze"}, haze={"density": (2.5, 2.5), "near": (1, 1)}))
    contrast = [each(PHOTOS, SEEDS).std(dim=(2, 3)).mean() for each in (thick, reference_of("haze"))]
    assert contrast[0] < 0.5 * contrast[1]
    assert torch.equal(reference_of("haze")(PHOTOS, SEEDS), haze(PHOTOS, HazeSettings(), SEEDS))
    assert MADE_BY.keys() == FAULTS.keys()


def test_smoke_of_one_depth_is_one_mixture_with_the_airlight():
    expected = 0.8 + (PHOTOS - 0.8) * math.exp(-1)
    torch.testing.assert_close(haze(PHOTOS, EVEN, SEEDS), expected, atol=ROUNDING, rtol=0)
    linear = EVEN.model_copy(update={"linear_share": 1.0})
    air = srgb_to_linear(torch.tensor(0.8))
    light = linear_to_srgb(air + (srgb_to_linear(PHOTOS) - air) * math.exp(-1))
    torch.testing.assert_close(haze(PHOTOS, linear, SEEDS), light, atol=ROUNDING, rtol=0)


def test_the_airlight_is_tinted_by_at_most_the_tint():
    black = torch.zeros(64, 3, 8, 8)
    thick = HazeSettings(density=(20, 20), even_share=1, airlight=(0.7, 0.7), tint=0.1)
    air = haze(black, thick, range(64)).mean(dim=(2, 3))
    assert float((air - 0.7).abs().max()) <= 0.1 + ROUNDING
    assert float(air.std(dim=1).mean()) > 0.02


def test_depth_lies_between_the_nearest_place_and_one_and_is_mostly_farther_above():
    seeds = range(40)
    near = torch.linspace(0, 0.5, 40)
    pictures = PHOTOS[:1].expand(40, -1, -1, -1)
    depth = made_up_depth(pictures, near, seeds)
    assert depth.shape == (40, 1, 64, 64)
    assert bool((depth.amin(dim=(1, 2, 3)) >= near - 1e-6).all()) and float(depth.max()) <= 1
    rises = depth[:, :, :16].mean(dim=(1, 2, 3)) - depth[:, :, -16:].mean(dim=(1, 2, 3))
    assert float((rises > 0).float().mean()) > 0.6
    spread = depth.flatten(1).std(dim=1)
    assert float(spread.min()) > 0.02


def test_depth_follows_an_edge_of_the_photo():
    halves = torch.full((32, 3, 48, 48), 0.2)
    halves[..., 24:] = 0.8
    depth = made_up_depth(halves, torch.zeros(32), range(32))[:, 0]
    step = (depth[:, :, 24] - depth[:, :, 23]).abs().mean()
    elsewhere = (depth[:, :, 1:] - depth[:, :, :-1]).abs().mean()
    assert float(step) > 2 * float(elsewhere)


@pytest.mark.parametrize("side", [1, 5, 50])
def test_pictures_of_any_size_can_be_hazy_and_wet(side: int):
    small = torch.rand(2, 3, side, side + 3)
    for fault in ("haze", "rain"):
        assert torch.isfinite(reference_of(fault)(small, [0, 1])).all()


def test_streaks_only_add_light_and_more_of_them_cover_more():
    means = []
    for amount in (0.02, 0.2, 0.6):
        wet = rain(PHOTOS, STRAIGHT.model_copy(update={"amount": (amount, amount)}), SEEDS)
        assert float((wet - PHOTOS).min()) >= -ROUNDING
        means.append(float((wet - PHOTOS).gt(0.05).float().mean()))
    assert 0 < means[0] < means[1] < means[2]


def test_streaks_that_fall_straight_are_longer_than_wide_and_flakes_are_not():
    def alike(wet: Tensor) -> tuple[float, float]:
        """How alike pixels are three below and three beside."""
        light = wet[:, 0] - wet[:, 0].mean(dim=(1, 2), keepdim=True)
        below, beside = (light * light.roll(3, dims=side) for side in (1, 2))
        return tuple(float(each.mean() / light.square().mean()) for each in (below, beside))

    black, seeds = torch.zeros(8, 3, 64, 64), range(8)
    streaks = alike(rain(black, STRAIGHT.model_copy(update={"amount": (0.2, 0.2)}), seeds))
    assert streaks[0] > 0.6 and streaks[1] < 0.3
    flakes = {"amount": (0.2, 0.2), "length": (1.0, 1.0), "width": (2.0, 2.0)}
    below, beside = alike(rain(black, STRAIGHT.model_copy(update=flakes), seeds))
    assert below == pytest.approx(beside, abs=0.15)


def test_a_veil_takes_contrast_everywhere():
    veiled = STRAIGHT.model_copy(update={"amount": (1e-3, 1e-3), "veil": (0.5, 0.5)})
    assert float(rain(PHOTOS, veiled, SEEDS).std(dim=(2, 3)).mean()) < 0.6 * float(PHOTOS.std(dim=(2, 3)).mean())


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"objective": {"restoration": {"weight": 1.0, "tolerance": 1.0}}}, "objective.restoration.tolerance"),
        ({"objective": {"two_sided": {"weight": 1.0}}}, "objective.two_sided.weight"),
        ({"prior": {"over_exposed_share": 0.5}}, "prior.over_exposed_share"),
    ],
)
def test_what_is_about_light_alone_is_refused_with_another_fault(changes, path: str):
    tiny_settings(**changes)
    with pytest.raises(ValueError, match=f"{path}: is about wrong light, and data.fault is haze; give it 0"):
        tiny_settings(data={"fault": "haze"}, **changes)


def test_an_unknown_fault_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="did you mean haze"):
        tiny_settings(data={"fault": "hase"})


def test_there_is_no_denoising_where_the_fault_adds_no_noise():
    settings = tiny_settings(
        data={"fault": "rain"},
        enhancer={"arch": "exposure"},
        schedule={"denoising": {"steps": 5}},
        objective={"restoration": {"weight": 1.0}},
    )
    assert settings.why_skipped("denoising") == "data.fault is rain, which adds no noise"
    assert settings.phases.denoising.steps == 0
