"""Ray Tune at work: it draws, starts, compares and stops the trials, notes how the sweep stands, and tells of each."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from ray import tune
from ray.train import ScalingConfig
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial
from ray.tune.search import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch
from rich.console import Console

from cluster.waiting import told_while_waiting
from lle.metrics import METRICS
from lle.training.validation import chosen_metric
from pipelines.config.loading import Loaded
from pipelines.config.train import RunSettings
from pipelines.data.training_photos import TrainingPhotos
from pipelines.signals import heard_by, raise_for
from pipelines.tracking.runs import TrackedRun, end_run, first_line, log_metrics, tag_run
from pipelines.training import TrainingError
from pipelines.tuning.report import Tried
from pipelines.tuning.scheduler import GentleASHA
from pipelines.tuning.search_space import Distribution, Plan
from pipelines.tuning.trial import run_trial

TUNE = "tune"  # the folder of Tune's own notes
# Of a trial's own process, which only waits: a part of a CPU would keep the rest of it idle where others wait for one.
OWN: dict[str, float] = {"CPU": 0, "memory": 500_000_000}
LONGEST = 10**6  # validations; ASHA wants an end
SAVE_SECONDS = "3"  # between two notes of how the sweep stands
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN")


def run_trials(
    plan: Plan,
    training: Loaded[RunSettings],
    photos: TrainingPhotos,
    parent: TrackedRun,
    scaling: ScalingConfig,
    at_once: int,
    console: Console,
) -> list[Tried]:
    """Let Tune draw, start, compare and stop; all trials, the best first.

    Raises:
        KeyboardInterrupt, SystemExit: a signal came; Tune has noted how the sweep stands.
    """
    sweep, metric = plan.sweep, metric_of(training.settings, photos)
    mode, seed = "max" if METRICS[metric].higher_is_better else "min", training.settings.seed
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", SAVE_SECONDS)
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's own tables
    keep_keys_to_oneself()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trainable: Any = tune.with_resources(
        tune.with_parameters(
            run_trial, training=training, photos=photos, parent=parent, scaling=scaling, metric=metric
        ),
        OWN,
    )
    notes = plan.folder / TUNE
    if tune.Tuner.can_restore(notes):
        try:
            tuner = tune.Tuner.restore(str(notes), trainable)
        except Exception as error:  # Tune's own notes, pickled
            raise TrainingError(
                f"resume: Tune's notes in {notes} are damaged ({first_line(error)}); begin another sweep"
            ) from error
    else:
        drawn = OptunaSearch(seed=seed) if sweep.searcher == "optuna" else BasicVariantGenerator(random_state=seed)
        tuner = tune.Tuner(
            trainable,
            param_space={path: sampled(each) for path, each in plan.search.items()},
            tune_config=tune.TuneConfig(
                metric=metric,
                mode=mode,
                search_alg=drawn,
                scheduler=GentleASHA(
                    plan.folder,
                    time_attr="validations",
                    max_t=LONGEST,
                    grace_period=sweep.grace,
                    reduction_factor=sweep.reduction,
                ),
                num_samples=sweep.trials,
                max_concurrent_trials=at_once,
                trial_name_creator=TrialName(sweep.name),
                trial_dirname_creator=str,
            ),
            run_config=tune.RunConfig(
                name=TUNE,
                storage_path=str(plan.folder),
                callbacks=[Told(parent, metric)],
                verbose=0,
            ),
        )
    with warnings.catch_warnings(), told_while_waiting(console.print):
        warnings.filterwarnings("ignore", module="optuna")  # a resumed trial counts its reports anew
        results, stopped_by = fitted(tuner)
    trials: list[Trial] = results._experiment_analysis.trials
    note_best(parent, [tried_of(trial, metric) for trial in trials], metric)
    if stopped_by:
        for trial in trials:
            tried = tried_of(trial, metric)
            if tried.outcome == "unfinished" and tried.run_id:
                end_run(TrackedRun(parent.uri, tried.run_id), "KILLED")
        raise_for(stopped_by)
    return best_first([tried_of(trial, metric) for trial in trials], metric)


def keep_keys_to_oneself() -> None:
    """Tune would copy keys into each trial's runtime environment, which Ray writes into a log that all may read.

    Trials find keys as every worker does, in the environment or by the role of their machine (docs/security.md).
    """
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(KEYS)


def fitted(tuner: tune.Tuner) -> tuple[tune.ResultGrid, int]:
    """What Tune brought home, and the signal that stopped it; 0 where none did.

    Tune ends well, and notes how it stands, at SIGUSR1.
    """
    signals: list[int] = []

    def on_signal(number: int, frame: object) -> None:
        signals.append(number)
        signal.raise_signal(signal.SIGUSR1)

    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    unheard = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    try:
        with heard_by(on_signal):
            return tuner.fit(), signals[0] if signals else 0
    finally:
        signal.signal(signal.SIGUSR1, unheard)


def note_best(parent: TrackedRun, tried: Sequence[Tried], metric: str) -> None:
    """The best trial's value as a number of the sweep's own run, by which sweeps are sorted."""
    done = best_first([each for each in tried if each.value is not None], metric)
    if done and done[0].value is not None:
        log_metrics(parent, {f"best/{metric}": done[0].value, "trials": len(done)})


def best_first(tried: Sequence[Tried], metric: str) -> list[Tried]:
    """Trials by their value, those without one at the end."""
    sign = -1 if METRICS[metric].higher_is_better else 1
    return sorted(tried, key=lambda each: float("inf") if each.value is None else sign * each.value)


def sampled(distribution: Distribution) -> Any:
    """The distribution in Tune's terms."""
    if distribution.kind == "choice":
        return tune.choice(list(distribution.values))
    low, high = distribution.values
    if distribution.kind == "int":
        return tune.randint(low, high + 1)
    return tune.uniform(low, high) if distribution.kind == "uniform" else tune.loguniform(low, high)


