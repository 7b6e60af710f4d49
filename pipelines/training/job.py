"""A whole training, seen from the driver: check, connect, train, compare, register, tell."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from ray.train import FailureConfig, Result, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError
from rich.console import Console
from safetensors import SafetensorError

from cluster.allocator import ALLOCATOR
from cluster.connect import QUIET, connect, grown, nodes
from cluster.lasting import refuse_throwaway, refuse_unshared
from cluster.lease import held
from cluster.storage import StorageError, open_uri
from cluster.waiting import told_while_waiting
from lle.config import DataSettings
from lle.dotted import OwnCodeError
from lle.enhancers import NETWORKS, build_enhancer
from lle.images import encode
from lle.losses.objective import check_own_terms
from lle.model import load
from lle.prior.weights import check_prior
from lle.training.optimisers import optimiser_class
from pipelines import job
from pipelines.config.loading import Loaded
from pipelines.config.train import RunSettings
from pipelines.data.pinned import photos_of_run
from pipelines.data.samples import quickstart_folders, write_quickstart_data
from pipelines.data.training_photos import TrainingPhotos
from pipelines.job import AGAIN
from pipelines.models.named import ModelError
from pipelines.models.resolve import find_model
from pipelines.reporting.html_report import REPORT, render
from pipelines.signals import name_of, rearm
from pipelines.tracking.address import tracking_uri
from pipelines.tracking.history import HISTORY, read_history
from pipelines.tracking.recorder import Recorder
from pipelines.tracking.runs import TrackedRun, first_line, log_file, recorded_run
from pipelines.training import TrainingError
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.closing import closing_lines, resume_command
from pipelines.training.lines import Failures, printed, queue_here
from pipelines.training.publishing import best_model, final_picture, publish
from pipelines.training.record import tracked_run
from pipelines.training.replicas import OneByOne, meeting_here
from pipelines.training.report import unfinished_report
from pipelines.training.run_folder import (
    checkpoints_uri,
    folder_of,
    note_settings,
    run_folder,
    summary_of,
    written_places,
)
from pipelines.training.scaling import refuse_too_large, scaling_config, wanted, worker_resources
from pipelines.training.stopping import StopRequest, run_until_stopped
from pipelines.training.worker import GONE_SECONDS, run_worker

RECORD_SECONDS, STOPPED_SECONDS = 30.0, 5.0  # for what MLflow has not taken yet, at the end
RAYS_LIMIT = 600.0  # s without an answer, after which Ray Train replaces a worker


def run(loaded: Loaded[RunSettings]) -> None:
    """`fit` with its progress on stdout; raises what `fit` does."""
    check_prior(loaded.settings.prior)
    try:
        fit(loaded, Console(soft_wrap=True, highlight=False, markup=False))
    except StorageError:
        raise
    except (OSError, SafetensorError) as error:  # such as a full disk while the results are written
        with job.begun():
            way_on = f"then continue with {resume_command(loaded.settings)}"
            raise TrainingError(f"runs: {first_line(error)}; {way_on}") from error


def how_to_go_on(loaded: Loaded[RunSettings]) -> str:
    """What to do after a stop."""
    settings = loaded.settings
    if folder_of(settings).exists():
        return f"continue with --resume --name {settings.name}: {resume_command(settings)}"
    return f"there was no checkpoint yet, and nothing is kept: {AGAIN}"


def fit(loaded: Loaded[RunSettings], console: Console) -> dict[str, Any]:
    """Train, compare with the baselines, register the model, and leave `runs/NAME/` behind.

    A run that is finished stays as it is; if MLflow did not take its model, that is all that is done.

    Args:
        loaded: valid settings with a name, and their sources.
        console: where progress and results go.

    Returns:
        What `summary.json` holds.

    Raises:
        DataError, ClusterError, StorageError, TrackingError, TrainingError: one sentence each; before the training
            starts they leave no folder behind.
    """
    started, settings = time.perf_counter(), loaded.settings
    refuse_throwaway(written_places(settings))
    if settings.resume and (summary := summary_of(settings)):
        return finished_before(settings, summary, console)
    check_own_code(settings)
    starting_weights(settings)
    with run_folder(settings) as folder, held(str(folder), checkpoints_uri(settings)):
        chosen = with_sample_photos(settings, folder, console)
        photos = photos_of_run(chosen, checkpoints_uri(chosen))
        tell_photos(photos, console)
        console.print("starting Ray and MLflow ...")
        with connect(settings.cluster.address, cpus=settings.scaling.workers + 2):
            rearm()  # over the handler that Ray has just installed
            scaling = scaling_config(settings, grown(wanted(settings), settings.cluster.wait_minutes, console.print))
            refuse_too_large(scaling, nodes())
            refuse_unshared("checkpoints" if settings.checkpoints else "runs", checkpoints_uri(settings))
            with tracked_run(chosen, photos, folder, tell=console.print) as run:
                note_settings(settings, folder, loaded)
                with report_if_cut_off(chosen, run, folder):
                    ended = train(chosen, photos, run, scaling, folder, console)
                return conclude(chosen, photos, run, ended, folder, console, started)


def finished_before(settings: RunSettings, summary: dict[str, Any], console: Console) -> dict[str, Any]:
    """Leave a run as it is that was finished, but for a model that MLflow did not take: register that."""
    folder = folder_of(settings)
    if summary["model"]:
        if (folder / "photos").exists():
            settings = with_sample_photos(settings, folder, console)
        console.print(f"{settings.name} is finished, and stays as it is; for another training choose another --name")
        run = recorded_run(tracking_uri(settings.tracking.uri, settings.runs), summary["mlflow_run_id"])
        console.print(closing_lines(settings, run, folder, summary))
        return summary
    console.print(f"{settings.name} is trained; MLflow did not take its model then")
    settings = with_sample_photos(settings, folder, console)
    photos = photos_of_run(settings, checkpoints_uri(settings))
    try:
        model = load(folder / "model")
    except ValueError as error:
        raise TrainingError(f"resume: {error}; train anew under another name") from error
    with (
        held(str(folder), checkpoints_uri(settings)),
        tracked_run(settings, photos, folder, tell=console.print) as run,
    ):
        return publish(settings, photos, run, model, summary, folder, console)


def check_own_code(settings: RunSettings) -> None:
    """See that code from outside that the settings name can be used: before the cluster starts, which would tell less.

    Raises:
        TrainingError: it cannot.
    """
    try:
        check_own_terms(settings)
        optimiser_class(settings.optimiser.name)
        if settings.enhancer.arch not in NETWORKS:
            build_enhancer(settings.enhancer)
    except OwnCodeError as error:
        raise TrainingError(str(error)) from error


def starting_weights(settings: RunSettings) -> dict[str, torch.Tensor] | None:
    """Weights of `init_from`; None for a fresh network, or where a checkpoint has later ones.

    Raises:
        TrainingError: there is no such model, or it is another network than `enhancer` describes.
        TrackingError: MLflow does not have it.
    """
    if not settings.init_from or (settings.resume and Checkpoints.of_run(checkpoints_uri(settings)).found()):
        return None
    try:
        network = find_model(settings.init_from, tracking_uri(settings.tracking.uri, settings.runs)).network
    except ModelError as error:
        raise TrainingError(str(error).replace("model:", "init_from:", 1)) from error
    weights = getattr(network, "enhancer", network).state_dict()
    try:
        build_enhancer(settings.enhancer).load_state_dict(weights)
    except RuntimeError as error:
        raise TrainingError(
            f"init_from: {settings.init_from} is another network than enhancer.arch {settings.enhancer.arch} with the "
            "settings below enhancer; give those that it was trained with, or --init_from '' to begin with a fresh one"
        ) from error
    return dict(weights)


def with_sample_photos(settings: RunSettings, folder: Path, console: Console) -> RunSettings:
    """The settings with their folders: sample photos are written into the run's folder where none are named."""
    if settings.data.dark:
        return settings
    photos = folder / "photos"
    if not photos.exists():  # those of a run that goes on are there
        console.print("writing sample photos from installed packages ...")
        unfinished = folder / ".photos.unfinished"
        write_quickstart_data(unfinished, settings.seed)
        unfinished.rename(photos)
    places = {name: str(place) for name, place in quickstart_folders(photos).items()}
    return settings.model_copy(update={"data": DataSettings(**settings.data.model_dump() | places)})


