"""A trial, in its own process: one training with what was drawn, told of to Tune, stopped where it is asked to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.train import ScalingConfig
from ray.tune.integration.ray_train import TuneReportCallback
from rich.console import Console

from cluster.storage import StorageError, local_path
from lle.images import encode
from lle.metrics import METRICS
from pipelines.config.loading import Loaded
from pipelines.config.train import RunSettings
from pipelines.data.training_photos import TrainingPhotos
from pipelines.tracking.runs import TrackedRun, log_files, log_metrics
from pipelines.training.checkpoints import Checkpoints, mark_of
from pipelines.training.job import train
from pipelines.training.publishing import best_model, final_picture
from pipelines.training.record import tracked_run
from pipelines.training.run_folder import SETTINGS, SUMMARY, begun, checkpoints_uri, note_settings
from pipelines.training.stopping import StopRequest
from pipelines.tuning.scheduler import ENOUGH
from pipelines.tuning.search_space import trial_settings

VALIDATIONS = "validations.json"
POLL_SECONDS = 0.2


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
        note_settings(settings, folder, loaded)
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
        best = (max if METRICS[self.metric].higher_is_better else min)(self.values.values())
        told = {
            self.metric: best,
            "validations": len(self.values),
            "step": first["step"],
            "mlflow_run_id": self.run_id,
        }
        super().after_report(run_context, [told], None)
