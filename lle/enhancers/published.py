"""Weights others have published, loaded into our networks.

| name | network |
|---|---|
| `clip-lit`, `rave` | `RetinexEnhancer` |
| `pie`, `scl-lle`, `zero-dce` | `CurveEnhancer` |
| `zero-dce++` | `ZeroDcePlusPlus` |
| `sci` | `Sci` |

Files are read with `weights_only`: a pickle that wants to run code is refused.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lle.enhancers.base import Enhancer
from lle.enhancers.curve_maps import CurveEnhancer
from lle.enhancers.peers import Sci, ZeroDcePlusPlus
from lle.enhancers.retinex import Padding, RetinexEnhancer

PUBLISHED = ("clip-lit", "rave", "pie", "scl-lle", "zero-dce", "zero-dce++", "sci")

_RENAMED = {  # parts of their parameters' names, and ours
    RetinexEnhancer: {
        "cond1.": "stem.",
        **{f"ResidualBlock{block + 1}.": f"body_in.{block}." for block in (0, 1)},
        **{f"ResidualBlock{block + 3}.": f"body_wide.{block}." for block in (0, 1)},
        **{f"ResidualBlock{block + 5}.": f"body_out.{block}." for block in (0, 1)},
        **{f"PPM1.features.{level}.{i + 1}.": f"context.levels.{level}.{i}." for level in range(4) for i in (0, 1)},
        "PPM1.fuse.": "context.fuse.",
        "condx.": "widen.",
        "condy.": "narrow.",
        "cond_add1.": "head.",
        ".conv1.": ".first.",
        ".conv2.": ".second.",
    },
    CurveEnhancer: {
        **{f"e_conv{layer + 1}.": f"network.ahead.{layer}." for layer in range(4)},
        **{f"e_conv{layer + 5}.": f"network.back.{layer}." for layer in range(3)},
    },
    Sci: {
        "enhance.in_conv.0.": "first.",
        "enhance.conv.0.": "middle.",
        "enhance.conv.1.": "normalise.",
        "enhance.out_conv.0.": "last.",
    },
}
_RENAMED[ZeroDcePlusPlus] = _RENAMED[CurveEnhancer] | {"depth_conv.": "depthwise.", "point_conv.": "pointwise."}
_TRAINING_ONLY = ("calibrate.", "enhance.blocks.")  # SCI's; the second repeats `enhance.conv`


def load_published(name: str, path: str | Path, *, padding: Padding = "reflect", scale: int = 1) -> Enhancer:
    """A published network with its weights, in evaluation mode on the CPU.

    Args:
        name: one of `PUBLISHED`.
        path: the checkpoint, a state dict saved by torch.
        padding: borders of clip-lit and rave, `reflect` as in the authors' test, `zeros` as in their training.
        scale: of zero-dce++, how many times smaller the copy is that it looks at; 12 is its fast setting.

    Raises:
        ValueError: no such name, or the file is not a checkpoint of that network.
    """
    enhancer = _network(name, padding, scale)
    published = _read(name, path)
    renamed = _RENAMED[type(enhancer)]
    state = {
        _rename(key, renamed): _without_subnormals(weight)
        for key, weight in published.items()
        if not key.startswith(_TRAINING_ONLY)
    }
    try:
        enhancer.load_state_dict(state)
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ValueError(f"{path}: holds another network than {name}'s ({detail[:120]})") from error
    return enhancer.eval().requires_grad_(False)


def _network(name: str, padding: Padding, scale: int) -> Enhancer:
    match name:
        case "clip-lit" | "rave":
            return RetinexEnhancer(padding)
        case "pie" | "scl-lle" | "zero-dce":
            return CurveEnhancer()
        case "zero-dce++":
            return ZeroDcePlusPlus(scale)
        case "sci":
            return Sci()
    raise ValueError(f"{name}: no published network of this name is known; choose from {', '.join(PUBLISHED)}")


def _read(name: str, path: str | Path) -> dict[str, Tensor]:
    try:
        published = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; give the path of {name}'s checkpoint") from None
    except Exception as error:  # a damaged archive raises nearly anything
        raise ValueError(f"{path}: not a checkpoint that can be loaded safely ({type(error).__name__})") from error
    if not isinstance(published, dict) or not all(isinstance(weight, Tensor) for weight in published.values()):
        raise ValueError(f"{path}: holds no state dict; give the path of {name}'s checkpoint")
    return published


def _rename(key: str, renamed: dict[str, str]) -> str:
    key = key.removeprefix("module.")
    for theirs, ours in renamed.items():
        key = key.replace(theirs, ours)
    return key


def _without_subnormals(weight: Tensor) -> Tensor:
    """Weight decay left a quarter to a half of the curve networks' weights below 1e-38, where CPUs take forty times
    longer; the pictures are the same to the last bit with 0 in their place.
    """
    if not weight.is_floating_point():
        return weight
    return torch.where(weight.abs() < torch.finfo(weight.dtype).tiny, 0, weight)
