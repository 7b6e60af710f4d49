from __future__ import annotations

import pytest
import torch

from lle.baselines import (
    auto_exposure,
    auto_gain,
    auto_gamma,
    best_exposure,
    denoise,
    exposure_shoulder,
    exposure_shoulder_lift,
)
from lle.exposure.camera import srgb_to_linear
from lle.exposure.shoulder import expose_with_shoulder, k_of

BASELINES = pytest.mark.parametrize("control", [auto_gain, auto_gamma, auto_exposure, exposure_shoulder])


@BASELINES
@pytest.mark.parametrize("target", [0.25, 0.4, 0.6])
def test_each_picture_of_a_batch_reaches_the_target(control, target: float):
    torch.manual_seed(0)
    pictures = torch.rand(3, 3, 9, 9) * torch.tensor([0.03, 0.3, 1.0]).view(3, 1, 1, 1)
    lit = control(pictures, target)
    torch.testing.assert_close(lit.mean(dim=(1, 2, 3)), torch.full((3,), target), atol=5e-5, rtol=0)
    assert lit.min() >= 0 and lit.max() <= 1


@BASELINES
def test_black_and_white_pictures_stay_what_they_are(control):
    for level in (0.0, 1.0):
        lit = control(torch.full((1, 3, 4, 4), level), 0.4)
        assert torch.isfinite(lit).all()
    assert float(control(torch.zeros(1, 3, 4, 4), 0.4).max()) == 0


def test_auto_gain_is_one_gain_for_the_picture_where_nothing_clips():
    torch.manual_seed(0)
    dark = 0.01 + 0.2 * torch.rand(1, 3, 9, 9)
    gains = auto_gain(dark, 0.25) / dark
    torch.testing.assert_close(gains, gains.mean().expand_as(gains))


def test_auto_gamma_is_one_exponent_for_the_picture():
    torch.manual_seed(0)
    dark = 0.01 + 0.2 * torch.rand(1, 3, 9, 9)
    exponents = auto_gamma(dark).log() / dark.log()
    torch.testing.assert_close(exponents, exponents.mean().expand_as(exponents))


def test_auto_exposure_multiplies_the_odds_of_the_brightest_channel_and_keeps_white():
    torch.manual_seed(0)
    dark = 0.3 * torch.rand(1, 3, 9, 9) + 0.01
    dark[..., 0, 0] = 1.0
    lit = auto_exposure(dark)
    assert lit[..., 0, 0].tolist() == [[1.0, 1.0, 1.0]]
    before, after = (each.amax(dim=1).flatten()[1:] for each in (dark, lit))
    odds = (after / (1 - after)) / (before / (1 - before))
    torch.testing.assert_close(odds, odds.mean().expand_as(odds), rtol=1e-3, atol=0)


def test_exposure_with_a_shoulder_is_one_k_for_the_picture():
    """The k that undoes it, -ln(1 - (1 - exp(-k)) e) / k = x, is the same at every pixel."""
    torch.manual_seed(0)
    dark = (0.02 + 0.3 * torch.rand(1, 3, 9, 9)).double()
    before, after = (srgb_to_linear(each) for each in (dark, exposure_shoulder(dark)))
    k = torch.linspace(0.1, 60, 60_000, dtype=torch.float64)[:, None]
    misses = (-torch.log1p(torch.expm1(-k) * after.flatten()) / k - before.flatten()).abs().amax(dim=1)
    assert float(misses.min()) < 1e-4


def test_pictures_of_8_and_16_bits_reach_the_target_as_exactly_as_numbers_can_tell():
    torch.manual_seed(0)
    for top in (255, 65_535):
        picture = (0.1 * torch.rand(1, 3, 30, 30, dtype=torch.float64) * top).round() / top
        assert float(exposure_shoulder(picture, 0.6).mean()) == pytest.approx(0.6, abs=1e-8)


def test_a_bright_picture_is_darkened_to_the_target_unless_it_is_only_lifted():
    torch.manual_seed(0)
    pictures = torch.rand(2, 3, 9, 9) * torch.tensor([0.3, 0.3]).view(2, 1, 1, 1)
    pictures[1] += 0.6
    both, lifted = exposure_shoulder(pictures), exposure_shoulder_lift(pictures)
    torch.testing.assert_close(both.mean(dim=(1, 2, 3)), torch.full((2,), 0.44))
    torch.testing.assert_close(lifted[:1], both[:1])
    torch.testing.assert_close(lifted[1:], pictures[1:], atol=1e-6, rtol=0)
    assert (both >= 0).all() and (both <= 1).all()


@pytest.mark.parametrize("u", [-2.0, -0.3, 0.0, 0.4, 2.3, 4.9])
def test_the_best_exposure_finds_the_one_that_made_the_truth(u: float):
    torch.manual_seed(0)
    image = torch.rand(2, 3, 40, 40) ** (4 if u > 0 else 1)
    truth = expose_with_shoulder(image, k_of(torch.tensor(u)).view(1, 1, 1, 1))
    torch.testing.assert_close(best_exposure(image, truth), truth, atol=0.003, rtol=0)


def test_denoising_calms_flat_parts_and_keeps_an_edge():
    torch.manual_seed(0)
    clean = torch.full((1, 3, 40, 40), 0.3)
    clean[..., 20:] = 0.9
    calmed = denoise(clean + 0.03 * torch.randn_like(clean))
    assert float((calmed - clean)[..., :12].std()) < 0.01
    assert float(calmed[..., 24:].mean() - calmed[..., :16].mean()) > 0.55
