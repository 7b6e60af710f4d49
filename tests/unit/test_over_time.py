"""Light over time: steady in a scene, anew after a cut, the same at any frame rate; and the curve by a table."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import lle
from lle.enhancers.exposure import OneExposure
from lle.enhancers.light import Light
from lle.enhancers.over_time import LightOverTime, difference, is_cut
from lle.exposure.camera import expose, linear_to_srgb


@pytest.fixture(scope="module")
def network() -> OneExposure:
    found = lle.load("bundled").enhancer
    assert isinstance(found, OneExposure)
    return found


class Recorded(OneExposure):
    """Decides what it is told to, one exposure after the other, and the last one for ever."""

    def __init__(self, *exposures: float) -> None:
        super().__init__()
        self.denoiser, self.exposures = None, list(exposures)

    def light(self, image: Tensor) -> tuple[Light, Tensor]:
        u = torch.full((1, 1, 1, 1), self.exposures.pop(0) if len(self.exposures) > 1 else self.exposures[0])
        return Light(u, torch.ones(1, 3, 1, 1)), u


def scene(seed: int, brightness: float = 0.5, side: int = 96) -> Tensor:
    """Smooth places of several colours, uint8 (1, 3, side, side)."""
    light = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed)) * brightness
    big = torch.nn.functional.interpolate(light, size=(side, side), mode="bilinear")
    return (255 * linear_to_srgb(big)).round().to(torch.uint8)


def taken(image: Tensor, stops: float) -> Tensor:
    return (255 * expose(image / 255, stops)).round().to(torch.uint8)


def mean_changes(frames: list[Tensor]) -> float:
    levels = torch.stack([frame.float().mean() for frame in frames])
    return float((levels[1:] - levels[:-1]).abs().mean())


def test_a_scene_under_a_flickering_lamp_comes_out_steadier_than_it_was_and_than_frame_by_frame(network: OneExposure):
    stops = [-3 + 0.3 * (-1) ** index for index in range(24)]
    frames = [taken(scene(0), each) for each in stops]
    filtered, alone = LightOverTime(network), LightOverTime(network, seconds=0)
    steady = [network.under(filtered(frame, index / 24), frame, denoise=False) for index, frame in enumerate(frames)]
    single = [network.under(alone(frame, index / 24), frame, denoise=False) for index, frame in enumerate(frames)]
    one = alone(frames[0], 0.0)
    own = [network.under(one, frame, denoise=False) for frame in frames]
    assert mean_changes(steady) < 0.25 * mean_changes(own)
    assert mean_changes(steady) < mean_changes(single)
    assert steady[-1].float().mean() > 3 * frames[-1].float().mean()


def test_a_change_of_mind_is_followed_with_the_time_constant_whatever_the_frame_rate():
    dark = taken(scene(0), -3)
    for rate in (10, 25, 60):
        light_of = LightOverTime(Recorded(2.0, 3.0), seconds=0.5)
        found = [float(light_of(dark, index / rate).exposure) for index in range(rate + 1)]
        assert found[0] == 2.0 and found == sorted(found)
        assert found[-1] == pytest.approx(3 - math.exp(-2 * (1 - 0.1)), abs=0.05)  # it looks a tenth of a second late


def test_after_a_cut_light_is_decided_anew():
    light_of = LightOverTime(Recorded(2.0, 3.0))
    assert float(light_of(scene(0), 0.0).exposure) == 2
    assert float(light_of(scene(1), 0.04).exposure) == 3
    assert light_of.cuts == [0.0, 0.04]


def test_another_exposure_of_the_same_scene_is_no_cut():
    light_of = LightOverTime(Recorded(2.0, 3.0))
    light_of(scene(0), 0.0)
    light_of(taken(scene(0), -2), 0.04)
    assert light_of.cuts == [0.0]


def test_frames_of_one_scene_differ_by_nothing_and_of_two_by_about_one():
    a, b = (torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert difference(a, a + 1.5) == pytest.approx(0, abs=1e-6)
    assert difference(a, b) == pytest.approx(1, abs=0.1)
    assert is_cut(a, b) and not is_cut(a, a)
    assert difference(1e-3 * a, 1e-3 * b) < 1e-3  # two grey walls


def test_black_frames_decide_nothing_and_what_follows_them_begins_anew():
    light_of = LightOverTime(Recorded(2.0, 7.0, 3.0))
    black = torch.zeros_like(scene(0))
    assert float(light_of(scene(0), 0.0).exposure) == 2
    held = [float(light_of(black, 0.1 * index).exposure) for index in range(1, 5)]
    assert held == [2.0] * 4
    light_of(scene(0), 0.5)
    assert light_of.cuts == [0.0, 0.5]


def test_what_needs_no_light_is_not_evened_out():
    light_of = LightOverTime(Recorded(0.0))
    frames = [taken(scene(0), 0.3 * (-1) ** index) for index in range(6)]
    assert [float(light_of(frame, 0.04 * index).exposure) for index, frame in enumerate(frames)] == [0.0] * 6


def test_a_scene_that_becomes_bright_gets_no_more_than_a_stop_too_much():
    light_of = LightOverTime(Recorded(4.0, 1.0), seconds=5.0)
    light_of(scene(0), 0.0)
    assert float(light_of(scene(0), 0.2).exposure) == pytest.approx(1 + math.log(2), abs=1e-5)


def test_shadows_are_lifted_by_so_many_stops_at_most():
    light_of = LightOverTime(Recorded(7.0), max_stops=3)
    assert float(light_of(scene(0), 0.0).exposure) == pytest.approx(3 * math.log(2))
