"""A lost worker is replaced alone: the others wait for the new one, hand it what they hold, and all go on.

Ray Train can replace single workers where each is a replica with a process group of its own, which it does for torchft
(`OneByOne`). What joins them to one group again is here: all workers meet at the beginning, and once more after each
loss; in between nobody asks. The group that they form is torch's default one, so `lle.training.distributed` does not
know of any of this. torchft itself is not needed: its lighthouse brings workers together as well (tried, 0.2.0), but
listens without a token, under a host name that not every machine can resolve, and to start it Ray wants a CPU on the
driver's machine; its manager has all workers vote at every step.

Ray Train's own barriers (`report`, `broadcast_from_rank_zero`, `get_preemption_info`) are not for workers that are
replaced alone: a survivor that comes to one after Ray has reset it waits there for the new one, which waits here.
"""

from __future__ import annotations

import gc
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import ray
import torch
import torch.distributed as dist
from ray.train.v2.torch.torchft_config import TorchftConfig, _TorchftBackend
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lle.training import checkpoint as checkpoint_files
from lle.training.checkpoint import STATE, TENSORS, Checkpoint
from lle.training.loop import NonFiniteError
from lle.training.schedule import DeadLightMap
from pipelines.training import TrainingError

POLL_SECONDS = 0.2
SILENT_SECONDS = 5.0  # after which a worker that was waiting counts as gone
# Who exchanges nothing with the lost one in a collective, as may be among four, does not notice, and survivors that
# leave the group may not close their connections: once DDP was used, those outlive the group for a while, and gloo's
# abort does nothing (torch 2.15). So an answer that does not come counts as a loss, too, and may turn out to be none.
ANSWER_SECONDS = 120.0

Result = TypeVar("Result")


class OneByOne(TorchftConfig):
    """For TorchTrainer: each worker a replica of its own, which Ray Train replaces alone."""

    def __init__(self) -> None:
        super().__init__(lighthouse_kwargs={}, backend="gloo")

    @property
    def backend_cls(self) -> type[_TorchftBackend]:
        return _Backend


class _Backend(_TorchftBackend):
    def _maybe_create_lighthouse_actor(self, backend_config: TorchftConfig) -> str:
        return ""  # they meet at a `Meeting`


class Replicas:
    """This worker's way to the others.

    Args:
        come: to the `Meeting` of all, wherever it is held.
        worker: rank of this one.
        workers: how many there are.
        patience: how long to wait for a new worker, s.
    """

    def __init__(self, come: Callable[[Visit], list[Visit]], worker: int, workers: int, patience: float) -> None:
        self._come, self._worker, self._workers, self._patience = come, worker, workers, patience
        self._process, self._met = uuid.uuid4().hex, (list[str](), 0)
        self._held: Checkpoint | None = None

    def run(self, begin: Callable[[], Checkpoint | None], attempt: Callable[[Checkpoint | None], Result]) -> Result:
        """Meet, and attempt something until nobody is lost over it.

        Args:
            begin: gives what to go on from where nobody holds anything; called by all workers at once.
            attempt: begins there, tells `keep` before it fails, and fails with a RuntimeError where another is lost.

        Raises:
            RuntimeError: the attempt's own, where it failed twice at the same step though nobody was lost.
            TrainingError: no worker has come to replace a lost one.
        """
        failure: RuntimeError | None = None
        while True:
            try:
                self._meet(failure)
                failure = None
                return attempt(self._held or begin())
            except (NonFiniteError, DeadLightMap):  # every worker's verdict, not a loss
                raise
            except RuntimeError as error:
                if error is failure:
                    raise
                failure = error
                traceback.clear_frames(error.__traceback__)

    def keep(self, checkpoint: Checkpoint) -> None:
        """Hold what the training stands at, for the next meeting."""
        self._held = checkpoint

    def from_first(self, text: str) -> str:
        """The first worker's text, on every worker."""
        return _from(0, text.encode()).decode()

    def part(self) -> None:
        """Wait for all: none leaves while the loss of another would want it back."""
        dist.barrier()

    def _meet(self, failure: RuntimeError | None) -> None:
        """Wait until all workers are there, join them, and give each what the furthest holds.

        Raises:
            RuntimeError: `failure`, where all are the same as before, and have come no further since.
        """
        if dist.is_initialized():
            dist.destroy_process_group()
        gc.collect()
        store = None
        if self._worker == 0:
            store = dist.TCPStore(_address(), 0, self._workers, is_master=True, wait_for_workers=False)
        steps = self._held.progress.schedule.step + 1 if self._held else 0
        place = f"{_address()}:{store.port}" if store else ""
        members = self._wait_for_all(Visit(uuid.uuid4().hex, self._process, self._worker, steps, place))
        furthest = max(members, key=lambda each: each.steps)
        before, self._met = self._met, ([each.process for each in members], furthest.steps)
        if failure and before == self._met:
            raise failure
        if store is None:
            host, _, port = members[0].place.rpartition(":")
            store = dist.TCPStore(host, int(port), self._workers, is_master=False)
        seconds = timedelta(seconds=min(self._patience, ANSWER_SECONDS))
        dist.init_process_group("gloo", store=store, rank=self._worker, world_size=self._workers, timeout=seconds)
        if any(each.steps < furthest.steps for each in members):
            self._held = _handed_over(self._held if steps == furthest.steps else None, furthest.worker)

    def _wait_for_all(self, visit: Visit) -> list[Visit]:
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline:
            if members := self._come(visit):
                return members
            time.sleep(POLL_SECONDS)
        raise TrainingError(
            f"scaling.replace_lost: no worker took the place of a lost one within {self._patience:g} s "
            "(scaling.hang_limit); see that the cluster has room for it"
        )


