from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from lle import images
from lle.config import TrainSettings
from lle.config.metrics import ALONE, against_truth, deciding
from lle.metrics import (
    METRICS,
    colour_cast,
    colour_error,
    lightness_order_error,
    over_exposed,
    psnr,
    psnr_gt_mean,
    rounded,
    ssim,
)
from lle.metrics.lpips import Lpips, load_lpips
from lle.metrics.niqe import Niqe, block_features, fit_asymmetric_gaussian, load_niqe

CASES = ["noise", "nearly equal", "black against white", "real"]


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Two 8-bit pictures, (H, W, 3)."""
    random = np.random.default_rng(4)
    picture = random.integers(0, 256, (23, 31, 3), dtype=np.uint8)
    if request.param == "noise":
        return picture, random.integers(0, 256, picture.shape, dtype=np.uint8)
    if request.param == "nearly equal":
        return picture, (picture ^ (random.random(picture.shape) < 0.1)).astype(np.uint8)
    if request.param == "black against white":
        return np.zeros_like(picture), np.full_like(picture, 255)
    lol = request.getfixturevalue("shared") / "data" / "test_paired" / "lol_eval15"
    return tuple(images.read(lol / side / "111.png")[100:180, 200:300] for side in ("low", "high"))  # type: ignore[return-value]


def batch(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("pair", CASES, indirect=True)
def test_psnr_equals_scikit_image(pair):
    ours = float(psnr(batch(pair[0]), batch(pair[1])))
    assert ours == pytest.approx(peak_signal_noise_ratio(pair[1], pair[0]), abs=1e-4)


@pytest.mark.parametrize("pair", CASES, indirect=True)
def test_ssim_equals_scikit_image(pair):
    ours = float(ssim(batch(pair[0]), batch(pair[1])))
    assert ours == pytest.approx(structural_similarity(pair[1], pair[0], channel_axis=-1), abs=1e-5)


def test_pictures_of_a_batch_are_measured_apart():
    torch.manual_seed(0)
    a, b = torch.rand(3, 3, 16, 16), torch.rand(3, 3, 16, 16)
    a[2] = b[2]
    for metric in (psnr, ssim):
        together = metric(a, b)
        assert together.shape == (3,)
        torch.testing.assert_close(together, torch.cat([metric(x[None], y[None]) for x, y in zip(a, b, strict=True)]))
    assert float(psnr(a, b)[2]) == 100
    assert float(ssim(a, b)[2]) == pytest.approx(1.0)


def test_pictures_are_compared_as_eight_bit_files_hold_them():
    a = torch.full((1, 3, 8, 8), 100.4 / 255)
    assert float(psnr(a, torch.full_like(a, 99.6 / 255))) == 100, "both round to 100"
    assert float(psnr(torch.full_like(a, 1.7), torch.ones_like(a))) == 100, "too bright is white"
    torch.testing.assert_close(rounded(torch.tensor([-1.0, 0.5, 2.0])) * 255, torch.tensor([0.0, 128.0, 255.0]))


def test_the_input_of_lol_eval15_scores_what_the_field_reports(shared: Path):
    lol = shared / "data" / "test_paired" / "lol_eval15"
    scores = []
    for low in sorted((lol / "low").iterdir()):
        x, y = batch(images.read(low)), batch(images.read(lol / "high" / low.name))
        scores.append((float(psnr(x, y)), float(ssim(x, y))))
    assert len(scores) == 15
    mean_psnr, mean_ssim = np.mean(scores, axis=0)
    assert mean_psnr == pytest.approx(7.77, abs=0.01)
    assert mean_ssim == pytest.approx(0.191, abs=0.001)


def test_every_metric_says_which_way_is_better_and_what_it_compares():
    assert all(metric.about for metric in METRICS.values())
    assert METRICS["psnr"].higher_is_better and not METRICS["lpips"].higher_is_better


@pytest.mark.parametrize("gain", [0.25, 0.5, 1.0, 2.0])
def test_gt_mean_forgets_the_exposure(gain: float):
    torch.manual_seed(0)
    truth = (torch.rand(2, 3, 16, 16) * 100).round() / 255
    assert float(psnr_gt_mean((truth * gain), truth).min()) > 45, "only rounding differs"
    noisy = truth * gain + 0.05 * gain * torch.randn_like(truth)
    assert float(psnr_gt_mean(noisy, truth).max()) < 30, "noise is not forgiven"


def test_gt_mean_bears_black():
    assert torch.isfinite(psnr_gt_mean(torch.zeros(1, 3, 8, 8), torch.rand(1, 3, 8, 8))).all()


def test_colour_error_is_the_angle_between_mean_colours():
    def flat(*rgb: float) -> Tensor:
        return torch.tensor(rgb).view(1, 3, 1, 1).expand(1, 3, 4, 4)

    assert float(colour_error(flat(1, 0, 0), flat(0, 1, 0))) == pytest.approx(90)
    assert float(colour_error(flat(0.2, 0.4, 0.6), flat(1 / 15, 2 / 15, 3 / 15))) == pytest.approx(0, abs=1e-4)
    assert float(colour_error(flat(1, 1, 0), flat(1, 0, 0))) == pytest.approx(45)
    assert float(colour_error(flat(0, 0, 0), flat(1, 0, 0))) == 0


def test_colour_cast_is_zero_for_grey_and_largest_for_a_pure_colour():
    grey = torch.rand(2, 1, 8, 8).expand(2, 3, 8, 8)
    torch.testing.assert_close(colour_cast(grey), torch.zeros(2), atol=1e-4, rtol=0)
    blue = torch.zeros(1, 3, 8, 8)
    blue[:, 2] = 0.3
    assert float(colour_cast(blue)) == pytest.approx(np.degrees(np.arccos(1 / np.sqrt(3))), abs=1e-4)


def test_over_exposed_counts_pixels_with_any_burnt_channel():
    picture = torch.full((1, 3, 10, 10), 249 / 255)
    assert float(over_exposed(picture)) == 0
    picture[0, 1, :3, 0] = 250 / 255
    assert float(over_exposed(picture)) == pytest.approx(0.03)
    assert float(over_exposed(picture + 1)) == 1


def test_lightness_order_survives_any_rising_tone_curve():
    torch.manual_seed(0)
    dark = (torch.rand(2, 3, 60, 90) * 63).round() / 255
    assert lightness_order_error(dark, dark * 4).tolist() == [0, 0]
    assert lightness_order_error(dark, 1 - 0.9 * (1 - dark * 4)).tolist() == [0, 0]


def test_lightness_order_error_of_an_inverted_ramp_is_all_other_pixels():
    ramp = (torch.arange(200) / 255).view(1, 1, 4, 50).expand(1, 3, 4, 50)
    assert float(lightness_order_error(ramp, 1 - ramp)) == 199


def test_lightness_order_error_grows_with_what_is_turned():
    torch.manual_seed(0)
    picture = torch.rand(1, 3, 120, 100)
    little, much = picture.clone(), picture.clone()
    little[..., :10, :], much[..., :60, :] = 0, 0
    assert 0 < lightness_order_error(picture, little) < lightness_order_error(picture, much)


@pytest.fixture(scope="module")
def perceptual(shared: Path) -> Path:
    return shared / "data" / "weights" / "perceptual"


@pytest.fixture(scope="module")
def lpips(perceptual: Path) -> Lpips:
    trunk = perceptual / "squeezenet1_1_torchvision_ncnn" / "squeezenet1_1_fp16.pth"
    return load_lpips(trunk, perceptual / "lpips" / "v0.1" / "squeeze.pth")


@pytest.fixture(scope="module")
def niqe(perceptual: Path) -> Niqe:
    return load_niqe(perceptual / "niqe" / "niqe_pris_params.npz")


# By torchmetrics 1.9 with the same weights, whole pictures of LOL eval15.
@pytest.mark.parametrize(("name", "expected"), [("1.png", 0.3153786), ("493.png", 0.4145589), ("778.png", 0.4315493)])
def test_lpips_equals_torchmetrics(shared: Path, lpips: Lpips, name: str, expected: float):
    lol = shared / "data" / "test_paired" / "lol_eval15"
    low, high = (batch(images.read(lol / side / name)) for side in ("low", "high"))
    assert float(lpips(low, high)) == pytest.approx(expected, abs=1e-5)


def test_lpips_is_zero_for_equal_pictures_and_measures_pictures_apart(lpips: Lpips):
    torch.manual_seed(0)
    a, b = torch.rand(2, 3, 40, 48), torch.rand(2, 3, 40, 48)
    assert lpips(a, a).tolist() == [0, 0]
    together = lpips(a, b)
    torch.testing.assert_close(together, torch.cat([lpips(a[:1], b[:1]), lpips(a[1:], b[1:])]))


def test_lpips_refuses_weights_of_something_else(perceptual: Path, tmp_path: Path):
    linear = perceptual / "lpips" / "v0.1" / "squeeze.pth"
    with pytest.raises(ValueError, match="not the weights of SqueezeNet 1.1 and LPIPS"):
        load_lpips(linear, linear)
    with pytest.raises(ValueError, match="cannot be loaded safely"):
        load_lpips(tmp_path / "absent.pth", linear)


@pytest.mark.parametrize(
    ("alpha", "left", "right"), [(2.0, 1.0, 1.0), (1.0, 1.0, 1.0), (2.0, 0.5, 2.0), (0.8, 2.0, 1.0)]
)
def test_the_fit_finds_the_distribution_that_samples_came_from(alpha: float, left: float, right: float):
    random = np.random.default_rng(0)
    size = random.gamma(1 / alpha, size=400_000) ** (1 / alpha)
    on_the_left = random.random(size.shape) < left / (left + right)
    samples = torch.from_numpy(np.where(on_the_left, -left * size, right * size))[None]
    found = torch.stack(fit_asymmetric_gaussian(samples))[:, 0]
    torch.testing.assert_close(found, torch.tensor([alpha, left, right], dtype=torch.float64), rtol=0.03, atol=0)


# By a loop over blocks in NumPy and SciPy, following the paper, with the same weights.
@pytest.mark.parametrize(("name", "expected"), [("low/1.png", 6.4321), ("high/493.png", 4.0761)])
def test_niqe_equals_a_plain_loop_over_blocks(shared: Path, niqe: Niqe, name: str, expected: float):
    picture = batch(images.read(shared / "data" / "test_paired" / "lol_eval15" / name))
    assert float(niqe(picture)) == pytest.approx(expected, abs=1e-3)


def test_niqe_rises_with_noise_and_with_blur(shared: Path, niqe: Niqe):
    torch.manual_seed(0)
    good = batch(images.read(shared / "data" / "kodak24" / "05.jpg"))
    noisy = good + 0.1 * torch.randn_like(good)
    blurred = torch.nn.functional.avg_pool2d(good, 9, stride=1, padding=4)
    assert float(niqe(good)) < min(float(niqe(noisy)), float(niqe(blurred)))


def test_niqe_of_flat_or_small_pictures_is_not_a_number(niqe: Niqe):
    assert niqe(torch.full((1, 3, 200, 200), 0.5)).isnan().all()
    assert niqe(torch.rand(1, 3, 95, 300)).isnan().all()
    assert block_features(torch.rand(3, 100, 300)).shape == (3, 36)


def test_niqe_refuses_a_file_of_something_else(tmp_path: Path):
    np.savez(tmp_path / "other.npz", mean=np.zeros(36))
    with pytest.raises(ValueError, match="other.npz: holds no parameters of NIQE"):
        load_niqe(tmp_path / "other.npz")


# the table


def test_every_metric_against_a_ground_truth_may_choose_the_best_enhancer_and_asks_for_pairs():
    assert against_truth() == ["psnr", "ssim", "psnr_gt_mean", "colour_error"]
    for name in against_truth():
        assert TrainSettings(loop={"metric": name}, data={"samples": True}).loop.metric == name
        with pytest.raises(ValueError, match=f"loop.metric: {name} needs pairs"):
            TrainSettings(loop={"metric": name}, data={"dark": "night", "well_lit": "day"})


def test_guards_and_what_needs_sets_of_photos_decide_no_promotion():
    assert set(deciding()) == set(METRICS) - {
        *("over_exposed", "colour_cast", "lightness_order_error", "unchanged"),
        *("feature_gap", "distribution", "judge_gap", "restored"),
    }


def test_every_function_of_the_table_is_there_and_measures_a_picture():
    pictures = torch.rand(2, 1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    for name, metric in METRICS.items():
        if metric.measure:
            given = pictures[:1] if metric.compares == ALONE else pictures
            assert metric.measure(*given).shape == (1,), name
