"""An export as a job: find the model, write it, run what was written, tell how far it is from the model.

What is in two programs, for tiles, is run as whoever uses it has to: `in_windows`.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from cluster.lease import held
from cluster.storage import StorageError, local_path, naming
from lle.exporting import (
    ABOUT_STRENGTH,
    COREML_TILES,
    GRID,
    INPUT,
    LITERT_TILES,
    LOOKED_AT,
    ONNX_TILES,
    OUTPUT,
    PLACE,
    STRENGTH,
    TILE_REACH,
    WINDOW,
    ExportError,
    save_coreml,
    save_litert,
    save_onnx,
    save_pt2,
    save_tiles,
)
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
Arrays: TypeAlias = dict[str, np.ndarray]
Program: TypeAlias = Callable[[Arrays], Arrays]  # of what it is given and gives, by name


class Format(NamedTuple):
    """One kind of export.

    Attributes:
        files: what it consists of.
        save: writes them into a folder.
        load: what they do, from that folder; None where this machine cannot run them.
        strength: how it is set, in the language of whoever runs it.
        sizes: height and width of the pictures it is checked with.
    """

    files: tuple[str, ...]
    save: Callable[[Model, Path], None]
    load: Callable[[Path], Exported] | None
    strength: str
    sizes: tuple[tuple[int, int], ...] = CHECKED_SIZES


def run(settings: ExportSettings) -> None:
    """`export`, with the file on stdout, where nobody else is at work; raises what that does."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for name in ("torch.onnx", "onnxscript", "onnx_ir", "coremltools"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="torch|onnxscript|copyreg")
    with naming("output"), held(settings.output):
        files, difference, strengths = export(settings)
    format = FORMATS[settings.format]
    for file in files:
        console.print(f"{shown(file.absolute())}: {_bytes(file) / 1e6:.1f} MB")
    if difference is None:
        told = "not compared with the model: this machine cannot run it"
    else:
        sizes = ", ".join(f"{height} x {width}" for height, width in format.sizes)
        told = f"differs from the model by {difference * 255:.2g} of 255 at most, checked at {sizes}"
    if len(strengths) > 1:
        told += f"\ntakes a strength {ABOUT_STRENGTH}{', checked too' if format.load else ''}: {format.strength}"
    console.print(told)


def export(settings: ExportSettings) -> tuple[list[Path], float | None, tuple[float, ...]]:
    """Write files that are not there yet, once they were run at sizes other than the example's and are right.

    Returns:
        The files; their largest difference from the model, in [0, 1], None where this machine cannot run them; and the
        strengths at which that was found.

    Raises:
        ExportError, ModelError, TrackingError: one sentence each.
    """
    found = find_model(settings.model, tracking_uri(settings.tracking.uri, RUNS))
    if not isinstance(found.network, Model):
        raise ModelError(f"model: {settings.model} is not one of ours; give a registered or saved model")
    format, output = FORMATS[settings.format], Path(local_path(settings.output, "output"))
    files = [output / name for name in format.files]
    for file in files:
        if file.exists():
            raise StorageError(f"output: {file} exists; choose another folder, or remove it")
    difference = None
    try:
        output.mkdir(parents=True, exist_ok=True)
        with begun(), TemporaryDirectory(dir=output, prefix=".export-") as folder:
            unchecked = Path(folder)
            format.save(found.network, unchecked)
            if format.load:
                difference = largest_difference(found.network, format.load(unchecked), format.sizes)
            if difference is None or difference <= TOLERANCE:
                for file in files:
                    _publish(unchecked / file.name, file)
                return files, difference, strengths_of(found.network)
    except OSError as error:
        raise ExportError(
            f"output: {files[0]} cannot be written ({error.strerror or error}); choose another"
        ) from error
    raise ExportError(
        f"{settings.format}: what was exported differs from the model by {difference * 255:.1f} of 255; it was "
        "removed, please report the versions of torch and of what runs it"
    )


def _publish(unchecked: Path, file: Path) -> None:
    """Give it its name; neither replaces anything."""
    if unchecked.is_dir():
        unchecked.rename(file)
    else:
        os.link(unchecked, file)


def _bytes(file: Path) -> int:
    return sum(each.stat().st_size for each in (file, *file.rglob("*")) if each.is_file())


