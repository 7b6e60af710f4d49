import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tiny import NO_COPY, CountingTower, Told, newest, photo, tiny_prior, tiny_settings, tiny_train
from torch import Tensor

from lle.config import EnhancerSettings, TrainSettings
from lle.enhancers import build_enhancer
from lle.prior.prompts import PromptPair
from lle.prior.towers import Prior
from lle.training.checkpoint import CheckpointError, read
from lle.training.loop import NonFiniteError
from lle.training.optimisers import rest
from lle.training.schedule import DeadLightMap, Phase, advance, first
from lle.training.stepline import StepLine

STEPS = 3 + 3 + 3 + 2 * (3 + 3)  # of tiny_settings()


def phases_of(told: Told) -> list[str]:
    """Phase of each step, from its line."""
    return [re.sub(r"^round (\d) (\w).*", r"\2\1", step.line.split("  ")[0]) for step in told.steps]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory):
    """One uninterrupted training, with a checkpoint at every step."""
    told = Told(folder=tmp_path_factory.mktemp("whole"))
    return tiny_train(tiny_settings(loop={"checkpoint_every": 1}), told=told), told


def test_phases_come_in_order(whole):
    outcome, told = whole
    expected = ["prompt_init", "reconstruction", "e1", "r1", "e2", "r2", "e3"]
    assert phases_of(told) == [each for each in expected for _ in range(3)]
    assert outcome.finished
    assert outcome.progress.schedule.phase is Phase.DONE
    assert outcome.progress.phase_steps == {"prompt_init": 3, "reconstruction": 3, "enhancement": 9, "refinement": 6}


def test_every_photo_taken_is_counted(whole):
    progress = whole[0].progress
    assert (progress.dark_row, progress.well_lit_row) == (4 * STEPS, 4 * (3 + 6))


def test_enhancement_is_validated_regularly_and_at_its_end(whole):
    validated = [report.step for report in whole[1].reports if report.metrics]
    assert validated == [6, 8, 9, 14, 15, 20, 21], "after reconstruction, then every 2 steps and at the end of 3"
    metrics = next(report.metrics for report in whole[1].reports if report.metrics)
    assert metrics.keys() == {"psnr", "ssim", "feature_gap", "distribution", "judge_gap", "restored"}


def test_checkpoints_come_as_often_as_asked_and_at_the_end_of_each_round():
    told = Told(save_at=12)
    tiny_train(tiny_settings(loop={"checkpoint_every": 8}), told=told)
    assert [report.step for report in told.reports if report.write] == [8, 9, 12, 15, 21]
    assert {report.step: report.ended_round for report in told.reports if report.ended_round} == {9: 1, 15: 2, 21: 3}


def test_metrics_hold_terms_rates_and_speed(whole):
    by_phase = dict(zip(phases_of(whole[1]), (step.metrics for step in whole[1].steps), strict=True))
    terms = {name: {each for each in metrics if each.startswith("term/")} for name, metrics in by_phase.items()}
    assert terms["prompt_init"] == {"term/classification"}
    assert terms["reconstruction"] == {"term/reconstruction", "term/copy_error"}
    assert terms["e1"] == {"term/guidance", "term/identity", "term/smoothness"}
    assert terms["r1"] == {"term/rank"}
    last = by_phase["e3"]
    assert (last["lr/enhancer"], last["lr/prompts"]) == (1e-3, 1e-3)
    assert last["images_per_second"] > 0 and 0 < last["data_wait_share"] < 1
    assert (last["skipped_steps"], last["round"]) == (0, 3)
    assert last["loss"] == pytest.approx(
        320 * last["term/guidance"] + 180 * last["term/identity"] + 5 * last["term/smoothness"], rel=1e-5
    )


def test_the_step_line_says_phase_loss_speed_waiting_and_time_left(whole):
    number = r"[\d.]+"
    assert re.fullmatch(
        rf"round 2 enhancement  step 14/21  66\.7 %  loss {number} \(guidance {number} identity {number} smoothness "
        rf"{number}\)  \d+ img/s  wait {number} %  eta \d+ s",
        whole[1].steps[13].line,
    )
    assert whole[1].steps[0].line.startswith("prompt_init  step 1/21  4.8 %  loss 0.69 (classification 0.693)")