class TrialName:
    """Names trials `SWEEP-001`, `SWEEP-002`, ...; a class, so that Tune can keep it in its notes."""

    def __init__(self, sweep: str) -> None:
        self.sweep = sweep

    def __call__(self, trial: Trial) -> str:
        return f"{self.sweep}-{int(trial.experiment_tag.partition('_')[0]):03d}"


class Told(tune.Callback):
    """Tells of each trial on the console, and closes the run of one that could not do so itself."""

    def __init__(self, parent: TrackedRun, metric: str) -> None:
        self.parent, self.metric = parent, metric

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        drawn = "  ".join(f"{path} {_short(value)}" for path, value in trial.config.items())
        _say(f"{trial}: {drawn}")

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if "outcome" not in result:
            _say(f"{trial}: step {result['step']}  {self.metric} {result[self.metric]:.4f}")

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._close(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._close(trial)

    def _close(self, trial: Trial) -> None:
        tried = tried_of(trial, self.metric)
        _say(f"{trial}: {tried.outcome}{f': {tried.reason}' if tried.reason else ''}")
        if tried.run_id:
            run = TrackedRun(self.parent.uri, tried.run_id)
            tag_run(run, {"sweep.outcome": tried.outcome})
            if tried.outcome == "failed":
                end_run(run, "FAILED")


def tried_of(trial: Trial, metric: str) -> Tried:
    """What became of a trial."""
    last = trial.last_result or {}
    outcome = "failed" if trial.status == Trial.ERROR else str(last.get("outcome", "unfinished"))
    return Tried(
        str(trial), dict(trial.config), outcome, last.get(metric), str(last.get("mlflow_run_id", "")), _reason(trial)
    )


def _reason(trial: Trial) -> str:
    """The sentence a failed trial ended with."""
    error = trial.get_error()
    if trial.status != Trial.ERROR or error is None:
        return ""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else type(error).__name__


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _say(line: str) -> None:
    print(line, flush=True)


def metric_of(settings: RunSettings, photos: TrainingPhotos) -> str:
    """What the sweep makes better: the measure that chooses the best enhancer within a training, too."""
    return chosen_metric(settings.loop.metric, bool(photos.pairs_dark))
