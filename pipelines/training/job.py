"""A whole training, seen from the driver: check, connect, train, compare, register, tell."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import torch
from ray.train import FailureConfig, Result, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError
from rich.console import Console
from safetensors import SafetensorError

from cluster.connect import ALLOCATOR, QUIET, connect, grown, nodes
from cluster.lasting import refuse_throwaway, refuse_unshared
from cluster.lease import held
from cluster.redaction import redacted
from cluster.storage import StorageError, local_path, open_uri
from cluster.waiting import amount, fits, told_while_waiting
from lle.enhancers import build_enhancer
from lle.images import ImageError, encode, to_tensor
from lle.model import Model, load
from lle.prior.weights import check_prior
from pipelines import job
from pipelines.config.loading import Loaded, of_a_run
from pipelines.config.train import RunSettings
from pipelines.data.ingest import PhotoSet, TrainingPhotos, load_photo
from pipelines.data.pinned import photos_of_run
from pipelines.data.samples import quickstart_folders, write_quickstart_data
from pipelines.evaluation.metrics import load_metric_suite
from pipelines.evaluation.quality import Quality, compare, mean_brightness
from pipelines.job import AGAIN, UserError
from pipelines.models.registry import register
from pipelines.models.resolve import ModelError, find_model
from pipelines.reporting.closing import closing_lines, resume_command
from pipelines.reporting.page import REPORT, Case, render
from pipelines.reporting.pages import enhanced_case, training_page, unfinished_page
from pipelines.reporting.pictures import before_after, print_quality
from pipelines.signals import name_of, rearm
from pipelines.tracking.history import HISTORY, read_history
from pipelines.tracking.runs import (
    Recorder,
    TrackedRun,
    first_line,
    log_file,
    log_files,
    log_metrics,
    recorded_run,
    tracked_run,
    tracking_uri,
)
from pipelines.training.card import model_card
from pipelines.training.checkpoints import Checkpoints, Mark, TakenError, begin, forget, mark_of
from pipelines.training.lines import Failures, printed, queue_here
from pipelines.training.resuming import RUN_SETTINGS
from pipelines.training.stopping import StopRequest, run_until_stopped
from pipelines.training.worker import GONE_SECONDS, run_worker, validation_set

SETTINGS, SUMMARY = RUN_SETTINGS, "summary.json"
FREE_BYTES = 500 * 2**20
RECORD_SECONDS, STOPPED_SECONDS = 30.0, 5.0  # for what MLflow has not taken yet, at the end
RAYS_LIMIT = 600.0  # s without an answer, after which Ray Train replaces a worker


class TrainingError(UserError):
    """The training cannot start or did not succeed; one sentence that says why."""


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
    if (Path(local_path(settings.runs, "runs")) / settings.name).exists():
        return f"continue with --resume --name {settings.name}: {resume_command(settings)}"
    return f"there was no checkpoint yet, and nothing is kept: {AGAIN}"


def fit(loaded: Loaded[RunSettings], console: Console) -> dict[str, Any]:
    """Train, compare with the controls, register the model, and leave `runs/NAME/` behind.

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
                if not (folder / SETTINGS).exists():
                    (folder / SETTINGS).write_text(of_a_run(settings, loaded), encoding="utf-8")
                with report_if_cut_off(chosen, run, folder):
                    ended = train(chosen, photos, run, scaling, folder, console)
                return conclude(chosen, photos, run, ended, folder, console, started)


@contextmanager
def run_folder(settings: RunSettings) -> Iterator[Path]:
    """`runs/NAME`, new or, to resume, the one that is there; what is new is removed again when nothing came of it.

    Raises:
        TrainingError: it exists, does not exist, or there is no room for it.
    """
    folder, uri = Path(local_path(settings.runs, "runs")) / settings.name, checkpoints_uri(settings)
    if settings.resume and not is_begun(folder, uri):
        raise TrainingError(f"resume: {uri} holds no checkpoint; check name, runs and checkpoints")
    way_on = ", or continue it with --resume"
    made = new_folder(folder, settings.resume, lambda: way_on if is_begun(folder, uri) else "")
    mark: Mark | None = None
    try:
        if (free := shutil.disk_usage(folder).free) < FREE_BYTES:
            raise TrainingError(
                f"runs: {folder.parent} has {free // 2**20} MiB free, too few for checkpoints "
                f"({FREE_BYTES // 2**20} MiB); make room, or choose another folder with --runs"
            )
        if not settings.resume:
            mark = begun(uri, settings.name)
        yield folder
    except BaseException as error:
        if made and settings.resume and not (folder / SETTINGS).exists():
            shutil.rmtree(folder, ignore_errors=True)  # its checkpoints lie elsewhere
        elif made and not settings.resume and not (mark and came_to_something(folder, uri, error)):
            with suppress(StorageError):
                if mark:  # else what lies there is another run's
                    forget(uri)
                shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        if mark:
            Checkpoints(uri, run=mark.id).clear()