def test_time_left_follows_from_the_mean_step():
    settings = tiny_settings(schedule={"prompt_init": {"steps": 1000}})
    line = StepLine(settings)
    before = first(settings.schedule)
    state = before
    for seconds in (60.0, 10.0, 20.0):  # the first step warms up and does not count
        before, state = state, advance(settings.schedule, state, 0.5)
        line.count(8, seconds, seconds / 4)
    text, metrics = line.tell(before, state, {"loss": 0.5})
    remaining = 1000 + STEPS - 3 - 3
    assert f"eta {remaining * 15 // 3600} h {remaining * 15 % 3600 // 60} min" in text
    assert metrics["images_per_second"] == pytest.approx(16 / 30)
    assert metrics["step_seconds"] == pytest.approx(15)
    assert metrics["data_wait_share"] == pytest.approx(0.25)


def test_only_every_nth_step_and_the_ends_of_phases_are_told():
    told = Told()
    tiny_train(tiny_settings(loop={"log_every": 4}), told=told)
    assert [step.step for step in told.steps] == [3, 4, 6, 8, 9, 12, 15, 16, 18, 20, 21]


def test_the_same_seed_gives_the_same_training_and_another_seed_another():
    losses = []
    for seed in (0, 0, 1):
        told = Told()
        tiny_train(tiny_settings(seed=seed, augment={"flip": 0.5, "rotation": 0.5}), told=told)
        losses.append(told.losses())
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


# learning


def test_prompts_learn_to_tell_dark_from_well_lit_and_the_enhancer_follows_them():
    told = Told()
    schedule = {"prompt_init": {"steps": 15}, "reconstruction": {"steps": 1}, "enhancement": {"steps": 30}, "rounds": 1}
    outcome = tiny_train(
        tiny_settings(
            schedule=schedule,
            optimiser={"enhancer_lr": 1e-2, "ema_decay": 0.0},
            objective={"identity": {"weight": 0.0}},
            loop={"validate_every": 100},
        ),
        told=told,
    )
    losses = told.losses()
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5), "the prompts start identical"
    assert max(losses[10:15]) < 0.1
    guided = [step.metrics["term/guidance"] for step in told.steps[16:]]
    assert guided[0] > 0.9 and max(guided[-5:]) < 0.3
    dark = torch.stack([photo("dark", 5000 + i) for i in range(8)]).permute(0, 3, 1, 2).float() / 255
    assert float(outcome.enhancer(dark).image.mean()) > 2 * float(dark.mean())


def test_the_enhancer_s_learning_rate_falls_along_half_a_cosine_over_all_its_rounds(tmp_path: Path):
    settings = tiny_settings(optimiser={"lr_schedule": "cosine"})
    whole, before, after = Told(), Told(tmp_path, stop_at=14), Told()
    tiny_train(settings, told=whole)
    tiny_train(settings, told=before)
    tiny_train(settings, told=after, resume=newest(tmp_path))
    rates = [step.metrics["lr/enhancer"] for step in whole.steps]
    enhancing = [rate for rate, step in zip(rates, whole.steps, strict=True) if " enhancement " in step.line]
    assert enhancing == pytest.approx([1e-3 * (1 + math.cos(math.pi * step / 9)) / 2 for step in range(9)])
    assert rates[:6] == [1e-3] * 6, "prompts and copying come before it falls"
    assert {step.metrics["lr/prompts"] for step in whole.steps} == {1e-3}
    assert [step.metrics["lr/enhancer"] for step in before.steps + after.steps] == rates


def test_over_exposed_photos_are_negatives_in_both_prompt_phases():
    losses = []
    for share in (0.0, 0.5):
        told = Told()
        tiny_train(tiny_settings(prior={"over_exposed_share": share}, schedule={"rounds": 2}), told=told)
        losses.append(told.losses())
    assert losses[0][1:3] != losses[1][1:3]
    assert losses[1][9] > losses[0][9], "one more order to keep in refinement"


