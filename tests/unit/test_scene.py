from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from lle.baselines import exposure_shoulder
from lle.config import EnhancerSettings
from lle.enhancers import build_enhancer, tower
from lle.enhancers.scene import BELIEVED_AT, GREY, SceneEnhancer, seen_small
from lle.enhancers.tower import FEATURES, Convolution, Tower
from lle.exposure.camera import expose, linear_to_srgb, srgb_to_linear
from lle.exposure.shoulder import k_of, lift_to_mean, shoulder
from lle.model import Model, load


def scene(stops: float = 0.0) -> Tensor:
    """Smooth light of a mean of about .44, with less exposure."""
    coarse = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(4))
    smooth = torch.nn.functional.interpolate(coarse, size=(90, 120), mode="bicubic").clamp(0, 1)
    grey = linear_to_srgb(shoulder(srgb_to_linear(smooth), k_of(lift_to_mean(srgb_to_linear(smooth), GREY))))
    return expose(grey, stops)


def trained(denoise: int = 8) -> SceneEnhancer:
    """A network whose head and denoiser do something visible."""
    torch.manual_seed(0)
    enhancer = SceneEnhancer(denoise).eval()
    with torch.no_grad():
        for parameter in enhancer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return enhancer


def test_parameters_are_as_many_as_documented():
    whole, without = (sum(each.numel() for each in SceneEnhancer(denoise).parameters()) for denoise in (32, 0))
    frozen = sum(each.weight.numel() + each.bias.numel() for each in Tower().modules() if isinstance(each, Convolution))
    about = str(SceneEnhancer.__doc__)
    assert f"{whole:,} parameters with" in about and f"{without:,} without" in about and f"{frozen:,} of the" in about
    assert f"{frozen:,} weights" in str(Tower.__doc__)


def test_it_begins_as_the_strongest_exposure_without_learning_but_for_lamps_and_depths():
    image = scene(-4)
    expected, enhanced = exposure_shoulder(image), SceneEnhancer(denoise=0).eval()(image).image.detach()
    light = expected.mean(dim=1, keepdim=True).expand_as(expected)
    middle = (light > 0.4) & (light < 0.6)
    assert float(middle.float().mean()) > 0.3
    torch.testing.assert_close(enhanced[middle], expected[middle], atol=8e-3, rtol=0)
    assert (enhanced <= expected + 2e-3).all()


def test_what_is_nearly_good_stays_as_it_is_and_what_is_dark_does_not():
    for stops, most in ((0.0, 0.002), (-0.2, 0.01)):
        image = scene(stops)
        assert float((SceneEnhancer(denoise=0).eval()(image).image - image).detach().abs().mean()) < most
    dark = scene(-2)
    assert float(SceneEnhancer(denoise=0).eval()(dark).image.detach().mean()) > float(dark.mean()) + 0.15


def test_its_head_is_believed_as_far_as_the_picture_is_dark():
    enhancer = SceneEnhancer(denoise=0).eval()
    with torch.no_grad():
        enhancer.head[-1].bias[0] = 0.4
        for stops in (-1.0, -3.0, 0.5):
            image = scene(stops)
            lift = lift_to_mean(seen_small(image), GREY)
            exposure = enhancer.light(image)[1]
            torch.testing.assert_close(exposure, lift + 0.4 * lift.abs() / BELIEVED_AT, atol=1e-5, rtol=0)
        image, learning = scene(-1.0), enhancer.train()
        exposure = learning.light(image)[1]
        torch.testing.assert_close(exposure, lift_to_mean(seen_small(image), GREY) + 0.4, atol=1e-5, rtol=0)
        sure = SceneEnhancer(denoise=0, fully_believed=True).eval()
        sure.load_state_dict(enhancer.state_dict())
        torch.testing.assert_close(sure.light(image)[1], exposure, atol=1e-5, rtol=0)


