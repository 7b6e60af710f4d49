"""The networks that clear haze and rain, and their trainings."""

from __future__ import annotations

import pytest
import torch
from tiny import PhotoStream, Told, photo, tiny_prior, tiny_settings
from torch import Tensor

from lle.baselines import dark_channel
from lle.enhancers.haze import CLEAR, SLOPE, THICKEST, HazeEnhancer, cleared, g
from lle.enhancers.rain import RainEnhancer
from lle.exposure.reference import taken_again
from lle.faults import reference_of
from lle.images import to_tensor
from lle.metrics import psnr
from lle.model import load
from lle.prior.prompts import PromptPair
from lle.training.loop import train
from lle.training.validation import ValidationSet, Validator, restored
from lle.weather.haze import through_air
from pipelines.data.samples import sample_photos

CPU = torch.device("cpu")
NETWORKS = pytest.mark.parametrize("network", [HazeEnhancer, RainEnhancer])


def clear(name: str, row: int) -> Tensor:
    """A photo from black to white, uint8, (48, 48, 3)."""
    bright = photo("well_lit", row, 48).float()
    return ((bright - 100) * 255 / 155).round().byte()


HELD_OUT = [clear("well_lit", 500 + row).permute(2, 0, 1) for row in range(3)]


def stirred(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The network with weights that do something, in evaluation mode."""
    torch.manual_seed(seed)
    for weight in network.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.05)
    return network.eval()


@NETWORKS
def test_the_network_is_small_and_begins_nearly_as_a_copy(network):
    made, pictures = network().eval(), torch.rand(2, 3, 40, 56)
    assert sum(weight.numel() for weight in made.parameters()) < 150_000
    with torch.no_grad():
        assert float((made(pictures).image - pictures).abs().max()) < 0.06


@NETWORKS
def test_strength_0_leaves_the_picture_as_it_is_and_more_changes_more(network):
    made, pictures = stirred(network()), torch.rand(1, 3, 40, 56)
    with torch.inference_mode():
        changes = [float((made.picture(pictures, each) - pictures).abs().mean()) for each in (0.0, 0.5, 1.0)]
    assert changes[0] < 1e-6 and changes[0] < changes[1] < changes[2]


@NETWORKS
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (33, 150)])
def test_any_size_comes_back_in_range_and_bytes_as_bytes(network, size):
    made, pictures = stirred(network()), torch.rand(1, 3, *size)
    with torch.inference_mode():
        found = made(pictures).image
        assert found.shape == pictures.shape and float(found.min()) >= 0 and float(found.max()) <= 1
        of_bytes = made((pictures * 255).round().byte()).image
    assert of_bytes.dtype == torch.uint8


@NETWORKS
def test_large_pictures_in_pieces_are_those_in_one(network):
    made, pictures = stirred(network()), torch.rand(1, 3, 72, 1100)
    with torch.no_grad():
        in_pieces = made(pictures).image
    with torch.enable_grad():
        whole = made(pictures).image.detach()
    torch.testing.assert_close(in_pieces, whole, atol=2e-5, rtol=0)


def test_the_air_is_inverted_exactly_where_it_is_known():
    scene, air = torch.rand(2, 3, 8, 8), torch.tensor([0.8, 0.75, 0.9]).view(1, 3, 1, 1)
    score = torch.linspace(-2, 2, 64).view(1, 1, 8, 8)
    hazy = through_air(scene, torch.exp(-THICKEST * g(score)), air)
    maps = torch.cat([score - CLEAR, torch.zeros(1, 3, 8, 8)], dim=1).expand(2, -1, -1, -1)
    assert float(maps.abs().max()) < SLOPE
    with torch.no_grad():
        torch.testing.assert_close(cleared(hazy, maps, air), scene, atol=1e-4, rtol=0)


def test_a_place_that_is_thought_too_hazy_still_learns():
    maps = torch.full((1, 4, 4, 4), 6.0, requires_grad=True)
    found = cleared(torch.full((1, 3, 4, 4), 0.4), maps, torch.full((1, 3, 1, 1), 0.9))
    assert float(found.detach().max()) == 0
    (found - 0.3).abs().mean().backward()
    assert float(maps.grad.abs().sum()) > 0


def test_the_dark_channel_takes_even_haze_off_a_picture_with_black_in_every_patch():
    scene = torch.rand(1, 3, 60, 60)
    scene[..., ::5, ::5] = 0
    scene[..., :16, :16] = 0.8  # of the airlight's colour: there the haze itself is seen
    hazy = through_air(scene, torch.tensor(0.5), torch.tensor(0.8))
    found = dark_channel(hazy, 0.999)
    inside = (..., slice(24, None), slice(24, None))
    assert float((found[inside] - scene[inside]).abs().mean()) < 0.02
    assert float((hazy[inside] - scene[inside]).abs().mean()) > 0.1
    assert torch.equal(dark_channel(torch.zeros(1, 3, 20, 20)), torch.zeros(1, 3, 20, 20))


@pytest.mark.parametrize("fault", ["haze", "rain"])
def test_a_short_training_brings_more_back_than_it_was_given(fault: str):
    settings = tiny_settings(
        data={"fault": fault, "image_size": 48},
        enhancer={"arch": fault, "thumbnail_size": 32, "width": 8},
        prior={"words": (f"a {fault} photo", "a clear photo")},
        objective={
            "guidance": {"weight": 0.0},
            "identity": {"weight": 0.0},
            "reconstruction": {"weight": 0.0},
            "smoothness": {"weight": 0.0},
            "restoration": {"weight": 1.0, "clean_share": 0.2},
        },
        schedule={
            "prompt_init": {"steps": 0},
            "reconstruction": {"steps": 0},
            "enhancement": {"steps": 150},
            "rounds": 1,
        },
        optimiser={"enhancer_lr": 5e-3, "lr_schedule": "cosine", "ema_decay": 0.9, "weight_decay": 0.0},
        loop={"validate_every": 150, "log_every": 50},
    )
    told = Told()
    validator = Validator(
        ValidationSet(HELD_OUT, HELD_OUT), tiny_prior().guidance, CPU, "restored", reference_of(fault)
    )
    outcome = train(settings, tiny_prior(), lambda name, row: PhotoStream(name, row, clear), validator, told.hooks())
    taken = [taken_again(each, index, reference_of(fault)) for index, each in enumerate(HELD_OUT)]
    untouched = torch.cat([psnr(wrong.float() / 255, small.float().expand_as(wrong) / 255) for small, wrong in taken])
    found = restored(outcome.enhancer, taken, CPU)
    assert found == pytest.approx(outcome.best[0])
    assert found > float(untouched.mean()) + 0.5


@pytest.mark.parametrize(("shipped", "fault"), [("dehaze", "haze"), ("derain", "rain")])
def test_what_ships_mends_a_photo_and_leaves_a_good_one_alone(shipped: str, fault: str):
    photo = to_tensor(sample_photos(["astronaut"])["astronaut"])[None]
    faulty = reference_of(fault)(photo.expand(4, -1, -1, -1), range(4))
    made = load(shipped)
    with torch.inference_mode():
        mended, alone = made(faulty), made(photo)
    truth = photo.expand_as(faulty)
    assert float((psnr(mended, truth) - psnr(faulty, truth)).mean()) > 1
    assert float(psnr(alone, photo)) > 30


def test_prompts_begin_with_the_words_they_are_given():
    tower = tiny_prior().guidance
    plain, worded = PromptPair(tower, 8), PromptPair(tower, 8, ("a hazy photo", "a clear photo"))
    assert plain.embeddings.shape == worded.embeddings.shape and plain.end == worded.end
    assert torch.equal(plain.embeddings[0], plain.embeddings[1])
    differ = (worded.embeddings[0] != worded.embeddings[1]).any(dim=-1)
    assert differ.nonzero().flatten().tolist() == [2]  # after the start token and "a"
    with pytest.raises(ValueError, match="prior.words: 'a very hazy photo' has 4 tokens; give prior.prompt_tokens 4"):
        PromptPair(tower, 3, ("a very hazy photo", ""))