def test_each_phase_trains_its_own_half_only(whole):
    told = whole[1]
    checkpoints = [read(each) for each in sorted(told.folder.iterdir())]
    for before, after in pairwise(checkpoints):
        prompts_moved = not torch.equal(before.tensors["guide/embeddings"], after.tensors["guide/embeddings"])
        moved = after.part("enhancer")
        enhancer_moved = any(not torch.equal(each, moved[name]) for name, each in before.part("enhancer").items())
        trains_prompts = before.progress.schedule.phase.trains_prompts
        assert (prompts_moved, enhancer_moved) == (trains_prompts, not trains_prompts)


# what is kept


def test_the_candidate_is_the_moving_average_of_the_weights(whole):
    told = whole[1]
    checkpoints = [read(each) for each in sorted(told.folder.iterdir())]
    name = "head.bias"
    average = None
    for before, after in pairwise(checkpoints):
        if before.progress.schedule.phase.trains_prompts:
            continue
        weight = after.part("enhancer")[name]
        average = weight if average is None else 0.5 * average + 0.5 * weight
        torch.testing.assert_close(after.part("average")[f"module.{name}"], average)
    by_step = {report.step: weights for report, weights in zip(told.reports, told.weights, strict=True)}
    torch.testing.assert_close(by_step[STEPS][name], average)
    assert not torch.equal(average, checkpoints[-1].part("enhancer")[name])


def test_without_averaging_the_candidate_is_the_network_itself():
    told = Told()
    outcome = tiny_train(tiny_settings(optimiser={"ema_decay": 0.0}), told=told)
    assert {id(report.enhancer) for report in told.reports} == {id(told.reports[0].enhancer)}
    assert outcome.enhancer is not told.reports[0].enhancer


def test_the_best_enhancer_is_a_real_copy_of_the_best_measured(whole):
    outcome, told = whole
    enhancing = [i for i, report in enumerate(told.reports) if report.metrics and report.step > 6]
    best = max(enhancing, key=lambda i: told.reports[i].metrics["psnr"])
    assert outcome.best == (told.reports[best].metrics["psnr"], told.reports[best].step)
    assert outcome.best[1] < STEPS, "else this test would not tell a copy from the last weights"
    for name, weight in outcome.enhancer.state_dict().items():
        assert torch.equal(weight, told.weights[best][name])
    last = told.reports[-1].enhancer.state_dict()
    assert any(not torch.equal(weight, last[name]) for name, weight in outcome.enhancer.state_dict().items())


@pytest.mark.parametrize(("metric", "chosen", "best"), [("auto", "restored", max), ("feature_gap", "feature_gap", min)])
def test_where_there_are_no_pairs_unpaired_photos_choose(metric: str, chosen: str, best):
    told = Told()
    outcome = tiny_train(tiny_settings(loop={"metric": metric}), told=told, pairs=0)
    validated = [report for report in told.reports if report.metrics and report.step > 6]
    found = {report.step: report.metrics[chosen] for report in validated}
    assert outcome.best == (best(found.values()), best(found, key=found.__getitem__))
    assert "psnr" not in told.reports[0].metrics


def test_at_most_two_earlier_enhancers_are_kept_and_each_is_the_best_of_its_round(whole):
    told = whole[1]
    checkpoints = {int(each.name): read(each) for each in told.folder.iterdir()}
    kept = {step: [checkpoints[step].part(f"earlier/{index}") for index in range(3)] for step in checkpoints}
    assert {step: sum(map(bool, each)) for step, each in kept.items()} == {
        step: 0 if step < 9 else 1 if step < 15 else 2 for step in range(1, STEPS + 1)
    }
    by_step = {report.step: report for report in told.reports}
    weights = {report.step: each for report, each in zip(told.reports, told.weights, strict=True)}
    expected = []
    for validated in ((8, 9), (14, 15), (20, 21)):
        best = max(validated, key=lambda step: by_step[step].metrics["psnr"])
        expected.append(weights[best]["head.bias"])
    assert torch.equal(kept[9][0]["head.bias"], expected[0])
    for index in (0, 1):
        assert torch.equal(kept[15][index]["head.bias"], expected[index]), "oldest first"
        assert torch.equal(kept[21][index]["head.bias"], expected[index + 1]), "the oldest leaves"
    assert not torch.equal(expected[0], expected[1]) and not torch.equal(expected[1], expected[2])


# stopping and resuming