@dataclass(frozen=True)
class Visit:
    """A worker that waits for the others.

    Attributes:
        key: of this visit alone.
        process: of all visits of a worker until it is lost.
        worker: its rank.
        steps: 0: it has just begun and holds nothing; else the steps done, and one.
        place: where the group's store is, from the first worker.
    """

    key: str
    process: str
    worker: int
    steps: int
    place: str = ""


@dataclass
class Meeting:
    """Where workers wait until there is one of each rank. Whoever waits comes again and again; who does not is gone.

    Args:
        workers: how many there are.
        clock: the time, s.
    """

    workers: int
    clock: Callable[[], float] = time.monotonic
    waiting: dict[int, tuple[Visit, float]] = field(default_factory=dict)
    met: list[Visit] = field(default_factory=list)

    def come(self, visit: Visit) -> list[Visit]:
        """Wait a little more: all who have met, by their ranks; empty while one is missing."""
        if visit in self.met:
            return self.met
        now = self.clock()
        self.waiting[visit.worker] = visit, now
        self.waiting = {rank: each for rank, each in self.waiting.items() if now - each[1] < SILENT_SECONDS}
        if len(self.waiting) < self.workers:
            return []
        self.met, self.waiting = [each for _, (each, _) in sorted(self.waiting.items())], {}
        return self.met


def meeting_here(workers: int) -> Callable[[Visit], list[Visit]]:
    """How to come to a meeting on the driver's machine, so that it is not lost with another one; can be sent."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return partial(_come_to, ray.remote(Meeting).options(num_cpus=0, scheduling_strategy=here).remote(workers))


def _come_to(actor: Any, visit: Visit) -> list[Visit]:
    return list(ray.get(actor.come.remote(visit)))


def _handed_over(held: Checkpoint | None, source: int) -> Checkpoint:
    """What the worker `source` holds, on every worker; as its files, with their hashes."""
    with TemporaryDirectory(prefix="lle-replica-") as folder:
        place = Path(folder, "held")
        if dist.get_rank() == source:
            assert held
            checkpoint_files.write(held, place)
        place.mkdir(exist_ok=True)
        for name in (TENSORS, STATE):
            content = _from(source, (place / name).read_bytes() if dist.get_rank() == source else b"")
            (place / name).write_bytes(content)
        return held or checkpoint_files.read(place)


def _from(source: int, content: bytes) -> bytes:
    """The content on rank `source`, on every rank."""
    size = torch.tensor([len(content)])
    dist.broadcast(size, source)
    if not size:
        return b""
    sent = torch.empty(int(size), dtype=torch.uint8)
    if dist.get_rank() == source:
        sent = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    dist.broadcast(sent, source)
    return sent.numpy().tobytes()


def _address() -> str:
    return str(ray.util.get_node_ip_address())
