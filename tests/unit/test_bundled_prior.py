import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from lle.prior import bundled
from lle.prior.loading import load_tower
from lle.prior.pretraining import (
    CAPTIONS,
    TOO_LITTLE_LIGHT,
    WRONG_LIGHT,
    Recipe,
    contrastive_loss,
    expose_as,
    pretrain,
    tokenise,
    zero_shot_well_lit,
)
from pipelines.data.samples import HELD_OUT, dead_leaves, sample_photos
from pipelines.training.prior import PRIOR_PHOTOS, auc, evaluate

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def model():
    return bundled.load_bundled()[0]


@pytest.fixture(scope="module")
def numbers(model):
    if not DATA.is_dir():
        pytest.skip(f"the test photos are not at hand ({DATA.name} beside the repository's folder is missing)")
    return evaluate(model, DATA)


def test_dark_photos_are_told_from_well_lit_ones(numbers):
    assert numbers["lol"] >= 0.98
    assert numbers["train"] >= 0.98


def test_backlit_photos_are_told_from_well_lit_ones_as_mean_brightness_cannot(numbers):
    assert numbers["backlit"] >= 0.93
    assert numbers["backlit_brightness"] < 0.7


@pytest.mark.parametrize("photos", ["lol", "train"])
def test_well_lit_falls_on_both_sides_of_a_good_exposure(numbers, photos):
    curve = numbers[f"p_well_lit_{photos}"]
    best = int(np.argmax(curve))
    assert abs(numbers["stops"][best]) <= 1
    assert curve[: best + 1] == sorted(curve[: best + 1])
    assert curve[best:] == sorted(curve[best:], reverse=True)
    assert max(curve[0], curve[-1]) < 0.2 * curve[best]


def test_held_out_photos_of_the_quickstart_follow_the_exposure_order(model):
    photos = [torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 255 for photo in sample_photos(HELD_OUT).values()]
    generator = torch.Generator().manual_seed(0)
    for photo in photos:
        good, dark, blown, backlit = (
            zero_shot_well_lit(model, expose_as(name, photo, generator)).item()
            for name in ("well-lit", "dark", "blown", "backlit")
        )
        assert good > 2 * max(dark, blown, backlit)


def test_held_out_photos_are_not_trained_on():
    assert not set(PRIOR_PHOTOS) & set(HELD_OUT)


def test_weights_are_small_and_float16():
    assert bundled.WEIGHTS_FILE.stat().st_size < 12_000_000
    with safe_open(bundled.WEIGHTS_FILE, "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_model_is_under_eight_million_parameters_frozen_and_ready(model):
    assert sum(parameter.numel() for parameter in model.parameters()) < 8_000_000
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.training
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_saved_weights_are_the_models_rounded_to_half_precision(model, tmp_path, monkeypatch):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        other = bundled.build(bundled.read_config())
    monkeypatch.setattr(bundled, "WEIGHTS_FILE", bundled.save(other, tmp_path))
    loaded = bundled.load_bundled()[0].state_dict()
    assert [path.name for path in tmp_path.iterdir()] == ["light_prior.safetensors"]
    for name, tensor in other.state_dict().items():
        assert torch.equal(loaded[name], tensor.half().float())


def test_missing_weights_are_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "WEIGHTS_FILE", tmp_path / "light_prior.safetensors")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(FileNotFoundError, match=r"pretrain_prior\.py"):
        bundled.load_bundled()


def test_code_without_weights_takes_those_of_an_installed_package_if_they_are_the_same(model, tmp_path, monkeypatch):
    installed = tmp_path / "lle" / "prior" / "assets" / "light_prior.safetensors"
    installed.parent.mkdir(parents=True)
    shutil.copy(bundled.WEIGHTS_FILE, installed)
    monkeypatch.setattr(bundled, "WEIGHTS_FILE", tmp_path / "light_prior.safetensors")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with torch.random.fork_rng():
        loaded = bundled.load_bundled()[0].state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())
        bundled.save(bundled.build(bundled.read_config()), installed.parent)
    with pytest.raises(FileNotFoundError, match="every installed copy"):
        bundled.load_bundled()


def test_the_same_seed_gives_identical_weights():
    scenes = [dead_leaves(128, seed) for seed in range(2)]
    runs = [pretrain(scenes, Recipe(steps=3, images_per_exposure=1, seed=seed)).state_dict() for seed in (5, 5, 6)]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert not torch.equal(runs[0]["visual.conv1.weight"], runs[2]["visual.conv1.weight"])


def test_loss_is_log_m_when_each_image_meets_its_m_captions_alone():
    images, texts = torch.tensor([0, 1]), torch.tensor([0, 0, 0, 1, 1, 1])
    logits = 100.0 * (images[:, None] == texts[None, :])
    # Three captions share an image's probability; each caption has one image and costs nothing.
    assert contrastive_loss(logits, images, texts).item() == pytest.approx(math.log(3) / 2, abs=1e-6)


def test_loss_of_indifferent_features_is_the_log_of_the_counts():
    images, texts = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1])
    assert contrastive_loss(torch.zeros(4, 2), images, texts).item() == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_every_exposure_changes_the_photo_as_its_name_says():
    photo = torch.from_numpy(dead_leaves(112, 3)).permute(2, 0, 1)[None].float().repeat(8, 1, 1, 1) / 255
    generator = torch.Generator().manual_seed(0)
    exposed = {name: expose_as(name, photo, generator) for name in CAPTIONS}
    mean = {name: images.mean().item() for name, images in exposed.items()}
    assert mean["dark"] < mean["dim"] < mean["well-lit"] < mean["bright"] < mean["blown"]
    assert mean["deep"] < mean["well-lit"] < mean["pale"]
    assert exposed["flat"].std() < 0.6 * photo.std()
    assert abs(mean["well-lit"] - photo.mean().item()) < 0.05
    casts = exposed["cast"].mean(dim=(2, 3))
    assert ((casts.amax(dim=1) - casts.amin(dim=1)) > 0.03).all()


def test_unknown_exposure_is_named():
    with pytest.raises(ValueError, match="sepia: no such exposure"):
        expose_as("sepia", torch.rand(1, 3, 8, 8), torch.Generator())


def test_no_pictures_are_refused():
    with pytest.raises(ValueError, match="no pictures"):
        pretrain([])


def test_captions_fit_the_text_tower():
    tokens = tokenise([caption for captions in CAPTIONS.values() for caption in captions])
    assert tokens.shape == (sum(map(len, CAPTIONS.values())), 77)
    assert (tokens[:, -1] == 0).all()  # none was cut off


def test_kinds_of_wrong_light_are_known_exposures_without_the_good_one():
    assert set(TOO_LITTLE_LIGHT) < set(WRONG_LIGHT) < set(CAPTIONS) - {"well-lit"}
    assert next(iter(CAPTIONS)) == "well-lit"


def test_auc_counts_ties_half():
    assert auc(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0])) == 0.875


def test_the_untrained_control_has_the_same_shape_and_other_weights_always_the_same():
    trained, control, again = load_tower("bundled", ""), load_tower("untrained", ""), load_tower("untrained", "")
    shapes = [{name: each.shape for name, each in tower.state_dict().items()} for tower in (trained, control)]
    assert shapes[0] == shapes[1]
    name = next(name for name, each in trained.named_parameters() if each.dim() > 1)
    assert torch.equal(control.state_dict()[name], again.state_dict()[name])
    assert not torch.equal(control.state_dict()[name], trained.state_dict()[name])
