"""A judge that is taught both sides of good light, and the tower that has seen ImageNet."""

import math

import pytest
import torch
from tiny import Told, photo, tiny_prior, tiny_settings, tiny_train

from lle.config import CurveSettings, PriorSettings
from lle.exposure.camera import linear_to_srgb, srgb_to_linear
from lle.exposure.relit import HIT_SHARE, MOST_MISSED, relit
from lle.exposure.shoulder import k_of, lift_to_mean, shoulder
from lle.losses.two_sided import two_sided
from lle.prior.guidance_heads import build_guidance_head
from lle.prior.loading import load_prior, load_tower
from lle.prior.prompts import LatentPair
from lle.prior.weights import PriorError

WELL_LIT = torch.stack([photo("well_lit", row).permute(2, 0, 1) for row in range(10)]).float() / 255
OFF = {"frequency": 0}
CAMERA = CurveSettings(exposure={"frequency": 1, "under": [1, 4]}, tone=OFF, gamma=OFF, log=OFF)
IMAGENET = PriorSettings(model="imagenet", guidance="latent")


# pictures that were lifted by too little or too much


def test_a_lift_brings_a_picture_to_the_wanted_mean():
    light, wanted = srgb_to_linear(WELL_LIT * 0.2), torch.linspace(0.2, 0.7, 10).view(-1, 1, 1, 1)
    lifted = linear_to_srgb(shoulder(light, k_of(lift_to_mean(light, wanted))))
    torch.testing.assert_close(lifted.mean(dim=(1, 2, 3)), wanted.flatten(), atol=2e-3, rtol=0)


def test_what_misses_nothing_is_as_bright_as_the_photo_and_more_is_brighter():
    torch.manual_seed(0)
    pictures, missed = relit(WELL_LIT, CAMERA, range(10))
    assert pictures.shape == WELL_LIT.shape and pictures.min() >= 0 and pictures.max() <= 1
    hit = round(HIT_SHARE * 10)
    assert (missed[:hit] == 0).all() and missed[hit:].abs().max() <= MOST_MISSED and len(missed[hit:].unique()) == 8
    difference = (pictures - WELL_LIT).mean(dim=(1, 2, 3))
    assert difference[:hit].abs().max() < 0.02
    clear = missed.abs() > 0.3
    assert (difference[clear].sign() == missed[clear].sign()).all()


# the term


def test_it_is_the_cross_entropy_with_how_badly_lit_a_miss_is():
    missed = torch.tensor([0.0, 0.5, -0.5, 2.0])
    logits = torch.tensor([[0.0, 0.0]]).repeat(4, 1)
    assert two_sided(logits, missed) == pytest.approx(math.log(2))
    probability = 1 - math.exp(-1)
    logits = torch.tensor([[math.log(probability / (1 - probability)), 0.0]])
    entropy = -probability * math.log(probability) - (1 - probability) * math.log(1 - probability)
    for miss in (0.5, -0.5):
        assert two_sided(logits, torch.tensor([miss])) == pytest.approx(entropy, abs=1e-6), (
            "too dark and too bright alike"
        )
    assert two_sided(logits + torch.tensor([0.5, 0.0]), torch.tensor([0.5])) > entropy


def test_prompts_learn_both_sides_where_it_has_weight():
    chances = []
    for weight in (0.0, 5.0):
        told = Told()
        schedule = {
            "prompt_init": {"steps": 40},
            "reconstruction": {"steps": 0},
            "enhancement": {"steps": 1},
            "rounds": 1,
        }
        settings = tiny_settings(
            schedule=schedule,
            objective={"two_sided": {"weight": weight}},
            optimiser={"prompt_lr": 1e-2},
            batch={"prompts": 8},
        )
        outcome = tiny_train(settings, told=told)
        assert ("term/two_sided" in told.steps[0].metrics) == bool(weight)
        tower = tiny_prior().guidance
        guidance_head = build_guidance_head(settings.prior, tower)
        guidance_head.load_state_dict(outcome.guidance_head)
        bright = linear_to_srgb(shoulder(srgb_to_linear(WELL_LIT), k_of(torch.tensor(2.0))))
        with torch.no_grad():
            chances.append(float(guidance_head.penalty(tower(bright).features).mean()))
    assert chances[0] < 0.2 and chances[1] > chances[0] + 0.3, "one side says that brighter is better without end"


def test_a_refinement_is_taught_it_too():
    told = Told()
    tiny_train(tiny_settings(objective={"two_sided": {"weight": 1.0}}), told=told)
    refined = [step.metrics for step in told.steps if "refinement" in step.line]
    assert refined and all("term/two_sided" in metrics and "term/rank" in metrics for metrics in refined)


# the tower


def test_the_tower_has_features_of_unit_norm_and_gradients_to_the_picture():
    tower = load_tower("imagenet", "")
    picture = torch.rand(2, 3, 90, 120, requires_grad=True)
    features = tower(picture).features
    assert features.shape == (2, tower.width)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))
    features[:, 0].sum().backward()
    assert picture.grad is not None and picture.grad.abs().sum() > 0
    assert not any(each.requires_grad for each in tower.parameters())
    assert [len(stage.shape) for stage in tower(picture, stages=True).stages] == [4] * 5


def test_a_latent_pair_stands_on_it_and_prompts_cannot():
    tower = load_prior(IMAGENET).guidance
    assert isinstance(build_guidance_head(IMAGENET, tower), LatentPair)
    with pytest.raises(PriorError, match="choose latent or residual"):
        build_guidance_head(PriorSettings(model="imagenet"), tower)