def is_begun(folder: Path, uri: str) -> bool:
    """Whether a run can be continued there: from a checkpoint or, had it none yet, from the beginning."""
    if (folder / SETTINGS).exists():
        return True
    if folder.is_dir() and all(each.name.startswith(".") for each in folder.iterdir()):  # empty but for a lease
        return True
    return mark_of(uri) is not None or bool(Checkpoints.of_run(uri).found())


def new_folder(folder: Path, may_exist: bool, way_on: Callable[[], str]) -> bool:
    """Make the folder of a run or a sweep; whether it was made.

    Args:
        folder: to be made.
        may_exist: whether one that is there is right, too.
        way_on: what can be done beside choosing another name, if it exists and should not.

    Raises:
        TrainingError: it exists and should not, or cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            if may_exist and folder.is_dir():
                return False
            raise TrainingError(f"name: {folder} exists; choose another --name{way_on()}")
        folder.mkdir()
    except StorageError:
        raise
    except OSError as error:
        raise TrainingError(f"runs: {folder} cannot be made ({error.strerror}); choose another folder") from error
    return True


def begun(uri: str, name: str) -> Mark:
    """`begin`, its refusal as one of the training's.

    Raises:
        TrainingError: another run's checkpoints lie there.
    """
    try:
        return begin(uri, name)
    except TakenError as error:
        raise TrainingError(f"name: {error}") from error


def came_to_something(folder: Path, uri: str, end: BaseException) -> bool:
    """Whether a run that was cut off has left something to go on from or, where it failed, to look at."""
    try:
        if Checkpoints.of_run(uri).found():
            return True
    except StorageError:  # who knows
        return True
    return (folder / SETTINGS).exists() and not isinstance(end, (KeyboardInterrupt, SystemExit))


def summary_of(settings: RunSettings) -> dict[str, Any] | None:
    """What summary.json of the run holds; None before there is a whole one."""
    try:
        summary: dict[str, Any] = json.loads(
            (Path(local_path(settings.runs, "runs")) / settings.name / SUMMARY).read_text(encoding="utf-8")
        )
    except (OSError, ValueError):
        return None
    return summary if isinstance(summary, dict) and {"model", "mlflow_run_id"} <= summary.keys() else None


def finished_before(settings: RunSettings, summary: dict[str, Any], console: Console) -> dict[str, Any]:
    """Leave a run as it is that was finished, but for a model that MLflow did not take: register that."""
    folder = Path(local_path(settings.runs, "runs")) / settings.name
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


def written_places(settings: RunSettings) -> dict[str, str]:
    """All places that a training writes to, by their setting."""
    tracking = tracking_uri(settings.tracking.uri, settings.runs)
    return {"runs": settings.runs, "checkpoints": settings.checkpoints, "tracking.uri": tracking}


def checkpoints_uri(settings: RunSettings) -> str:
    """Where the checkpoints of a run lie."""
    if settings.checkpoints:
        return f"{settings.checkpoints.rstrip('/')}/{settings.name}"
    return str(Path(local_path(settings.runs, "runs")) / settings.name / "checkpoints")


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
    chosen = settings.data.model_copy(update={name: str(place) for name, place in quickstart_folders(photos).items()})
    return settings.model_copy(update={"data": chosen})


def tell_photos(photos: TrainingPhotos, console: Console) -> None:
    """How many photos there are, and which were set aside."""
    kept_out = f"{len(photos.held_out_dark.paths)} + {len(photos.held_out_well_lit.paths)}"
    pairs = f", {len(photos.pairs_dark.paths)} pairs" if photos.pairs_dark else ""
    console.print(
        f"{len(photos.dark.paths)} dark and {len(photos.well_lit.paths)} well-lit photos; "
        f"kept out for validation: {kept_out}{pairs} (hash {photos.validation_hash[:16]})"
    )
    for line in photos.left_out:
        console.print(line)
    for path, reason in list(photos.refused.items())[:10]:
        console.print(f"set aside: {path}: {reason}")
    if len(photos.refused) > 10:
        console.print(f"... and {len(photos.refused) - 10} more, see refused.json in MLflow")


def wanted(settings: RunSettings) -> list[dict[str, float]]:
    """What the workers will reserve, and a CPU for decoding."""
    chosen = settings.scaling
    worker = {"CPU": chosen.cpus_per_worker or 1.0} | ({"GPU": 1.0} if chosen.gpu == "true" else {})
    return [worker] * chosen.workers + [{"CPU": 1.0}]


def scaling_config(settings: RunSettings, resources: dict[str, float]) -> ScalingConfig:
    """Workers and what each reserves, from the settings and what the cluster has.

    Raises:
        TrainingError: the cluster cannot hold the workers.
    """
    chosen, cpus, gpus = settings.scaling, resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    fewest = chosen.min_workers or chosen.workers
    use_gpu = chosen.gpu == "true" or (chosen.gpu == "auto" and gpus >= fewest)
    # One CPU stays free for decoding.
    share = chosen.cpus_per_worker or min(1.0, max(cpus - 1, 0) / chosen.workers)
    if share * fewest > cpus - 0.25 or share <= 0:
        setting = "min_workers" if chosen.min_workers else "workers"
        raise TrainingError(
            f"scaling.{setting}: {fewest} workers do not fit the cluster's {cpus:g} CPUs beside the decoding; "
            "take fewer workers, or fewer CPUs for each with --scaling.cpus_per_worker, or wait for machines that an "
            "autoscaler brings with --cluster.wait_minutes"
        )
    if use_gpu and gpus < fewest:
        raise TrainingError(
            f"scaling.gpu: {fewest} workers want a GPU each, the cluster has {gpus:g}; take fewer workers, or "
            "wait for machines that an autoscaler brings with --cluster.wait_minutes"
        )
    workers = (chosen.min_workers, chosen.workers) if chosen.is_elastic else chosen.workers
    return ScalingConfig(
        num_workers=workers,  # type: ignore[arg-type]  # of Train V2
        use_gpu=use_gpu,
        resources_per_worker={"CPU": share},
        elastic_resize_monitor_interval_s=chosen.grow_every,  # type: ignore[call-arg]  # of Train V2
    )


def refuse_too_large(scaling: ScalingConfig, machines: Sequence[dict[str, float]]) -> None:
    """See that the workers have room on the machines, whoever uses those now; each must be on one of them.

    Raises:
        TrainingError: they never would.
    """
    asked: Any = scaling.num_workers
    fewest = asked[0] if isinstance(asked, tuple) else asked or 1
    each = worker_resources(scaling)
    if not fits([each] * fewest, machines):
        raise TrainingError(
            f"scaling.cpus_per_worker: {fewest} workers with {amount(each)} each do not fit on the cluster's machines, "
            f"which have {', '.join(filter(None, map(amount, machines)))}; take fewer workers, or fewer CPUs for each"
        )


def worker_resources(scaling: ScalingConfig) -> dict[str, float]:
    """What one worker reserves; its streams, its validation and its own threads all live on that."""
    reserved = cast(dict[str, float], scaling.resources_per_worker or {})
    return reserved | ({"GPU": 1.0} if scaling.use_gpu else {})


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
        },
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
                (folder / REPORT).write_bytes(render(unfinished_page(settings, history, reason)))
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


def publish(
    settings: RunSettings,
    photos: TrainingPhotos,
    run: TrackedRun,
    model: Model,
    told: dict[str, Any],
    folder: Path,
    console: Console,
) -> dict[str, Any]:
    """Compare, register and tell of a saved model; `told` is what is known of how it was trained."""
    quality = paired_quality(settings, photos, model)
    console.print("registering the model ...")
    uri = registered(settings, photos, run, model, quality, told, console)
    summary: dict[str, Any] = {
        **{f"psnr_{each.name.replace('-', '_')}": each.psnr() for each in quality},
        **{f"ssim_{each.name.replace('-', '_')}": each.ssim() for each in quality},
        "groups": {each.name: {group: each.psnr(group) for group in each.groups} for each in quality},
        **told,
        "validation_hash": photos.validation_hash,
        "model": uri,
        "mlflow_run_id": run.run_id,
    }
    history = read_history(folder / HISTORY)
    page = training_page(settings, summary, quality, history, held_out_cases(settings, photos, model))
    (folder / REPORT).write_bytes(render(page))
    told_whole = json.dumps(summary, indent=2) + "\n"
    (folder / SUMMARY).write_text(told_whole, encoding="utf-8")  # last: with it the run is finished
    log_files(run, folder)
    log_metrics(run, {f"best/{summary['measure']}": summary["best_value"]}, summary["best_step"])
    if quality:
        print_quality(console, quality, "enhanced")
    console.print(closing_lines(settings, run, folder, summary))
    return summary


def registered(
    settings: RunSettings,
    photos: TrainingPhotos,
    run: TrackedRun,
    model: Model,
    quality: list[Quality],
    told: dict[str, Any],
    console: Console,
) -> str:
    """`register`, without losing a trained model to a server that is gone; empty where it was not taken."""
    try:
        return register(model, run, settings, model_card(settings, photos, model, quality, run.run_id, told))
    except Exception as error:
        console.print(
            f"MLflow did not take the model ({first_line(error)}); it is saved. Once {redacted(run.uri)} answers, "
            f"the same command with --resume --name {settings.name} registers it without training again: "
            f"{resume_command(settings)}"
        )
        return ""


def best_model(settings: RunSettings, last_step: int) -> Model:
    """The best enhancer of the last checkpoint, as a model that says where it comes from.

    Raises:
        TrainingError: that checkpoint, of the training's last step, is not there.
    """
    uri = checkpoints_uri(settings)
    checkpoint = Checkpoints.of_run(uri).newest()
    step = checkpoint.progress.schedule.step if checkpoint else 0
    if checkpoint is None or step < last_step:
        raise TrainingError(
            f"the checkpoint of the last step, {last_step}, did not reach {uri}, and the model is lost with it; "
            f"make room there, then do the steps from {step} on again with {resume_command(settings)}"
        )
    enhancer = build_enhancer(settings.enhancer)
    enhancer.load_state_dict(checkpoint.part("best") or checkpoint.part("enhancer"))
    enhancer.requires_grad_(False)
    about = {"run": settings.name, "prior": settings.prior.model, "best_step": checkpoint.best and checkpoint.best[1]}
    return Model(enhancer, settings.enhancer, about)


def paired_quality(settings: RunSettings, photos: TrainingPhotos, model: Model) -> list[Quality]:
    """Input, automatic exposures and model on the pairs; empty without pairs."""
    if not (photos.pairs_dark and photos.pairs_truth):
        return []
    budget = settings.data.max_pixels
    return compare(model, photos.pairs_dark, photos.pairs_truth, mean_brightness(photos.well_lit, budget), budget)


def final_picture(settings: RunSettings, photos: TrainingPhotos, model: Model) -> Any:
    """Before, one exposure without learning, after and, where there is one, ground truth of some validation photos."""
    shown = validation_set(settings, photos, on_refusal=lambda path, reason: None)  # the workers have told of them
    return before_after(model.enhancer, shown, settings.tracking.pictures, torch.device("cpu"))


def held_out_cases(settings: RunSettings, photos: TrainingPhotos, model: Model) -> list[Case]:
    """Held-out photos, pairs where there are any, enhanced and measured for the report."""
    budget, side = settings.data.max_pixels, settings.data.validation_size

    def load(chosen: PhotoSet, path: str) -> torch.Tensor:
        return to_tensor(load_photo(chosen, path, budget, side))

    low, high = photos.pairs_dark or photos.held_out_dark, photos.pairs_truth if photos.pairs_dark else None
    suite, cases = load_metric_suite(""), []
    for index, path in enumerate(low.paths):
        try:
            truth = load(high, high.paths[index]) if high else None
            cases.append(enhanced_case(model, suite, low.names[index], load(low, path), truth))
        except ImageError:  # the workers have told of it
            continue
    return cases


def first_reason(error: TrainingFailedError) -> str:
    """What went wrong on the first worker that failed, in its own words."""
    if isinstance(error, WorkerGroupError) and error.worker_failures:
        cause: BaseException = next(iter(error.worker_failures.values()))
        cause = getattr(cause, "cause", None) or cause.__cause__ or cause
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        return lines[-1] if lines else type(cause).__name__
    return str(error).strip().splitlines()[-1]
