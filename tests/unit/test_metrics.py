from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from lle import images
from lle.metrics import auto_exposure, psnr, rounded, ssim

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
    for measure in (psnr, ssim):
        together = measure(a, b)
        assert together.shape == (3,)
        torch.testing.assert_close(together, torch.cat([measure(x[None], y[None]) for x, y in zip(a, b, strict=True)]))
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


def test_auto_exposure_reaches_its_target_when_nothing_clips():
    torch.manual_seed(0)
    dark = torch.rand(3, 3, 9, 9) * torch.tensor([0.05, 0.1, 0.3]).view(3, 1, 1, 1)
    lit = auto_exposure(dark, 0.25)
    torch.testing.assert_close(lit.mean(dim=(1, 2, 3)), torch.full((3,), 0.25))
    gains = (lit / dark).flatten(1)
    torch.testing.assert_close(gains, gains[:, :1].expand_as(gains), msg="one gain for each picture")


def test_auto_exposure_clips_highlights_and_bears_black():
    picture = torch.full((1, 3, 4, 4), 0.1)
    picture[..., 0, 0] = 0.9
    lit = auto_exposure(picture, 0.5)
    assert float(lit.max()) == 1.0 and float(lit.mean()) < 0.5
    assert torch.equal(auto_exposure(torch.zeros(1, 3, 4, 4), 0.5), torch.zeros(1, 3, 4, 4))
