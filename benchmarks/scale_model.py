"""How long a training step and an epoch take on 1 to 512 workers, and what limits first: a model, checked here.

    python -m benchmarks.scale_model                 # everything, some 5 minutes on 2 free cores
    python -m benchmarks.scale_model --parts check   # only this anew, beside what was stored
    python -m benchmarks.scale_model --table         # only the page, from the stored results

N workers take b pictures each in a step (weak scaling: a step has N b). Seconds of a step, those of validation and
checkpoint shared out over the steps between two of them:

    step(N)       = max(compute + all_reduce(N), ingest(N)) + validation(N) / V + checkpoint / C
    all_reduce(N) = 2 M(N) a + 2 (N - 1) / N G / B         of the gradients and, with nothing but latency, of decisions
    M(N)          = 2 (N - 1) messages one after another in a ring (gloo), 2 log2 N in a tree (NCCL)
    ingest(N)     = max(b / (d r), b (l + s / w) / R, N b / Q)          decoding, requests, store
    validation(N) = ceil(P / N) v
    epoch(N)      = photos / (N b) step(N)
    efficiency(N) = compute / step(N)

with a the latency of a message, G bytes of gradients, B bytes/s of a link, d decoding cores of a worker, r pictures/s
of one, R requests of a worker under way, each answered after l seconds with s bytes of a picture at w bytes/s, Q
objects/s that the store gives to all, P pictures to validate on, v seconds of one, V and C steps. Where decoders have
no cores of their own, decoding is work like any other: b / r adds to compute. Gradients are sent behind the whole
backward pass here, where DistributedDataParallel begins sooner: all_reduce is an upper bound. All workers are equally
fast.

Workers on k cores take turns: all but the checkpoint, which one of them writes, takes max(1, N / k) times as long.

The check compares work, which is processor time: other programs on the machine hardly lengthen it. It measures a step
alone, a decoded picture, a validated one, a checkpoint and all-reduces of gloo, each by itself, though on all cores at
a time, which share memory; adds them up as above, and lays that beside the real loop with all of them together.

A picture's decoding is what `benchmarks.ingest` has measured; a step of the paper's size, on CPUs, what
`benchmarks.training_step` has. On GPUs it is estimated: each operation takes the longest of its launch, its arithmetic
and its memory traffic (Williams et al., "Roofline", CACM 2009), counted here on tensors without contents.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.pages import PAGE, machine, markdown_table, replace_section, save, stored, told
from lle.config import TrainSettings
from pipelines.data.decoding import READERS

NAME = "scale_model"
COUNT, REDUCE, CHECK = PARTS = ("count", "all-reduce", "check")
NETWORKS = {"retinex": "faithful", "compact": "small"}
WORKERS = tuple(2**power for power in range(10))
SHOWN = (1, 8, 64, 512)
PHOTOS = 10_000_000
LEAST_EFFICIENCY = 0.9
SOURCES = {  # where `benchmarks.ingest` keeps them: size, loader, and form of the file
    "12 MP": ("12 MP", "our stream", "plain"),
    "3 MP": ("3 MP", "our stream", "plain"),
    "shards": ("12 MP", "our stream, shards", "prepared"),
}
FLOAT, HALF = 4, 2  # bytes
ETHERNET, NETWORK_LATENCY = 10e9 / 8, 20e-6  # bytes/s and s between machines, assumed
STORE = 5_500  # objects/s of a prefix of S3, before Amazon splits it: its "Optimizing Amazon S3 performance"
STORE_LATENCY, STORE_BANDWIDTH = 0.05, 20e6  # s, and bytes/s of a request
ATTAINED = 0.5  # of what data sheets of GPUs promise
LAUNCH = 10e-6  # s of an operation, however small


# --- the command ------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--turns", type=int, default=3, help="of the check")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    arguments = parser.parse_args(argv)
    found = stored(NAME)
    if not arguments.table:
        measure(arguments.parts, arguments.turns, found)
    text = as_text(found, stored("ingest"), stored("training_step"))
    replace_section(PAGE, "scale-model", text)
    print(text)
    return 0


def measure(parts: Sequence[str], turns: int, found: dict[str, Any]) -> None:
    """Measure the wanted parts and keep them beside those in `found`, in results/scale_model.json, as they come."""
    from benchmarks import scale_parts  # with torch and Ray

    measured: dict[str, Callable[[], Iterable[dict[str, Any]]]] = {
        COUNT: lambda: [counted(scale_parts.count_operations())],
        REDUCE: lambda: [scale_parts.measure_all_reduce()],
        CHECK: lambda: scale_parts.check(turns),
    }
    found["machine"] = machine()
    for part in parts:
        for result in measured[part]():
            found[part] = result
            save(NAME, found)


def counted(found: dict[str, Any]) -> dict[str, Any]:
    """What a step does in numbers, and how long GPUs would take for it, by network."""
    kinds = {}
    for kind, each in found["found"].items():
        arithmetic, numbers = (sum(column) for column in zip(*each["operations"], strict=True))
        kinds[kind] = {
            "parameters": each["parameters"],
            "operations": len(each["operations"]),
            "flop": arithmetic,
            "bytes": HALF * numbers,
            "seconds": {name: gpu.seconds(each["operations"]) for name, gpu in GPUS.items()},
        }
    return found | {"found": kinds}


# --- the model --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Link:
    """How workers reach each other.

    Attributes:
        latency: seconds of a message.
        bandwidth: bytes/s.
        tree: messages go along a tree instead of a ring.
    """

    latency: float
    bandwidth: float
    tree: bool = False

    def all_reduce(self, size: float, workers: int) -> float:
        """Seconds of a sum of so many bytes over all workers."""
        messages = 2 * math.log2(workers) if self.tree else 2 * (workers - 1)
        return messages * self.latency + 2 * (workers - 1) / workers * size / self.bandwidth


@dataclass(frozen=True)
class Ingest:
    """Where pictures come from.

    Attributes:
        rate: pictures/s that one core decodes.
        decoders: cores of each worker that do nothing else; 0: it decodes on those that it computes with.
        request: seconds until a picture is there.
        readers: requests of a worker under way.
        store: objects/s that the store gives to all workers together.
    """

    rate: float
    decoders: float = 0
    request: float = 0
    readers: int = READERS
    store: float = math.inf

    def arrived(self, pictures: int, workers: int) -> dict[str, float]:
        """Seconds until the pictures of each worker are there, by what they would take alone."""
        return {
            "decoding": pictures / (self.decoders * self.rate) if self.decoders else 0.0,
            "requests": pictures * self.request / self.readers,
            "store": workers * pictures / self.store,
        }


@dataclass(frozen=True)
class Training:
    """What costs one worker time, in seconds of all its cores or its GPU.

    Attributes:
        compute: of a step by itself.
        batch: pictures of a worker in a step.
        gradients: bytes.
        validation: of one picture.
        pictures: to validate on, in all.
        validate_every: steps.
        checkpoint: of writing one, for which all wait.
        checkpoint_every: steps.
    """

    compute: float
    batch: int
    gradients: int
    validation: float = 0
    pictures: int = 0
    validate_every: int = 200
    checkpoint: float = 0
    checkpoint_every: int = 500


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step, by what they are spent on."""

    compute: float
    all_reduce: float
    waiting: float
    validation: float
    checkpoint: float

    @property
    def total(self) -> float:
        """All of them."""
        return sum(vars(self).values())

    @property
    def limit(self) -> str:
        """What costs most beside computing."""
        beside = {name: seconds for name, seconds in vars(self).items() if name != "compute"}
        return max(beside, key=beside.__getitem__)

    def on_cores(self, workers: int, cores: int) -> float:
        """Seconds of the step where workers of a core each take turns on fewer."""
        return (self.total - self.checkpoint) * max(1.0, workers / cores) + self.checkpoint


