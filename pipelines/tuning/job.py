"""A sweep, seen from the driver: trials as trainings of their own, the bad ones stopped early, the best one told."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import optuna
from ray import tune
from ray.train import ScalingConfig
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch
from rich.console import Console

from cluster.connect import connect, nodes
from cluster.lasting import refuse_throwaway, refuse_unshared
from cluster.lease import held
from cluster.storage import StorageError, local_path
from cluster.waiting import told_while_waiting
from lle.images import encode
from lle.metrics import HIGHER_IS_BETTER
from lle.prior.weights import check_prior
from lle.training.validation import chosen_metric
from pipelines.config.loading import Loaded, of_a_run
from pipelines.config.train import RunSettings
from pipelines.data.ingest import TrainingPhotos
from pipelines.data.pinned import photos_of_run
from pipelines.job import AGAIN
from pipelines.reporting.closing import command, record_of, shown, there
from pipelines.signals import heard_by, raise_for, rearm
from pipelines.tracking.runs import (
    TrackedRun,
    end_run,
    first_line,
    log_files,
    log_metrics,
    tag_run,
    tracked_run,
)
from pipelines.training.checkpoints import Checkpoints, forget, mark_of
from pipelines.training.job import (
    SETTINGS,
    TrainingError,
    begun,
    best_model,
    checkpoints_uri,
    final_picture,
    new_folder,
    refuse_too_large,
    scaling_config,
    tell_photos,
    train,
    with_sample_photos,
    written_places,
)
from pipelines.training.stopping import StopRequest
from pipelines.tuning.report import Tried, print_trials, write_plots
from pipelines.tuning.search_space import Distribution, Plan, remember, remembered, trial_settings

TUNE = "tune"  # the folder of Tune's own notes
SUMMARY, BEST = "summary.json", "best.yaml"
VALIDATIONS = "validations.json"
RUNGS = "asha.pkl"
ENOUGH = "stop"  # the file that ends a trial
POLL_SECONDS = 0.2
# Of a trial's own process, which only waits: a part of a CPU would keep the rest of it idle where others wait for one.
OWN: dict[str, float] = {"CPU": 0, "memory": 500_000_000}
LONGEST = 10**6  # validations; ASHA wants an end
SAVE_SECONDS = "3"  # between two notes of how the sweep stands
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN")


def run(plan: Plan) -> None:
    """`search_settings` with its progress on stdout; raises what that does."""
    check_prior(plan.training.settings.prior)
    search_settings(plan, Console(soft_wrap=True, highlight=False, markup=False))


def how_to_go_on(plan: Plan) -> str:
    """What to do after a stop."""
    if not remembered(plan.folder):
        return f"no trial had begun yet, and nothing is kept: {AGAIN}"
    resume = command("tune", "--resume", "--name", plan.sweep.name, "--runs", shown(plan.folder.parent))
    return f"continue with --resume --name {plan.sweep.name}: {resume}"


def search_settings(plan: Plan, console: Console) -> list[Tried]:
    """Run the trials that are left, and leave `runs/NAME/` with the best settings and the plots behind.

    A sweep that is finished stays as it is.

    Args:
        plan: a checked sweep.
        console: where progress and results go.

    Returns:
        All trials, the best first; none where it was finished.

    Raises:
        DataError, ClusterError, StorageError, TrackingError, TrainingError: one sentence each.
        KeyboardInterrupt, SystemExit: it was stopped by a signal, and can be resumed.
    """
    refuse_throwaway(written_places(plan.training.settings))
    if plan.resume and (plan.folder / BEST).exists():
        console.print(f"{plan.sweep.name} is finished, and stays as it is; for another search choose another --name")
        console.print(closing_lines(plan))
        return []
    checkpoints = plan.training.settings.checkpoints
    with sweep_folder(plan) as folder, held(str(folder), f"{checkpoints or folder.parent}/{folder.name}"):
        settings = plan.training.settings.model_copy(update={"runs": str(folder.parent)})  # trials run in other folders
        settings = with_sample_photos(settings, folder, console)
        photos = photos_of_run(
            settings.model_copy(update={"name": plan.sweep.name, "resume": plan.resume}), str(folder)
        )
        tell_photos(photos, console)
        metric = metric_of(settings, photos)
        console.print("starting Ray and MLflow ...")
        with connect(settings.cluster.address, cpus=settings.scaling.workers + 2) as resources:
            rearm()  # over the handler that Ray has just installed
            scaling = scaling_config(settings, resources)
            refuse_too_large(scaling, nodes())
            refuse_unshared("runs", settings.runs)  # trials write there, wherever they run
            at_once = concurrent_trials(plan, scaling, resources)
            named = settings.model_copy(update={"name": plan.sweep.name, "resume": plan.resume})
            with tracked_run(named, photos, folder, tell=console.print) as parent:
                if not plan.resume:
                    remember(plan, of_a_run(settings, plan.training))
                shared = replace(plan.training, settings=settings)
                console.print(f"{plan.sweep.trials} trials, {at_once} at once; the measure is {metric}")
                tried = run_trials(plan, shared, photos, parent, scaling, at_once, console)
                conclude(plan, tried, parent, metric, console)
                return tried


@contextmanager
def sweep_folder(plan: Plan) -> Iterator[Path]:
    """`runs/NAME`, new or, to resume, the one that is there; removed again when no trial was started in it.

    Raises:
        TrainingError: it exists.
    """
    folder, elsewhere = plan.folder, plan.training.settings.checkpoints
    way_on = ", or continue it with --resume"
    made = new_folder(folder, plan.resume, lambda: way_on if remembered(folder) else "")
    marked = ""
    try:
        if elsewhere and not plan.resume:  # or trials would go on from those of an older sweep
            begun(f"{elsewhere.rstrip('/')}/{folder.name}", folder.name)
            marked = f"{elsewhere.rstrip('/')}/{folder.name}"
        yield folder
    except BaseException:
        if made and not remembered(folder):
            with suppress(StorageError):
                if marked:
                    forget(marked)
                shutil.rmtree(folder, ignore_errors=True)
        raise


def metric_of(settings: RunSettings, photos: TrainingPhotos) -> str:
    """What the sweep makes better: the measure that chooses the best enhancer within a training, too."""
    return chosen_metric(settings.loop.metric, bool(photos.pairs_dark))


def concurrent_trials(plan: Plan, scaling: ScalingConfig, resources: dict[str, float]) -> int:
    """Trials at once: what the cluster holds, or fewer where fewer were asked for.

    Raises:
        TrainingError: more were asked for than fit.
    """
    workers = plan.training.settings.scaling.workers
    share = cast(dict[str, float], scaling.resources_per_worker)["CPU"]
    each = workers * share
    fits = int((resources.get("CPU", 0) - 0.25) / each)
    if scaling.use_gpu:
        fits = min(fits, int(resources.get("GPU", 0) / workers))
    wanted = plan.sweep.concurrent
    if wanted > fits or not fits:
        raise TrainingError(
            f"concurrent: {max(wanted, 1)} trials of {workers} workers with {share:g} CPUs each do not fit the cluster "
            f"({resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs), which holds {fits}; "
            "ask for fewer, or for less with --scaling.workers or --scaling.cpus_per_worker"
        )
    return min(wanted or fits, plan.sweep.trials)


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
    mode, seed = "max" if HIGHER_IS_BETTER[metric] else "min", training.settings.seed
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
    sign = -1 if HIGHER_IS_BETTER[metric] else 1
    return sorted(tried, key=lambda each: float("inf") if each.value is None else sign * each.value)


def sampled(distribution: Distribution) -> Any:
    """The distribution in Tune's terms."""
    if distribution.kind == "choice":
        return tune.choice(list(distribution.values))
    low, high = distribution.values
    if distribution.kind == "int":
        return tune.randint(low, high + 1)
    return tune.uniform(low, high) if distribution.kind == "uniform" else tune.loguniform(low, high)


