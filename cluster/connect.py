"""Join a Ray cluster, or start one on this machine."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# glibc returns and asks for memory at every step of a training on the CPU; these keep it (docs/training.md).
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "MALLOC_TOP_PAD_": str(2**26),
}
# The workers of a cluster that somebody else started need it too: their logs get two lines a second of bars otherwise.
QUIET = {"RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
JOINED = "raised while the cluster was joined"  # a note on what is raised in the block of `connect`
FOR_RAY_ITSELF = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


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
        ClusterError: nobody answers at the address, or Ray does not start here, whatever the reason.
    """
    for name, value in (QUIET | FOR_RAY_ITSELF).items():
        os.environ.setdefault(name, value)
    import ray

    address = address or os.environ.get("RAY_ADDRESS", "")
    slots = max(os.cpu_count() or 1, cpus)
    start_here: dict[str, Any] = {} if address else {"num_cpus": slots, "include_dashboard": False}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **start_here)
    except Exception as error:  # Ray raises nothing narrower when a node is not up in time
        where = f"cluster.address: no Ray cluster answers at {address}" if address else "Ray did not start here"
        said = str(error).strip() or type(error).__name__
        raise ClusterError(f"{where} ({said.splitlines()[0]})") from error
    try:
        yield ray.cluster_resources()
    except Exception as error:
        error.add_note(JOINED)
        raise
    finally:
        ray.shutdown()


def grown(bundles: Sequence[dict[str, float]], minutes: float) -> dict[str, float]:
    """The connected cluster's resources, once it holds what is wanted or the wait is over.

    Args:
        bundles: what each worker wants, such as {"CPU": 1, "GPU": 1}; the autoscaler, if there is one, is asked for it.
        minutes: how long to wait; 0 takes the cluster as it is.
    """
    import ray
    from ray.autoscaler.sdk import request_resources

    wanted = {name: sum(each.get(name, 0) for each in bundles) for each in bundles for name in each}

    def lacks() -> bool:
        there = ray.cluster_resources()
        return any(there.get(name, 0) < amount for name, amount in wanted.items())

    if minutes and lacks():
        request_resources(bundles=list(bundles))
        try:
            deadline = time.monotonic() + 60 * minutes
            while lacks() and time.monotonic() < deadline:
                time.sleep(1)
        finally:
            request_resources(bundles=[])  # or the machines would stay, and cost, for ever
    resources: dict[str, float] = ray.cluster_resources()
    return resources