def step_time(training: Training, link: Link, ingest: Ingest, workers: int) -> StepTime:
    """Of a step on so many workers."""
    compute = training.compute + (0 if ingest.decoders else training.batch / ingest.rate)
    arrived = max(ingest.arrived(training.batch, workers).values())
    reduce = link.all_reduce(training.gradients, workers) + link.all_reduce(0, workers)
    return StepTime(
        compute,
        reduce,
        max(0.0, arrived - compute - reduce),
        math.ceil(training.pictures / workers) * training.validation / training.validate_every,
        training.checkpoint / training.checkpoint_every,
    )


def efficiency(training: Training, link: Link, ingest: Ingest, workers: int) -> float:
    """Pictures/s of each worker beside those of one that does nothing but compute."""
    return training.compute / step_time(training, link, ingest, workers).total


def first_limit(training: Training, link: Link, ingest: Ingest, least: float) -> tuple[int, str] | None:
    """The fewest workers, of powers of two, whose efficiency is below `least`, and what costs most there beside
    computing; where that is waiting, what is waited for.
    """
    for workers in WORKERS:
        if efficiency(training, link, ingest, workers) < least:
            limit = step_time(training, link, ingest, workers).limit
            arrived = ingest.arrived(training.batch, workers)
            return workers, max(arrived, key=arrived.__getitem__) if limit == "waiting" else limit
    return None