class GentleASHA(ASHAScheduler):
    """ASHA whose verdict is a file in the trial's folder, at which the trial ends by itself.

    Tune would kill the trial's process, and what Ray Train holds for its workers would be given back late or never
    (Ray 2.60). ASHA also notes what it knows, for Tune brings trials and searcher back after an interruption, but no
    scheduler.

    Args:
        folder: the sweep's.
        options: of ASHA.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(**options)
        self.folder, self.recalled = folder, False

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        if not self.recalled and (self.folder / RUNGS).exists():
            try:
                self.restore(str(self.folder / RUNGS))
            except Exception:  # damaged: pickle raises anything; it learns anew from the trials to come
                _say(f"{self.folder / RUNGS} is damaged; trials are compared with those from here on")
        self.recalled = True
        super().on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if super().on_trial_result(tune_controller, trial, result) == ASHAScheduler.STOP:
            (self.folder / str(trial) / ENOUGH).touch()
        aside = self.folder / f"{RUNGS}.new"
        self.save(str(aside))
        aside.replace(self.folder / RUNGS)
        return str(ASHAScheduler.CONTINUE)


class TrialName:
    """Names trials `SWEEP-001`, `SWEEP-002`, ...; a class, so that Tune can keep it in its notes."""

    def __init__(self, sweep: str) -> None:
        self.sweep = sweep

    def __call__(self, trial: Trial) -> str:
        return f"{self.sweep}-{int(trial.experiment_tag.partition('_')[0]):03d}"


# --- in the trial's process -------------------------------------------------------------------------------------------


def run_trial(
    drawn: dict[str, Any],
    *,
    training: Loaded[RunSettings],
    photos: TrainingPhotos,
    parent: TrackedRun,
    scaling: ScalingConfig,
    metric: str,
) -> None:
    """One training with what was drawn; the function Tune calls.

    A trial that was cut off goes on from its last checkpoint; one that had ended only says so again.
    """
    name = str(tune.get_context().get_trial_name())
    loaded = trial_settings(drawn, training, parent.run_id)
    shared = loaded.settings
    folder = Path(local_path(shared.runs, "runs")) / parent_name(name) / name
    checkpoints = shared.checkpoints and f"{shared.checkpoints.rstrip('/')}/{parent_name(name)}"
    settings = shared.model_copy(update={"name": name, "runs": str(folder.parent), "checkpoints": checkpoints})
    folder.mkdir(parents=True, exist_ok=True)
    uri = checkpoints_uri(settings)
    goes_on = (folder / SETTINGS).exists() or mark_of(uri) is not None or bool(Checkpoints(uri).found())
    if not goes_on:
        begun(uri, name)
    settings = settings.model_copy(
        update={
            "resume": goes_on,
            "tracking": settings.tracking.model_copy(update={"uri": parent.uri}),
        }
    )
    if not {metric, "outcome"} <= noted(folder / SUMMARY).keys():
        train_trial(replace(loaded, settings=settings), photos, parent, scaling, metric, folder)
    tune.report(noted(folder / SUMMARY))


def noted(file: Path) -> dict[str, Any]:
    """What a trial has noted as JSON; nothing where the file is missing or damaged: it is done anew then."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def parent_name(trial: str) -> str:
    """The sweep that a trial belongs to."""
    return trial.rpartition("-")[0]


