"""A model for other runtimes: one program for any size, as torch.export's archive or as ONNX.

Height, width and batch stay free. Two things must not be frozen into the program: sizes that a network compares while
it runs, for which torch is told to take every size for the general case; and pooling, which our networks write as
products with averaging matrices, for `AdaptiveAvgPool2d` goes to ONNX with the bins of the example's size.

The strength of networks that know one is a float32 tensor (1,), 1 unless it is set, and what lies outside 0 to 1.5
counts as the nearer end, for a program refuses nothing. In ONNX it is an input with a default. torch.export knows no
inputs that can be left out, so there it is a buffer of the program.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lle.dotted import said
from lle.enhancers import NETWORKS, Enhancer
from lle.enhancers.base import STRONGEST
from lle.model import Model

EXAMPLE = (2, 3, 97, 131)  # neither a batch of 1 nor sides that divide evenly: those are special cases
INPUT, OUTPUT, STRENGTH = "image", "enhanced", "strength"
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
    from torch.fx.experimental import _config as shapes

    if not hasattr(shapes, "backed_size_oblivious"):
        raise ExportError(
            f"torch {torch.__version__} would freeze the size of the pictures; install torch 2.8 or newer"
        )
    free = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
    with shapes.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]  # made when it is imported
        try:
            return torch.export.export(_with_strength(model.cpu().eval()), (torch.rand(EXAMPLE),), dynamic_shapes=free)
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
    try:
        import onnxscript  # noqa: F401  # what torch.onnx needs, told before the work
    except ImportError as error:
        raise ExportError(f"ONNX needs the package {error.name}; install the extra `export`") from error
    program = torch.onnx.export(
        export_program(model), dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False, optimize=False
    )
    assert program is not None
    graph = program.model.graph
    if STRENGTH in graph.initializers:
        default = graph.initializers[STRENGTH]
        default.doc_string = ABOUT_STRENGTH
        graph.inputs.append(default)
    program.optimize()  # not before: a constant would be folded away
    program.save(path, external_data=False)


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


def _with_strength(model: Model) -> nn.Module:
    return _AtStrength(model.enhancer).eval() if model.enhancer.knows_strength else model