def tell_photos(photos: TrainingPhotos, console: Console) -> None:
    """How many photos there are, and which were skipped."""
    held_out = f"{len(photos.held_out_dark.paths)} + {len(photos.held_out_well_lit.paths)}"
    pairs = f", {len(photos.pairs_dark.paths)} pairs" if photos.pairs_dark else ""
    console.print(
        f"{len(photos.dark.paths)} dark and {len(photos.well_lit.paths)} well-lit photos; "
        f"held out for validation: {held_out}{pairs} (hash {photos.validation_hash[:16]})"
    )
    for name, each in (("data.dark", photos.dark), ("data.well_lit", photos.well_lit)):
        if len(each.sets) > 1:
            console.print(f"{name}: {', '.join(f'{len(one.paths)} in {one.uri}' for one in each.sets)}")
    for line in photos.left_out:
        console.print(line)
    for path, reason in list(photos.refused.items())[:10]:
        console.print(f"skipped: {path}: {reason}")
    if len(photos.refused) > 10:
        console.print(f"... and {len(photos.refused) - 10} more, see refused.json in MLflow")


def train(
    settings: RunSettings,
    photos: TrainingPhotos,
    run: TrackedRun,
    scaling: ScalingConfig,
    folder: Path,
    console: Console,
    callbacks: Sequence[UserCallback] = (),
    stop: StopRequest | None = None,
) -> dict[str, Any]:
    """Run the workers to their end, their lines on the console, their numbers in the folder's history.

    The callbacks are told of the reports; `stop` lets others than signals ask the workers to save a checkpoint and end.

    Returns:
        What the first of them returned, and what was lost on the way.

    Raises:
        TrainingError: with the first worker's reason.
        KeyboardInterrupt, SystemExit: a signal came; the workers have saved a checkpoint.
    """
    lines, stop = queue_here(), stop or StopRequest()
    uri = checkpoints_uri(settings)
    filesystem, root = open_uri(uri)
    trainer = TorchTrainer(
        run_worker,  # type: ignore[arg-type]  # typed as giving nothing, though Result.return_value holds it
        train_loop_config={
            "settings": settings.model_dump(),
            "photos": photos,
            "run_id": run.run_id,
            "checkpoints": uri,
            "start": starting_weights(settings),
            "lines": lines,
            "stop": stop,
            "meeting": meeting_here(settings.scaling.workers) if settings.scaling.replace_lost else None,
        },
        torch_config=OneByOne() if settings.scaling.replace_lost else None,
        scaling_config=scaling,
        run_config=RunConfig(
            name="ray",  # its own notes; the checkpoints are ours
            storage_path=root,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(
                max_failures=settings.scaling.max_failures,
                preemption_grace_s=GONE_SECONDS,  # type: ignore[call-arg]  # or it counts on the workers that just go
            ),
            callbacks=[Failures(lines), *callbacks],  # type: ignore[list-item]  # of Train V2
            worker_runtime_env={"env_vars": ALLOCATOR | QUIET},
        ),
    )
    # A worker watches itself (worker.py) unless its whole process stands still; then Ray must.
    os.environ.setdefault("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", str(min(settings.scaling.hang_limit, RAYS_LIMIT)))
    console.print(f"starting {settings.scaling.workers} workers ...")
    recorder = Recorder(run, folder / HISTORY, console.print)
    try:
        with (
            printed(lines, console, folder / HISTORY, recorder) as heard,
            told_while_waiting(console.print, lambda: heard.last_step is not None, worker_resources(scaling)),
        ):
            result: Result = run_until_stopped(trainer.fit, stop.make)
    except TrainingFailedError as error:
        raise TrainingError(f"training failed: {first_reason(error)}") from error
    finally:
        stop.close()
        lines.shutdown(force=True)
        stopped = isinstance(sys.exception(), KeyboardInterrupt | SystemExit)  # whoever stopped it soon kills it
        recorder.close(STOPPED_SECONDS if stopped else RECORD_SECONDS)
    ended: dict[str, Any] = result.return_value  # type: ignore[attr-defined]  # of Train V2
    return {**ended, "worker_restarts": heard.restarts, "steps_lost": heard.steps_lost}


