import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lle.config import EnhancerSettings
from lle.enhancers import blocks, build_enhancer, tiles
from lle.enhancers.exposure import ExposureEnhancer
from lle.enhancers.light import Light, log_light, relight, tones_kept
from lle.exposure.camera import linear_to_srgb, srgb_to_linear
from lle.exposure.shoulder import shoulder
from lle.model import Model, load

KINDS = pytest.mark.parametrize(
    ("denoise", "local"), [(0, 0.0), (8, 0.0), (0, 0.7), (8, 0.7)], ids=["light", "denoised", "local", "both"]
)


def trained(denoise: int = 8, local: float = 0.0, seed: int = 0) -> ExposureEnhancer:
    """A small network whose weights do something visible."""
    torch.manual_seed(seed)
    enhancer = ExposureEnhancer(thumbnail_size=32, width=8, denoise=denoise, local=local).eval()
    with torch.no_grad():
        for parameter in enhancer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return enhancer


def fixed(u: float, balance: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> ExposureEnhancer:
    """A network without a denoiser that gives every picture one exposure and one white balance."""
    enhancer = ExposureEnhancer(thumbnail_size=32, width=8, denoise=0).eval()
    with torch.no_grad():
        enhancer.exposure.bias.fill_(u / (7 - (u if u > 0 else -2.8 * u)))
        enhancer.balance.bias.copy_(torch.tensor([inverse_softsign(math.log(gain) / 0.5) for gain in balance]))
    return enhancer


def inverse_softsign(y: float) -> float:
    return y / (1 - abs(y))


def scene() -> Tensor:
    return torch.rand(1, 3, 40, 57, generator=torch.Generator().manual_seed(4))


def parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def test_parameters_are_as_many_as_documented():
    whole, without, local = (
        ExposureEnhancer(),
        ExposureEnhancer(denoise=0),
        ExposureEnhancer(denoise=0, local=1.0),
    )
    about = str(ExposureEnhancer.__doc__)
    assert f"{parameters(whole):,} parameters with" in about and f"{parameters(without):,} without" in about
    assert f"{parameters(local) - parameters(without):,} more with local stops" in about


@pytest.mark.parametrize("denoise", [0, 32])
@pytest.mark.parametrize("local", [0.0, 0.7])
def test_it_starts_as_a_copy_whose_decisions_can_be_learned(denoise: int, local: float):
    enhancer, image = ExposureEnhancer(denoise=denoise, local=local), scene()
    enhanced = enhancer(image).image
    torch.testing.assert_close(enhanced, image, atol=1e-6, rtol=0)
    enhanced.mean().backward()
    assert abs(float(enhancer.exposure.bias.grad)) > 0.01
    assert float(enhancer.balance.bias.grad.abs().min()) > 0.01


@pytest.mark.parametrize("u", [-2.0, 0.5, 4.0])
def test_one_exposure_is_the_curve_with_a_shoulder_at_every_pixel(u: float):
    image = scene()
    k = torch.tensor(2 * math.sinh(u))
    expected = linear_to_srgb(shoulder(srgb_to_linear(image), k))
    torch.testing.assert_close(fixed(u)(image).image, expected, atol=1e-5, rtol=0)


def test_white_balance_is_three_gains_of_linear_light():
    image = 0.6 * scene()
    light = srgb_to_linear(fixed(0.0, (1.25, 1.0, 0.8))(image).image)
    expected = srgb_to_linear(image) * torch.tensor([1.25, 1.0, 0.8]).view(1, 3, 1, 1)
    torch.testing.assert_close(light, expected, atol=1e-5, rtol=0)


@KINDS
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (2, 3), (33, 64), (135, 47)])
@pytest.mark.parametrize("training", [False, True], ids=["without gradient", "with gradient"])
def test_any_size_comes_back_in_range_at_its_own_size(
    size: tuple[int, int], denoise: int, local: float, training: bool
):
    image = torch.rand(2, 3, *size)
    image[0], image[1, :, 0, 0] = image[0].round(), 0.0
    with torch.set_grad_enabled(training):
        enhanced = trained(denoise, local)(image).image.detach()
    assert enhanced.shape == image.shape
    assert torch.isfinite(enhanced).all() and enhanced.min() >= 0 and enhanced.max() <= 1


def test_black_stays_black_and_white_stays_white_under_any_exposure():
    image = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    for u in (-2.4, 6.0):
        torch.testing.assert_close(fixed(u)(image).image, image, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(301, 37), (97, 130)])
@KINDS
def test_strips_and_tiles_equal_the_whole(
    size: tuple[int, int], denoise: int, local: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tiles, "STRIP_PIXELS", 5 * size[1])
    monkeypatch.setitem(tiles.TILE, "cpu", 48)
    image, enhancer = torch.rand(2, 3, *size), trained(denoise, local)
    whole = enhancer(image).image.detach()
    with torch.no_grad():
        parts = enhancer(image).image
    torch.testing.assert_close(parts, whole, atol=2e-6, rtol=0)
    assert not torch.allclose(parts, image, atol=0.01)


