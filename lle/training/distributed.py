"""The little the loop needs of torch.distributed; without a process group, one rank that agrees with itself."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def rank() -> int:
    """Index of this process, 0 without a process group."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes, 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def summed(values: Tensor) -> Tensor:
    """Sum over all ranks; the argument is left alone."""
    if not dist.is_initialized():
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values


def same_on_every_rank(digest: str) -> bool:
    """Whether all ranks hold the same hexadecimal digest."""
    if not dist.is_initialized():
        return True
    digests: list[str | None] = [None] * world_size()
    dist.all_gather_object(digests, digest)
    return len(set(digests)) == 1


def parallel(module: nn.Module) -> nn.Module:
    """The module under DistributedDataParallel where there is a process group and it has something to learn."""
    if not dist.is_initialized() or not any(parameter.requires_grad for parameter in module.parameters()):
        return module
    device = next(module.parameters()).device
    ids = [device.index or 0] if device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=ids, broadcast_buffers=False)


def seed_step(seed: int, step: int) -> None:
    """Seed torch for one step on this rank.

    The randomness of a step follows from (seed, step, rank) alone, so a resumed training needs no saved generator.
    """
    torch.manual_seed((seed * 1_000_003 + step) * 4_099 + rank())