RESUMABLE = tiny_settings(augment={"flip": 0.5, "transpose": 0.5}, prior={"over_exposed_share": 0.5})


@pytest.fixture(scope="module")
def complete():
    """One uninterrupted training with randomness in it."""
    told = Told()
    return tiny_train(RESUMABLE, told=told), told.losses()


@pytest.mark.parametrize("stop_at", [1, 2, 3, 4, 6, 7, 9, 11, 13, 14, 15, 17, 20])
def test_a_resumed_training_equals_an_uninterrupted_one(stop_at: int, complete, tmp_path: Path):
    """Stops after the first step, in each phase, at its boundaries and in each round."""
    expected, losses = complete
    before, after = Told(tmp_path, stop_at), Told()
    halted = tiny_train(RESUMABLE, told=before)
    assert not halted.finished
    assert halted.progress.schedule.step == stop_at == before.reports[-1].step
    assert before.reports[-1].write is not None

    outcome = tiny_train(RESUMABLE, told=after, resume=newest(tmp_path))
    assert before.losses() + after.losses() == pytest.approx(losses, rel=1e-6, abs=1e-6)
    assert len(after.steps) == STEPS - stop_at
    assert outcome.finished
    assert outcome.progress == expected.progress
    assert outcome.best == pytest.approx(expected.best, abs=1e-6)
    torch.testing.assert_close(
        outcome.guidance_head["embeddings"], expected.guidance_head["embeddings"], rtol=0, atol=1e-6
    )
    for name, weight in expected.enhancer.state_dict().items():
        torch.testing.assert_close(outcome.enhancer.state_dict()[name], weight, rtol=0, atol=1e-6)


def test_a_checkpoint_holds_the_settings_that_resume_it(whole, tmp_path: Path):
    checkpoint = newest(whole[1].folder)
    assert TrainSettings(**checkpoint.settings) == tiny_settings(loop={"checkpoint_every": 1})


def test_a_checkpoint_of_another_network_is_refused(whole):
    checkpoint = newest(whole[1].folder)
    with pytest.raises(CheckpointError, match="another network"):
        tiny_train(tiny_settings(enhancer={"width": 8}), resume=checkpoint)


def test_a_finished_training_resumes_to_its_end(whole):
    told = Told()
    outcome = tiny_train(told=told, resume=newest(whole[1].folder))
    assert outcome.finished and told.steps == []
    assert outcome.best == whole[0].best


# batches


def test_accumulating_micro_batches_equals_one_large_batch():
    outcomes, losses = [], []
    for accumulate in (1, 2, 4):
        told = Told()
        settings = tiny_settings(optimiser={"accumulate": accumulate}, enhancer=NO_COPY)
        outcomes.append(tiny_train(settings, told=told))
        losses.append(told.losses())
    for ours, other in zip(losses[1:], outcomes[1:], strict=True):
        assert ours == pytest.approx(losses[0], rel=1e-5)
        torch.testing.assert_close(
            other.guidance_head["embeddings"], outcomes[0].guidance_head["embeddings"], rtol=0, atol=1e-5
        )
        assert other.progress == outcomes[0].progress


def test_a_batch_that_cannot_be_shared_is_refused_before_the_first_step():
    told = Told()
    wrong = tiny_settings().model_copy(update={"batch": tiny_settings().batch.model_copy(update={"prompts": 3})})
    wrong = wrong.model_copy(update={"optimiser": wrong.optimiser.model_copy(update={"accumulate": 2})})
    with pytest.raises(ValueError, match=r"batch\.prompts: 3 pictures cannot be shared equally by 2"):
        tiny_train(wrong, told=told)
    assert told.steps == []


def test_photos_of_another_size_are_resized_for_their_phase():
    seen: set[tuple[int, ...]] = set()

    class Watching(CountingTower):
        def forward(self, image: Tensor, stages: bool = False):
            if image.shape[0] > 1:  # training batches, not validation
                seen.add((*image.shape[-2:], stages))
            return super().forward(image, stages)

    tower = Watching()
    settings = tiny_settings(data={"image_size": 48, "prompt_size": 40}, schedule={"rounds": 1})
    tiny_train(settings, Prior(tower, tower))  # from photos of 32 pixels
    assert seen == {(48, 48, True), (40, 40, False)}


