"""Weights others have published, loaded into our networks.

CLIP-LIT's and RAVE's checkpoints fit `RetinexEnhancer`. Files are read with `weights_only`: a pickle that wants to
run code is refused.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lle.enhancers.retinex import Padding, RetinexEnhancer

_RETINEX_NAMES = {
    "cond1": "stem",
    "ResidualBlock1": "body_in.0",
    "ResidualBlock2": "body_in.1",
    "ResidualBlock3": "body_wide.0",
    "ResidualBlock4": "body_wide.1",
    "ResidualBlock5": "body_out.0",
    "ResidualBlock6": "body_out.1",
    "PPM1.fuse": "context.fuse",
    "PPM1.features": "context.levels",
    "condx": "widen",
    "condy": "narrow",
    "cond_add1": "head",
}


def load_published_retinex(path: str | Path, padding: Padding = "reflect") -> RetinexEnhancer:
    """CLIP-LIT's network with published weights (method 1.1).

    Args:
        path: the checkpoint, a state dict saved by torch.
        padding: `reflect` as in the authors' test, `zeros` as in their training.

    Raises:
        ValueError: the file is not such a checkpoint.
    """
    try:
        published = torch.load(path, map_location="cpu", weights_only=True)
        state = {_translate(name): weight for name, weight in published.items()}
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; give the path of a CLIP-LIT or RAVE checkpoint") from None
    except Exception as error:
        raise ValueError(f"{path}: not a checkpoint that can be loaded safely ({type(error).__name__})") from error
    enhancer = RetinexEnhancer(padding)
    _load(enhancer, state, path)
    return enhancer.eval()


def _translate(name: str) -> str:
    name = name.removeprefix("module.")
    for theirs, ours in _RETINEX_NAMES.items():
        if name.startswith(theirs + "."):
            rest = name[len(theirs) + 1 :]
            if ours == "context.levels":
                level, layer, leaf = rest.split(".")
                rest = f"{level}.{int(layer) - 1}.{leaf}"
            return f"{ours}.{rest.replace('conv1', 'first').replace('conv2', 'second')}"
    return name


def _load(enhancer: RetinexEnhancer, state: dict[str, Tensor], path: str | Path) -> None:
    try:
        enhancer.load_state_dict(state)
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ValueError(f"{path}: holds another network than CLIP-LIT's or RAVE's ({detail[:120]})") from error
