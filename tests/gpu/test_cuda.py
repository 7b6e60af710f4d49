"""The method on CUDA: the same numbers as on the CPU, and the bf16 loop."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from lle.config import ENHANCEMENT_TERMS, CurveSettings, SCurve
from lle.enhancers.compact import CompactEnhancer
from lle.enhancers.curve_maps import CurveEnhancer
from lle.enhancers.retinex import RetinexEnhancer
from lle.exposure.curves import bag_of_curves
from lle.prior.towers import Prior
from lle.training.loop import train
from lle.training.validation import Validator
from tests.unit.tiny import PhotoStream, Told, tiny_prior, tiny_settings, tiny_validator

CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    "enhancer", [RetinexEnhancer(), CurveEnhancer(), CompactEnhancer()], ids=["retinex", "curves", "compact"]
)
def test_an_enhancer_gives_on_cuda_what_it_gives_on_the_cpu(enhancer: torch.nn.Module):
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        expected = enhancer(image).image
        torch.testing.assert_close(enhancer.to(CUDA)(image.to(CUDA)).image.cpu(), expected, atol=1e-3, rtol=1e-3)


def test_curves_give_on_cuda_what_they_give_on_the_cpu():
    image = 0.1 + 0.8 * torch.rand(6, 3, 48, 64)
    for adaptive in (False, True):
        settings = CurveSettings(adaptive=adaptive, s_curve=SCurve(frequency=3.0))
        expected = bag_of_curves(image, settings, range(6))
        torch.testing.assert_close(bag_of_curves(image.to(CUDA), settings, range(6)).cpu(), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_term_trains_on_cuda(precision: str):
    tower = tiny_prior().guidance.to(CUDA)
    prior, told = Prior(tower, tower), Told()
    validator = Validator(tiny_validator(prior).photos, tower, CUDA)
    weights = {name: {"weight": 1.0} for name in ENHANCEMENT_TERMS}
    curves = {"adaptive": True, "exposure": {"frequency": 9.0}}
    settings = tiny_settings(
        objective=weights, curves=curves, augment={"flip": 0.5, "rotation": 0.5}, loop={"precision": precision}
    )
    train(settings, prior, PhotoStream, validator, told.hooks(0))
    assert {f"term/{name}" for name in ENHANCEMENT_TERMS} <= told.steps[-1].metrics.keys()
    assert all(torch.isfinite(torch.tensor(step.metrics["loss"])) for step in told.steps)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_runs_through_all_phases_on_cuda(precision: str):
    tower = tiny_prior().guidance.to(CUDA)
    prior, told = Prior(tower, tower), Told()
    validator = Validator(tiny_validator(prior).photos, tower, CUDA)
    settings = tiny_settings(loop={"precision": precision})
    outcome = train(settings, prior, partial(PhotoStream), validator, told.hooks(0))
    assert outcome.finished and len(told.steps) == 21
    assert all(torch.isfinite(torch.tensor(step.metrics["loss"])) for step in told.steps)