def decoders_needed(training: Training, rate: float) -> float:
    """Decoding cores of a worker with which it does not wait, at `rate` pictures/s of a core."""
    return training.batch / training.compute / rate


def readers_needed(training: Training, request: float) -> float:
    """Requests that a worker has under way with which it does not wait, each of so many seconds."""
    return training.batch / training.compute * request


# --- GPUs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gpu:
    """A GPU and its share of a machine, by the data sheets.

    Attributes:
        flops: dense bf16 operations/s.
        memory: bytes/s.
        cores: of the machine, for each GPU.
        network: bytes/s, for each GPU.
    """

    flops: float
    memory: float
    cores: int
    network: float

    def seconds(self, operations: Iterable[tuple[float, float]]) -> float:
        """Of operations one behind the other, from the arithmetic and the numbers read and written of each."""
        flops, memory = ATTAINED * self.flops, ATTAINED * self.memory
        return sum(max(LAUNCH, arithmetic / flops, HALF * numbers / memory) for arithmetic, numbers in operations)


GPUS = {
    "L4 (g6.2xlarge)": Gpu(121e12, 300e9, 8, 10e9 / 8),
    "H100 (an eighth of p5.48xlarge)": Gpu(989e12, 3350e9, 24, 400e9 / 8),
}


# --- the page ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Worker:
    """What a worker of one kind brings to the paper's training.

    Attributes:
        compute: seconds of a step of the paper's size, by network.
        link: to the others.
        cores: that decode.
        decodes_beside: those cores do nothing else.
    """

    compute: dict[str, float]
    link: Link
    cores: int
    decodes_beside: bool


def workers_of(found: dict[str, Any], steps: dict[str, Any]) -> dict[str, Worker]:
    """The kinds of workers, by name: the machine that `benchmarks.training_step` ran on, and GPUs."""
    measured, cores = steps["step"], steps["step"]["machine"]["cores"]
    batch = found[COUNT]["batch"]
    compute = {kind: each["batched"] * batch / measured["batch"] for kind, each in measured["found"].items()}
    kinds = {f"{cores} CPU cores": Worker(compute, Link(found[REDUCE]["clock"]["latency"], ETHERNET), cores, False)}
    for name, gpu in GPUS.items():
        compute = {kind: each["seconds"][name] for kind, each in found[COUNT]["found"].items()}
        kinds[name] = Worker(compute, Link(NETWORK_LATENCY, gpu.network, tree=True), gpu.cores - 1, True)
    return kinds


def training_of(found: dict[str, Any], kind: str, compute: float) -> Training:
    """The paper's training by the defaults of its settings, as many pictures a worker as the paper has in all.

    A validated picture costs what it costs in the check beside a trained one; a checkpoint what it costs there.
    """
    settings = TrainSettings.model_validate({"data": {"samples": True}})
    batch, parts = found[COUNT]["batch"], found[CHECK]["found"][kind]["parts"]
    share = statistics.median(each["validation"] / (each["compute"] / found[CHECK]["batch"]) for each in parts)
    return Training(
        compute,
        batch,
        FLOAT * found[COUNT]["found"][kind]["parameters"],
        share * compute / batch,
        2 * settings.data.validation_images,
        settings.loop.validate_every,
        statistics.median(each["checkpoint"] for each in parts),
        settings.loop.checkpoint_every,
    )


def modelled(found: dict[str, Any], kind: str, turn: int, workers: int) -> StepTime:
    """A step of the check, in processor seconds of one worker, from the parts measured in the same turn."""
    sizes, parts = found[CHECK], found[CHECK]["found"][kind]["parts"][turn]
    training = Training(
        parts["compute"],
        sizes["batch"],
        FLOAT * found[COUNT]["found"][kind]["parameters"],
        parts["validation"],
        sizes["pictures"],
        sizes["every"],
        parts["checkpoint"],
        sizes["every"],
    )
    return step_time(training, Link(**found[REDUCE]["work"]), Ingest(1 / parts["decoding"]), workers)


