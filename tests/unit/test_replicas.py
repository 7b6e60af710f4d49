"""Workers that are replaced alone: how they meet, and what a training that was interrupted anywhere goes on from."""

from __future__ import annotations

import os
from itertools import count
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from typing import Any

import pytest
import torch
import torch.distributed as dist
from pydantic import ValidationError
from ray.exceptions import ActorDiedError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from tiny import PhotoStream, Told, tiny_prior, tiny_settings, tiny_train, tiny_validator

from lle.config import TrainSettings
from lle.training import loop, validation
from lle.training.checkpoint import Checkpoint, Progress, weights_hash
from lle.training.distributed import summed
from lle.training.hooks import Hooks
from lle.training.loop import Outcome, train
from lle.training.schedule import Phase, ScheduleState
from pipelines.config.train import ScalingSettings
from pipelines.config.tune import TuneSettings
from pipelines.training import TrainingError
from pipelines.training.lines import reason_of
from pipelines.training.replicas import SILENT_SECONDS, Meeting, Replicas, Visit

SETTINGS = tiny_settings(
    schedule={"rounds": 2}, loop={"checkpoint_every": 2}, objective={"restoration": {"weight": 1.0}}
)


class Clock:
    """A time that stands until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def visit(worker: int, key: str, steps: int = 0) -> Visit:
    return Visit(key, f"process {key}", worker, steps)


def test_workers_wait_until_there_is_one_of_each_rank():
    meeting = Meeting(3, Clock())
    late, early, last = visit(2, "a"), visit(0, "b"), visit(1, "c")
    assert meeting.come(late) == meeting.come(early) == meeting.come(late) == []
    assert meeting.come(last) == meeting.come(early) == meeting.come(late) == [early, last, late]


def test_a_worker_that_no_longer_comes_is_not_waited_with():
    meeting, clock = Meeting(2, Clock()), Clock()
    meeting.clock = clock
    meeting.come(visit(1, "killed while it waits"))
    clock.now = SILENT_SECONDS
    survivor, new = visit(0, "survivor"), visit(1, "new")
    assert meeting.come(survivor) == []
    assert meeting.come(new) == [survivor, new]


def test_who_has_met_meets_the_others_once_more_after_a_loss():
    meeting = Meeting(2, Clock())
    for worker, key in enumerate("ab"):
        meeting.come(visit(worker, key))
    again, new = visit(0, "c", steps=8), visit(1, "d")
    assert meeting.come(again) == []
    assert meeting.come(new) == meeting.come(again) == [again, new]


STEPS, RANKS = 12, 3


class Server(BaseManager):
    """Holds the meeting in a process of its own."""


Server.register("Meeting", Meeting)


def work(rank: int, meeting: Any, dies_after: int, results: Any) -> None:
    """Adds up what all ranks give at each step; one process ends without a word on the way."""
    torch.set_num_threads(1)
    replicas = Replicas(meeting.come, rank, RANKS, patience=60)

    def attempt(resume: Checkpoint | None) -> tuple[int, float]:
        began = step = resume.progress.schedule.step if resume else 0
        total = resume.tensors["total"] if resume else torch.zeros(1)
        try:
            while step < STEPS:
                total = total + summed(torch.tensor([float(step + rank)]))
                step += 1
                if step == dies_after:
                    os._exit(1)
            replicas.part()
        except RuntimeError:
            progress = Progress(ScheduleState(Phase.ENHANCEMENT, step=step))
            replicas.keep(Checkpoint(progress, {}, {"total": total}))
            raise
        return began, float(total)

    results.put((rank, *replicas.run(lambda: None, attempt)))


def test_those_who_are_left_hand_what_they_hold_to_who_comes():
    spawned, lost = get_context("spawn"), 0  # where the group's store was
    with Server(ctx=spawned) as server:
        meeting, results = server.Meeting(RANKS), spawned.Queue()  # type: ignore[attr-defined]
        processes = [
            spawned.Process(target=work, args=(rank, meeting, 5 if rank == lost else 0, results))
            for rank in range(RANKS)
        ]
        for each in processes:
            each.start()
        processes[lost].join(60)
        processes.append(spawned.Process(target=work, args=(lost, meeting, 0, results)))
        processes[-1].start()
        found = {rank: (began, total) for rank, began, total in (results.get(timeout=60) for _ in range(RANKS))}
        for each in processes:
            each.join(60)
    expected = float(sum(RANKS * step + sum(range(RANKS)) for step in range(STEPS)))
    assert {total for _, total in found.values()} == {expected}
    assert all(began in (4, 5) for began, _ in found.values())  # the step of the loss may have been done by some


def test_a_failure_of_nobodys_loss_is_raised_where_it_comes_again():
    meeting, tries = Meeting(1), count(1)

    def attempt(resume: Checkpoint | None) -> None:
        raise RuntimeError(f"try {next(tries)}")

    with pytest.raises(RuntimeError, match="try 1"):
        Replicas(meeting.come, 0, 1, patience=10).run(lambda: None, attempt)
    assert not dist.is_initialized()


def test_who_waits_in_vain_says_so():
    with pytest.raises(TrainingError, match=r"scaling.replace_lost: no worker took the place .* within 0.3 s"):
        Replicas(Meeting(2).come, 1, 2, patience=0.3).run(lambda: None, lambda resume: None)


def test_a_killed_worker_is_told_of_in_words_of_our_own():
    error = WorkerHealthCheckFailedError("A worker health check failed.", failure=ActorDiedError())
    assert reason_of(error).startswith("its process ended without a word")


def trained(settings: TrainSettings, kept: list[Checkpoint], resume: Checkpoint | None = None) -> Outcome:
    told, prior = Told(), tiny_prior()
    first = resume.progress.schedule.step if resume else 0
    told_hooks = told.hooks(first)
    hooks = Hooks(told_hooks.log, told_hooks.report, told_hooks.control_signal, kept.append)
    return train(settings, prior, PhotoStream, tiny_validator(prior), hooks, resume)


def test_a_training_interrupted_at_any_collective_ends_as_if_it_had_not_been(monkeypatch: pytest.MonkeyPatch):
    """Another rank may be lost at any of them: in a step, in a validation, before a checkpoint."""
    whole = tiny_train(SETTINGS)
    expected = weights_hash(whole.enhancer.state_dict() | whole.guidance_head)
    calls, fails_at = count(1), 0

    def lost(now: int) -> None:
        if now == fails_at:
            raise RuntimeError("Connection closed by peer")

    for module, name in ((loop, "summed"), (validation, "summed"), (loop, "same_on_every_rank")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda value, real=real: (lost(next(calls)), real(value))[1])
    trained(SETTINGS, [])
    collectives = next(calls) - 1
    assert collectives > 50
    for fails_at in range(1, collectives + 1, 7):
        calls, kept = count(1), list[Checkpoint]()
        with pytest.raises(RuntimeError, match="closed by peer"):
            trained(SETTINGS, kept)
        found = trained(SETTINGS, [], resume=kept[0])
        assert weights_hash(found.enhancer.state_dict() | found.guidance_head) == expected, fails_at
        assert found.best == whole.best
        assert found.progress == whole.progress


def test_nothing_is_copied_where_nobody_asks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop._Training, "_copied", lambda self: pytest.fail("copied"))
    assert torch.isfinite(next(tiny_train(SETTINGS).enhancer.parameters())).all()


def test_the_number_of_workers_stays_where_the_lost_one_is_replaced():
    with pytest.raises(ValidationError, match=r"scaling.replace_lost: .*leave scaling.min_workers at 0"):
        ScalingSettings(workers=3, min_workers=2, replace_lost=True)


def test_a_search_hears_of_trials_by_reports_of_all_workers():
    with pytest.raises(ValidationError, match=r"scaling.replace_lost: .*leave it at false"):
        TuneSettings(data={"samples": True}, scaling=ScalingSettings(workers=2, replace_lost=True))
