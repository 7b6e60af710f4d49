"""The method on CUDA: the same numbers as on the CPU, and the bf16 loop."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from lle.enhancers.compact import CompactEnhancer
from lle.enhancers.curve_maps import CurveEnhancer
from lle.enhancers.retinex import RetinexEnhancer
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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_runs_through_all_phases_on_cuda(precision: str):
    tower = tiny_prior().guidance.to(CUDA)
    prior, told = Prior(tower, tower), Told()
    validator = Validator(tiny_validator(prior).photos, tower, CUDA)
    settings = tiny_settings(loop={"precision": precision})
    outcome = train(settings, prior, partial(PhotoStream), validator, told.hooks(0))
    assert outcome.finished and len(told.steps) == 21
    assert all(torch.isfinite(torch.tensor(step.metrics["loss"])) for step in told.steps)
