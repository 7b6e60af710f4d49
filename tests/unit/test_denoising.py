"""The last phase: the light of the best enhancer rests, its denoiser learns on."""

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import Told, newest, photo, tiny_settings, tiny_train
from torch import Tensor

from lle.config import ENHANCEMENT_TERMS, TrainSettings
from lle.exposure.curves import bag_of_curves
from lle.training.checkpoint import read
from lle.training.loop import Outcome
from lle.training.schedule import Phase

ENHANCING, DENOISING = 4, 5


def denoising(steps: int = DENOISING, **changes: Any) -> TrainSettings:
    """Restoration of noisy exposures by a small bilateral network, then denoising."""
    off = {name: {"weight": 0.0} for name in ENHANCEMENT_TERMS}
    noiseless = {name: {"frequency": 0.0} for name in ("tone", "gamma", "log")}
    values: dict[str, Any] = {
        "enhancer": {"arch": "bilateral", "thumbnail_size": 32, "width": 4, "denoise": 4},
        "objective": {**off, "restoration": {"weight": 1.0, "structure": 0.3, "clean_share": 0.25}},
        "curves": {**noiseless, "exposure": {"frequency": 1.0, "shot": [0.01, 0.01]}},
        "schedule": {"enhancement": {"steps": ENHANCING}, "rounds": 1, "denoising": {"steps": steps}},
        "optimiser": {"enhancer_lr": 1e-2, "lr_schedule": "cosine"},
    }
    return tiny_settings(**values | {name: values.get(name, {}) | each for name, each in changes.items()})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Told]:
    told = Told(tmp_path_factory.mktemp("every step"), save_at=None)
    return tiny_train(denoising(loop={"checkpoint_every": 1}), told=told), told


def split(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights of the light and of the denoiser."""
    light = {name: each for name, each in weights.items() if not name.startswith("denoiser.")}
    return light, {name: each for name, each in weights.items() if name not in light}


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(each, theirs[name]) for name, each in ours.items())


def test_it_comes_last_and_learns_by_restoration_of_well_lit_photos_alone(whole):
    outcome, told = whole
    steps = {"reconstruction": 3, "enhancement": ENHANCING, "denoising": DENOISING}
    assert outcome.finished and outcome.progress.phase_steps == steps
    last = [step for step in told.steps if step.phase is Phase.DENOISING]
    assert all({"term/restoration"} == {name for name in step.metrics if "term/" in name} for step in last)
    assert outcome.progress.dark_row == 4 * 3, "the copies"
    assert outcome.progress.well_lit_row == 4 * (ENHANCING + DENOISING)


def test_the_light_of_the_best_enhancer_rests_while_its_denoiser_learns(whole):
    told = whole[1]
    checkpoints = [read(each).part("enhancer") for each in sorted(told.folder.iterdir())][-DENOISING - 1 :]
    validated = [each for each in told.reports if each.metrics and 3 < each.step <= 3 + ENHANCING]
    best = max(validated, key=lambda report: report.metrics["psnr"])
    weights = dict(zip((each.step for each in told.reports), told.weights, strict=True))
    assert same(checkpoints[0], weights[best.step]), "it begins with the best"
    for before, after in pairwise(checkpoints):
        (light, denoiser), (later_light, later_denoiser) = split(before), split(after)
        assert same(light, later_light) and not same(denoiser, later_denoiser)


def test_the_light_of_the_exposure_network_rests_as_well(tmp_path: Path):
    told = Told(tmp_path)
    tiny_train(denoising(enhancer={"arch": "exposure"}, loop={"checkpoint_every": 1}), told=told)
    checkpoints = [read(each).part("enhancer") for each in sorted(tmp_path.iterdir())][-DENOISING - 1 :]
    (light, denoiser), (later_light, later_denoiser) = split(checkpoints[0]), split(checkpoints[-1])
    assert same(light, later_light) and not same(denoiser, later_denoiser)


def test_the_last_enhancer_is_the_one_whatever_was_measured_before(whole):
    outcome, told = whole
    assert outcome.best[1] == told.reports[-1].step == 3 + ENHANCING + DENOISING
    assert same(outcome.enhancer.state_dict(), told.weights[-1])


def test_the_learning_rate_falls_again(whole):
    rates = [step.metrics["lr/enhancer"] for step in whole[1].steps if step.phase is Phase.DENOISING]
    assert rates[0] == 1e-2 and rates == sorted(rates, reverse=True) and 0 < rates[-1] < 2e-3


@pytest.mark.parametrize("stop_at", [3 + ENHANCING, 3 + ENHANCING + 1, 3 + ENHANCING + 3])
def test_stopped_at_any_step_it_goes_on_the_same(stop_at: int, whole, tmp_path: Path):
    before, after = Told(tmp_path, stop_at=stop_at), Told()
    tiny_train(denoising(), told=before)
    resumed = tiny_train(denoising(), told=after, resume=newest(tmp_path))
    outcome, told = whole
    assert before.losses() + after.losses() == told.losses()
    assert same(resumed.enhancer.state_dict(), outcome.enhancer.state_dict())


def test_it_comes_nearer_to_what_the_resting_enhancer_makes_without_noise():
    settings, told = denoising(100, loop={"validate_every": 1000}), Told()
    outcome = tiny_train(settings, told=told)
    begun = next(index for index, report in enumerate(told.reports) if report.phase is Phase.DENOISING)
    resting = copy.deepcopy(outcome.enhancer)
    resting.load_state_dict(told.weights[begun])
    well_lit = torch.stack([photo("well_lit", 5000 + i) for i in range(16)]).permute(0, 3, 1, 2).float() / 255
    noisy, without = (bag_of_curves(well_lit, settings.curves, range(16), noise) for noise in (True, False))
    with torch.no_grad():
        aim = resting(without).image
        before, after = ((each(noisy).image - aim).abs().mean() for each in (resting, outcome.enhancer))
    assert float(after) < 0.6 * float(before)


@pytest.mark.parametrize("enhancer", [{"denoise": 0}, {"arch": "compact"}])
def test_a_network_without_a_denoiser_skips_it(enhancer: dict[str, Any]):
    assert tiny_train(denoising(enhancer=enhancer)).progress.phase_steps.keys() == {"reconstruction", "enhancement"}


def test_nothing_to_restore_by_is_refused():
    guided = {"guidance": {"weight": 1.0}, "restoration": {"weight": 0.0}}
    with pytest.raises(ValueError, match=r"objective\.restoration\.weight: .* schedule\.denoising\.steps 0"):
        denoising(objective=guided)
