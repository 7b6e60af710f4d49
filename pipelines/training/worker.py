"""One Ray Train worker: the loop of `lle.training`, fed by Ray Data, reporting to Ray Train, MLflow and the driver."""

from __future__ import annotations

import faulthandler
import json
import os
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import ray.train
import ray.train.collective
import ray.train.torch
import torch
from ray.util.queue import Queue

from lle.faults import reference_of
from lle.images import ImageError
from lle.losses.objective import ENHANCEMENT, REGIONS, needed
from lle.prior.loading import load_prior
from lle.training import checkpoint as checkpoint_files
from lle.training.checkpoint import Checkpoint
from lle.training.hooks import ControlSignal, Hooks, Report, Step
from lle.training.loop import NonFiniteError, Outcome, train
from lle.training.schedule import Phase
from lle.training.validation import ValidationSet, Validator
from pipelines.config.train import RunSettings
from pipelines.data.decoding import Decode
from pipelines.data.photo_sets import Photos, PhotoSet, load_photo, photo_in_row
from pipelines.data.streams import RayStream
from pipelines.data.training_photos import TrainingPhotos
from pipelines.reporting.pictures import before_after
from pipelines.tracking.history import VALIDATION
from pipelines.tracking.logs import structured
from pipelines.tracking.meters import Meters
from pipelines.tracking.profiling import Trace
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.lines import Attached, Line, Shown
from pipelines.training.replicas import Replicas
from pipelines.training.stopping import StopRequest

STREAM_SEEDS = {"dark": 1, "well_lit": 2}
STDERR = 2
GONE_SECONDS = 60.0  # after which Ray knows of any machine that is gone
POLL_SECONDS = 1.0