def as_text(found: dict[str, Any], ingest: dict[str, Any], steps: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md, from this benchmark's results and those of two others."""
    check, paper = found[CHECK], found[COUNT]
    cores, turns = found["machine"]["cores"], min(len(each["parts"]) for each in check["found"].values())
    return "\n\n".join(
        [
            f"{told(found['machine'])}.",
            "The check: processor seconds of a step on one of the workers, as the model adds them up and as the real "
            f"loop takes them, batch {check['batch']} each at {check['side']} px, bundled prior, shards, validation "
            f"and checkpoint every {check['every']} steps; and by the clock, on {cores} cores. Medians of {turns} "
            "turns, ratios within a turn.",
            _check_table(found),
            f"The paper's training, {paper['batch']} pictures of {paper['side']} px a worker: efficiency in % on 1 to "
            f"{SHOWN[-1]} workers, and what costs most beside computing where it first falls below "
            f"{100 * LEAST_EFFICIENCY:.0f} %. Steps on CPUs are measured, on GPUs estimated: none was at hand. "
            "Decoding cores and requests under way, of those that there are, are what a worker needs never to "
            f"wait, with a store with {1000 * STORE_LATENCY:.0f} ms and {STORE_BANDWIDTH / 1e6:.0f} MB/s for each "
            f"request and {STORE:,} objects/s in all. The epoch: {PHOTOS:,} photos on {WORKERS[-1]} workers.",
            _scale_table(found, ingest, steps),
        ]
    )


def _check_table(found: dict[str, Any]) -> str:
    rows = []
    for kind, each in found[CHECK]["found"].items():
        for workers, loop in each["loop"].items():
            model = [modelled(found, kind, turn, int(workers)) for turn in range(len(loop))]
            works = [(one.total, other["work"]) for one, other in zip(model, loop, strict=True)]
            cores = found["machine"]["cores"]
            clocks = [
                (one.on_cores(int(workers), cores), other["clock"]) for one, other in zip(model, loop, strict=True)
            ]
            rows.append(
                [
                    f"{NETWORKS[kind]}, {workers}",
                    *(f"{statistics.median(column):.3f}" for column in zip(*works, strict=True)),
                    f"{statistics.median(real / added for added, real in works):.2f}",
                    *(f"{statistics.median(column):.3f}" for column in zip(*clocks, strict=True)),
                ]
            )
    heads = ["network, workers", "model, s", "loop, s", "loop / model", "clock: model, s", "loop, s"]
    return markdown_table(heads, rows)


def _scale_table(found: dict[str, Any], ingest: dict[str, Any], steps: dict[str, Any]) -> str:
    rows = []
    for name, worker in workers_of(found, steps).items():
        for kind, network in NETWORKS.items():
            training = training_of(found, kind, worker.compute[kind])
            for source, (size, loader, form) in SOURCES.items():
                rate = statistics.median(turn["per_core"] for turn in ingest["folder"]["found"][size][loader])
                request = STORE_LATENCY + 1000 * ingest["kilobytes"][size][form] / STORE_BANDWIDTH
                photos = Ingest(rate * worker.cores, 0, request, READERS, STORE)
                if worker.decodes_beside:
                    photos = replace(photos, rate=rate, decoders=worker.cores)
                limit = first_limit(training, worker.link, photos, LEAST_EFFICIENCY)
                last = step_time(training, worker.link, photos, WORKERS[-1])
                rows.append(
                    [
                        f"{name}, {network}, {source}",
                        f"{training.batch / training.compute:.3g}",
                        f"{decoders_needed(training, rate):.2g} of {worker.cores}",
                        f"{readers_needed(training, request):.2g} of {READERS}",
                        *(f"{100 * efficiency(training, worker.link, photos, workers):.0f}" for workers in SHOWN),
                        f"{limit[1].replace('_', '-')} at {limit[0]}" if limit else "nothing",
                        f"{PHOTOS / (WORKERS[-1] * training.batch) * last.total / 60:,.3g}",
                    ]
                )
    heads = ["workers, network, photos", "pictures/s of one", "decoding cores", "requests", *map(str, SHOWN)]
    return markdown_table([*heads, "limits first", "epoch, min"], rows)


if __name__ == "__main__":
    sys.exit(main())