def test_lamps_in_the_dark_keep_their_detail():
    image = scene(-5)
    stripes = 0.5 + 0.2 * torch.sign(torch.arange(30.0) % 4 - 1.5)
    image[..., 20:50, 30:60] = stripes
    lifted, kept = exposure_shoulder(image), SceneEnhancer(denoise=0).eval()(image).image.detach()
    lamp, dark = (..., slice(25, 45), slice(35, 55)), (..., slice(60, 90), slice(0, 20))
    assert float(kept[lamp].std()) > 2 * float(lifted[lamp].std()) > 0
    torch.testing.assert_close(kept[dark], lifted[dark], atol=0.02, rtol=0)


@pytest.mark.parametrize("stops", [-5.0, -2.0, 0.0, 0.7])
def test_the_lift_finds_a_mean_of_grey(stops: float):
    light = srgb_to_linear(scene(stops))
    lifted = linear_to_srgb(shoulder(light, k_of(lift_to_mean(light, GREY))))
    assert float(lifted.mean()) == pytest.approx(0.44, abs=1e-3)


def test_black_and_white_stay_finite():
    image = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    enhanced = SceneEnhancer(denoise=0).eval()(image).image
    torch.testing.assert_close(enhanced, image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (33, 64), (135, 47)])
@pytest.mark.parametrize("training", [False, True])
def test_any_size_comes_back_in_range_at_its_own_size(size: tuple[int, int], training: bool):
    image = torch.rand(2, 3, *size)
    with torch.set_grad_enabled(training):
        enhanced = trained()(image).image.detach()
    assert enhanced.shape == image.shape and bool(torch.isfinite(enhanced).all())
    assert float(enhanced.min()) >= 0 and float(enhanced.max()) <= 1


def test_strength_grows_from_the_picture_itself():
    enhancer, image = trained(), scene(-3)
    means = [float(enhancer.picture(image, strength).detach().mean()) for strength in (0, 0.5, 1, 1.5)]
    torch.testing.assert_close(enhancer.picture(image, 0), image, atol=1e-5, rtol=0)
    assert means == sorted(means) and means[0] < means[-1]


def test_the_head_learns_and_the_tower_does_not():
    enhancer = SceneEnhancer(denoise=0).train()
    before = {name: each.clone() for name, each in enhancer.tower.state_dict().items()}
    optimiser = torch.optim.Adam(enhancer.parameters(), 1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        (enhancer(scene(-3)).image - scene()).abs().mean().backward()
        optimiser.step()
    assert float(enhancer.head[-1].weight.abs().sum()) > 0
    assert all(torch.equal(before[name], each) for name, each in enhancer.tower.state_dict().items())
    assert not list(enhancer.tower.parameters())


def test_the_tower_is_efficientnet_lite0():
    """timm's network with our folded weights, and normalisation that does nothing, sees the same."""
    ours, theirs = Tower(), timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    convolutions = [each for each in ours.modules() if isinstance(each, Convolution)]
    layers = [each for each in theirs.modules() if isinstance(each, torch.nn.Conv2d | torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for convolution, (layer, norm) in zip(convolutions, zip(layers[::2], layers[1::2], strict=True), strict=False):
            layer.weight.copy_(convolution.weight)
            norm.weight.copy_(torch.sqrt(norm.running_var + norm.eps))
            norm.bias.copy_(convolution.bias)
        image = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
        x, expected = theirs.bn1(theirs.conv_stem((255 * image - 127) / 128)), list[Tensor]()
        for stage in theirs.blocks:
            x = stage(x)
            expected += [x.mean(dim=(2, 3)), x.std(dim=(2, 3))]
        found = ours(image) * ours.deviation + ours.mean
    assert found.shape == (2, FEATURES)
    torch.testing.assert_close(found, torch.cat(expected, dim=1), atol=1e-3, rtol=1e-3)


def test_a_saved_model_brings_its_tower_to_where_there_are_no_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    enhancer, image = trained(), scene(-3)
    Model(enhancer, EnhancerSettings(arch="scene", denoise=8)).save(tmp_path)
    monkeypatch.setattr(tower, "ASSET", tmp_path / "nothing")
    torch.testing.assert_close(load(tmp_path)(image), enhancer(image).image, atol=0, rtol=0)


def test_it_is_a_kind_of_enhancer():
    settings = EnhancerSettings(arch="scene")
    assert isinstance(build_enhancer(settings), SceneEnhancer) and settings.has_denoiser
