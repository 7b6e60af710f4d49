"""The reference camera, and the measure that brings its photos back: the same for every training."""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tiny import PhotoStream, Told, photo, tiny_prior, tiny_settings, tiny_validator
from torch import Tensor, nn

from lle.config import TrainSettings
from lle.enhancers.base import Enhanced, Enhancer
from lle.exposure.reference import LARGEST, REFERENCE, TAKES, taken_again
from lle.faults import MADE_BY
from lle.metrics import psnr
from lle.training.loop import train
from lle.training.validation import ValidationSet, Validator, restored

CPU = torch.device("cpu")
PHOTOS = [photo("well_lit", row, side).permute(2, 0, 1) for row, side in ((1, 40), (2, 64), (3, 48))]
TAKEN = [taken_again(each, index) for index, each in enumerate(PHOTOS)]


def taken(photo: Tensor, index: int) -> tuple[Tensor, Tensor]:
    """`taken_again` in [0, 1]."""
    small, wrong = taken_again(photo, index)
    return small.float() / 255, wrong.float() / 255


class Gain(Enhancer):
    """One gain for every picture."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, image: Tensor) -> Enhanced:
        return Enhanced((self.gain * image).clamp(0, 1), image[:, :1])


def test_a_photo_is_taken_again_the_same_way_each_time_and_otherwise_at_another_place():
    small, wrong = taken_again(PHOTOS[0], 5)
    again, other = taken_again(PHOTOS[0], 5)[1], taken_again(PHOTOS[0], 6)[1]
    assert torch.equal(small, PHOTOS[0]) and wrong.dtype == torch.uint8
    assert wrong.shape == (TAKES, *small.shape) and torch.equal(wrong, again)
    assert not torch.equal(wrong, other) and not torch.equal(wrong[0], wrong[1])


def test_photos_come_out_small_whatever_their_shape():
    assert taken_again(photo("well_lit", 1, 400)[:300].permute(2, 0, 1), 0)[0].shape == (3, 144, LARGEST)
    strip = torch.full((3, 2, 900), 128, dtype=torch.uint8)
    assert taken_again(strip, 0)[1].shape == (TAKES, 3, 8, LARGEST)


def test_most_of_its_photos_lack_light_and_all_are_wrong():
    photos = [taken(PHOTOS[0], index) for index in range(40)]
    darker = torch.stack([wrong.mean(dim=(1, 2, 3)) < small.mean() for small, wrong in photos]).float().mean()
    assert 0.8 < float(darker) < 1
    assert all(float(psnr(wrong, small.expand_as(wrong)).max()) < 60 for small, wrong in photos)


def test_what_comes_back_is_compared_with_the_photo_itself():
    expected = [
        psnr((2 * wrong).clamp(0, 1), small.expand_as(wrong))
        for small, wrong in (taken(each, index) for index, each in enumerate(PHOTOS))
    ]
    assert restored(Gain(2.0), TAKEN, CPU) == pytest.approx(float(torch.cat(expected).mean()), rel=1e-5)
    untouched = restored(Gain(1.0), TAKEN, CPU)
    assert restored(Gain(2.0), TAKEN, CPU) > untouched > restored(Gain(0.3), TAKEN, CPU)


def test_another_camera_gives_another_number():
    dark = REFERENCE.model_copy(update={"exposure": REFERENCE.exposure.model_copy(update={"under": (6.0, 7.0)})})
    bag = MADE_BY["light"].bag(dark)
    darker = [taken_again(photo, index, bag) for index, photo in enumerate(PHOTOS)]
    assert restored(Gain(1.0), darker, CPU) < restored(Gain(1.0), TAKEN, CPU)


def test_it_needs_no_dark_photos_and_no_pairs():
    metrics = Validator(ValidationSet(well_lit=PHOTOS), tiny_prior().guidance, CPU, "restored").metrics(Gain(2.0))
    assert metrics == {"restored": restored(Gain(2.0), TAKEN, CPU)}
    assert "restored" not in Validator(ValidationSet(dark=PHOTOS), tiny_prior().guidance, CPU).metrics(Gain(2.0))


def test_it_may_choose_the_best_enhancer_without_pairs():
    told = Told()
    settings = tiny_settings(loop={"metric": "restored"})
    validator = tiny_validator(tiny_prior(), pairs=0)
    validator = Validator(validator.photos, validator.tower, CPU, settings.loop.metric)
    outcome = train(settings, tiny_prior(), PhotoStream, validator, told.hooks(), None)
    found = {report.step: report.metrics["restored"] for report in told.reports if report.metrics and report.step > 6}
    assert outcome.best == (max(found.values()), max(found, key=found.__getitem__))
    assert validator.better(20.0, 19.0) and not validator.better(19.0, 20.0)


def test_no_pairs_need_to_be_given_for_it():
    settings = TrainSettings(data={"dark": "night", "well_lit": "day"}, loop={"metric": "restored"})
    assert settings.loop.metric == "restored"


def _rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/met", rank=rank, world_size=2)
    sets = [ValidationSet(well_lit=PHOTOS[:count]) for count in (3, 1)]  # of one photo, the other rank has none
    found = [Validator(each, tiny_prior().guidance, CPU).metrics(Gain(2.0))["restored"] for each in sets]
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def test_ranks_share_the_photos_out_and_come_to_the_same_number(tmp_path: Path):
    mp.spawn(_rank, args=(tmp_path,), nprocs=2)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second == pytest.approx([restored(Gain(2.0), TAKEN[:count], CPU) for count in (3, 1)])
