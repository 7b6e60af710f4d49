"""Rounds that begin with the best, end early, and are undone where they made it worse."""

from pathlib import Path

import pytest
import torch
from tiny import Told, photo, tiny_prior, tiny_settings, tiny_train, tiny_validator
from torch import Tensor

from lle.prior.guidance_heads import build_guidance_head
from lle.training.checkpoint import read
from lle.training.schedule import Phase

PROMPT_STEPS, ENHANCEMENT_STEPS, BATCH = 15, 12, 4
ROUND_ONE_ENDS = PROMPT_STEPS + 1 + ENHANCEMENT_STEPS
LESSONS = {
    "schedule": {
        "prompt_init": {"steps": PROMPT_STEPS},
        "reconstruction": {"steps": 1},
        "enhancement": {"steps": ENHANCEMENT_STEPS},
        "refinement": {"steps": 15},
        "rounds": 3,
        "from_best": True,
    },
    "optimiser": {"enhancer_lr": 1e-2, "prompt_lr": 1e-2, "ema_decay": 0.0},
    "objective": {"identity": {"weight": 0.0}},
    "loop": {"validate_every": 3, "checkpoint_every": 5},
}


def lessons(**changes: dict) -> dict:
    return {name: {**LESSONS.get(name, {}), **changes.get(name, {})} for name in LESSONS.keys() | changes.keys()}


def turned(name: str, row: int) -> Tensor:
    """Photos whose sets are exchanged once the first round is over: the judge learns the opposite of light."""
    first = BATCH * (ROUND_ONE_ENDS if name == "dark" else PROMPT_STEPS)
    other = {"dark": "well_lit", "well_lit": "dark"}[name]
    return photo(name if row < first or row >= 900 else other, row)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in other)


def notes(told: Told) -> list[str]:
    return [report.note for report in told.reports if report.note]


@pytest.fixture(scope="module")
def misled(tmp_path_factory: pytest.TempPathFactory):
    """A training whose judge is taught the opposite after the first round, and what was told."""
    told = Told(folder=tmp_path_factory.mktemp("misled"))
    return tiny_train(tiny_settings(**lessons(), seed=1), told=told, draw=turned), told


def test_a_round_that_a_bad_judge_led_astray_is_undone_and_told(misled):
    outcome, told = misled
    assert outcome.best[1] <= ROUND_ONE_ENDS
    assert [each.split(":")[0] for each in notes(told)] == ["round 2 is undone", "round 3 is undone"]
    assert f"and {outcome.best[0]:.3f} at step {outcome.best[1]}, which is kept" in notes(told)[0]


def test_the_round_after_begins_with_the_best_and_with_the_prompts_that_led_to_it(misled):
    _, told = misled
    ends = [report.step for report in told.reports if report.ended_round]
    first, second = (read(told.folder / f"{step:06d}") for step in ends[:2])
    assert same(second.part("guide"), first.part("guide")), "what was refined badly is forgotten"
    for checkpoint in (first, second):
        assert same(checkpoint.part("enhancer"), checkpoint.part("best")) and not checkpoint.part("enhancer_adam")
    assert same(second.part("earlier/1"), second.part("best")), "the best is the newest of the enhanced sets"
    assert not same(second.part("earlier/0"), second.part("best")), "beside what must not come again"


@pytest.mark.parametrize("tolerance", [0.05, 0.5, 100])
def test_of_validations_that_are_about_as_good_as_the_best_the_latest_is_taken(tolerance: float, tmp_path: Path):
    told = Told(folder=tmp_path)
    settings = tiny_settings(**lessons(schedule={**LESSONS["schedule"], "tolerance": tolerance}), seed=1)
    outcome = tiny_train(settings, told=told, draw=turned)
    validations = [report for report in told.reports if "psnr" in report.metrics and report.step > PROMPT_STEPS + 1]
    reached, taken = -1.0, None
    for report in validations:
        value = report.metrics["psnr"]
        taken = report if value > reached - tolerance else taken
        reached = max(reached, value)
    assert taken and outcome.best == (taken.metrics["psnr"], taken.step)
    assert bool(notes(told)) == (taken is not validations[-1]), "a round that ends in one is kept"
    amid = sorted(tmp_path.iterdir())[-3]
    assert tiny_train(settings, resume=read(amid), draw=turned).best == outcome.best


def test_without_it_the_last_weights_go_on(tmp_path: Path):
    settings = lessons()
    settings["schedule"]["from_best"] = False
    told = Told(folder=tmp_path)
    outcome = tiny_train(tiny_settings(**settings), told=told, draw=turned)
    assert not notes(told)
    last = [report for report in told.reports if report.ended_round][-1]
    assert last.metrics["psnr"] < outcome.best[0] - 0.2, "the judge is bad indeed"


def test_a_training_resumed_amid_the_rounds_goes_on_the_same(misled, tmp_path: Path):
    outcome, told = misled
    for folder in sorted(told.folder.iterdir())[3:-1:2]:
        resumed = tiny_train(tiny_settings(**lessons()), resume=read(folder), draw=turned)
        assert same(resumed.enhancer.state_dict(), outcome.enhancer.state_dict())
        assert same(resumed.guidance_head, outcome.guidance_head), folder.name


def test_a_round_ends_when_nothing_became_better_for_long_enough():
    told = Told()
    settings = tiny_settings(**lessons(schedule={**LESSONS["schedule"], "enhancement": {"steps": 60}, "patience": 2}))
    outcome = tiny_train(settings, told=told, draw=turned)
    assert outcome.finished and outcome.progress.phase_steps["enhancement"] < 3 * 60
    for note in notes(told):
        assert "no better psnr for 6 steps" in note


def test_a_round_ends_when_its_judge_cannot_tell_the_enhanced_from_the_well_lit():
    told = Told()
    settings = tiny_settings(
        **lessons(schedule={**LESSONS["schedule"], "enhancement": {"steps": 90}, "rounds": 1, "min_gap": 0.2})
    )
    outcome = tiny_train(settings, told=told)
    gaps = [report.metrics["judge_gap"] for report in told.reports if "judge_gap" in report.metrics]
    assert outcome.progress.phase_steps["enhancement"] < 90 and outcome.progress.schedule.phase is Phase.DONE
    assert gaps[0] > 0.5 and min(gaps[:-1]) >= 0.2 > gaps[-1]
    assert f"judge_gap {gaps[-1]:.3f}" in notes(told)[-1]


def test_the_gap_is_what_the_guide_says_of_both_sets():
    told, prior = Told(), tiny_prior()
    outcome = tiny_train(tiny_settings(**lessons(schedule={**LESSONS["schedule"], "rounds": 1})), prior, told)
    guidance_head = build_guidance_head(tiny_settings().prior, prior.guidance)
    guidance_head.load_state_dict(outcome.guidance_head)
    validator = tiny_validator(prior)

    def penalty(photos, enhance) -> float:
        return sum(
            float(guidance_head.penalty(prior.guidance(enhance(each[None] / 255)).features)) for each in photos
        ) / len(photos)

    with torch.no_grad():
        expected = penalty(validator.photos.dark, lambda image: outcome.enhancer(image).image)
        expected -= penalty(validator.photos.well_lit, lambda image: image)
    assert validator.metrics(outcome.enhancer, guidance_head)["judge_gap"] == pytest.approx(expected, abs=1e-5)
    assert "judge_gap" not in validator.metrics(outcome.enhancer)
