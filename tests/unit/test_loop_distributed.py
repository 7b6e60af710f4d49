"""Two real gloo processes run whole trainings; what they leave is compared, rank with rank and with one alone."""

import gc
import json
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from tiny import NO_COPY, CountingTower, Told, newest, tiny_prior, tiny_settings, tiny_train
from torch import Tensor

from lle.config import ENHANCEMENT_TERMS, TrainSettings
from lle.prior.towers import Prior
from lle.training.checkpoint import read
from lle.training.distributed import seed_step
from lle.training.loop import Outcome

RANKS = 2
PLAIN = tiny_settings(batch={"enhancement": 4, "prompts": 8}, enhancer=NO_COPY)
ACCUMULATING = tiny_settings(
    batch={"enhancement": 4, "prompts": 8}, optimiser={"accumulate": 2, "clip_norm": 1.0}, enhancer=NO_COPY
)
RESIDUAL = tiny_settings(
    prior={"guidance": "residual", "over_exposed_share": 0.5, "renew_residual": True},
    batch={"prompts": 2},
    schedule={"reconstruction": {"steps": 0}},  # see NO_COPY
)
TERMS = tiny_settings(
    objective={name: {"weight": 1.0} for name in ENHANCEMENT_TERMS}, curves={"exposure": {"frequency": 5.0}}
)
DENOISING = tiny_settings(
    enhancer={"arch": "bilateral", "denoise": 4},
    objective={"restoration": {"weight": 1.0}},
    schedule={"rounds": 1, "denoising": {"steps": 3}},
)
RANDOM = tiny_settings(augment={"flip": 0.5, "rotation": 0.5}, prior={"over_exposed_share": 0.5})


def weights_of(outcome: Outcome, told: Told) -> dict[str, Tensor]:
    """Best weights, last weights and prompts."""
    best = {f"best/{name}": each for name, each in outcome.enhancer.state_dict().items()}
    last = {f"last/{name}": each for name, each in told.weights[-1].items()}
    return {**best, **last, **outcome.guidance_head}


def record(folder: Path, name: str, outcome: Outcome, told: Told) -> None:
    """Write what a training came to, for the parent to read."""
    weights = {key: each.detach().contiguous() for key, each in weights_of(outcome, told).items()}
    save_file(weights, folder / f"{name}.safetensors")
    digest = sha256(b"".join(weights[key].numpy().tobytes() for key in sorted(weights))).hexdigest()
    summary = {
        "hash": digest,
        "progress": asdict(outcome.progress),
        "best": outcome.best,
        "finished": outcome.finished,
        "lines": len(told.steps),
        "losses": [step.metrics.get("loss") for step in told.steps],
        "metrics": [report.metrics for report in told.reports],
        "checkpoints": [report.step for report in told.reports if report.write],
    }
    (folder / f"{name}.json").write_text(json.dumps(summary))


def scenarios(rank: int, folder: Path) -> None:
    """Every training of this file, one after another, in one group of processes."""
    several = {
        "plain": PLAIN,
        "accumulating": ACCUMULATING,
        "residual": RESIDUAL,
        "random": RANDOM,
        "terms": TERMS,
        "denoising": DENOISING,
    }
    for name, settings in several.items():
        told = Told(folder / "checkpoints" if rank == 0 and name == "plain" else None)
        record(folder, f"{name}-{rank}", tiny_train(settings, told=told), told)

    tower = CountingTower(blind=[3 + 3] if rank == 1 else [])  # rank 1 sees NaN in the second step of reconstruction
    told = Told()
    record(folder, f"nan-{rank}", tiny_train(RANDOM, Prior(tower, tower), told), told)

    told = Told(folder / "halted" if rank == 0 else None, stop_at=7 if rank == 1 else None)
    record(folder, f"halted-{rank}", tiny_train(PLAIN, told=told), told)
    dist.barrier()
    told = Told()
    record(folder, f"resumed-{rank}", tiny_train(PLAIN, told=told, resume=newest(folder / "halted")), told)

    drawn = {}
    for name, seed, step in (("3, 7", 3, 7), ("3, 8", 3, 8), ("4, 7", 4, 7), ("3, 7 again", 3, 7)):
        seed_step(seed, step)
        drawn[name] = float(torch.rand(1))
    (folder / f"drawn-{rank}.json").write_text(json.dumps(drawn))

    try:
        tiny_train(tiny_settings(batch={"enhancement": 3}))
    except ValueError as error:
        (folder / f"refused-{rank}.txt").write_text(str(error))


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS)
    try:
        scenarios(rank, Path(folder))
        gc.collect()  # reducers of ended trainings hold the group's threads
        dist.barrier()
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("ranks")
    mp.start_processes(work, (str(found),), nprocs=RANKS, start_method="spawn")
    return found