def test_a_batch_of_different_pictures_equals_each_alone():
    enhancer = trained(local=0.7)
    batch = torch.rand(3, 3, 45, 61) * torch.tensor([0.1, 0.5, 1.0]).view(3, 1, 1, 1)
    with torch.no_grad():
        together = enhancer(batch).image
        alone = torch.cat([enhancer(one).image for one in batch.split(1)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("overshoot", [-30.0, 30.0])
def test_it_turns_back_from_far_beyond_its_range(overshoot: float):
    enhancer = ExposureEnhancer(denoise=0)
    nn.init.constant_(enhancer.exposure.bias, overshoot)
    enhancer(torch.linspace(0, 1, 3 * 16 * 16).view(1, 3, 16, 16)).image.mean().backward()
    assert abs(float(enhancer.exposure.bias.grad)) > 1e-6


@KINDS
def test_every_weight_gets_a_gradient(denoise: int, local: float):
    enhancer = trained(denoise, local)
    (enhancer(torch.rand(2, 3, 50, 41)).image - 0.5).square().sum().backward()
    without = [name for name, weight in enhancer.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []


@KINDS
def test_at_strength_0_the_photo_is_as_it_was_and_at_1_as_trained(denoise: int, local: float):
    enhancer, image = trained(denoise, local), scene()
    with torch.no_grad():
        torch.testing.assert_close(enhancer.picture(image, 0.0), image, atol=1e-6, rtol=0)
        assert torch.equal(enhancer.picture(image, 1.0), enhancer.picture(image))
        assert not torch.allclose(enhancer.picture(image), image, atol=0.01)


def test_more_strength_is_more_light_at_every_pixel_and_k_grows_with_it():
    image = 0.2 * scene()
    pictures = [fixed(2.0).picture(image, strength).detach() for strength in (0.0, 0.25, 0.5, 1.0, 1.25, 1.5)]
    for less, more in pairwise(pictures):
        assert (more > less - 1e-6).all() and float((more - less).mean()) > 0.003
    twice = linear_to_srgb(shoulder(srgb_to_linear(image), torch.tensor(1.5 * 2 * math.sinh(2.0))))
    torch.testing.assert_close(pictures[-1], twice, atol=1e-5, rtol=0)


@KINDS
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_a_little_more_strength_changes_a_little(denoise: int, local: float, strength: float):
    enhancer, image = trained(denoise, local), scene()
    with torch.no_grad():
        step = enhancer.picture(image, strength + 1e-4) - enhancer.picture(image, strength)
    assert float(step.abs().max()) < 0.01


@KINDS
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 1.5])
def test_a_strength_as_a_tensor_gives_the_same(denoise: int, local: float, strength: float):
    enhancer, image = trained(denoise, local), scene()
    with torch.no_grad():
        as_tensor = enhancer(image, torch.tensor([strength])).image
        torch.testing.assert_close(as_tensor, enhancer.picture(image, strength), atol=1e-6, rtol=0)


@pytest.mark.parametrize("strength", [-0.1, 1.6, float("nan")])
def test_a_strength_out_of_range_is_refused(strength: float):
    with pytest.raises(ValueError, match=r"strength: .* lies outside 0 to 1.5"):
        trained().picture(scene(), strength)


@pytest.mark.parametrize("kind", ["retinex", "curves", "compact", "bilateral"])
def test_networks_without_a_strength_say_so(kind: str):
    settings = EnhancerSettings(arch=kind)
    model = Model(build_enhancer(settings), settings)
    with pytest.raises(ValueError, match="strength: this network .* knows none but 1"):
        model.enhance(scene()[0], strength=0.5)


def test_a_model_enhances_any_photo_at_a_strength():
    settings = EnhancerSettings(arch="exposure", thumbnail_size=32, width=8, denoise=8)
    model, image = Model(trained(), settings), scene()[0]
    with torch.inference_mode():
        torch.testing.assert_close(model.enhance(image, strength=0.5), model.enhancer.picture(image[None], 0.5)[0])
    pixels = (255 * image.permute(1, 2, 0)).byte().numpy()
    assert (model.enhance(pixels, strength=0.0) == pixels).all()


def test_the_denoiser_is_told_the_light_that_was_added():
    told = []

    class Listening(nn.Module):
        def forward(self, image: Tensor, exponent: Tensor) -> Tensor:
            told.append(exponent)
            return image

    enhancer = fixed(3.0)
    enhancer.denoiser = Listening()
    for strength in (0.0, 1.0):
        enhancer.picture(scene(), strength)
    assert told[0].shape == (1, 1, 40, 57)
    torch.testing.assert_close(told[0], torch.zeros(1, 1, 40, 57))
    torch.testing.assert_close(told[1], torch.full((1, 1, 40, 57), 3.0 / 8.8))


def test_local_stops_stay_within_their_bound_and_keep_the_order_of_tones():
    enhancer = trained(denoise=0, local=0.7)
    with torch.no_grad():
        enhancer.places[1].bias.fill_(20.0)
        enhancer.places[1].weight.mul_(30.0)
        ramp = torch.linspace(0.02, 1, 200).view(1, 1, 1, 200).expand(1, 3, 60, 200)
        light, _ = enhancer.light(ramp)
        local = light.local_stops(srgb_to_linear(ramp), ramp, tiles.EVERYWHERE)
        relit, _ = relight(srgb_to_linear(ramp), light._replace(balance=torch.ones(1, 3, 1, 1)), local)
    assert float(local.abs().max()) <= 0.7 * math.log(2) + 1e-6 and float(local.std()) > 0
    assert (relit[0, 1].diff(dim=1) > -1e-4).all()


@pytest.mark.parametrize("exposure", [-1.0, 0.0, 0.2, 2.0, 6.0])
def test_lamps_and_depths_get_less_of_a_lift_and_stay_in_order_and_no_darker_than_they_were(exposure: float):
    ramp = torch.linspace(0, 1, 400).view(1, 1, 1, 400).expand(1, 3, 2, 400)
    light = Light(torch.full((1, 1, 1, 1), exposure), torch.ones(1, 3, 1, 1))
    less = tones_kept(light.exposure, log_light(srgb_to_linear(ramp)))
    plain, kept = relight(srgb_to_linear(ramp), light)[0], relight(srgb_to_linear(ramp), light, less)[0]
    assert (kept.diff(dim=-1) >= 0).all() and (kept <= plain + 1e-6).all()
    torch.testing.assert_close(kept[..., [0, -1]], ramp[..., [0, -1]])
    if exposure > 0:
        assert (kept >= ramp - 1e-6).all()
        less_of = plain - kept
        assert float(less_of[..., ramp[0, 0, 0] > 0.7].max()) > 0.005
    else:
        assert torch.equal(kept, plain)


def test_without_local_stops_the_maps_are_one_number_for_each_picture():
    maps = trained()(torch.rand(3, 3, 20, 20)).maps
    assert maps.shape == (3, 1, 8, 8)
    assert torch.equal(maps, maps[..., :1, :1].expand_as(maps))


def test_denoise_0_has_no_denoiser():
    enhancer = build_enhancer(EnhancerSettings(arch="exposure", denoise=0))
    assert not any("denoiser" in name for name in enhancer.state_dict())
    assert (
        EnhancerSettings(arch="exposure").has_denoiser and not EnhancerSettings(arch="exposure", denoise=0).has_denoiser
    )


@KINDS
def test_a_loaded_model_is_the_saved_one(denoise: int, local: float, tmp_path: Path):
    settings = EnhancerSettings(arch="exposure", thumbnail_size=32, width=8, denoise=denoise, local=local)
    original = Model(trained(denoise, local), settings)
    again = load(original.save(tmp_path))
    image = torch.rand(1, 3, 31, 26)
    with torch.no_grad():
        assert again.settings == settings
        assert torch.equal(again(image), original(image))


@pytest.mark.parametrize("tile", [48, 768], ids=["tiles", "one piece"])
def test_bytes_come_back_as_the_rounded_floats(tile: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(tiles.TILE, "cpu", tile)
    enhancer, pixels = trained(), torch.randint(256, (1, 3, 97, 130), dtype=torch.uint8)
    with torch.no_grad():
        ours, expected = enhancer(pixels).image, 255 * enhancer(pixels / 255).image
    assert ours.dtype == torch.uint8
    assert float((ours - expected).abs().max()) <= 0.501
    for weight in enhancer.parameters():
        weight.data.fill_(float("nan"))
    with torch.no_grad(), pytest.raises(ValueError, match="not numbers"):
        enhancer(pixels)


@pytest.mark.parametrize("halved", [False, True], ids=["float32", "bfloat16"])
def test_in_inference_mode_the_bundled_denoiser_gives_the_same_picture_within_half_a_step(
    halved: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(blocks, "_multiplies_bfloat16", lambda: halved)
    enhancer, image = load("bundled").enhancer, 0.1 * scene() + 0.01 * torch.rand(1, 3, 40, 57)
    expected = enhancer(image).image.detach()
    with torch.inference_mode():
        ours = enhancer(image).image
    assert float((ours - expected).abs().max()) < (0.5 / 255 if halved else 1e-5)
    assert not torch.equal(ours, expected)
