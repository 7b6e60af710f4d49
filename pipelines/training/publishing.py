"""What becomes of a trained model: compared, shown, registered, told of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from cluster.redaction import redacted
from lle.enhancers import build_enhancer
from lle.images import ImageError, to_tensor
from lle.model import Model
from pipelines.config.train import RunSettings
from pipelines.data.photo_sets import PhotoSet, load_photo
from pipelines.data.training_photos import TrainingPhotos
from pipelines.evaluation.metrics import load_metric_suite
from pipelines.evaluation.quality import Quality, compare, mean_brightness
from pipelines.models.registry import register
from pipelines.reporting.html_report import REPORT, Case, render
from pipelines.reporting.pictures import before_after
from pipelines.reporting.tables import printable
from pipelines.tracking.history import HISTORY, read_history
from pipelines.tracking.runs import TrackedRun, first_line, log_files, log_metrics
from pipelines.training import TrainingError
from pipelines.training.card import model_card
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.closing import closing_lines, resume_command
from pipelines.training.report import enhanced_case, quality_table, quality_verdict, training_report
from pipelines.training.run_folder import SUMMARY, checkpoints_uri
from pipelines.training.worker import validation_set


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
    page = training_report(settings, summary, quality, history, held_out_cases(settings, photos, model))
    (folder / REPORT).write_bytes(render(page))
    told_whole = json.dumps(summary, indent=2) + "\n"
    (folder / SUMMARY).write_text(told_whole, encoding="utf-8")  # last: with it the run is finished
    log_files(run, folder)
    log_metrics(run, {f"best/{summary['metric']}": summary["best_value"]}, summary["best_step"])
    if quality:
        console.print(printable(quality_table(quality)))
        console.print(quality_verdict(quality))
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
    shown = [(each, path, name) for each in low.sets for path, name in zip(each.paths, each.names, strict=True)]
    for index, (chosen, path, name) in enumerate(shown):
        try:
            truth = load(high, high.paths[index]) if high else None
            cases.append(enhanced_case(model, suite, name, load(chosen, path), truth))
        except ImageError:  # the workers have told of it
            continue
    return cases
