"""An export as a job: find the model, write it, run what was written, tell how far it is from the model."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from cluster.lease import held
from cluster.storage import StorageError, local_path, naming
from lle.exporting import ABOUT_STRENGTH, INPUT, STRENGTH, ExportError, save_onnx, save_pt2
from lle.model import Model
from pipelines.config.export import ExportSettings
from pipelines.job import begun
from pipelines.models.named import ModelError
from pipelines.models.resolve import find_model
from pipelines.reporting.closing import shown
from pipelines.tracking.address import tracking_uri

RUNS = "runs"
CHECKED_SIZES = ((2, 3), (48, 64), (1100, 72), (201, 1060))  # none of them the example's; long sides are thinned out
CHECKED_STRENGTHS = (0.0, 0.5, 1.0, 1.5)
TOLERANCE = 1 / 255
Exported: TypeAlias = Callable[[Tensor, float], Tensor]  # of a picture and a strength
HOW_STRENGTH = {
    "onnx": 'session.run(None, {"image": pixels, "strength": np.float32([0.5])})',
    "pt2": "program.strength.fill_(0.5)",
}


def run(settings: ExportSettings) -> None:
    """`export`, with the file on stdout, where nobody else is at work; raises what that does."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="torch|onnxscript|copyreg")
    with naming("output"), held(settings.output):
        file, difference, strengths = export(settings)
    sizes = ", ".join(f"{height} x {width}" for height, width in CHECKED_SIZES)
    console.print(f"{shown(file.absolute())}: {file.stat().st_size / 1e6:.1f} MB")
    told = f"differs from the model by {difference * 255:.2g} of 255 at most, checked at {sizes}"
    if len(strengths) > 1:
        told += f"\ntakes a strength {ABOUT_STRENGTH}, checked too: {HOW_STRENGTH[settings.format]}"
    console.print(told)


def export(settings: ExportSettings) -> tuple[Path, float, tuple[float, ...]]:
    """Write a file that is not there yet, once it was run at sizes other than the example's and is right.

    Returns:
        The file, its largest difference from the model, in [0, 1], and the strengths at which that was found.

    Raises:
        ExportError, ModelError, TrackingError: one sentence each.
    """
    found = find_model(settings.model, tracking_uri(settings.tracking.uri, RUNS))
    if not isinstance(found.network, Model):
        raise ModelError(f"model: {settings.model} is not one of ours; give a registered or saved model")
    file = Path(local_path(settings.output, "output")) / f"model.{settings.format}"
    if file.exists():
        raise StorageError(f"output: {file} exists; choose another folder, or remove it")
    save, load = {"onnx": (save_onnx, load_onnx), "pt2": (save_pt2, load_pt2)}[settings.format]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with begun(), TemporaryDirectory(dir=file.parent, prefix=".export-") as folder:
            unchecked = Path(folder, file.name)
            save(found.network, unchecked)
            difference = largest_difference(found.network, load(unchecked))
            if difference <= TOLERANCE:
                os.link(unchecked, file)  # which, unlike a renaming, replaces nothing
                return file, difference, strengths_of(found.network)
    except OSError as error:
        raise ExportError(f"output: {file} cannot be written ({error.strerror or error}); choose another") from error
    raise ExportError(
        f"{settings.format}: what was exported differs from the model by {difference * 255:.1f} of 255; it was "
        "removed, please report the versions of torch and onnxruntime"
    )


@torch.no_grad()
def largest_difference(model: Model, exported: Exported) -> float:
    """How far a model in float32 and its export are apart, in [0, 1], on noise of the checked sizes and at the checked
    strengths that it knows; NaN where one gives NaN.
    """
    generator = torch.Generator().manual_seed(0)
    worst = torch.zeros(())
    for height, width in CHECKED_SIZES:
        picture = torch.rand(1, 3, height, width, generator=generator).square()
        for strength in strengths_of(model):
            difference = model(picture, strength) - exported(picture, strength)
            worst = torch.maximum(worst, difference.abs().amax())
    return float(worst)


def strengths_of(model: Model) -> tuple[float, ...]:
    """The strengths at which an export is checked."""
    return CHECKED_STRENGTHS if model.enhancer.knows_strength else (1.0,)


def load_pt2(file: Path) -> Exported:
    """The program of a file as a function."""
    program = torch.export.load(file).module()
    buffers = dict(program.named_buffers())

    def run(picture: Tensor, strength: float = 1.0) -> Tensor:
        if STRENGTH in buffers:
            buffers[STRENGTH].fill_(strength)
        enhanced: Tensor = program(picture)
        return enhanced

    return run


def load_onnx(file: Path) -> Exported:
    """The graph of a file as a function, in onnxruntime on the CPU; for 1 its default is taken.

    Raises:
        ExportError: onnxruntime is missing.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ExportError("ONNX is checked with onnxruntime; install the extra `export`") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # it warns of inputs that have a default
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run(picture: Tensor, strength: float = 1.0) -> Tensor:
        given = {INPUT: picture.numpy()}
        if strength != 1:
            given[STRENGTH] = np.array([strength], np.float32)
        return torch.from_numpy(session.run(None, given)[0])

    return run
