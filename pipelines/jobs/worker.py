"""One Ray Train worker: the loop of `lle.training`, fed by Ray Data, reporting to Ray Train, MLflow and the driver."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.util.queue import Queue

from lle.config import TrainSettings
from lle.images import ImageError
from lle.prior.towers import load_prior
from lle.training import state as states
from lle.training.loop import Hooks, Report, Step, train
from lle.training.validation import ValidationSet, Validator
from pipelines.jobs.ingest import PhotoSet, RayStream, TrainingPhotos, load_photo
from pipelines.jobs.metrics import Meters
from pipelines.jobs.report import before_after
from pipelines.jobs.tracking import Recorder

STREAM_SEEDS = {"dark": 1, "well_lit": 2}


def run_worker(config: dict[str, Any]) -> dict[str, Any]:
    """Train on this worker; the function Ray Train calls on each.

    Args:
        config: `settings` (plain values), `photos` (TrainingPhotos), `tracking` (TrackedRun) and `lines` (a Queue to
            the driver).

    Returns:
        Plain values about the end of the training.
    """
    settings = TrainSettings(**config["settings"])
    photos: TrainingPhotos = config["photos"]
    lines: Queue = config["lines"]
    context = ray.train.get_context()
    worker, workers = context.get_world_rank(), context.get_world_size()
    speaks = worker == 0
    torch.set_num_threads(settings.scaling.threads_per_worker or max(1, (os.cpu_count() or 1) // workers))
    device = ray.train.torch.get_device()
    prior = load_prior(settings.prior).to(device)
    recorder = Recorder(config["tracking"]) if speaks else None
    meters = Meters(settings.name, worker)
    told: set[str] = set()

    def on_refusal(path: str, reason: str) -> None:
        if path not in told:
            told.add(path)
            meters.refused()
            lines.put(f"set aside: {path}: {reason}")

    validation = validation_set(settings, photos, on_refusal)

    def open_stream(name: str, row: int) -> RayStream:
        return RayStream(
            photos.dark if name == "dark" else photos.well_lit,
            size=settings.data.image_size,
            seed=settings.seed * 10 + STREAM_SEEDS[name],
            row=row,
            worker=worker,
            workers=workers,
            decoders=settings.data.decoders,
            max_pixels=settings.data.max_pixels,
            on_refusal=on_refusal,
            regions=settings.regions if name == "dark" and settings.objective.regional.weight else None,
            crop_share=settings.data.crop_share,
            crop_side=settings.data.crop_side,
        )

    def log(step: Step) -> None:
        lines.put(step.line)
        meters.step(step)
        if recorder:
            recorder.metrics(step.step, step.metrics)

    def report(report: Report) -> None:
        meters.memory(device)
        with tempfile.TemporaryDirectory() if speaks and report.write else nullcontext() as folder:
            checkpoint = None
            if folder and report.write:
                report.write(Path(folder))
                checkpoint = ray.train.Checkpoint.from_directory(folder)
            values = {"step": report.step, "phase": str(report.phase), "round": report.round, **report.measures}
            ray.train.report(values, checkpoint=checkpoint)
        if recorder and report.measures:
            recorder.metrics(report.step, {f"validation/{name}": value for name, value in report.measures.items()})
            picture = before_after(report.enhancer, validation, settings.tracking.pictures, device)
            recorder.picture(report.step, "before_after", picture)
            values_told = "  ".join(f"{name} {value:.3f}" for name, value in report.measures.items())
            lines.put(f"validation at step {report.step}: {values_told}")

    checkpoint = ray.train.get_checkpoint()
    resume = None
    if checkpoint:
        with checkpoint.as_directory() as folder:
            resume = states.read(Path(folder))
        if speaks:
            lines.put(f"continuing from step {resume.progress.schedule.step}")
    validator = Validator(validation, prior.guidance, device, settings.loop.measure)
    outcome = train(settings, prior, open_stream, validator, Hooks(log, report), resume)
    if recorder:
        recorder.close()
    return {
        "steps": outcome.progress.phase_steps,
        "best_step": outcome.best[1],
        "best_value": outcome.best[0],
        "measure": validator.chosen,
        "skipped_steps": outcome.progress.skipped,
        "restarts": outcome.progress.schedule.restarts,
        "hash": states.weights_hash(outcome.enhancer.state_dict() | outcome.guide),
        "images_per_second": outcome.images_per_second,
        "data_wait_share": outcome.data_wait_share,
    }


def validation_set(
    settings: TrainSettings, photos: TrainingPhotos, on_refusal: Callable[[str, str], None]
) -> ValidationSet:
    """The photos kept out of training, decoded; the same on every worker, and on the driver."""
    size, budget = settings.data.validation_size, settings.data.max_pixels

    def load(chosen: PhotoSet | None) -> list[torch.Tensor]:
        if chosen is None:
            return []
        pictures = []
        for path in chosen.paths:
            try:
                pictures.append(torch.from_numpy(load_photo(chosen, path, budget, size)).permute(2, 0, 1))
            except ImageError as error:
                on_refusal(path, error.reason)
        return pictures

    pairs = list(zip(load(photos.pairs_low), load(photos.pairs_high), strict=True))
    return ValidationSet(load(photos.held_out_dark), load(photos.held_out_well_lit), pairs)
