"""What a sweep does by itself around Tune's trials."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ray.train import ScalingConfig
from ray.tune.execution.class_cache import _ActorClassCache
from ray.tune.schedulers import TrialScheduler

from pipelines.config.loading import load_settings
from pipelines.config.tune import SearchSettings
from pipelines.tracking.runs import TrackedRun, client_of
from pipelines.training import TrainingError
from pipelines.training.run_folder import SUMMARY
from pipelines.tuning.job import concurrent_trials
from pipelines.tuning.report import Tried, draw_importance, draw_parallel_coordinates, study_of
from pipelines.tuning.scheduler import ENOUGH, HEARD, GentleASHA, heard
from pipelines.tuning.search_space import Distribution, Plan
from pipelines.tuning.trial import noted
from pipelines.tuning.tuner import KEYS, best_first, keep_keys_to_oneself, note_best, sampled


def asha(folder: Path) -> GentleASHA:
    return GentleASHA(folder, time_attr="validations", metric="psnr", mode="max", max_t=100, grace_period=1)


@pytest.mark.parametrize("damage", [b"", b"\xff", b"[1]", b"null", b"[" * 9000, b'{"psnr": 1', b'["first", 1'])
def test_damaged_notes_of_a_trial_are_none_and_of_what_asha_has_heard_too(
    tmp_path: Path, damage: bytes, capsys: pytest.CaptureFixture[str]
):
    for name in (SUMMARY, HEARD):
        (tmp_path / name).write_bytes(damage)
    assert noted(tmp_path / SUMMARY) == {} == noted(tmp_path / "missing.json")
    scheduler, first = asha(tmp_path), NamedTrial(trial_id="first")
    scheduler.on_trial_add(None, first)
    assert ("damaged lines are left out (1)" in capsys.readouterr().out) == bool(damage)
    scheduler.on_trial_result(None, first, {"validations": 1, "psnr": 20.0})
    assert [*heard(tmp_path / HEARD)] == [("first", 1, 20.0)]


class NamedTrial(SimpleNamespace):
    def __str__(self) -> str:
        return self.trial_id


def test_a_resumed_sweep_stops_trials_that_are_worse_than_those_before(tmp_path: Path):
    good, bad = NamedTrial(trial_id="good"), NamedTrial(trial_id="bad")
    for each in (good, bad):
        (tmp_path / str(each)).mkdir()
    first = asha(tmp_path)
    first.on_trial_add(None, good)
    first.on_trial_result(None, good, {"validations": 1, "psnr": 20.0})

    resumed = asha(tmp_path)
    resumed.on_trial_add(None, good)
    resumed.on_trial_add(None, bad)
    verdict = resumed.on_trial_result(None, bad, {"validations": 1, "psnr": 10.0})
    resumed.on_trial_result(None, good, {"validations": 2, "psnr": 20.0})
    assert (tmp_path / "bad" / ENOUGH).exists() and not (tmp_path / "good" / ENOUGH).exists()
    assert verdict == TrialScheduler.CONTINUE  # Tune must not kill it: it ends by itself


def test_a_resumed_sweep_compares_by_exactly_what_an_unbroken_one_does(tmp_path: Path):
    chance = np.random.default_rng(7)
    trials = [NamedTrial(trial_id=f"{index:03d}") for index in range(9)]
    for each in trials:
        (tmp_path / str(each)).mkdir()
    unbroken = asha(tmp_path)
    for each in trials:
        unbroken.on_trial_add(None, each)
    for age in range(1, 40):
        for each in chance.permutation(trials)[:5]:
            unbroken.on_trial_result(None, each, {"validations": age, "psnr": chance.normal(), "step": age})
    resumed = asha(tmp_path)
    resumed.on_trial_add(None, trials[0])
    assert resumed.debug_string() == unbroken.debug_string()


def test_tune_does_not_copy_keys_into_the_environment_of_trials(monkeypatch: pytest.MonkeyPatch):
    for name in (*KEYS, "RAY_CHDIR_TO_TRIAL_DIR"):
        monkeypatch.setenv(name, f"value-of-{name}")
    keep_keys_to_oneself()
    handed_on = _ActorClassCache().get(type("Trainable", (), {}))._default_options["runtime_env"]["env_vars"]
    assert handed_on["RAY_CHDIR_TO_TRIAL_DIR"] == "value-of-RAY_CHDIR_TO_TRIAL_DIR"  # it does copy others
    assert not [name for name in handed_on if name.startswith(("AWS_", "MLFLOW_"))]


def test_the_best_of_a_sweep_is_a_number_of_its_own_run(tmp_path: Path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    parent = TrackedRun(uri, client_of(uri).create_run("0").info.run_id)
    note_best(parent, [Tried("a", {}, "finished", 20.0), Tried("b", {}, "failed", None)], "psnr")
    note_best(parent, [Tried("b", {}, "failed", None)], "psnr")
    assert parent.client.get_run(parent.run_id).data.metrics == {"best/psnr": 20.0, "trials": 1.0}


def plan(**sweep: int) -> Plan:
    return Plan(SearchSettings(**sweep), load_settings(["--scaling.workers", "2"]), {})


def test_as_many_trials_at_once_as_the_cluster_holds():
    two_workers = ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1})
    assert concurrent_trials(plan(), two_workers, {"CPU": 9}) == 4
    assert concurrent_trials(plan(trials=3), two_workers, {"CPU": 9}) == 3
    assert concurrent_trials(plan(concurrent=2), two_workers, {"CPU": 9}) == 2
    on_gpus = ScalingConfig(num_workers=2, use_gpu=True, resources_per_worker={"CPU": 1})
    assert concurrent_trials(plan(), on_gpus, {"CPU": 64, "GPU": 5}) == 2


def test_more_trials_at_once_than_fit_are_refused():
    two_workers = ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1})
    with pytest.raises(TrainingError, match="concurrent: 5 trials of 2 workers with 1 CPUs each do not fit"):
        concurrent_trials(plan(concurrent=5), two_workers, {"CPU": 9})
    with pytest.raises(TrainingError, match="holds 0"):
        concurrent_trials(plan(), two_workers, {"CPU": 2})


def test_both_ends_of_whole_numbers_are_drawn():
    drawn = {sampled(Distribution("int", (1, 3))).sample() for _ in range(100)}
    assert drawn == {1, 2, 3}


def test_the_best_is_the_lowest_feature_gap_and_the_highest_psnr():
    tried = [Tried("a", {}, "finished", 0.5), Tried("b", {}, "failed", None), Tried("c", {}, "finished", 0.2)]
    assert [each.name for each in best_first(tried, "feature_gap")] == ["c", "a", "b"]
    assert [each.name for each in best_first(tried, "psnr")] == ["a", "c", "b"]


def test_plots_take_a_single_trial_and_choices(tmp_path: Path):
    search = {"enhancer.arch": Distribution("choice", ("compact", "bilateral"))}
    tried = [Tried("a", {"enhancer.arch": "compact"}, "stopped early", 12.0)]
    draw_parallel_coordinates(search, tried, "psnr", tmp_path / "one.png")
    more = [*tried, *(Tried(f"b{i}", {"enhancer.arch": "bilateral"}, "finished", 11.0 - i) for i in range(3))]
    draw_importance(study_of(search, more, "psnr"), "psnr", tmp_path / "importance.png")
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("one.png", "importance.png"))
