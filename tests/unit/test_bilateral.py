from pathlib import Path

import pytest
import torch
from torch import nn

from lle.config import EnhancerSettings
from lle.enhancers import build_enhancer, denoiser, tiles
from lle.enhancers.bilateral import BilateralEnhancer
from lle.model import Model, load


def trained(denoise: int = 8, seed: int = 0) -> BilateralEnhancer:
    """A small network whose weights do something visible."""
    torch.manual_seed(seed)
    enhancer = BilateralEnhancer(thumbnail_size=32, width=8, denoise=denoise).eval()
    with torch.no_grad():
        for parameter in enhancer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return enhancer


def parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def test_parameters_are_as_many_as_documented():
    whole, without = BilateralEnhancer(), BilateralEnhancer(denoise=0)
    assert parameters(whole) < 300_000
    assert f"{parameters(whole):,} parameters with" in str(BilateralEnhancer.__doc__)
    assert f"{parameters(without):,} without" in str(BilateralEnhancer.__doc__)
    assert f"{parameters(whole.denoiser):,} parameters" in str(denoiser.Denoiser.__doc__)


@pytest.mark.parametrize("denoise", [0, 8])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (2, 3), (33, 64), (135, 47)])
@pytest.mark.parametrize("training", [False, True], ids=["without gradient", "with gradient"])
def test_any_size_comes_back_in_range_at_its_own_size(size: tuple[int, int], denoise: int, training: bool):
    image = torch.rand(2, 3, *size)
    image[0], image[1, :, 0, 0] = image[0].round(), 0.0
    with torch.set_grad_enabled(training):
        enhanced = trained(denoise)(image).image
    assert enhanced.shape == image.shape
    assert torch.isfinite(enhanced).all() and enhanced.min() >= 0 and enhanced.max() <= 1


@pytest.mark.parametrize("denoise", [0, 32])
def test_it_starts_as_a_copy(denoise: int):
    image = torch.rand(2, 3, 40, 57)
    torch.testing.assert_close(BilateralEnhancer(denoise=denoise)(image).image, image)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_uniform_black_and_white_give_numbers(value: float):
    assert torch.isfinite(trained()(torch.full((1, 3, 20, 20), value)).image).all()


def test_black_stays_black_without_a_denoiser():
    image = torch.rand(1, 3, 40, 40)
    image[..., 10:20] = 0.0
    enhanced = trained(denoise=0)(image).image
    assert (enhanced[..., 10:20] == 0).all() and not torch.allclose(enhanced, image, atol=0.01)


@pytest.mark.parametrize("size", [(301, 37), (97, 130)])
def test_strips_and_tiles_equal_the_whole(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tiles, "STRIP_PIXELS", 5 * size[1])
    monkeypatch.setitem(tiles.TILE, "cpu", 48)
    image, enhancer = torch.rand(2, 3, *size), trained()
    whole = enhancer(image).image.detach()
    with torch.no_grad():
        parts = enhancer(image).image
        relit_only = trained(denoise=0)(image).image
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=0)
    assert not torch.allclose(parts, relit_only, atol=0.01)


def test_a_batch_of_different_pictures_equals_each_alone():
    enhancer = trained()
    batch = torch.rand(3, 3, 45, 61) * torch.tensor([0.1, 0.5, 1.0]).view(3, 1, 1, 1)
    with torch.no_grad():
        together = enhancer(batch).image
        alone = torch.cat([enhancer(one).image for one in batch.split(1)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("overshoot", [-30.0, 30.0])
def test_it_turns_back_from_far_beyond_its_range(overshoot: float):
    enhancer = BilateralEnhancer(denoise=0)
    nn.init.constant_(enhancer.head.bias, overshoot)
    enhancer(torch.full((1, 3, 16, 16), 0.3)).image.mean().backward()
    assert abs(float(enhancer.head.bias.grad[0])) > 1e-6


@pytest.mark.parametrize(("gain", "expected"), [(4.0, 4 / 7), (0.25, 1 / 13)])
def test_it_multiplies_the_odds_of_the_brightest_channel(gain: float, expected: float):
    enhancer = BilateralEnhancer(denoise=0)
    h = torch.tensor(gain).log() / 4
    with torch.no_grad():
        enhancer.head.bias[0] = h / (1 - h.abs())  # the inverse of softsign
    enhanced = enhancer(torch.full((1, 3, 8, 8), 0.25)).image
    torch.testing.assert_close(enhanced, torch.full((1, 3, 8, 8), expected))


def test_every_weight_gets_a_gradient():
    enhancer = trained()
    (enhancer(torch.rand(2, 3, 50, 41)).image - 0.5).square().sum().backward()
    without = [name for name, weight in enhancer.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []


def test_denoise_0_has_no_denoiser():
    enhancer = build_enhancer(EnhancerSettings(arch="bilateral", denoise=0))
    assert not any("denoiser" in name for name in enhancer.state_dict())


@pytest.mark.parametrize("denoise", [0, 8])
def test_a_loaded_model_is_the_saved_one(denoise: int, tmp_path: Path):
    settings = EnhancerSettings(arch="bilateral", thumbnail_size=32, width=8, denoise=denoise)
    original = Model(trained(denoise), settings)
    again = load(original.save(tmp_path))
    image = torch.rand(1, 3, 31, 26)
    with torch.no_grad():
        assert again.settings == settings
        assert torch.equal(again(image), original(image))
        assert not torch.equal(again(image), Model(trained(denoise, seed=1), settings)(image))


def restless(network: denoiser.Denoiser) -> denoiser.Denoiser:
    """It no longer copies: everything it decides is drawn."""
    torch.manual_seed(0)
    nn.init.normal_(network.leave.weight, std=0.2)
    return network.requires_grad_(False)


def test_grey_is_mixed_by_itself():
    network, photo, lift = restless(denoiser.Denoiser(8)), torch.rand(1, 3, 24, 32), torch.full((1, 1, 24, 32), 0.5)
    nn.init.zeros_(network.leave.weight[: denoiser.VALUES + 2])  # no residual, and nothing for all channels
    found = network(photo, lift)
    unclipped = ((found > 0) & (found < 1)).all(dim=1)
    of_channels = (found - photo).movedim(1, -1)[unclipped]
    assert of_channels.abs().max() > 0.01
    torch.testing.assert_close(of_channels.std(dim=1), torch.zeros(len(of_channels)), atol=1e-6, rtol=0)


def test_weights_from_before_grey_was_mixed_by_itself_mix_it_as_the_colours():
    network = restless(denoiser.Denoiser(8))
    nn.init.zeros_(network.leave.weight[denoiser.VALUES + 2 :])
    state = network.state_dict()
    of_before = state | {name: state[name][: denoiser.VALUES + 2] for name in ("leave.weight", "leave.bias")}
    again, photo, lift = denoiser.Denoiser(8), torch.rand(1, 3, 24, 32), torch.full((1, 1, 24, 32), 0.5)
    again.load_state_dict(of_before)
    assert torch.equal(again(photo, lift), network(photo, lift)) and not torch.equal(network(photo, lift), photo)