def told_by(folder: Path, name: str) -> list[dict[str, Any]]:
    """The summaries of both ranks."""
    return [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(RANKS)]


def alone(settings: TrainSettings) -> tuple[Outcome, Told]:
    told = Told()
    return tiny_train(settings, tiny_prior(), told), told


@pytest.mark.parametrize(
    "name", ["plain", "accumulating", "residual", "random", "terms", "denoising", "nan", "resumed"]
)
def test_ranks_end_with_the_same_enhancer_and_prompts_to_the_bit(name: str, folder: Path):
    first, second = told_by(folder, name)
    assert first["hash"] == second["hash"]
    assert first["finished"] and second["finished"]


@pytest.mark.parametrize(
    "name", ["plain", "accumulating", "residual", "random", "terms", "denoising", "nan", "halted", "resumed"]
)
def test_ranks_take_the_same_decisions(name: str, folder: Path):
    first, second = told_by(folder, name)
    for key in ("progress", "best", "metrics", "checkpoints"):
        assert first[key] == second[key], key


def test_only_the_first_rank_tells_of_steps(folder: Path):
    assert [each["lines"] for each in told_by(folder, "plain")] == [21, 0]


@pytest.mark.parametrize(
    ("name", "settings"), [("plain", PLAIN), ("accumulating", ACCUMULATING), ("residual", RESIDUAL)]
)
def test_two_ranks_equal_one_process_with_the_same_batch(name: str, settings: TrainSettings, folder: Path):
    outcome, told = alone(settings)
    shared = told_by(folder, name)[0]
    assert shared["losses"] == pytest.approx(told.losses(), rel=1e-4)
    assert {k: v for k, v in shared["progress"].items() if k != "schedule"} == {
        k: v for k, v in asdict(outcome.progress).items() if k != "schedule"
    }
    weights = load_file(folder / f"{name}-0.safetensors")
    expected = weights_of(outcome, told)
    assert weights.keys() == expected.keys()
    for key, each in expected.items():
        # Adam makes whole steps of gradients that are rounding alone, which processors do differently: a few may stray.
        assert (weights[key] - each).abs().mean() < 1e-5, key


def test_validation_measures_equal_those_of_one_process(folder: Path):
    """Three pairs and three photos of each set on two ranks, measured on the same weights."""
    _, told = alone(PLAIN)
    shared = told_by(folder, "plain")[0]["metrics"]
    assert len(shared) == len(told.reports)
    for ours, theirs in zip(shared, told.reports, strict=True):
        assert ours == pytest.approx(theirs.metrics, rel=1e-4)
    assert shared[0].keys() == {"psnr", "ssim", "feature_gap", "distribution", "judge_gap", "restored"}


def test_the_randomness_of_a_step_follows_from_seed_step_and_rank(folder: Path):
    drawn = [json.loads((folder / f"drawn-{rank}.json").read_text()) for rank in range(RANKS)]
    for each in drawn:
        assert each["3, 7"] == each["3, 7 again"]
    assert len({each[key] for each in drawn for key in ("3, 7", "3, 8", "4, 7")}) == 3 * RANKS


def test_a_nan_on_one_rank_skips_the_step_on_both(folder: Path):
    first, second = told_by(folder, "nan")
    assert first["progress"]["skipped"] == second["progress"]["skipped"] == 1
    assert [step for step, loss in enumerate(first["losses"], 1) if loss is None] == [5]
    assert all(torch.isfinite(each).all() for each in load_file(folder / "nan-1.safetensors").values())


def test_a_stop_asked_of_one_rank_stops_both_at_the_same_step(folder: Path):
    for each in told_by(folder, "halted"):
        assert not each["finished"]
        assert each["progress"]["schedule"]["step"] == 7
        assert each["checkpoints"] == [7]


def test_resuming_on_two_ranks_equals_not_having_stopped(folder: Path):
    complete, halted, resumed = (told_by(folder, name)[0] for name in ("plain", "halted", "resumed"))
    assert halted["losses"] + resumed["losses"] == pytest.approx(complete["losses"], rel=1e-6)
    assert resumed["progress"] == complete["progress"]
    assert resumed["hash"] == complete["hash"]


def test_a_checkpoint_of_two_ranks_resumes_on_one(folder: Path):
    told = Told()
    tiny_train(PLAIN, told=told, resume=read(folder / "halted" / "000007"))
    assert told.losses() == pytest.approx(told_by(folder, "plain")[0]["losses"][7:], rel=1e-4)


def test_a_batch_that_two_ranks_cannot_share_is_refused_on_both(folder: Path):
    for rank in range(RANKS):
        said = (folder / f"refused-{rank}.txt").read_text()
        assert said == "batch.enhancement: 3 pictures cannot be shared equally by 2; choose a multiple"