# guards


def test_a_step_that_is_not_finite_is_skipped_and_counted(tmp_path: Path):
    tower = CountingTower(blind=[3 + 3])  # 3 looks of prompt_init, then 2 for each step of reconstruction
    told = Told(tmp_path)
    outcome = tiny_train(tiny_settings(loop={"checkpoint_every": 1}), Prior(tower, tower), told)
    assert outcome.finished and outcome.progress.skipped == 1
    assert "reconstruction  step 5/21  23.8 %  loss not finite, skipped  " in told.steps[4].line
    assert "loss" not in told.steps[4].metrics and told.steps[4].metrics["skipped_steps"] == 1
    before, after = read(tmp_path / "000004"), read(tmp_path / "000005")
    for name, weight in before.part("enhancer").items():
        assert torch.equal(weight, after.part("enhancer")[name])
    for name, moment in before.part("enhancer_adam").items():
        assert torch.equal(moment, after.part("enhancer_adam")[name])
    assert after.progress.schedule.recent == before.progress.schedule.recent, "the skipped loss is left out"
    assert torch.isfinite(torch.tensor([step.metrics["loss"] for step in told.steps if step.step != 5])).all()


def test_too_many_steps_that_are_not_finite_end_the_training_and_name_the_settings():
    tower = CountingTower(blind=range(4, 1000))
    told = Told()
    with pytest.raises(
        NonFiniteError, match=r"3 steps.*reconstruction at step 5.*optimiser\.enhancer_lr.*clip_norm"
    ) as error:
        tiny_train(tiny_settings(loop={"non_finite_limit": 2}), Prior(tower, tower), told)
    assert error.value.rows == {"dark": list(range(3 * 4, 6 * 4))}  # of the skipped steps, four photos each
    assert [step.metrics["skipped_steps"] for step in told.steps[3:]] == [1, 2]


@pytest.mark.parametrize("clip", [0.0, 1e-3])
def test_gradients_are_clipped_to_their_norm(clip: float, tmp_path: Path):
    """Adam's first moment is 0.1 times the first gradient that is not 0: the first of the enhancement."""
    told = Told(tmp_path, stop_at=5)
    one_copy = {"reconstruction": {"steps": 1}}  # of a network that starts as a copy, so its gradient is 0
    tiny_train(tiny_settings(optimiser={"clip_norm": clip, "weight_decay": 0.0}, schedule=one_copy), told=told)
    adam = newest(tmp_path).part("enhancer_adam")
    norm = 10 * math.sqrt(sum(float(each.square().sum()) for name, each in adam.items() if name.endswith("/exp_avg")))
    if clip:
        assert norm == pytest.approx(clip, rel=1e-3)
    else:
        assert norm > 1e-2


# dead light map


def black_after(row: int):
    """Pictures that nothing can brighten, from a row of the dark stream on: a copy of them is perfect."""
    return lambda photos, at: photo(photos, at) * int(photos != "dark" or at < row)


def reviving(**changes) -> TrainSettings:
    reconstruction = {"steps": 3, "check_at": 2, "restart_below": 60.0, **changes}
    retinex = {"arch": "retinex"}  # the compact network starts as a copy
    return tiny_settings(enhancer=retinex, schedule={"reconstruction": reconstruction}, loop={"checkpoint_every": 1})


def test_a_dead_light_map_gets_new_weights(tmp_path: Path):
    told = Told(tmp_path)
    outcome = tiny_train(reviving(), told=told, draw=black_after(4 * (3 + 2)))
    assert outcome.finished and outcome.progress.schedule.restarts == 1
    assert outcome.progress.phase_steps["reconstruction"] == 2 + 3
    old, dead, new = (read(tmp_path / f"{step:06d}") for step in (3, 4, 5))
    assert dead.part("enhancer_adam") and not new.part("enhancer_adam"), "Adam forgets the dead network"
    torch.manual_seed(99)
    fresh = build_enhancer(reviving().enhancer).state_dict()
    for name in ("stem.weight", "widen.weight"):
        weights = [each.part("enhancer")[name] for each in (old, dead, new)]
        assert not torch.equal(weights[2], weights[0]) and not torch.equal(weights[2], weights[1])
        assert float(weights[2].std()) == pytest.approx(float(fresh[name].std()), rel=0.5)
    assert torch.equal(new.tensors["average/n_averaged"], torch.tensor(0))
    assert torch.equal(new.tensors["guide/embeddings"], old.tensors["guide/embeddings"])


