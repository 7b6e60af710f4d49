"""All metrics on one picture, as far as their weights are at hand."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cluster.storage import local_path
from lle import metrics
from lle.config.metrics import ALONE, GOOD, INPUT, METRICS, TRUTH
from lle.metrics.lpips import Lpips, load_lpips
from lle.metrics.niqe import Niqe, load_niqe
from lle.prior.bundled import load_bundled
from lle.prior.pretraining import zero_shot_well_lit

if TYPE_CHECKING:
    from open_clip.model import CLIP

NIQE_FILE = "niqe_pris_params.npz"
LPIPS_FILES = ("squeezenet1_1*.pth", "squeeze.pth")


@dataclass(frozen=True)
class MetricSuite:
    """The metrics, with what those need that learned something.

    Attributes:
        prior: the bundled one, for its own judgement.
        lpips, niqe: None where their weights are not at hand.
        skipped: which metrics are left out, and why.
    """

    prior: CLIP
    lpips: Lpips | None = None
    niqe: Niqe | None = None
    skipped: dict[str, str] = field(default_factory=dict)

    @torch.inference_mode()
    def __call__(self, image: Tensor, enhanced: Tensor, truth: Tensor | None, good: bool) -> dict[str, float]:
        """Numbers by name of `lle.metrics.METRICS`, those that are not finite left out.

        Args:
            image, enhanced: before and after, RGB in [0, 1], (3, H, W).
            truth: ground truth, or None.
            good: the photo needed no enhancing: it is also compared with the input.
        """
        before, after = image[None], metrics.rounded(enhanced[None])
        pictures = {ALONE: (after,), INPUT: (before, after)}
        if good:
            pictures[GOOD] = (after, before)
        if truth is not None:
            pictures[TRUTH] = (after, truth[None])
        found = {}
        for name, metric in METRICS.items():
            measure = metric.measure or self._learned.get(name)
            if measure and metric.compares in pictures and min(after.shape[-2:]) >= metric.min_side:
                found[name] = float(measure(*pictures[metric.compares]))
        return {name: value for name, value in found.items() if math.isfinite(value)}

    @property
    def _learned(self) -> dict[str, Callable[..., Any] | None]:
        """What measures the metrics that need weights."""
        own = partial(zero_shot_well_lit, self.prior)
        return {"lpips": self.lpips, "niqe": self.niqe, "our_prior_well_lit": own}


def load_metric_suite(weights: str) -> MetricSuite:
    """The metrics whose weights a folder holds at any depth, and those that need none.

    Args:
        weights: the folder; empty: LPIPS and NIQE are skipped.

    Raises:
        ValueError: the folder does not exist, or holds files of these names and other contents.
    """
    weights = local_path(weights, "weights") if weights else ""
    if weights and not os.path.isdir(weights):  # noqa: PTH112  # Path.is_dir raises for a name that is too long
        raise ValueError(f"weights: {weights} is no folder; name the one with the weights of LPIPS and NIQE")
    lpips_files = [_first(weights, pattern) for pattern in LPIPS_FILES]
    niqe_file = _first(weights, NIQE_FILE)
    trunk, linear = lpips_files
    skipped = {
        name: f"its weights ({', '.join(files)}) are not at hand; name their folder with --weights"
        for name, files, there in (("lpips", LPIPS_FILES, trunk and linear), ("niqe", (NIQE_FILE,), niqe_file))
        if not there
    }
    return MetricSuite(
        prior=load_bundled()[0],
        lpips=load_lpips(trunk, linear) if trunk and linear else None,
        niqe=load_niqe(niqe_file) if niqe_file else None,
        skipped=skipped,
    )


def _first(folder: str, pattern: str) -> Path | None:
    return next(iter(sorted(Path(folder).rglob(pattern))), None) if folder else None