@torch.no_grad()
def largest_difference(model: Model, exported: Exported, sizes: Sequence[tuple[int, int]] = CHECKED_SIZES) -> float:
    """How far a model in float32 and its export are apart, in [0, 1], on noise of some sizes and at the checked
    strengths that it knows; NaN where one gives NaN.
    """
    generator = torch.Generator().manual_seed(0)
    worst = torch.zeros(())
    for height, width in sizes:
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
    program = _in_onnxruntime(file)

    def run(picture: Tensor, strength: float = 1.0) -> Tensor:
        given = {INPUT: picture.numpy()}
        if strength != 1:
            given[STRENGTH] = np.array([strength], np.float32)
        return torch.from_numpy(program(given)[OUTPUT])

    return run


def load_tiles(folder: Path) -> Exported:
    """The two graphs of a folder as a function.

    Raises:
        ExportError: onnxruntime is missing.
    """
    light, tile = (_in_onnxruntime(folder / name) for name in ONNX_TILES)
    return in_windows(light, tile)


def load_litert(folder: Path) -> Exported:
    """The two programs of a folder as a function.

    Raises:
        ExportError: LiteRT is missing.
    """
    light, tile = (_in_litert(folder / name) for name in LITERT_TILES)
    return in_windows(light, tile, fixed=True)


def in_windows(light: Program, tile: Program, fixed: bool = False) -> Exported:
    """What two programs make of a picture, window by window.

    Args:
        light, tile: as `lle.exporting.save_tiles` says.
        fixed: they take pictures of LOOKED_AT and windows of WINDOW pixels a side, and nothing else.
    """

    def run(picture: Tensor, strength: float = 1.0) -> Tensor:
        height, width = picture.shape[-2:]
        looked_at = (
            F.interpolate(picture, size=(LOOKED_AT, LOOKED_AT), mode="bilinear", antialias=True) if fixed else picture
        )
        decided = light({INPUT: looked_at.numpy()})
        pad = [max(WINDOW - side, -side % GRID) if fixed else -side % GRID for side in (width, height)]
        seen = F.pad(picture, [0, pad[0], 0, pad[1]], mode="replicate")
        enhanced = torch.empty_like(seen)
        for (top, above), (left, beside) in product(*(_windows(side) for side in seen.shape[-2:])):
            window = seen[..., top : top + WINDOW, left : left + WINDOW]
            given = {PLACE: np.array([top, left, height, width]), STRENGTH: np.array([strength])}
            given = {name: value.astype(np.float32) for name, value in given.items()}
            found = tile({INPUT: window.contiguous().numpy(), **given, **decided})[OUTPUT]
            enhanced[..., top + above : top + WINDOW, left + beside : left + WINDOW] = torch.from_numpy(
                found[..., above:, beside:]
            )
        return enhanced[..., :height, :width]

    return run


def _windows(length: int) -> list[tuple[int, int]]:
    """Where windows begin along a side, and how much of each is to be left out at its beginning; what is wrong at its
    end, the next one writes over.
    """
    last = max(0, length - WINDOW)
    starts = [*range(0, last, WINDOW - 2 * TILE_REACH), last]
    return [(start, TILE_REACH if start else 0) for start in starts]


def _in_onnxruntime(file: Path) -> Program:
    try:
        import onnxruntime
    except ImportError as error:
        raise ExportError("ONNX is checked with onnxruntime; install the extra `export`") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # it warns of inputs that have a default
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return lambda given: dict(zip(names, session.run(None, given), strict=True))


def _in_litert(file: Path) -> Program:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ExportError("LiteRT is checked with ai-edge-litert; install the extra `litert`") from error
    signature = Interpreter(str(file)).get_signature_runner()
    return lambda given: dict(signature(**given))


FORMATS = {
    "onnx": Format(
        ("model.onnx",),
        lambda model, folder: save_onnx(model, folder / "model.onnx"),
        lambda folder: load_onnx(folder / "model.onnx"),
        'session.run(None, {"image": pixels, "strength": np.float32([0.5])})',
    ),
    "pt2": Format(
        ("model.pt2",),
        lambda model, folder: save_pt2(model, folder / "model.pt2"),
        lambda folder: load_pt2(folder / "model.pt2"),
        "program.strength.fill_(0.5)",
    ),
    "tiles": Format(ONNX_TILES, save_tiles, load_tiles, "the input `strength` of tile.onnx"),
    "litert": Format(
        LITERT_TILES, save_litert, load_litert, "the input `strength` of tile.tflite", ((640, 640), (700, 901))
    ),
    "coreml": Format(COREML_TILES, save_coreml, None, "the input `strength` of tile.mlpackage"),
}
