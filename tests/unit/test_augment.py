import pytest
import torch
from torch import Tensor

from lle.config import AugmentSettings
from lle.training.augment import RandomTranspose, augmentation

OFF = {"flip": 0.0, "transpose": 0.0, "zoom": 0.0, "rotation": 0.0}


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_nothing_changes_when_everything_is_off(images: Tensor):
    assert torch.equal(augmentation(AugmentSettings(**OFF))(images), images)


def test_the_paper_s_augmentation_keeps_shape_range_and_type(images: Tensor):
    torch.manual_seed(1)
    out = augmentation(AugmentSettings())(images)
    assert out.shape == images.shape and out.dtype == images.dtype
    assert float(out.min()) >= 0 and float(out.max()) <= 1 + 1e-6


def test_the_same_seed_gives_the_same_pictures_and_another_seed_others(images: Tensor):
    augment = augmentation(AugmentSettings())
    outs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outs.append(augment(images))
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])


def test_certain_flips_turn_every_picture_upside_down_and_around(images: Tensor):
    out = augmentation(AugmentSettings(**{**OFF, "flip": 1.0}))(images)
    torch.testing.assert_close(out, images.flip(2, 3))


def test_a_certain_mirror_swaps_left_and_right_alone(images: Tensor):
    out = augmentation(AugmentSettings(**{**OFF, "mirror": 1.0}))(images)
    torch.testing.assert_close(out, images.flip(3))


def test_a_certain_transpose_swaps_height_and_width(images: Tensor):
    assert torch.equal(RandomTranspose(1.0)(images), images.transpose(2, 3))


def test_each_picture_is_transposed_on_its_own():
    images = torch.rand(64, 3, 4, 4)
    torch.manual_seed(0)
    out = augmentation(AugmentSettings(**{**OFF, "transpose": 0.5}))(images)
    swapped = sum(torch.equal(a, b.transpose(1, 2)) for a, b in zip(out, images, strict=True))
    kept = sum(torch.equal(a, b) for a, b in zip(out, images, strict=True))
    assert swapped + kept == 64
    assert 16 < swapped < 48


@pytest.mark.parametrize("change", [{"zoom": 1.0, "zoom_range": (0.7, 0.7)}, {"rotation": 1.0}])
def test_borders_are_reflected_not_black(change: dict[str, object]):
    torch.manual_seed(0)
    out = augmentation(AugmentSettings(**{**OFF, **change}))(torch.full((4, 3, 32, 32), 0.6))
    torch.testing.assert_close(out, torch.full_like(out, 0.6), atol=1e-4, rtol=0)


def test_zoom_changes_the_scale_about_the_middle():
    square = torch.zeros(1, 3, 33, 33)
    square[..., 12:21, 12:21] = 1.0
    out = augmentation(AugmentSettings(**{**OFF, "zoom": 1.0, "zoom_range": (1.3, 1.3)}))(square)
    assert float(out.sum() / square.sum()) == pytest.approx(1.3**2, rel=0.1)
    torch.testing.assert_close(out, out.flip(2, 3), atol=1e-4, rtol=0)


def test_rotation_stays_within_its_degrees():
    bar = torch.zeros(32, 3, 33, 33)
    bar[:, :, 16, :] = 1.0  # a horizontal line
    torch.manual_seed(0)
    small = augmentation(AugmentSettings(**{**OFF, "rotation": 1.0, "rotation_degrees": 5.0}))(bar)
    assert not torch.equal(small, bar)
    assert float(small[:, :, :10].sum() + small[:, :, 23:].sum()) == 0, "5 degrees lift the ends by 1.4 px"


@pytest.mark.parametrize(
    "change", [{"flip": 0.5}, {"transpose": 0.5}, {"zoom": 1.0}, {"rotation": 1.0}, {"flip": 0.5, "rotation": 1.0}]
)
def test_regions_move_with_their_picture_and_are_never_mixed(change: dict[str, object]):
    blocks = torch.arange(16).view(4, 4).repeat_interleave(16, 0).repeat_interleave(16, 1) * 9
    regions = blocks.expand(8, 64, 64).int()
    images = (regions[:, None] / 255.0).expand(8, 3, 64, 64)
    torch.manual_seed(4)
    moved, labels = augmentation(AugmentSettings(**{**OFF, **change})).with_regions(images, regions)
    assert not torch.equal(moved, images)
    assert set(labels.unique().tolist()) <= set(regions.unique().tolist())
    assert labels.dtype == regions.dtype
    alike = ((moved[:, 0] * 255 - labels).abs() < 0.5).float().mean()
    assert float(alike) > 0.85, "all but the blurred borders"


def test_the_picture_is_the_same_with_and_without_regions(images: Tensor):
    augment = augmentation(AugmentSettings())
    torch.manual_seed(2)
    alone = augment(images)
    torch.manual_seed(2)
    assert torch.equal(augment.with_regions(images, torch.zeros(6, 32, 32, dtype=torch.int32))[0], alone)
