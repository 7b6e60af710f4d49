"""The card of a registered model: what it was trained on and how, what it measures, and who may use it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lle.config import TrainSettings
from lle.model import Model
from pipelines.jobs.ingest import PhotoSet, TrainingPhotos
from pipelines.jobs.quality import Quality
from pipelines.jobs.settings import to_yaml
from pipelines.jobs.source import git_revision
from pipelines.jobs.tracking import names_hash

UNSTATED_TERMS = (
    "Not stated (`tracking.terms`). The source is under Apache-2.0; whoever passes the weights on needs the right to "
    "do so from those who own the photos and the prior."
)


def model_card(
    settings: TrainSettings, photos: TrainingPhotos, model: Model, quality: Sequence[Quality], run_id: str
) -> str:
    """Markdown: data with their hashes, numbers, terms of use, every setting.

    Args:
        settings: of the training.
        photos: what it was trained on.
        model: what came out.
        quality: of the model and what it is compared with, on held-out pairs; empty without pairs.
        run_id: of the training in MLflow.
    """
    parameters = sum(weight.numel() for weight in model.parameters())
    sections = [
        f"# {settings.tracking.model_name}: {settings.name}",
        f"A `{model.settings.kind}` enhancer of {parameters:,} parameters for low-light and backlit photos of any "
        f"size, trained without pairs. MLflow run {run_id}, source {git_revision()}, torch {torch.__version__}.",
        "## Data",
        "| set | photos | from | SHA-256 of the paths |\n| --- | --: | --- | --- |\n"
        + "\n".join(
            _row(name, photo_set) for name, photo_set in (("dark", photos.dark), ("well lit", photos.well_lit))
        ),
        f"{len(photos.refused)} files were set aside. Prior: {settings.prior.model}.",
        "## Numbers",
        _numbers(quality) or "None: no pairs were given. Measure it with `pipelines/evaluate.py`.",
        "## Terms of use",
        settings.tracking.terms or UNSTATED_TERMS,
        "## Settings",
        f"```yaml\n{to_yaml(settings).strip()}\n```",
    ]
    return "\n\n".join(sections) + "\n"


def _row(name: str, photos: PhotoSet) -> str:
    return f"| {name} | {len(photos.paths)} | {photos.uri} | {names_hash(photos)} |"


def _numbers(quality: Sequence[Quality]) -> str:
    if not quality:
        return ""
    rows = "\n".join(f"| {each.name} | {each.psnr():.2f} | {each.ssim():.3f} |" for each in quality)
    return (
        "The given pairs, no pixel of which was trained on; they chose the step that was kept:\n\n"
        f"| | PSNR dB | SSIM |\n| --- | --: | --: |\n{rows}"
    )
