import math
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lle.exposure import camera
from lle.exposure.camera import Noise


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 3, 48, 64, generator=seeded(7))


def test_srgb_check_values():
    srgb = torch.tensor([0.0, 0.04045, 0.5, 1.0])
    linear = torch.tensor([0.0, 0.04045 / 12.92, 0.214041, 1.0])
    torch.testing.assert_close(camera.srgb_to_linear(srgb), linear, atol=1e-6, rtol=0)


@given(st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_srgb_and_linear_light_are_inverse(value: float):
    there_and_back = camera.linear_to_srgb(camera.srgb_to_linear(torch.tensor(value)))
    assert there_and_back.item() == pytest.approx(value, abs=1e-5)


def test_gradient_of_the_tone_curve_is_finite_at_black():
    black = torch.zeros(3, requires_grad=True)
    camera.linear_to_srgb(camera.srgb_to_linear(black)).sum().backward()
    assert torch.isfinite(black.grad).all()


def test_no_stops_leave_the_photo_as_it_is(images):
    assert torch.equal(camera.expose(images, 0.0), images)


def test_one_stop_less_halves_linear_light(images):
    halved = camera.srgb_to_linear(camera.expose(images, -1.0))
    torch.testing.assert_close(halved, camera.srgb_to_linear(images) / 2, atol=1e-6, rtol=1e-4)


def test_one_stop_more_clips_at_full_scale():
    grey = camera.linear_to_srgb(torch.tensor([0.2, 0.5, 0.8])).view(1, 3, 1, 1)
    light = camera.srgb_to_linear(camera.expose(grey, 1.0)).flatten()
    torch.testing.assert_close(light, torch.tensor([0.4, 1.0, 1.0]), atol=1e-5, rtol=0)


def test_each_image_has_its_own_stops(images):
    stops = torch.tensor([-2.0, 0.0, 1.0, 2.0])
    one_by_one = torch.cat([camera.expose(images[i : i + 1], float(stops[i])) for i in range(4)])
    torch.testing.assert_close(camera.expose(images, stops), one_by_one)


def test_scene_light_has_its_check_values():
    """-ln(1 - .985 x) / .985 of white is 4.26; .985 x = 1 - 1/e is a scene light of 1 / .985."""
    light = torch.tensor([0.0, (1 - math.exp(-1)) / 0.985, 1.0]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    expected = torch.tensor([0.0, 1 / 0.985, -math.log(0.015) / 0.985])
    torch.testing.assert_close(camera.scene_light(light, 1.0)[0, 0, 0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shoulder", [0.0, 1e-3, 0.3, 1.0])
def test_development_undoes_scene_light_and_begins_with_a_slope_of_one(images, shoulder: float):
    images = images.double()
    scene = camera.scene_light(images, shoulder)
    torch.testing.assert_close(camera.developed(scene, shoulder), images, atol=1e-9, rtol=0)
    shadow = torch.full((1, 3, 1, 1), 1e-6, dtype=torch.float64)
    torch.testing.assert_close(camera.scene_light(shadow, shoulder), shadow, rtol=1e-5, atol=0)


def test_without_a_shoulder_scene_light_is_the_photo_s_and_nothing_bends(images):
    assert torch.equal(camera.scene_light(images, 0.0), images)
    assert torch.equal(camera.developed(3 * images, 0.0), 3 * images)


def test_each_photo_has_its_own_shoulder_with_a_finite_gradient(images):
    shoulders = torch.tensor([0.0, 0.3, 0.6, 1.0], requires_grad=True)
    images.requires_grad_()
    scene = camera.scene_light(images, shoulders)
    one_by_one = torch.cat([camera.scene_light(images[i : i + 1], float(shoulders[i].detach())) for i in range(4)])
    torch.testing.assert_close(scene, one_by_one)
    camera.developed(2 * scene, shoulders).sum().backward()
    assert torch.isfinite(images.grad).all() and torch.isfinite(shoulders.grad).all()


def test_noise_has_mean_zero_and_the_variance_of_the_sensor_model():
    light, noise = 0.3, Noise(shot=1e-3, read=5e-3)
    flat = camera.linear_to_srgb(torch.full((1, 3, 256, 256), light))
    noisy = camera.srgb_to_linear(camera.expose(flat, 0.0, noise, seeded()))
    variance = 1e-3 * light + 5e-3**2
    assert noisy.mean().item() == pytest.approx(light, abs=4 * (variance / noisy.numel()) ** 0.5)
    assert noisy.var().item() == pytest.approx(variance, rel=0.03)


def test_noise_grows_with_the_light_but_less_than_the_light():
    flat = torch.full((1, 3, 128, 128), 0.5)
    deviations = [
        camera.srgb_to_linear(camera.expose(flat, stops, Noise(1e-3, 0.0), seeded())).std().item()
        for stops in (-2.0, 0.0)
    ]
    assert deviations[1] / deviations[0] == pytest.approx(2.0, rel=0.05)  # the square root of four times the light


def test_noise_without_generator_is_refused(images):
    with pytest.raises(ValueError, match="generator"):
        camera.expose(images, -1.0, Noise())


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match="negative"):
        Noise(shot=-1e-3)


def test_backlight_under_exposes_the_foreground_and_keeps_the_background(images):
    mask = torch.zeros(4, 1, 48, 64)
    mask[..., 32:] = 1
    backlit = camera.backlight(images, -3.0, mask)
    assert torch.equal(backlit[..., :32], images[..., :32])
    assert torch.equal(backlit[..., 32:], camera.expose(images, -3.0)[..., 32:])


def test_soft_border_changes_exposure_evenly_in_stops(images):
    backlit = camera.backlight(images, -4.0, torch.full((4, 1, 48, 64), 0.5), background_stops=1.0)
    torch.testing.assert_close(backlit, camera.expose(images, -1.5))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_mask_covers_its_share(share):
    scene = torch.nn.functional.interpolate(torch.rand(8, 3, 6, 6, generator=seeded(3)), size=(96, 128), mode="bicubic")
    mask = camera.backlit_mask(scene.clamp(0, 1), share, seeded())
    assert mask.shape == (8, 1, 96, 128)
    assert mask.min() >= 0
    assert mask.max() <= 1
    torch.testing.assert_close(mask.mean(dim=(1, 2, 3)), torch.full((8,), share), atol=0.06, rtol=0)


def test_mask_leaves_a_bright_sky_in_the_background():
    scene = torch.full((3, 3, 90, 90), 0.25)
    scene[:, :, :30] = 0.9
    mask = camera.backlit_mask(scene, 2 / 3, seeded(), follow_light=8.0)
    assert mask[:, :, :26].mean() < 0.1
    assert mask[:, :, 34:].mean() > 0.9


def test_mask_of_a_flat_photo_is_finite():
    assert torch.isfinite(camera.backlit_mask(torch.full((1, 3, 20, 20), 0.5), 0.5, seeded())).all()


def test_mask_refuses_an_impossible_share(images):
    with pytest.raises(ValueError, match="share"):
        camera.backlit_mask(images, 1.5, seeded())


def test_gamma_check_value_and_refusal(images):
    assert camera.gamma(torch.full((1, 3, 2, 2), 0.5), 2.0).unique().item() == pytest.approx(0.25)
    with pytest.raises(ValueError, match="exponents above 0"):
        camera.gamma(images, 0.0)


def test_low_contrast_scales_the_deviation_and_moves_towards_the_veil(images):
    flat = camera.low_contrast(images, 0.3, veil=0.8)
    torch.testing.assert_close(flat.std(), 0.3 * images.std())
    torch.testing.assert_close(flat.mean(), 0.3 * images.mean() + 0.7 * 0.8)


def test_equal_gains_are_no_cast(images):
    torch.testing.assert_close(camera.colour_cast(images, torch.tensor([3.0, 3.0, 3.0])), images, atol=1e-5, rtol=0)


def test_cast_keeps_the_luminance_of_grey():
    grey = torch.full((1, 3, 1, 1), 0.4)
    light = camera.srgb_to_linear(camera.colour_cast(grey, torch.tensor([1.5, 1.0, 0.6]))).flatten()
    assert (light * torch.tensor([0.2126, 0.7152, 0.0722])).sum().item() == pytest.approx(
        camera.srgb_to_linear(torch.tensor(0.4)).item(), abs=1e-5
    )
    assert light[0] > light[1] > light[2]


def test_darken_depends_on_the_generator_alone(images):
    first, again, other = (camera.darken(images, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("backlit", [0.0, 0.5, 1.0])
def test_darken_gives_darker_eight_bit_images(images, backlit):
    dark = camera.darken(images, seeded(), backlit)
    assert dark.shape == images.shape
    assert (dark.mean(dim=(1, 2, 3)) < images.mean(dim=(1, 2, 3))).all()
    torch.testing.assert_close(dark * 255, (dark * 255).round(), atol=1e-4, rtol=0)
    assert dark.min() >= 0
    assert dark.max() <= 1


def test_backlit_photos_keep_a_bright_part_and_under_exposed_ones_do_not():
    scene = torch.full((2, 3, 64, 64), 0.35)
    scene[:, :, :20] = 0.9
    dark = camera.darken(scene, seeded(), torch.tensor([True, False]))
    assert dark[0].quantile(0.95) > 0.8
    assert dark[1].max() < 0.6


def test_darken_refuses_a_share_above_one(images):
    with pytest.raises(ValueError, match="share"):
        camera.darken(images, seeded(), 3.0)


def test_a_jpeg_loses_what_pillow_s_loses_and_more_the_lower_its_quality(images):
    lost = []
    for quality in (60, 90, 98):
        filed = camera.as_jpeg(images, quality)
        for each, ours in zip(images, filed, strict=True):
            file, colours = BytesIO(), "4:2:0" if quality < 90 else "4:4:4"
            pixels = (camera.quantise(each) * 255).byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=colours)
            theirs = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255
            torch.testing.assert_close(ours, theirs, atol=1.5 / 255, rtol=0)
        lost.append(float((filed - images).abs().mean()))
    assert lost[0] > lost[1] > lost[2] > 0


def test_each_jpeg_has_its_own_quality(images):
    qualities = torch.arange(len(images)) * 10 + 50
    alone = [camera.as_jpeg(each[None], int(own)) for each, own in zip(images, qualities, strict=True)]
    assert torch.equal(camera.as_jpeg(images, qualities), torch.cat(alone))


def test_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        camera.expose(torch.rand(3, 8, 8), 1.0)


def test_wrong_number_of_stops_is_named(images):
    with pytest.raises(ValueError, match="2 values for 4 images"):
        camera.expose(images, torch.zeros(2))
