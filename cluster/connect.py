"""Join a Ray cluster, or start one on this machine."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from cluster.redaction import redacted
from cluster.waiting import Amount, fits, told_while_waiting

# The workers of a cluster that somebody else started need it too: their logs get two lines a second of bars otherwise.
QUIET = {"RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
FOR_RAY_ITSELF = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # of its nodes, about how many processes they have; errors come as exceptions
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # of its part in C++, which writes to the terminal what it takes for errors
}

ANSWER_SECONDS = 20.0
ELSEWHERE = (
    "give host:port of a head node whose machine, or one of its nodes, this is, or send the job there with "
    "`ray job submit --address http://HEAD:8265`"
)
JOINED = "raised while the cluster was joined"  # a note on what is raised in the block of `connect`


class ClusterError(RuntimeError):
    """The cluster cannot be reached or cannot hold the job; the message says what to change."""


def quieten_ray() -> None:
    """Keep what concerns only Ray off the terminal; some of it only where this comes before Ray is imported."""
    for name, value in (QUIET | FOR_RAY_ITSELF).items():
        os.environ.setdefault(name, value)


@contextmanager
def connect(address: str = "", cpus: int = 0) -> Iterator[Amount]:
    """A Ray cluster for the length of a block; gives its resources (`CPU`, `GPU`, ...).

    Args:
        address: `host:port` of a cluster to join; empty: RAY_ADDRESS, else a cluster started on this machine and
            ended with the block.
        cpus: task slots of a cluster started here, at least; the cores of the machine if they are more.

    Raises:
        ClusterError: nobody answers at the address, or Ray does not start here, whatever the reason.
    """
    quieten_ray()
    address = address or os.environ.get("RAY_ADDRESS", "") or "local"
    if address not in ("local", "auto"):
        see_a_cluster_at(address)
    import ray

    slots = max(os.cpu_count() or 1, cpus)
    start_here: dict[str, Any] = {"num_cpus": slots, "include_dashboard": False} if address == "local" else {}
    try:
        with _deaf_to_hangups(), _silent_stderr():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **start_here)
    except Exception as error:  # Ray raises nothing narrower when a node is not up in time
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        if address == "local":
            raise ClusterError(f"Ray did not start here ({said})") from error
        raise ClusterError(
            f"cluster.address: this machine cannot join the Ray cluster at {address} ({said}); {ELSEWHERE}"
        ) from error
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _exit)  # over Ray's, which prints where the program stood and ends it there
        yield ray.cluster_resources()
    except Exception as error:
        error.add_note(JOINED)
        raise
    finally:
        ray.shutdown()


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Ray's part in C++ says on stderr that it was told to say nothing; what goes wrong is raised."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _exit(number: int, frame: object) -> NoReturn:
    """SIGTERM ends the program like Ctrl-C does: through its `finally` clauses."""
    raise SystemExit(128 + number)


def see_a_cluster_at(address: str, seconds: float = ANSWER_SECONDS) -> None:
    """See that a Ray cluster answers, and takes us in; Ray itself would try for minutes, and end the program.

    Args:
        address: from the settings or the environment.
        seconds: to wait for an answer.

    Raises:
        ClusterError: it does not; whether nobody does, somebody else does, or our token is not the cluster's.
    """
    where = f"cluster.address: {redacted(address)}"
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ClusterError(f"{where} is not host:port of a Ray head node, such as 10.0.0.1:6379; {ELSEWHERE}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import grpc
        from ray._private.gcs_utils import create_gcs_channel
        from ray.core.generated.gcs_service_pb2 import GetClusterIdRequest  # type: ignore[attr-defined]
        from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
        from ray.exceptions import AuthenticationError
    try:
        with create_gcs_channel(address) as channel:
            NodeInfoGcsServiceStub(channel).GetClusterId(GetClusterIdRequest(), timeout=seconds)
    except AuthenticationError as error:
        raise ClusterError(f"{where} was not asked: {str(error).split('. ')[0]}") from error
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise ClusterError(
                f"{where} does not accept our token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the file with "
                "the cluster's"
            ) from error
        details = str(error.details() or "").strip()
        if error.code() == grpc.StatusCode.UNIMPLEMENTED or "Failed parsing HTTP" in details:
            raise ClusterError(f"{where}: what answers there is no Ray head node; {ELSEWHERE}") from error
        said = details.rpartition(": ")[2] or error.code().name.lower()
        raise ClusterError(
            f"{where}: no Ray cluster answers there ({said}); start one with `ray start --head --port={port} "
            "--disable-usage-stats`, or correct --cluster.address or RAY_ADDRESS"
        ) from error


@contextmanager
def _deaf_to_hangups() -> Iterator[None]:
    """Processes started in this block never hear of a terminal that is closed: their driver does, and ends them once
    it has saved what they know.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def grown(bundles: Sequence[Amount], minutes: float, tell: Callable[[str], object] = lambda line: None) -> Amount:
    """The connected cluster's resources, once it holds what is wanted or the wait is over.

    Args:
        bundles: what each worker wants, such as {"CPU": 1, "GPU": 1}; the autoscaler, if there is one, is asked for it.
        minutes: how long to wait; 0 takes the cluster as it is.
        tell: takes a line now and then about what is waited for.
    """
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group

    if minutes and not fits(bundles, nodes()):
        # An autoscaler brings machines for a group that waits; those of several jobs add up, and a job's go with it.
        group = placement_group(list(bundles))
        try:
            deadline = time.monotonic() + 60 * minutes
            with told_while_waiting(tell):
                while not fits(bundles, nodes()) and time.monotonic() < deadline:
                    time.sleep(1)
        finally:
            remove_placement_group(group)  # or the machines would stay, and cost, until the job ends
    resources: Amount = ray.cluster_resources()
    return resources


def nodes() -> list[Amount]:
    """What each machine of the connected cluster has in all, whoever uses it."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
