"""Join a Ray cluster, or start one on this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# glibc returns and asks for memory at every step of a training on the CPU; these keep it (docs/training.md).
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "MALLOC_TOP_PAD_": str(2**26),
}
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DEDUP_LOGS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class ClusterError(RuntimeError):
    """The cluster cannot be reached or cannot hold the job; the message says what to change."""


@contextmanager
def connect(address: str = "", cpus: int = 0) -> Iterator[dict[str, float]]:
    """A Ray cluster for the length of a block; gives its resources (`CPU`, `GPU`, ...).

    Args:
        address: `host:port` of a cluster to join; empty: RAY_ADDRESS, else a cluster started on this machine and
            ended with the block.
        cpus: task slots of a cluster started here, at least; the cores of the machine if they are more.

    Raises:
        ClusterError: nobody answers at the address.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    address = address or os.environ.get("RAY_ADDRESS", "")
    slots = max(os.cpu_count() or 1, cpus)
    start_here: dict[str, Any] = {} if address else {"num_cpus": slots, "include_dashboard": False}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **start_here)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = f"cluster.address: no Ray cluster answers at {address}" if address else "Ray did not start here"
        raise ClusterError(f"{where} ({str(error).splitlines()[0]})") from error
    try:
        yield ray.cluster_resources()
    finally:
        ray.shutdown()
