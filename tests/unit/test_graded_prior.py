"""The graded prior: what its captions say of light, what guidance may stand on it, and how it learns."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tiny import tiny_settings
from torch.nn import functional as F

from lle.config import PriorSettings
from lle.enhancers import Enhanced
from lle.exposure.camera import linear_to_srgb, srgb_to_linear
from lle.exposure.shoulder import k_of, lift_to_mean, shoulder
from lle.images import to_tensor
from lle.losses.objective import Objective
from lle.prior import graded
from lle.prior.graded import FAULTS, GRADES, Captions, GradedTower, load_graded
from lle.prior.grading import Examples, Recipe, grading, learn, looked_at, miss_of_mean, pictures_of
from lle.prior.guidance_heads import build_guidance_head
from lle.prior.loading import load_prior, load_tower
from lle.prior.prompts import LatentPair, PromptPair
from lle.prior.towers import Prior
from lle.prior.weights import PriorError
from pipelines import pretrain_prior
from pipelines.data.samples import HELD_OUT, sample_photos

PHOTOS = [F.interpolate(to_tensor(photo)[None], (120, 160), mode="area") for photo in sample_photos(HELD_OUT).values()]
GRADED = PriorSettings(model="graded", guidance="captions")


@pytest.fixture(scope="module")
def tower() -> GradedTower:
    found = load_tower("graded", "")
    assert isinstance(found, GradedTower)
    return found


def lifted(photo: torch.Tensor, missed: torch.Tensor) -> torch.Tensor:
    """A photo by curves that miss a mean of .44 by so many nat, one after the other."""
    light = srgb_to_linear(photo)
    return linear_to_srgb(shoulder(light, k_of(lift_to_mean(light, 0.44) + missed.view(-1, 1, 1, 1))))


# what it says


@pytest.mark.parametrize("photo", PHOTOS)
def test_more_light_is_said_to_be_more_and_the_penalty_has_one_valley(tower: GradedTower, photo: torch.Tensor):
    captions, missed = Captions(tower), torch.linspace(-2, 2, 9)
    features = tower(lifted(photo, missed)).features
    said = captions.misses(features)
    assert (said.diff() > 0).all()
    assert said[0] < -1 and said[-1] > 1 and abs(float(said[4])) < 0.7
    penalty = captions.penalty(features)
    best = int(penalty.argmin())
    assert (penalty[: best + 1].diff() < 0).all() and (penalty[best:].diff() > 0).all()
    assert penalty.min() >= 0 and penalty.max() <= 1


def test_an_untrained_one_has_the_same_shape_and_says_nothing(tower: GradedTower):
    control = load_tower("ungraded", "")
    assert {name: each.shape for name, each in control.state_dict().items()} == {
        name: each.shape for name, each in tower.state_dict().items()
    }
    said = Captions(control).misses(control(lifted(PHOTOS[0], torch.linspace(-2, 2, 9))).features)
    assert said.max() - said.min() < 0.5
    again = load_tower("ungraded", "").state_dict()
    assert all(torch.equal(each, again[name]) for name, each in control.state_dict().items())


def test_black_and_white_pictures_have_a_gradient_that_leads_back(tower: GradedTower):
    captions = Captions(tower)
    for value, sign in ((0.02, -1), (0.97, 1)):
        picture = torch.full((1, 3, 64, 64), value, requires_grad=True)
        captions.penalty(tower(picture).features).sum().backward()
        assert picture.grad is not None and picture.grad.sum() * sign > 0


# as a tower


def test_features_have_unit_norm_and_stages_are_those_of_the_imagenet_tower(tower: GradedTower):
    seen = tower(PHOTOS[0], stages=True)
    assert seen.features.shape == (1, tower.width)
    torch.testing.assert_close(seen.features.norm(dim=1), torch.ones(1))
    others = load_tower("imagenet", "")(PHOTOS[0], stages=True).stages
    assert all(torch.equal(ours, each) for ours, each in zip(seen.stages, others, strict=True))
    assert not any(each.requires_grad for each in tower.parameters())


def test_every_guidance_stands_on_it_and_captions_on_nothing_else(tower: GradedTower):
    assert isinstance(build_guidance_head(GRADED, load_prior(GRADED).guidance), Captions)
    assert isinstance(build_guidance_head(PriorSettings(model="graded"), tower), PromptPair)
    assert isinstance(build_guidance_head(PriorSettings(guidance="latent"), tower), LatentPair)
    with pytest.raises(PriorError, match=r"give prior\.model graded"):
        build_guidance_head(PriorSettings(guidance="captions"), load_tower("bundled", ""))


def test_captions_are_not_taught_so_their_phases_are_skipped():
    settings = tiny_settings(prior={"model": "graded", "guidance": "captions"})
    assert settings.why_skipped("prompt_init") == settings.why_skipped("refinement") == "prior.guidance is captions"


@pytest.mark.parametrize("missed", [-1.0, 0.0, 1.0])
def test_a_level_that_is_judged_moves_the_exposures_alone_and_the_way_it_misses(tower: GradedTower, missed: float):
    settings = tiny_settings(
        prior={"model": "graded", "guidance": "captions"},
        enhancer={"arch": "scene"},
        objective={"guidance": {"weight": 1.0, "moves": "level"}, "identity": {"weight": 0.0}},
    )
    image = lifted(torch.cat(PHOTOS[:1]), torch.tensor([missed])).requires_grad_()
    exposures = torch.full((1, 1, 1, 1), 3.0, requires_grad=True)
    objective = Objective(settings.objective, Prior(tower, tower), Captions(tower))
    found = objective.enhancement(image.detach(), Enhanced(image, exposures)).values["guidance"]
    found.backward()
    said = float(Captions(tower).misses(tower(image.detach()).features))
    assert found.item() == pytest.approx(said**2, abs=1e-4)
    assert exposures.grad.item() == pytest.approx(2 * said, abs=1e-3)
    assert image.grad is None


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"prior": {"guidance": "prompts"}, "enhancer": {"arch": "scene"}}, "prior.guidance captions"),
        ({"prior": {"model": "graded", "guidance": "captions"}, "enhancer": {"arch": "compact"}}, "exposure or scene"),
    ],
)
def test_a_level_is_judged_by_captions_of_enhancers_that_decide_on_one(changes: dict, named: str):
    with pytest.raises(ValueError, match=named):
        tiny_settings(**changes, objective={"guidance": {"weight": 1.0, "moves": "level"}})


def test_weights_are_small_half_precision_and_nothing_that_ships_already(tower: GradedTower):
    assert graded.WEIGHTS_FILE.stat().st_size < 1_000_000
    with safe_open(graded.WEIGHTS_FILE, "pt") as file:
        names = list(file.keys())
        assert {file.get_tensor(name).dtype for name in names} == {torch.float16}
    assert not any(name.startswith(graded.SHARED) for name in names)


def test_weights_of_another_prior_are_refused(tmp_path):
    save_file({"visual.content.weight": torch.zeros(64, 1568)}, tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match="another prior"):
        load_graded(weights=tmp_path / "part.safetensors")


# how it learns


def test_pictures_miss_what_they_are_said_to_miss():
    views = torch.cat(PHOTOS[:1] * 3)
    found = list(pictures_of(views, torch.Generator().manual_seed(0)))
    assert {fault for *_, fault in found} == set(range(len(FAULTS) + 1))
    for pictures, missed, fault in found:
        assert pictures.shape == views.shape and pictures.min() >= 0 and pictures.max() <= 1
        difference = (pictures - views).mean(dim=(1, 2, 3))
        if not fault:
            clear = missed.abs() > 0.4
            assert (difference[clear].sign() == missed[clear].sign()).all()
        else:
            assert (pictures != views).any() and not missed.any()


def test_a_mean_of_44_misses_nothing():
    torch.testing.assert_close(miss_of_mean(torch.tensor([0.44])), torch.zeros(1), atol=1e-6, rtol=0)
    assert miss_of_mean(torch.tensor([0.2])) < -1 and miss_of_mean(torch.tensor([0.8])) > 1


def test_the_loss_is_least_for_the_right_grade_and_fault():
    grades = list(GRADES)
    missed, fault = torch.tensor([-1.0, 0.0, 0.0]), torch.tensor([0, 0, 2])
    right = torch.zeros(3, len(GRADES) + len(FAULTS))
    right[0, grades.index(-1.0)] = right[1, grades.index(0.0)] = right[2, len(GRADES) + 1] = 4
    wrong = right[torch.tensor([1, 2, 0])]
    assert grading(right, missed, fault) + 1 < grading(wrong, missed, fault)


def test_it_learns_to_order_exposures_from_a_few_photos_and_the_same_seed_gives_the_same():
    generator, eye = torch.Generator().manual_seed(0), load_graded(trained=False).visual
    examples = Examples.joined([looked_at(eye, torch.cat([photo] * 2), generator) for photo in PHOTOS[:1]])
    assert len(examples.features) == len(examples.missed) == 2 * 12
    assert examples.fault.bincount().tolist() == [2 * 8, 2, 2, 2, 2], "without a fault, and with each"
    one, same = (learn(examples, Recipe(steps=30, batch=24)) for _ in range(2))
    assert all(torch.equal(each, same.state_dict()[name]) for name, each in one.state_dict().items())
    tower = GradedTower(one, "graded")
    said = Captions(tower).misses(tower(lifted(PHOTOS[0], torch.tensor([-2.0, 0.0, 2.0]))).features)
    assert (said.diff() > 0).all()


def test_the_command_writes_it_and_names_a_folder_that_is_not_there(tmp_path, capsys):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    Image.fromarray(next(iter(sample_photos(HELD_OUT).values()))).save(tmp_path / "photos" / "one.png")
    arguments = ["--graded", str(tmp_path / "photos"), "--output", str(tmp_path), "--views", "1", "--steps", "2"]
    assert pretrain_prior.main(arguments) == 0
    load_graded(weights=tmp_path / "graded_prior.safetensors")
    assert pretrain_prior.main(arguments) == 2
    assert pretrain_prior.main(["--graded", str(tmp_path / "none"), "--output", str(tmp_path / "other")]) == 2
    assert "none is no folder; give the one with well-lit photos" in capsys.readouterr().err
