"""Task: what a network downstream sees in an enhanced picture is what it sees in the well-lit one (ours).

    L = T(e, W),    T: the frozen network that `objective.task.module` names

e: the enhanced wrong exposure of W, which in denoising is what a frozen enhancer makes of it without noise. PIE asks
whether enhancing serves tasks downstream; here they say so in training.
"""

from __future__ import annotations

from torch import Tensor, nn

from lle.config.objective import TaskTerm
from lle.dotted import OwnCodeError, imported

MODULE = "objective.task.module"


def task(network: nn.Module, enhanced: Tensor, wanted: Tensor) -> Tensor:
    """Scalar: what the network says of enhanced pictures and of those they should be, RGB in [0, 1], (B, 3, H, W).

    Raises:
        OwnCodeError: it is not one number.
    """
    found = network(enhanced, wanted)
    if not isinstance(found, Tensor) or found.ndim:
        raise OwnCodeError(f"{MODULE}: {type(network).__name__} must give one number, a tensor without dimensions")
    return found


def load_task(term: TaskTerm) -> nn.Module | None:
    """The network, frozen, on the CPU; None where the term has no weight.

    Raises:
        OwnCodeError: it cannot be imported or made, or is no torch module.
    """
    if not term.weight:
        return None
    found = imported(term.module, MODULE)
    try:
        network = found if isinstance(found, nn.Module) else found()
    except TypeError as error:
        raise OwnCodeError(f"{MODULE}: {term.module} must be made without arguments ({error})") from error
    if not isinstance(network, nn.Module):
        raise OwnCodeError(f"{MODULE}: {term.module} is no torch module; give the path of a subclass of nn.Module")
    return network.eval().requires_grad_(False)
