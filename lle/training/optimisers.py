"""The optimisers of a training, of the class that `optimiser.name` names; only such as a checkpoint can hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn, optim

from lle.config.schedule import OptimiserSettings
from lle.dotted import OwnCodeError, imported, said


def build_optimiser(settings: OptimiserSettings, parameters: Iterable[Tensor], lr: float) -> optim.Optimizer:
    """An optimiser with fresh state; raises OwnCodeError as `optimiser_class`."""
    return optimiser_class(settings.name)(parameters, lr=lr, weight_decay=settings.weight_decay)


def optimiser_class(path: str) -> Callable[..., optim.Optimizer]:
    """The class at `module:NAME`, once it has made a step whose traces a checkpoint can hold: tensors of each weight.

    Raises:
        OwnCodeError: it is no optimiser of (params, lr, weight_decay), or keeps something else.
    """
    made = imported(path, "optimiser.name")
    if not (isinstance(made, type) and issubclass(made, optim.Optimizer)):
        raise OwnCodeError(f"optimiser.name: {path} is no torch.optim.Optimizer; name a class derived from it")
    build: Callable[..., optim.Optimizer] = made
    weight = nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.ones(2, 2)
    try:
        optimiser = build([weight], lr=1e-3, weight_decay=1e-3)
        before = _group(optimiser)
        optimiser.step()  # one that wants a closure fails here
    except Exception as error:
        raise OwnCodeError(
            f"optimiser.name: {path} cannot be used ({said(error)}); it must be made of (params, lr, weight_decay) and "
            "step without a closure"
        ) from error
    kept = [name for state in optimiser.state.values() for name, value in state.items() if not _storable(value)]
    if kept or _group(optimiser) != before:
        what = ", ".join(kept) or "numbers beside its weights'"
        raise OwnCodeError(
            f"optimiser.name: {path} keeps what a checkpoint cannot hold ({what}); take one whose state is tensors"
        )
    return build


def rest(enhancer: nn.Module, parts: Sequence[str]) -> None:
    """Take parts of a network out of what learns, by the names of its children; those that it has not are left out.

    Raises:
        ValueError: nothing else of it learns.
    """
    for name, part in enhancer.named_children():
        if name in parts:
            part.requires_grad_(False)
    if parts and not any(parameter.requires_grad for parameter in enhancer.parameters()):
        raise ValueError("rests: nothing of the enhancer is left to learn; leave a part out")


def _storable(value: Any) -> bool:
    return value is None or isinstance(value, Tensor)


def _group(optimiser: optim.Optimizer) -> str:
    """What it keeps for all its weights together."""
    return repr({name: value for name, value in optimiser.param_groups[0].items() if name != "params"})
