"""A whole training, seen from the driver: check, connect, train, compare, register, tell."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import torch
from ray.train import FailureConfig, Result, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError
from rich.console import Console

from cluster.connect import ALLOCATOR, QUIET, ClusterError, connect, grown
from cluster.redaction import redacted
from cluster.storage import StorageError, open_uri
from lle.config import TrainSettings
from lle.enhancers import build_enhancer
from lle.images import ImageError, encode, to_tensor
from lle.model import Model
from lle.training.state import StateError
from pipelines.jobs.card import model_card
from pipelines.jobs.checkpoints import Checkpoints
from pipelines.jobs.history import HISTORY, read_history
from pipelines.jobs.ingest import DataError, PhotoSet, TrainingPhotos, load_photo
from pipelines.jobs.lines import Failures, printed, queue_here
from pipelines.jobs.measures import load_measures
from pipelines.jobs.page import REPORT, Case, render
from pipelines.jobs.pages import enhanced_case, training_page, unfinished_page
from pipelines.jobs.pinned import photos_of_run
from pipelines.jobs.quality import Quality, compare, mean_brightness
from pipelines.jobs.registry import register
from pipelines.jobs.report import before_after, print_quality
from pipelines.jobs.samples import write_quickstart_data
from pipelines.jobs.settings import to_yaml
from pipelines.jobs.stopping import StopRequest, run_until_stopped
from pipelines.jobs.tracking import (
    Recorder,
    TrackedRun,
    TrackingError,
    first_line,
    log_file,
    log_files,
    log_metrics,
    tracked_run,
)
from pipelines.jobs.worker import GONE_SECONDS, run_worker, validation_set

SETTINGS = "settings.yaml"
FREE_BYTES = 500 * 2**20
RECORD_SECONDS, STOPPED_SECONDS = 30.0, 5.0  # for what MLflow has not taken yet, at the end
RAYS_LIMIT = 600.0  # s without an answer, after which Ray Train replaces a worker


class TrainingError(RuntimeError):
    """The training cannot start or did not succeed; one sentence that says why."""


def run(settings: TrainSettings) -> int:
    """`fit` as a job: progress on stdout, mistakes as one sentence on stderr; the exit status."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    try:
        fit(settings, console)
    except (DataError, ClusterError, StorageError, StateError, TrackingError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, SystemExit) as stop:
        number = signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM
        print(f"stopped; continue with --resume --name {settings.name}", file=sys.stderr)
        return 128 + number  # Ray gives the exception another code on its way through
    return 0


def fit(settings: TrainSettings, console: Console) -> dict[str, Any]:
    """Train, compare with the controls, register the model, and leave `runs/NAME/` behind.

    Args:
        settings: valid settings with a name.
        console: where progress and results go.

    Returns:
        What `summary.json` holds.

    Raises:
        DataError, ClusterError, TrackingError, TrainingError: one sentence each; before the training
            starts they leave no folder behind.
    """
    started = time.perf_counter()
    with run_folder(settings) as folder:
        settings = with_sample_photos(settings, folder, console)
        photos = photos_of_run(settings, checkpoints_uri(settings))
        tell_photos(photos, console)
        console.print("starting Ray and MLflow ...")
        with connect(settings.cluster.address, cpus=settings.scaling.workers + 2):
            signal.signal(signal.SIGTERM, _exit)  # over the handler that Ray has just installed
            scaling = scaling_config(settings, grown(wanted(settings), settings.cluster.wait_minutes))
            with tracked_run(settings, photos, folder) as run:
                (folder / SETTINGS).write_text(to_yaml(settings))
                with report_if_cut_off(settings, run, folder):
                    ended = train(settings, photos, run, scaling, folder, console)
                return conclude(settings, photos, run, ended, folder, console, started)