@contextmanager
def report_if_cut_off(settings: RunSettings, run: TrackedRun, folder: Path) -> Iterator[None]:
    """Leave a report with the curves so far when training is stopped or fails, quickly: no photo is read for it."""
    try:
        yield
    except (TrainingError, KeyboardInterrupt, SystemExit) as end:
        with suppress(OSError):  # such as a full disk: the first reason is the one to tell
            if history := read_history(folder / HISTORY):
                reason = str(end) if isinstance(end, TrainingError) else f"stopped by {name_of(end)}"
                (folder / REPORT).write_bytes(render(unfinished_report(settings, history, reason)))
                log_file(run, folder / REPORT)
        raise


def conclude(
    settings: RunSettings,
    photos: TrainingPhotos,
    run: TrackedRun,
    ended: dict[str, Any],
    folder: Path,
    console: Console,
    started: float,
) -> dict[str, Any]:
    """Save, compare, register and tell what was trained.

    Raises:
        TrainingError: the last checkpoint, and so what was trained, could not be stored.
    """
    model = best_model(settings, ended["last_step"])
    model.save(folder / "model")
    picture = folder / "before_after.png"
    picture.write_bytes(encode(final_picture(settings, photos, model)))
    told = {"seconds": time.perf_counter() - started, **ended}
    return publish(settings, photos, run, model, told, folder, console)


def first_reason(error: TrainingFailedError) -> str:
    """What went wrong on the first worker that failed, in its own words."""
    if isinstance(error, WorkerGroupError) and error.worker_failures:
        cause: BaseException = next(iter(error.worker_failures.values()))
        cause = getattr(cause, "cause", None) or cause.__cause__ or cause
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        return lines[-1] if lines else type(cause).__name__
    return str(error).strip().splitlines()[-1]
