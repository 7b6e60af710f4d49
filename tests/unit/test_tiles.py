"""Pictures of any size: what is done in tiles is what would have been done in one piece."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lle.config import EnhancerSettings
from lle.enhancers import Enhancer, build_enhancer, tiles
from lle.enhancers.peers import Sci, ZeroDcePlusPlus
from lle.enhancers.tiles import in_tiles, tiles_of

ENHANCERS = {
    "retinex, zeros": lambda: build_enhancer(EnhancerSettings(arch="retinex", padding="zeros")),
    "retinex, reflect": lambda: build_enhancer(EnhancerSettings(arch="retinex", padding="reflect")),
    "curves": lambda: build_enhancer(EnhancerSettings(arch="curves")),
    "compact": lambda: build_enhancer(EnhancerSettings(arch="compact", thumbnail_size=48, width=8)),
    "bilateral": lambda: build_enhancer(EnhancerSettings(arch="bilateral", thumbnail_size=48, width=8, denoise=8)),
    "exposure": lambda: build_enhancer(
        EnhancerSettings(arch="exposure", thumbnail_size=48, width=8, denoise=8, local=0.7)
    ),
    "zero-dce++": ZeroDcePlusPlus,
    "zero-dce++/12": lambda: ZeroDcePlusPlus(12),
    "sci": Sci,
}


def strong(name: str) -> Enhancer:
    """Random weights so large that a seam would be seen."""
    torch.manual_seed(3)
    enhancer = ENHANCERS[name]().eval()
    with torch.no_grad():
        for parameter in enhancer.parameters():
            parameter.add_(0.06 * torch.randn_like(parameter))
    return enhancer


def photo(height: int, width: int) -> Tensor:
    """Bright on one side, dark on the other, with noise: the whole looks unlike any of its tiles."""
    slope = torch.linspace(0, 1, height)[:, None] * torch.linspace(0.2, 1, width)
    return (slope + 0.2 * torch.rand(2, 3, height, width)).clamp(0, 1)


@pytest.mark.parametrize("name", ENHANCERS)
@pytest.mark.parametrize("size", [(97, 50), (49, 131), (145, 48)])
def test_a_picture_in_tiles_is_the_picture_in_one_piece(
    name: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    enhancer, image = strong(name), photo(*size)
    with torch.inference_mode():
        whole = enhancer.picture(image)
        monkeypatch.setitem(tiles.TILE, "cpu", 48)
        parts = enhancer.picture(image)
    assert (whole - image).abs().max() > 0.05, "the network does nothing"
    torch.testing.assert_close(parts, whole, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", ENHANCERS)
def test_the_picture_is_that_of_forward(name: str):
    enhancer, image = strong(name), photo(40, 56)
    with torch.inference_mode():
        assert torch.equal(enhancer.picture(image), enhancer(image).image)


@pytest.mark.parametrize("name", ["retinex, reflect", "curves", "sci"])
def test_a_gradient_flows_through_large_pictures(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(tiles.TILE, "cpu", 48)
    image = photo(60, 50).requires_grad_()
    strong(name).picture(image).sum().backward()
    assert torch.isfinite(image.grad).all() and (image.grad.abs().sum(dim=1) > 0).any(dim=2).all()


@pytest.mark.parametrize("size", [(1, 1), (48, 49), (100, 7)])
def test_tiles_cover_every_pixel_once(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(tiles.TILE, "cpu", 48)
    image, times = torch.rand(1, 3, *size), torch.zeros(size)
    for tile in tiles_of(image, 5):
        times[tile.place] += 1
        assert torch.equal(image[(..., *tile.seen)][(..., *tile.inside)], image[(..., *tile.place)])
    assert (times == 1).all()


def test_a_reach_that_is_too_short_shows_seams(monkeypatch: pytest.MonkeyPatch):
    enhancer, image = strong("curves"), photo(97, 50)
    with torch.inference_mode():
        whole = enhancer.picture(image)
        monkeypatch.setitem(tiles.TILE, "cpu", 48)
        assert not torch.allclose(in_tiles(lambda tile: enhancer(tile).image, image, reach=6), whole, atol=2e-5)
