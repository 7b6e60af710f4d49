"""Looking light up in a table gives what computing it does, and the network does so for large pictures of bytes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import lle
from lle.enhancers import by_table
from lle.enhancers.by_table import LightTable
from lle.enhancers.exposure import ExposureEnhancer, OneExposure
from lle.enhancers.light import Light, linear_light, relight, told
from lle.enhancers.tiles import EVERYWHERE, WHITE
from lle.exposure.camera import expose, linear_to_srgb


@pytest.fixture(scope="module")
def dark() -> Tensor:
    light = torch.rand(1, 3, 6, 9, generator=torch.Generator().manual_seed(2))
    scene = linear_to_srgb(torch.nn.functional.interpolate(light, size=(200, 300), mode="bilinear"))
    return (WHITE * expose(scene, -3.0)).round().to(torch.uint8)


def known() -> OneExposure:
    enhancer = lle.load("bundled").enhancer
    assert isinstance(enhancer, OneExposure)
    return enhancer


def local() -> OneExposure:
    enhancer = ExposureEnhancer(thumbnail_size=16, width=8, denoise=0, local=1.0).eval()
    assert enhancer.places is not None
    torch.nn.init.normal_(enhancer.places[-1].weight, std=2.0, generator=torch.Generator().manual_seed(0))
    return enhancer


def plain() -> OneExposure:
    enhancer = ExposureEnhancer(thumbnail_size=16, width=8, denoise=8).eval()
    torch.nn.init.constant_(enhancer.exposure.bias, 0.5)
    return enhancer


@pytest.mark.parametrize("strength", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("network", [known, local, plain])
@torch.inference_mode()
def test_a_place_becomes_what_its_curve_makes_of_it(network, strength: float, dark: Tensor):
    light, _ = network().light(dark)
    relit, k = computed(light, dark, strength)
    found = LightTable(light, dark, strength)(EVERYWHERE)
    assert (found[:, :3] - relit).abs().max() < 0.3 / WHITE
    assert (found[:, 3:] - told(k)).abs().max() < 1e-3
    rounded = LightTable(light, dark, strength, as_bytes=True)((slice(20, 50), slice(7, 300)))
    assert (rounded - WHITE * relit[..., 20:50, 7:]).abs().max() < 0.8


@pytest.mark.parametrize("denoise", [False, True])
@torch.inference_mode()
def test_a_large_picture_comes_out_as_its_floats_do(denoise: bool, dark: Tensor, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(by_table, "ENOUGH_PIXELS", dark[0, 0].numel() - 1)
    enhancer = known()
    light, _ = enhancer.light(dark)
    assert by_table.worth_a_table(dark)
    found = enhancer.under(light, dark, denoise=denoise)
    expected = enhancer.under(light, dark / WHITE, denoise=denoise)
    assert found.dtype == torch.uint8
    assert (found - WHITE * expected).abs().max() < 1.2


@pytest.mark.parametrize("broken", ["exposure", "local"])
@pytest.mark.parametrize("as_bytes", [False, True])
@torch.inference_mode()
def test_light_that_is_no_number_is_refused(broken: str, as_bytes: bool, dark: Tensor):
    light, _ = local().light(dark)
    light = light._replace(**{broken: torch.full_like(getattr(light, broken), torch.nan)})
    with pytest.raises(ValueError, match="not numbers"):
        LightTable(light, dark, as_bytes=as_bytes)


def test_a_table_is_for_large_pictures_of_bytes(dark: Tensor):
    large = torch.zeros(1, 3, 600, 700, dtype=torch.uint8)
    assert by_table.worth_a_table(large)
    assert not any(map(by_table.worth_a_table, (dark, large / WHITE, large.expand(2, -1, -1, -1))))


def computed(light: Light, image: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    linear = linear_light(image)
    return relight(linear, light, light.local_stops(linear, image, EVERYWHERE), strength)
