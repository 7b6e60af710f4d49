"""A model for other runtimes: one program for any size, as torch.export's archive or as ONNX.

Height, width and batch stay free. Two things must not be frozen into the program: sizes that a network compares while
it runs, for which torch is told to take every size for the general case; and pooling, which our networks write as
products with averaging matrices, for `AdaptiveAvgPool2d` goes to ONNX with the bins of the example's size.

The strength of networks that know one is a float32 tensor (1,), 1 unless it is set, and what lies outside 0 to 1.5
counts as the nearer end, for a program refuses nothing. In ONNX it is an input with a default. torch.export knows no
inputs that can be left out, so there it is a buffer of the program.

Networks that decide on a small copy can be had as two programs, for machines that have no memory for a whole picture:
what the small copy tells, and what that makes of a tile, wherever it lies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from lle.dotted import said
from lle.enhancers import NETWORKS, Enhancer
from lle.enhancers.base import STRONGEST
from lle.enhancers.denoiser import COARSEST, REACH
from lle.enhancers.exposure import OneExposure
from lle.enhancers.light import Light, log_light, partly, relight, told
from lle.enhancers.resizing import enlarged_at
from lle.exposure.camera import srgb_to_linear
from lle.model import Model

EXAMPLE = (2, 3, 97, 131)  # neither a batch of 1 nor sides that divide evenly: those are special cases
INPUT, OUTPUT, STRENGTH = "image", "enhanced", "strength"
DECIDED = ("exposure", "balance", "by_light")
PLACE = "place"
ONNX_TILES = ("light.onnx", "tile.onnx")
LITERT_TILES = ("light.tflite", "tile.tflite")
COREML_TILES = ("light.mlpackage", "tile.mlpackage")
TILE_REACH = REACH  # pixels around a tile that it must be given, and that are cut off afterwards
GRID = COARSEST  # pixels by whose multiples tiles begin
LOOKED_AT, WINDOW = 640, 512  # px, sides of what the programs of fixed sizes take
_EXAMPLE_TILE = (torch.tensor([8.0, 16.0, 2000.0, 3000.0]), torch.ones(1))  # place and strength
ABOUT_STRENGTH = f"from 0, the picture as it is, over 1, as trained, to {STRONGEST:g}"


class ExportError(RuntimeError):
    """The model cannot be exported here; the message says what to change."""


def export_program(model: Model) -> ExportedProgram:
    """The model as a graph: RGB in [0, 1] in and out, float32 (B, 3, H, W), H and W of at least 2.

    Where the network knows a strength, it is the graph's buffer `strength`.

    Large pictures are not done in tiles: memory grows with them.

    Raises:
        ExportError: a torch that freezes the size, or a network from outside that is no graph.
    """
    free = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    try:
        return _exported(_with_strength(model.cpu().eval()), (torch.rand(EXAMPLE),), (free,))
    except ExportError:
        raise
    except Exception as error:
        if model.settings.arch in NETWORKS:
            raise
        raise ExportError(
            f"enhancer.arch: {model.settings.arch} cannot be exported ({said(error)}); write it without decisions "
            "that depend on values or sizes"
        ) from error


def save_pt2(model: Model, path: str | Path) -> None:
    """Write the model for `torch.export.load(path).module()`, which needs nothing of this project.

    `program.strength.fill_(0.5)` sets the strength.

    Raises:
        ExportError: as `export_program`.
    """
    torch.export.save(export_program(model), path)


def save_onnx(model: Model, path: str | Path) -> None:
    """Write the model as one ONNX file whose input `image` and output `enhanced` are float32 (B, 3, H, W).

    The input `strength`, where the network knows one, may be left out.

    Raises:
        ExportError: as `export_program`, or the packages for it are missing.
    """
    _needs_onnxscript()
    _write_onnx(export_program(model), path, [INPUT], [OUTPUT])


def save_tiles(model: Model, folder: str | Path) -> None:
    """Write the model as `light.onnx` and `tile.onnx` into a folder that is there; all tensors are float32.

    What `light.onnx` makes of `image`, RGB in [0, 1] (1, 3, H, W), is given to `tile.onnx` under the names it has:
    `exposure` (1, 1, 1, 1), `balance` (1, 3, 1, 1) and, where light is local or tones are kept, `by_light`
    (1, 2, S, S). Beside them that takes a tile as `image` (1, 3, h, w); `place` (4,): its upper row and left column and
    the picture's height and width; and `strength` (1,). Tiles begin at multiples of `GRID` pixels. A result is right
    `TILE_REACH` pixels from the edges of a tile, and at those of the picture.

    `light.onnx` takes every n-th row and column of a picture, n a length divided by 640, as well as all of them.

    Raises:
        ExportError: as `save_onnx`; or the network does not decide on a small copy.
    """
    _needs_onnxscript()
    looks, of_tile, decided = _in_two(model, None)
    names, free = DECIDED[: len(decided)], {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    light_file, tile_file = (Path(folder) / name for name in ONNX_TILES)
    picture = torch.rand(1, *EXAMPLE[1:])
    _write_onnx(_exported(looks, (picture,), (free,)), light_file, [INPUT], names)
    program = _exported(of_tile, (picture, *_EXAMPLE_TILE, *decided), (free, None, None, (None,) * len(decided)))
    _write_onnx(program, tile_file, [INPUT, PLACE, STRENGTH, *names], [OUTPUT])


def save_litert(model: Model, folder: str | Path) -> None:
    """Write the model as `light.tflite` and `tile.tflite`: as `save_tiles`, of fixed sizes. The one takes pictures of
    `LOOKED_AT`, whatever their shape was, the other tiles of `WINDOW` pixels a side.

    Raises:
        ExportError: the package for it is missing; or the network does not decide on a small copy.
    """
    try:
        import litert_torch
    except ImportError as error:
        raise ExportError(
            "LiteRT needs the package litert-torch; install the extra `litert`, into an environment of its own, for it "
            "wants an older torch"
        ) from error
    for (module, example, names, outputs), name in zip(_fixed(model), LITERT_TILES, strict=True):
        named = _ByName(module, names, outputs).eval()
        litert_torch.convert(named, sample_kwargs=dict(zip(names, example, strict=True))).export(
            str(Path(folder) / name)
        )


def save_coreml(model: Model, folder: str | Path) -> None:
    """Write the model as `light.mlpackage` and `tile.mlpackage`: as `save_litert`; iOS 16, macOS 13 or newer run them.

    Raises:
        ExportError: the package for it is missing; or the network does not decide on a small copy.
    """
    try:
        import coremltools
    except ImportError as error:
        raise ExportError("CoreML needs the package coremltools; install the extra `coreml`") from error
    for (module, example, names, outputs), name in zip(_fixed(model), COREML_TILES, strict=True):
        with torch.no_grad():
            program = _as_coremltools_knows_it(torch.export.export(module, example).run_decompositions())
        coremltools.convert(
            program,
            inputs=[coremltools.TensorType(name, each.shape) for name, each in zip(names, example, strict=True)],
            outputs=[coremltools.TensorType(name) for name in outputs],
            minimum_deployment_target=coremltools.target.iOS16,
            compute_precision=coremltools.precision.FLOAT32,  # half of it is too coarse for dark linear light
        ).save(str(Path(folder) / name))


def _in_two(model: Model, side: int | None) -> tuple[nn.Module, nn.Module, tuple[Tensor, ...]]:
    """What looks at a picture, of any or of one size; what is done to a tile; and what the one might tell the other."""
    enhancer = model.cpu().eval().enhancer
    if not isinstance(enhancer, OneExposure):
        raise ExportError(
            f"enhancer.arch: {model.settings.arch} does not decide on a small copy; only `scene` and `exposure` can be "
            "done in tiles"
        )
    looks = _Looks(enhancer, side).eval()
    with torch.no_grad():
        decided = looks(torch.rand(1, 3, side or EXAMPLE[2], side or EXAMPLE[3]))
    return looks, _OfTile(enhancer).eval(), decided


def _fixed(model: Model) -> Iterator[tuple[nn.Module, tuple[Tensor, ...], Sequence[str], Sequence[str]]]:
    """The two programs of fixed sizes: what does it, an example, and the names of what it takes and gives."""
    looks, of_tile, decided = _in_two(model, LOOKED_AT)
    names = DECIDED[: len(decided)]
    yield looks, (torch.rand(1, 3, LOOKED_AT, LOOKED_AT),), [INPUT], names
    yield (
        of_tile,
        (torch.rand(1, 3, WINDOW, WINDOW), *_EXAMPLE_TILE, *decided),
        [INPUT, PLACE, STRENGTH, *names],
        [OUTPUT],
    )


def _needs_onnxscript() -> None:
    try:
        import onnxscript  # noqa: F401  # what torch.onnx needs, told before the work
    except ImportError as error:
        raise ExportError(f"ONNX needs the package {error.name}; install the extra `export`") from error


def _write_onnx(program: ExportedProgram, path: str | Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    written = torch.onnx.export(
        program, dynamo=True, input_names=inputs, output_names=outputs, verbose=False, optimize=False
    )
    assert written is not None
    graph = written.model.graph
    if STRENGTH in graph.initializers:
        default = graph.initializers[STRENGTH]
        default.doc_string = ABOUT_STRENGTH
        graph.inputs.append(default)
    written.optimize()  # not before: a constant would be folded away
    written.save(path, external_data=False)


def _exported(module: nn.Module, example: tuple[Tensor, ...], free: tuple[Any, ...]) -> ExportedProgram:
    """The module as a graph whose free sizes stay free; raises ExportError where torch would freeze them."""
    from torch.fx.experimental import _config as shapes

    if not hasattr(shapes, "backed_size_oblivious"):
        raise ExportError(
            f"torch {torch.__version__} would freeze the size of the pictures; install torch 2.8 or newer"
        )
    with shapes.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]  # made when it is imported
        return torch.export.export(module.eval(), example, dynamic_shapes=free)


class _AtStrength(nn.Module):
    """An enhancer whose strength is a buffer."""

    strength: Tensor

    def __init__(self, enhancer: Enhancer) -> None:
        super().__init__()
        self.enhancer = enhancer
        self.register_buffer(STRENGTH, torch.ones(1))

    def forward(self, image: Tensor) -> Tensor:
        enhanced: Tensor = self.enhancer(image, self.strength.clamp(0.0, STRONGEST)).image
        return enhanced


class _ByName(nn.Module):
    """Takes and gives tensors by name, which is how LiteRT learns those names."""

    def __init__(self, module: nn.Module, names: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.module, self.names, self.outputs = module, tuple(names), tuple(outputs)

    def forward(self, **given: Tensor) -> dict[str, Tensor]:
        found = self.module(*(given[name] for name in self.names))
        return dict(zip(self.outputs, found if isinstance(found, tuple) else (found,), strict=True))


def _as_coremltools_knows_it(program: ExportedProgram) -> ExportedProgram:
    """The program without an operation that does nothing, and with bounds of ReLU6 that are of its own type."""
    aten = torch.ops.aten
    for node in list(program.graph.nodes):
        if node.target is aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
        elif node.target is aten.hardtanh.default:
            node.args = (node.args[0], *map(float, node.args[1:]))
    return program


class _Looks(nn.Module):
    """What the small copy of a picture tells: of a picture of any size, or of one square size as products, for the
    runtimes that know no antialiasing.
    """

    shares: Tensor

    def __init__(self, enhancer: OneExposure, side: int | None = None) -> None:
        super().__init__()
        self.enhancer = enhancer
        self.fixed = side is not None
        if side is not None:
            self.register_buffer("shares", _shrinking(side, enhancer.thumbnail_size))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        if self.fixed:
            light, _ = self.enhancer.light_of(self.shares @ image @ self.shares.T)
        else:
            light, _ = self.enhancer.light(image)
        decided = light.exposure, light.balance
        return decided if light.by_light is None else (*decided, light.by_light)


def _shrinking(length: int, shorter: int) -> Tensor:
    """By which shares of its neighbours each value of a shorter row is made, (shorter, length)."""
    ones = torch.eye(length)[None, None]
    return F.interpolate(ones, size=(shorter, length), mode="bilinear", antialias=True)[0, 0]


class _OfTile(nn.Module):
    """What was decided makes this of a tile."""

    def __init__(self, enhancer: OneExposure) -> None:
        super().__init__()
        self.enhancer = enhancer
        light, _ = enhancer.light(torch.rand(1, 3, 8, 8))
        self.keeps_tones, self.max_local = light.base is not None, light.max_local

    def forward(self, image: Tensor, place: Tensor, strength: Tensor, *decided: Tensor) -> Tensor:
        exposure, balance, *maps = decided
        of_places = {"base" if self.keeps_tones else "local": each for each in maps}
        light = Light(exposure, balance, **of_places, max_local=self.max_local)
        strength = strength.clamp(0.0, STRONGEST)
        linear = srgb_to_linear(image)
        relit, k = relight(linear, light, self._stops(light, linear, place), strength)
        if self.enhancer.denoiser is None:
            return relit
        return partly(relit, self.enhancer.denoiser(relit, told(k).expand_as(relit[:, :1])), strength)

    def _stops(self, light: Light, linear: Tensor, place: Tensor) -> Tensor | None:
        if light.by_light is None:
            return None
        rows, columns = (
            (place[axis] + torch.arange(linear.shape[2 + axis]) + 0.5) / place[2 + axis] for axis in (0, 1)
        )
        slope, offset = enlarged_at(light.by_light, rows, columns).split(1, dim=1)
        return light.stops(slope * log_light(linear) + offset)


def _with_strength(model: Model) -> nn.Module:
    return _AtStrength(model.enhancer).eval() if model.enhancer.knows_strength else model