def test_each_new_start_is_another_one_and_the_last_failure_ends_the_training(tmp_path: Path):
    told = Told(tmp_path)
    with pytest.raises(DeadLightMap, match="3 times"):
        tiny_train(reviving(max_restarts=2), told=told)
    starts = [read(tmp_path / f"{step:06d}").part("enhancer")["stem.weight"] for step in (3, 5, 7)]
    assert len(told.steps) == 3 + 2 + 2 + 1
    assert not any(torch.equal(starts[a], starts[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_a_training_resumed_after_a_new_start_goes_on_the_same(tmp_path: Path):
    complete, second = Told(tmp_path), Told()
    tiny_train(reviving(), told=complete, draw=black_after(20))
    tiny_train(reviving(), told=second, draw=black_after(20), resume=read(tmp_path / "000005"))
    assert second.losses() == pytest.approx(complete.losses()[5:], rel=1e-6, abs=1e-6)


def test_the_prompts_of_the_outcome_are_those_of_the_last_checkpoint(whole):
    assert torch.equal(whole[0].guidance_head["embeddings"], newest(whole[1].folder).tensors["guide/embeddings"])
    assert whole[0].guidance_head["embeddings"].shape == PromptPair(tiny_prior().guidance).embeddings.shape


def test_a_training_can_begin_with_known_weights():
    known = tiny_train().enhancer.state_dict()
    told, fresh = Told(), Told()
    settings = tiny_settings(schedule={"reconstruction": {"steps": 0}}, optimiser={"enhancer_lr": 1e-12})
    learned = tiny_train(settings, told=told, start=known).enhancer.state_dict()
    tiny_train(settings, told=fresh)
    for name, each in known.items():
        torch.testing.assert_close(learned[name], each, atol=1e-6, rtol=0)
    first_metrics = [next(report.metrics for report in each.reports if report.metrics) for each in (told, fresh)]
    assert first_metrics[0] != first_metrics[1]


def test_averaged_weights_keep_their_decay_of_the_older_and_take_the_rest_of_the_newer():
    def weights(decay: float) -> list[dict[str, Tensor]]:
        told = Told()
        tiny_train(
            tiny_settings(
                schedule={"rounds": 1, "enhancement": {"steps": 2}, "reconstruction": {"steps": 0}},
                objective={"reconstruction": {"weight": 0.0}},
                optimiser={"ema_decay": decay},
                loop={"validate_every": 1},
            ),
            told=told,
        )
        return [each for each, report in zip(told.weights, told.reports, strict=True) if report.metrics]

    (first, second), averaged = weights(0.0)[-2:], weights(0.75)[-1]
    for name, weight in averaged.items():
        torch.testing.assert_close(weight, 0.75 * first[name] + 0.25 * second[name], rtol=1e-5, atol=1e-6)


def test_a_part_that_rests_stays_as_it_begins():
    enhancer = {"arch": "exposure", "denoise": 4}
    settings = tiny_settings(enhancer=enhancer, optimiser={"ema_decay": 0.5})
    torch.manual_seed(settings.seed)
    begun = build_enhancer(settings.enhancer).state_dict()
    ended = tiny_train(settings, rests=["denoiser"]).enhancer.state_dict()
    moved = {name.partition(".")[0] for name in begun if not torch.equal(begun[name], ended[name])}
    assert moved and "denoiser" not in moved


def test_a_network_without_the_part_that_rests_learns_whole():
    enhancer = build_enhancer(EnhancerSettings(arch="compact"))
    rest(enhancer, ["denoiser"])
    assert all(parameter.requires_grad for parameter in enhancer.parameters())


def test_a_network_that_rests_whole_is_refused():
    whole = build_enhancer(EnhancerSettings(arch="exposure"))
    with pytest.raises(ValueError, match="nothing of the enhancer is left to learn"):
        rest(whole, [name for name, _ in whole.named_children()])