def train_trial(
    loaded: Loaded[RunSettings],
    photos: TrainingPhotos,
    parent: TrackedRun,
    scaling: ScalingConfig,
    metric: str,
    folder: Path,
) -> None:
    """Train, and leave the trial's folder with model, picture and summary behind."""
    settings = loaded.settings
    with (
        (folder / "log.txt").open("a", buffering=1, encoding="utf-8") as log,
        tracked_run(settings, photos, folder, parent.run_id) as run,
    ):
        if not (folder / SETTINGS).exists():
            (folder / SETTINGS).write_text(of_a_run(settings, loaded), encoding="utf-8")
        reports = TrialReports(metric, run.run_id, folder / VALIDATIONS)
        console = Console(file=log, width=200, markup=False)
        try:
            with stopped_by(folder / ENOUGH) as stop:
                ended = train(settings, photos, run, scaling, folder, console, [reports], stop)
        finally:
            with suppress(StorageError):
                Checkpoints.of_run(checkpoints_uri(settings)).clear()
        model = best_model(settings, ended["last_step"])
        model.save(folder / "model")
        (folder / "before_after.png").write_bytes(encode(final_picture(settings, photos, model)))
        outcome = "finished" if ended["finished"] else "stopped early"
        summary = {**ended, metric: ended["best_value"], "outcome": outcome, "mlflow_run_id": run.run_id}
        (folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        log_files(run, folder)
        log_metrics(run, {f"best/{metric}": ended["best_value"]}, ended["best_step"])


@contextmanager
def stopped_by(file: Path) -> Iterator[StopRequest]:
    """A request to stop that is made once a file is there, from a thread, for the length of a block."""
    stop, ended = StopRequest(), threading.Event()

    def look() -> None:
        while not ended.wait(POLL_SECONDS):
            if file.exists():
                stop.make()
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        ended.set()
        thread.join()


class TrialReports(TuneReportCallback):
    """Passes the validations of a training on to Tune: the best value so far, for the best enhancer is kept.

    The last validation is not passed on: a trial that has come so far is not stopped. A file remembers the others
    for a trial that is cut off.
    """

    def __init__(self, metric: str, run_id: str, file: Path) -> None:
        super().__init__()
        self.metric, self.run_id, self.file = metric, run_id, file
        self.values = {step: float(each) for step, each in noted(file).items() if isinstance(each, int | float)}

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        first = metrics[0]
        if self.metric not in first or first["phase"] == "done":
            return
        self.values[str(first["step"])] = first[self.metric]  # a step that is done again counts once
        self.file.write_text(json.dumps(self.values), encoding="utf-8")
        best = (max if HIGHER_IS_BETTER[self.metric] else min)(self.values.values())
        told = {
            self.metric: best,
            "validations": len(self.values),
            "step": first["step"],
            "mlflow_run_id": self.run_id,
        }
        super().after_report(run_context, [told], None)


# --- back on the driver -----------------------------------------------------------------------------------------------


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


def conclude(plan: Plan, tried: list[Tried], parent: TrackedRun, metric: str, console: Console) -> None:
    """Table, plots, and the best settings as a file for `train.py --preset`.

    Raises:
        TrainingError: no trial has a value.
    """
    print_trials(console, tried, metric)
    if tried[0].value is None:
        raise TrainingError(f"no trial came as far as a validation; the first failed with: {tried[0].reason}")
    best = trial_settings(tried[0].drawn, plan.training, plan.sweep.name)
    write_plots(plan, tried, parent, metric)
    title = f"# {tried[0].name}: {metric} {tried[0].value:.4f}\n"
    best_yaml = title + of_a_run(best.settings, best)
    (plan.folder / BEST).write_text(best_yaml, encoding="utf-8")  # last of all
    log_files(parent, plan.folder)
    tag_run(parent, {"sweep.best": tried[0].name, "sweep.best_run_id": tried[0].run_id})
    console.print(f"MLflow      {record_of(parent)}")
    console.print(closing_lines(plan))


def closing_lines(plan: Plan) -> str:
    """Where the best settings of a finished sweep lie, and what to do with them and with the model they gave."""
    file = plan.folder / BEST
    name = file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").partition(":")[0]
    data = plan.training.settings.data
    photos = data.dark or str(plan.folder / "photos" / "dark")
    enhance = ["--model", shown(plan.folder / name / "model"), "--input", there(photos)]
    return "\n".join(
        [
            f"settings    {shown(file)}",
            f"again       {command('train', '--preset', shown(file))}",
            f"its model   {command('enhance', *enhance, '--output', shown(plan.folder / 'enhanced'))}",
        ]
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