def run_worker(config: dict[str, Any]) -> dict[str, Any]:
    """Train on this worker; the function Ray Train calls on each.

    Args:
        config: `settings` (plain values), `photos` (TrainingPhotos), `run_id` (of MLflow), `checkpoints` (a URI),
            `start` (weights, or None), `lines` (a Queue to the driver), `stop` (a StopRequest) and `meeting` (how to
            come to that of `Replicas`, or None).

    Returns:
        Plain values about the end of the training.
    """
    settings = RunSettings(**config["settings"])
    photos: TrainingPhotos = config["photos"]
    lines: Queue = config["lines"]
    stop: StopRequest = config["stop"]
    context = ray.train.get_context()
    worker, workers = context.get_world_rank(), context.get_world_size()
    speaks = worker == 0
    torch.set_num_threads(settings.scaling.threads_per_worker or max(1, (os.cpu_count() or 1) // workers))
    device = ray.train.torch.get_device()
    prior = load_prior(settings.prior).to(device)
    meters = Meters(settings.name, worker)
    logger = structured(config["run_id"], worker)
    told: set[str] = set()

    def tell(text: str) -> None:
        logger.info(text)
        lines.put(Line(text))

    def on_refusal(path: str, reason: str) -> None:
        if path not in told:
            told.add(path)
            meters.refused()
            tell(f"skipped: {path}: {reason}")

    validation = validation_set(settings, photos, on_refusal)

    def open_stream(name: str, row: int) -> RayStream:
        decode = Decode(
            photos.dark if name == "dark" else photos.well_lit,
            size=settings.data.image_size,
            seed=stream_seed(settings, name),
            start=row + worker,
            stride=workers,
            threads=settings.data.decoders,
            max_pixels=settings.data.max_pixels,
            regions=settings.regions if name == "dark" and REGIONS in needed(settings.objective, ENHANCEMENT) else None,
            crop_share=settings.data.crop_share,
            crop_side=settings.data.crop_side,
            weights=stream_weights(settings, name),
        )
        return RayStream(decode, on_refusal)

    def log(step: Step) -> None:
        numbers = {"step": step.step, "phase": str(step.phase), **step.metrics}
        logger.info("step", extra={"values": numbers})
        lines.put(Line(step.line, step.step, numbers=numbers))
        meters.step(step)

    checkpoints = Checkpoints.of_run(config["checkpoints"], settings.loop.keep_checkpoints, tell)
    if speaks:
        checkpoints.clear()

    def report(report: Report) -> None:
        meters.memory(device)
        if speaks and report.write:
            checkpoints.save(report)
        if replicas is None:
            ray.train.report({"step": report.step, "phase": str(report.phase), "round": report.round, **report.metrics})
        elif report.phase is Phase.DONE:
            checkpoints.flush()
            replicas.part()
        if speaks and report.metrics:
            metrics = {f"{VALIDATION}{name}": value for name, value in report.metrics.items()}
            picture = before_after(report.enhancer, validation, settings.tracking.pictures, device)
            values_told = "  ".join(f"{name} {value:.3f}" for name, value in report.metrics.items())
            numbers = {"step": report.step, **metrics}
            lines.put(Line(f"validation at step {report.step}: {values_told}", numbers=numbers))
            if report.note:
                tell(report.note)
            lines.put(Shown(report.step, "before_after", picture))

    replicas = None
    if config["meeting"]:
        replicas = Replicas(config["meeting"], worker, workers, settings.scaling.hang_limit)
    validator = Validator(validation, prior.guidance, device, settings.loop.metric, reference_of(settings.data.fault))
    trace = Trace(lambda file: attach(lines, file)) if speaks and settings.loop.profile else None
    control_signals = ControlSignals(settings, stop.watch(), trace, tell if speaks else logger.info)

    def interrupted(checkpoint: Checkpoint) -> None:
        assert replicas
        faulthandler.cancel_dump_traceback_later()  # waiting for another worker is not hanging
        replicas.keep(checkpoint)

    hooks = Hooks(log, report, control_signals, interrupted if replicas else None)

    def begin() -> Checkpoint | None:
        return last_checkpoint(
            checkpoints, worker, replicas.from_first if replicas else ray.train.collective.broadcast_from_rank_zero
        )

    def attempt(resume: Checkpoint | None) -> Outcome:
        if speaks:
            step = resume.progress.schedule.step if resume else 0
            verb = "continuing from" if resume else "beginning at"
            lines.put(Line(f"{verb} step {step} with {workers} workers", step, begins=True))
        return train(
            settings,
            prior,
            open_stream,
            validator,
            hooks,
            resume,
            start=config["start"],
            uneven=settings.scaling.is_elastic,
            rests=settings.resting,
        )

    try:
        outcome = replicas.run(begin, attempt) if replicas else attempt(begin())
    except NonFiniteError as error:
        if speaks:
            table = json.dumps(photos_of(error, settings, photos), indent=2) + "\n"
            lines.put(Attached("non_finite.json", table.encode()))
        raise
    except RuntimeError:  # of the collectives, where another worker is gone
        wait_until_one_is_gone(control_signals.machines_that_go)
        raise
    finally:
        faulthandler.cancel_dump_traceback_later()
        checkpoints.flush()
    return {
        "finished": outcome.finished,
        "steps": outcome.progress.phase_steps,
        "last_step": outcome.progress.schedule.step,
        "best_step": outcome.best[1],
        "best_value": outcome.best[0],
        "metric": validator.chosen,
        "skipped_steps": outcome.progress.skipped,
        "restarts": outcome.progress.schedule.restarts,
        "hash": checkpoint_files.weights_hash(outcome.enhancer.state_dict() | outcome.guidance_head),
        "images_per_second": outcome.images_per_second,
        "data_wait_share": outcome.data_wait_share,
    }


def attach(lines: Queue, file: Path) -> None:
    """Send a file to the run."""
    lines.put(Attached(file.name, file.read_bytes()))


def last_checkpoint(checkpoints: Checkpoints, worker: int, from_first: Callable[[str], str]) -> Checkpoint | None:
    """The newest whole checkpoint, the same on every worker: the first one chooses and, by `from_first`, says so."""
    path = from_first(checkpoints.newest_path() if worker == 0 else "")
    return checkpoints.read(path) if path else None


class ControlSignals:
    """What the cluster wants of the loop; also the watchdog and the trace, for the loop asks at every step.

    Attributes:
        machines_that_go: Ray's ids of the machines with workers that were announced to go.
    """

    def __init__(
        self, settings: RunSettings, stop_asked: Callable[[], bool], trace: Trace | None, tell: Callable[[str], None]
    ) -> None:
        self.machines_that_go: list[str] = []
        self._settings, self._stop_asked, self._trace, self._tell = settings, stop_asked, trace, tell
        self._steps = count(1)

    def __call__(self) -> ControlSignal:
        faulthandler.dump_traceback_later(self._settings.scaling.hang_limit, exit=True, file=STDERR)
        if self._trace:
            self._trace.step()
        # Asking Ray is a message among all workers: each must ask at the same steps, whoever has heard of a stop first.
        # Where workers are replaced alone, Ray neither watches for such machines nor may all be there to ask.
        asks = not (self.machines_that_go or self._settings.scaling.replace_lost)
        due = next(self._steps) % self._settings.loop.log_every == 0 and asks
        announced = ray.train.get_preemption_info() if due else None
        if announced:
            self.machines_that_go = announced.preempted_node_ids
        if self._stop_asked():
            return ControlSignal.STOP
        if announced:
            self._tell("a machine is announced to go: saving a checkpoint")
            return ControlSignal.SAVE
        return ControlSignal.NOTHING


def wait_until_one_is_gone(machines: list[str]) -> None:
    """Let Ray hear of a machine's end before it hears of this worker's, or it counts a failure.

    Args:
        machines: Ray's ids of those that were announced to go; none: nothing to wait for.
    """
    deadline = time.monotonic() + GONE_SECONDS
    while machines and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        if set(machines) - {node["NodeID"] for node in ray.nodes() if node["Alive"]}:
            return


def photos_of(error: NonFiniteError, settings: RunSettings, photos: TrainingPhotos) -> dict[str, list[str]]:
    """Paths of the photos in the steps that were skipped."""
    sets = {"dark": photos.dark, "well_lit": photos.well_lit}

    def path(name: str, row: int) -> str:
        chosen, index = photo_in_row(sets[name], row, stream_seed(settings, name), stream_weights(settings, name))
        return chosen.paths[index]

    return {name: [path(name, row) for row in rows] for name, rows in error.rows.items()}


def stream_seed(settings: RunSettings, name: str) -> int:
    """Seed of the order of a stream."""
    return settings.seed * 10 + STREAM_SEEDS[name]


def stream_weights(settings: RunSettings, name: str) -> tuple[int, ...]:
    """How often each set of a stream is shown."""
    return settings.data.dark_weights if name == "dark" else settings.data.well_lit_weights


def validation_set(
    settings: RunSettings, photos: TrainingPhotos, on_refusal: Callable[[str, str], None]
) -> ValidationSet:
    """The photos held out of training, decoded; the same on every worker, and on the driver."""
    size, budget = settings.data.validation_size, settings.data.max_pixels

    def load(chosen: PhotoSet, path: str) -> torch.Tensor | None:
        try:
            return torch.from_numpy(load_photo(chosen, path, budget, size)).permute(2, 0, 1)
        except ImageError as error:
            on_refusal(path, error.reason)
            return None

    def load_all(chosen: Photos) -> list[torch.Tensor]:
        pictures = (load(each, path) for each in chosen.sets for path in each.paths)
        return [picture for picture in pictures if picture is not None]

    pairs = list[tuple[torch.Tensor, torch.Tensor]]()
    if photos.pairs_dark and photos.pairs_truth:
        for paths in zip(photos.pairs_dark.paths, photos.pairs_truth.paths, strict=True):
            low, high = load(photos.pairs_dark, paths[0]), load(photos.pairs_truth, paths[1])
            if low is not None and high is not None:  # or all behind it would be compared with a wrong one
                pairs.append((low, high))
    return ValidationSet(load_all(photos.held_out_dark), load_all(photos.held_out_well_lit), pairs)
