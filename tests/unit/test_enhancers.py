import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lle.config import EnhancerSettings, PriorSettings
from lle.enhancers import NETWORKS, build_enhancer
from lle.enhancers.compact import CompactEnhancer
from lle.enhancers.curve_maps import CurveEnhancer, apply_curves
from lle.enhancers.retinex import RetinexEnhancer, average_pool
from lle.prior.guidance_heads import build_guidance_head


def parameters(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def test_every_line_of_the_table_is_a_network_of_its_own():
    built = {arch: type(build_enhancer(EnhancerSettings(arch=arch))) for arch in NETWORKS}
    assert len(set(built.values())) == len(NETWORKS)


def test_an_unknown_kind_is_refused_with_the_known_ones():
    unknown = EnhancerSettings().model_copy(update={"arch": "retinxe"})
    with pytest.raises(ValueError, match="enhancer.arch: there is no network retinxe; choose from retinex, curves, "):
        build_enhancer(unknown)


def test_an_unknown_guidance_head_is_refused_with_the_known_ones():
    unknown = PriorSettings().model_copy(update={"guidance": "promts"})
    with pytest.raises(
        ValueError, match="prior.guidance: there is no guidance head promts; choose from prompts, latent, "
    ):
        build_guidance_head(unknown, None)


def test_retinex_has_the_published_number_of_parameters():
    assert parameters(RetinexEnhancer()) == 278_790


def test_curves_have_the_published_number_of_parameters():
    assert parameters(CurveEnhancer()) == 79_416


def test_compact_stays_under_a_hundred_thousand_parameters():
    assert parameters(CompactEnhancer()) < 100_000


@settings(max_examples=25, deadline=None)
@given(st.integers(6, 40), st.integers(6, 40), st.sampled_from([1, 2, 3, 6]))
def test_matrix_pooling_equals_adaptive_pooling(height: int, width: int, bins: int):
    x = torch.rand(2, 3, height, width)
    torch.testing.assert_close(
        average_pool(x, bins), torch.nn.functional.adaptive_avg_pool2d(x, bins), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("size", [(7, 5), (33, 64), (120, 31)])
@pytest.mark.parametrize(
    "enhancer", [RetinexEnhancer(), CurveEnhancer(), CompactEnhancer()], ids=["retinex", "curves", "compact"]
)
def test_any_size_comes_back_in_range_at_its_own_size(enhancer, size):
    image = torch.rand(2, 3, *size)
    enhanced = enhancer(image).image
    assert enhanced.shape == image.shape
    assert torch.isfinite(enhanced).all() and enhanced.min() >= 0 and enhanced.max() <= 1


@pytest.mark.parametrize(("curve", "expected"), [(-1.0, 1 - 0.75**256), (0.0, 0.25), (1.0, 0.25**256)])
def test_eight_curves_at_their_ends_square_the_light_or_its_absence_eight_times(curve: float, expected: float):
    maps = torch.full((1, 24, 4, 4), curve, dtype=torch.float64)
    image = torch.full((1, 3, 4, 4), 0.25, dtype=torch.float64)
    torch.testing.assert_close(apply_curves(image, maps.chunk(8, dim=1)), torch.full_like(image, expected))


def test_each_curve_acts_on_its_own_channel():
    maps = torch.zeros(1, 24, 2, 2)
    maps[:, 4] = -1.0  # green of the second curve
    image = torch.full((1, 3, 2, 2), 0.5)
    assert apply_curves(image, maps.chunk(8, dim=1))[0, :, 0, 0].tolist() == [0.5, 0.75, 0.5]


def test_fresh_curves_hardly_change_a_picture():
    torch.manual_seed(0)
    image = torch.rand(1, 3, 24, 32)
    with torch.no_grad():
        enhanced, maps = CurveEnhancer()(image)
    assert maps.shape == (1, 24, 24, 32) and 0 < float(maps.abs().max()) < 0.1
    torch.testing.assert_close(enhanced, image, atol=0.05, rtol=0)


def test_compact_keeps_white_white_and_black_black():
    torch.manual_seed(0)
    enhancer = CompactEnhancer()
    torch.nn.init.normal_(enhancer.head.weight, 0, 1.0)
    image = torch.rand(1, 3, 40, 40)
    image[..., :10, :] = 1.0
    image[..., 10:20, :] = 0.0
    enhanced = enhancer(image).image
    torch.testing.assert_close(enhanced[..., :10, :], image[..., :10, :])
    assert (enhanced[..., 10:20, :] == 0).all()


def test_compact_starts_as_a_copy():
    image = torch.rand(2, 3, 24, 40)
    torch.testing.assert_close(CompactEnhancer()(image).image, image)


def test_compact_keeps_the_ratio_of_the_channels():
    image = torch.rand(1, 3, 16, 16) * 0.3 + 0.05
    enhancer = CompactEnhancer()
    torch.nn.init.constant_(enhancer.head.bias, 0.5)
    enhanced = enhancer(image).image
    torch.testing.assert_close(enhanced / enhanced.sum(1, keepdim=True), image / image.sum(1, keepdim=True))


@pytest.mark.parametrize(("gain", "expected"), [(4.0, 4 / 7), (1.0, 0.25), (0.25, 1 / 13)])
def test_compact_multiplies_the_odds_of_the_brightest_channel(gain: float, expected: float):
    enhancer = CompactEnhancer()
    h = math.log(gain) / 4
    torch.nn.init.constant_(enhancer.head.bias, h / (1 - abs(h)))  # the inverse of softsign
    enhanced = enhancer(torch.full((1, 3, 8, 8), 0.25)).image  # odds 1/3, times the gain
    torch.testing.assert_close(enhanced, torch.full((1, 3, 8, 8), expected))


@pytest.mark.parametrize("overshoot", [-30.0, 30.0])
def test_compact_turns_back_from_far_beyond_its_range(overshoot: float):
    enhancer = CompactEnhancer()
    torch.nn.init.constant_(enhancer.head.bias, overshoot)
    enhancer(torch.full((1, 3, 16, 16), 0.3)).image.mean().backward()
    assert abs(float(enhancer.head.bias.grad)) > 1e-5