@contextmanager
def run_folder(settings: TrainSettings) -> Iterator[Path]:
    """`runs/NAME`, new or, to resume, the one that is there; removed again when nothing was trained in it.

    Raises:
        TrainingError: it exists, does not exist, or there is no room for it.
    """
    folder = Path(settings.runs).expanduser().absolute() / settings.name
    if settings.resume and not Checkpoints(uri := checkpoints_uri(settings)).found():
        raise TrainingError(f"resume: {uri} holds no checkpoint; check name, runs and checkpoints")
    if folder.exists() and not settings.resume:
        raise TrainingError(f"name: {folder} exists; choose another --name, or continue it with --resume")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"runs: {folder} cannot be made ({error.strerror}); choose another folder") from error
    try:
        if (free := shutil.disk_usage(folder).free) < FREE_BYTES:
            raise TrainingError(
                f"runs: {folder.parent} has {free // 2**20} MiB free, too few for checkpoints "
                f"({FREE_BYTES // 2**20} MiB); make room, or choose another folder with --runs"
            )
        yield folder
    except BaseException:
        if not (folder / SETTINGS).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def checkpoints_uri(settings: TrainSettings) -> str:
    """Where the checkpoints of a run lie."""
    if settings.checkpoints:
        return f"{settings.checkpoints.rstrip('/')}/{settings.name}"
    return str(Path(settings.runs).expanduser().absolute() / settings.name / "checkpoints")


def with_sample_photos(settings: TrainSettings, folder: Path, console: Console) -> TrainSettings:
    """The settings with their folders: sample photos are written into the run's folder where none are named."""
    if settings.data.dark:
        return settings
    console.print("writing sample photos from installed packages ...")
    written = write_quickstart_data(folder / "photos", settings.seed)
    names = ("dark", "well_lit", "pairs_low", "pairs_high")
    chosen = settings.data.model_copy(update={name: str(getattr(written, name)) for name in names})
    return settings.model_copy(update={"data": chosen})


def tell_photos(photos: TrainingPhotos, console: Console) -> None:
    """How many photos there are, and which were set aside."""
    kept_out = f"{len(photos.held_out_dark.paths)} + {len(photos.held_out_well_lit.paths)}"
    pairs = f", {len(photos.pairs_low.paths)} pairs" if photos.pairs_low else ""
    console.print(
        f"{len(photos.dark.paths)} dark and {len(photos.well_lit.paths)} well-lit photos; "
        f"kept out for validation: {kept_out}{pairs} (hash {photos.validation_hash[:16]})"
    )
    for path, reason in list(photos.refused.items())[:10]:
        console.print(f"set aside: {path}: {reason}")
    if len(photos.refused) > 10:
        console.print(f"... and {len(photos.refused) - 10} more, see refused.json in MLflow")


def wanted(settings: TrainSettings) -> list[dict[str, float]]:
    """What the workers will reserve, and a CPU for decoding."""
    chosen = settings.scaling
    worker = {"CPU": chosen.cpus_per_worker or 1.0} | ({"GPU": 1.0} if chosen.gpu == "true" else {})
    return [worker] * chosen.workers + [{"CPU": 1.0}]


def scaling_config(settings: TrainSettings, resources: dict[str, float]) -> ScalingConfig:
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


