"""The card of a registered model: what it was trained on and how, what it measures, and who may use it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lle.config.data import LIGHT
from lle.config.metrics import against_truth
from lle.enhancers.base import count_weights
from lle.losses.objective import TERMS, own_lines
from lle.metrics import METRICS
from lle.model import Model
from pipelines.config.loading import to_yaml
from pipelines.config.train import RunSettings
from pipelines.data.photo_sets import PhotoSet, names_hash
from pipelines.data.training_photos import TrainingPhotos
from pipelines.evaluation.quality import Quality
from pipelines.reporting.words import number, plain
from pipelines.tracking.source import git_revision

UNSTATED_TERMS = (
    "Not stated (`tracking.terms`). The source is under Apache-2.0; whoever passes the weights on needs the right to "
    "do so from those who own the photos and the prior."
)

PHOTOS_OF = {"light": "low-light and backlit", "haze": "hazy", "rain": "rainy or snowy"}
MEASURED_ON = {
    **dict.fromkeys(against_truth(), "the given pairs"),
    "restored": "held-out well-lit photos that a camera of the measure's own took again with wrong light",
}


def model_card(
    settings: RunSettings,
    photos: TrainingPhotos,
    model: Model,
    quality: Sequence[Quality],
    run_id: str,
    ended: Mapping[str, Any] | None = None,
) -> str:
    """Markdown: data with their hashes, numbers, terms of use, every setting.

    Args:
        settings: of the training.
        photos: what it was trained on.
        model: what came out.
        quality: of the model and what it is compared with, on held-out pairs; empty without pairs.
        run_id: of the training in MLflow.
        ended: how the training ended, as the first worker told it; without it the card says less.
    """
    parameters = count_weights(model)
    sections = [
        f"# {settings.tracking.model_name}: {settings.name}",
        f"A `{model.settings.arch}` enhancer of {parameters:,} parameters for {PHOTOS_OF[settings.data.fault]} photos "
        f"of any size, trained without pairs. MLflow run {run_id}, source {git_revision()}, torch {torch.__version__}.",
        "## Data",
        "| set | photos | from | SHA-256 of the paths |\n| --- | --: | --- | --- |\n"
        + "\n".join(
            _row(name, each)
            for name, sets in (("dark", photos.dark), ("well lit", photos.well_lit))
            for each in sets.sets
        ),
        f"{_files(len(photos.refused))} skipped before the training began. {_prior(settings)}",
        "## The step that was kept",
        _kept(settings, ended or {}),
        "## Numbers",
        _numbers(photos, quality) or "None: no pairs were given. Measure it with `pipelines/evaluate.py`.",
        "## Terms of use",
        settings.tracking.terms or UNSTATED_TERMS,
        "## Settings",
        f"```yaml\n{to_yaml(settings).strip()}\n```",
    ]
    return "\n\n".join(sections) + "\n"


def _row(name: str, photos: PhotoSet) -> str:
    return f"| {name} | {len(photos.paths)} | {photos.uri} | {names_hash(photos)} |"


def _files(count: int) -> str:
    return "One file was" if count == 1 else f"{count:,} files were"


def _prior(settings: RunSettings) -> str:
    """Which CLIP had a say, and in what."""
    chosen = settings.objective
    judges = f"`{settings.prior.model}` judged the light ({settings.prior.guidance})" if chosen.guidance.weight else ""
    compares = [
        line.term.replace("_", " ")
        for line in (*TERMS, *own_lines(chosen.own))
        if (line.stages or line.features) and chosen.weight_of(line.term) and not settings.why_skipped(line.phase)
    ]
    features = f"`{settings.prior.identity[0]}` compared features ({', '.join(compares)})" if compares else ""
    told = "; ".join(each for each in (judges, features) if each)
    return f"Priors: {told}." if told else "No prior had a say in what was learned."


def _kept(settings: RunSettings, ended: Mapping[str, Any]) -> str:
    """Which step's enhancer this is, and what chose it."""
    if not ended:
        return "Not stated."
    metric, value = str(ended["metric"]), ended.get("best_value")
    photos = MEASURED_ON.get(metric, "held-out photos of both sets, which are no pairs")
    if settings.data.fault != LIGHT and metric == "restored":
        photos = f"held-out well-lit photos with {settings.data.fault} of the measure's own over them"
    better = "higher" if METRICS[metric].higher_is_better else "lower"
    steps = sum(ended["steps"].values())
    stopped = "" if ended.get("finished", True) else " The training was stopped before its end."
    if not (isinstance(value, float) and math.isfinite(value)):
        return f"Step {steps:,}, the last: nothing was validated before.{stopped}"
    found = f"{plain(metric)} {number(metric, float(value))} ({better} is better) on {photos}"
    if ended["steps"].get("denoising"):
        return (
            f"Step {ended['best_step']:,} of {steps:,}: the light is that of the enhancement's step with the best "
            f"{plain(metric)} on {photos}; its denoiser learned on to the last validation, where it had {found}."
            f"{stopped}"
        )
    if tolerance := settings.phases.tolerance:
        found += f", the latest that was less than {tolerance:g} behind the best"
    return f"Step {ended['best_step']:,} of {steps:,}, chosen by {found}.{stopped}"


def _numbers(photos: TrainingPhotos, quality: Sequence[Quality]) -> str:
    if not quality:
        return ""
    pairs = [each for each in (photos.pairs_dark, photos.pairs_truth) if each]
    learned = {*photos.dark.paths, *photos.well_lit.paths}
    shared = sum(path in learned for each in pairs for path in each.paths)
    overlap = f"{shared} of their files are" if shared else "none of their files is, by its path,"
    rows = "\n".join(f"| {each.name} | {each.psnr():.2f} | {each.ssim():.3f} |" for each in quality)
    return (
        f"Means over {len(quality[0].pictures)} given pairs; {overlap} among the photos it was trained on. Higher is "
        "better. `input` is the photo as it is, the others up to `enhanced` one exposure for each photo, found without "
        "learning; "
        f"`enhanced` is this model:\n\n| | PSNR (dB) | SSIM |\n| --- | --: | --: |\n{rows}"
    )
