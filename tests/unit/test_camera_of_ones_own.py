"""Photos of a camera that the enhancer does not know: the distribution of well-lit ones, and the five numbers."""

import pytest
import torch

from lle.config import EnhancerSettings
from lle.enhancers import build_enhancer
from lle.exposure.camera import linear_to_srgb, srgb_to_linear
from lle.losses.distribution import apart, distribution, means

PHOTOS = torch.rand(6, 3, 20, 24, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.3, 1, 6).view(
    6, 1, 1, 1
)


def test_batches_of_the_same_means_are_nowhere_apart_in_whatever_order():
    assert distribution(PHOTOS.flip(0), PHOTOS) == pytest.approx(0, abs=1e-7)


def test_it_is_the_distance_of_the_sorted_means():
    grey, white = torch.full((2, 3, 4, 4), 0.5), torch.ones(2, 3, 4, 4)
    assert distribution(grey, white) == pytest.approx(0.5 + 0.5)
    red = torch.zeros(1, 3, 4, 4)
    red[:, 0] = 0.6
    assert distribution(red, torch.zeros(1, 3, 4, 4)) == pytest.approx(0.6 / 3 + 0.2)


def test_without_their_levels_sets_of_one_cast_and_one_spread_are_alike():
    darker = 0.8 * PHOTOS
    assert distribution(darker - 0.1, darker, level=False) == pytest.approx(0, abs=1e-6)
    assert distribution(darker - 0.1, darker) > 0.15
    assert distribution(darker, PHOTOS, level=False) > 0.001
    assert distribution(darker * torch.tensor([1.2, 1.0, 0.8]).view(1, 3, 1, 1), darker, level=False) > 0.02


def test_one_mean_for_all_is_far_from_photos_that_differ():
    means = PHOTOS.mean(dim=(1, 2, 3), keepdim=True)
    assert distribution(PHOTOS / means * means.mean(), PHOTOS) > 0.05


def test_sets_of_unequal_size_are_compared_by_their_quantiles():
    assert apart(means(PHOTOS.repeat(3, 1, 1, 1)), means(PHOTOS)) < 0.03
    assert apart(means(PHOTOS[:1]), means(PHOTOS[:1].repeat(5, 1, 1, 1))) == pytest.approx(0, abs=1e-6)


def scene(camera: bool = False):
    torch.manual_seed(0)
    return build_enhancer(EnhancerSettings(arch="scene", denoise=0, camera=camera)).eval()


def test_a_cast_is_taken_out_before_anything_is_decided():
    usual, cast = scene(camera=True), torch.tensor([-0.6, 0.3, 0.3])
    photos = PHOTOS * 0.3
    tinted = linear_to_srgb(srgb_to_linear(photos) * torch.exp(-cast).view(1, 3, 1, 1))
    with torch.no_grad():
        wanted = usual(photos).image
        before = (usual(tinted).image - wanted).abs().mean()
        usual.camera[:3] = cast
        after = (usual(tinted).image - wanted).abs().mean()
    assert after < 0.01 < before / 5


def test_its_level_may_follow_the_light_of_the_scene():
    network, photos = scene(camera=True), PHOTOS * 0.1
    with torch.no_grad():
        usual = network.light(photos)[1].flatten()
        network.camera[4] = -1  # the same exposure for every photo
        same = network.light(photos)[1].flatten()
        network.camera[3] = 0.5
        more = network.light(photos)[1].flatten()
    assert usual.std() > 0.1 and same.std() < 1e-3
    torch.testing.assert_close(more, same + 0.5)


def test_the_five_numbers_learn_alone_or_not_at_all():
    for camera in (False, True):
        network = scene(camera).train()
        before = {name: each.clone() for name, each in network.named_parameters()}
        optimiser = torch.optim.Adam(network.parameters(), 1e-3)
        (network(PHOTOS * 0.2).image.mean() - 0.2).square().backward()
        optimiser.step()
        changed = {name for name, each in network.named_parameters() if not torch.equal(each, before[name])}
        assert changed == ({"camera"} if camera else {"head.4.weight", "head.4.bias"})


def test_one_that_adapts_decides_while_it_learns_as_it_will_afterwards():
    network, photos = scene(camera=True), PHOTOS * 0.2
    with torch.no_grad():
        assert torch.equal(network.train()(photos).image, network.eval()(photos).image)


def test_an_adaptation_begins_as_the_model_it_begins_with():
    usual, own = scene(), scene(camera=True)
    assert "camera" not in usual.state_dict()
    with torch.no_grad():
        usual.head[-1].weight.add_(0.01)
    own.load_state_dict(usual.state_dict())
    with torch.no_grad():
        assert torch.equal(own(PHOTOS * 0.2).image, usual(PHOTOS * 0.2).image)