def train(
    settings: TrainSettings,
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
        with printed(lines, console, folder / HISTORY, recorder) as heard:
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
def report_if_cut_off(settings: TrainSettings, run: TrackedRun, folder: Path) -> Iterator[None]:
    """Leave a report with the curves so far when training is stopped or fails, quickly: no photo is read for it."""
    try:
        yield
    except (TrainingError, KeyboardInterrupt, SystemExit) as end:
        with suppress(OSError):  # such as a full disk: the first reason is the one to tell
            if history := read_history(folder / HISTORY):
                by = "Ctrl-C" if isinstance(end, KeyboardInterrupt) else "SIGTERM"
                reason = str(end) if isinstance(end, TrainingError) else f"stopped by {by}"
                (folder / REPORT).write_bytes(render(unfinished_page(settings, history, reason)))
                log_file(run, folder / REPORT)
        raise


def conclude(
    settings: TrainSettings,
    photos: TrainingPhotos,
    run: TrackedRun,
    ended: dict[str, Any],
    folder: Path,
    console: Console,
    started: float,
) -> dict[str, Any]:
    """Save, compare, register and tell what was trained."""
    model = best_model(settings)
    model.save(folder / "model")
    quality = paired_quality(settings, photos, model)
    picture = folder / "before_after.png"
    picture.write_bytes(encode(final_picture(settings, photos, model)))
    console.print("registering the model ...")
    uri = registered(settings, photos, run, model, quality, console)
    summary: dict[str, Any] = {
        **{f"psnr_{each.name.replace('-', '_')}": each.psnr() for each in quality},
        **{f"ssim_{each.name.replace('-', '_')}": each.ssim() for each in quality},
        "groups": {each.name: {group: each.psnr(group) for group in each.groups} for each in quality},
        "seconds": time.perf_counter() - started,
        **ended,
        "validation_hash": photos.validation_hash,
        "model": uri,
        "mlflow_run_id": run.run_id,
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    history = read_history(folder / HISTORY)
    page = training_page(settings, summary, quality, history, held_out_cases(settings, photos, model))
    (folder / REPORT).write_bytes(render(page))
    log_files(run, folder)
    log_metrics(run, {f"best/{summary['measure']}": summary["best_value"]}, summary["best_step"])
    if quality:
        print_quality(console, quality, "enhanced")
    console.print(closing_lines(settings, run, folder, summary))
    return summary


def registered(
    settings: TrainSettings,
    photos: TrainingPhotos,
    run: TrackedRun,
    model: Model,
    quality: list[Quality],
    console: Console,
) -> str:
    """`register`, without losing a trained model to a server that is gone; empty where it was not taken."""
    try:
        return register(model, run, settings, model_card(settings, photos, model, quality, run.run_id))
    except Exception as error:
        console.print(
            f"MLflow did not take the model ({first_line(error)}); it is saved. Once {redacted(run.uri)} answers, "
            f"the same command with --resume --name {settings.name} registers it without training again"
        )
        return ""


def best_model(settings: TrainSettings) -> Model:
    """The best enhancer of the last checkpoint, as a model that says where it comes from."""
    snapshot = Checkpoints(checkpoints_uri(settings)).newest()
    assert snapshot is not None
    enhancer = build_enhancer(settings.enhancer)
    enhancer.load_state_dict(snapshot.part("best") or snapshot.part("enhancer"))
    enhancer.requires_grad_(False)
    about = {"run": settings.name, "prior": settings.prior.model, "best_step": snapshot.best and snapshot.best[1]}
    return Model(enhancer, settings.enhancer, about)


def paired_quality(settings: TrainSettings, photos: TrainingPhotos, model: Model) -> list[Quality]:
    """Input, auto-exposure and model on the pairs; empty without pairs."""
    if not (photos.pairs_low and photos.pairs_high):
        return []
    budget = settings.data.max_pixels
    return compare(model, photos.pairs_low, photos.pairs_high, mean_brightness(photos.well_lit, budget), budget)


def final_picture(settings: TrainSettings, photos: TrainingPhotos, model: Model) -> Any:
    """Before, after and, where there is one, ground truth of some validation photos."""
    shown = validation_set(settings, photos, on_refusal=lambda path, reason: None)  # the workers have told of them
    return before_after(model.enhancer, shown, settings.tracking.pictures, torch.device("cpu"))


def held_out_cases(settings: TrainSettings, photos: TrainingPhotos, model: Model) -> list[Case]:
    """Held-out photos, pairs where there are any, enhanced and measured for the report."""
    budget, side = settings.data.max_pixels, settings.data.validation_size

    def load(chosen: PhotoSet, path: str) -> torch.Tensor:
        return to_tensor(load_photo(chosen, path, budget, side))

    low, high = photos.pairs_low or photos.held_out_dark, photos.pairs_high if photos.pairs_low else None
    measures, cases = load_measures(""), []
    for index, path in enumerate(low.paths):
        try:
            truth = load(high, high.paths[index]) if high else None
            cases.append(enhanced_case(model, measures, Path(path).name, load(low, path), truth))
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


def closing_lines(settings: TrainSettings, run: TrackedRun, folder: Path, summary: dict[str, Any]) -> str:
    """Where everything lies, and what to do next."""
    here = Path(os.path.relpath(folder))
    return "\n".join(
        [
            f"model       {summary['model']}  (alias {settings.tracking.alias}), saved in {here / 'model'}",
            f"report      {here / REPORT}",
            f"summary     {here / 'summary.json'}",
            f"time        {summary['seconds']:.0f} s, {summary['images_per_second']:.0f} pictures/s, "
            f"{100 * summary['data_wait_share']:.1f} % of it waiting for data",
            "",
            f"MLflow      {'mlflow ui --backend-store-uri ' if '://' in run.uri else ''}{redacted(run.uri)}",
            "next        python pipelines/train.py --data.dark DIR --data.well_lit DIR      your own photos",
            "            python pipelines/train.py --preset clip_lit --dry-run              the paper's settings",
        ]
    )


def _exit(number: int, frame: object) -> NoReturn:
    """SIGTERM ends the program like Ctrl-C does: through its `finally` clauses."""
    raise SystemExit(128 + number)
