"""What the model of `benchmarks.scale_model` is fed by and checked against: operations, all-reduces, parts of a step,
the real loop.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.ingest import photos_at
from benchmarks.training_step import NETWORKS, TOWERS, MemoryStream, paper, small_training
from lle import images
from lle.config import EnhancerSettings, TrainSettings
from lle.enhancers import build_enhancer
from lle.losses.objective import Objective
from lle.prior.loading import load_prior
from lle.prior.prompts import PromptPair
from lle.prior.towers import Prior, Tower
from lle.training import checkpoint as checkpoint_files
from lle.training.hooks import ControlSignal, Hooks, Report
from lle.training.loop import train
from lle.training.streams import OpenStream
from lle.training.validation import ValidationSet, Validator
from pipelines.data.decoding import Decode
from pipelines.data.photo_sets import PhotoSet
from pipelines.data.streams import RayStream

PAPER_BATCH, PAPER_SIDE = 8, 512
WORKERS, BATCH, SIDE, PICTURES = (1, 2, 4), 4, 32, 8  # of the check
WARM, EVERY = 4, 4  # steps left out at the beginning; between two validations
REDUCED_BYTES, REDUCES = (64, 250_000, 1_000_000), 50


# --- what a step of the paper's size costs ----------------------------------------------------------------------------


class Operations(TorchDispatchMode):
    """Lists the operations of a block: arithmetic and numbers read and written by each; views cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[float, float]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not func.is_view:
            count = flop_registry.get(func._overloadpacket)
            tensors = [each for each in tree_leaves((args, kwargs, result)) if isinstance(each, Tensor)]
            arithmetic = count(*args, **kwargs, out_val=result) if count else 0
            self.found.append((arithmetic, sum(each.numel() for each in tensors)))
        return result


def count_operations() -> dict[str, Any]:
    """Operations of a step of the paper's size, by network; see `Operations`."""
    models: list[Any] = [open_clip.create_model(name).eval().requires_grad_(False) for name in TOWERS]
    guidance, identity = (Tower(model, name) for model, name in zip(models, TOWERS, strict=True))
    prompts = PromptPair(guidance).to("meta")
    prior = Prior(guidance.to("meta"), identity.to("meta"))
    models[0].logit_scale = nn.Parameter(torch.tensor(math.log(100)), requires_grad=False)  # which it looks at
    objective = Objective(paper().objective, prior, prompts)
    image = torch.rand(PAPER_BATCH, 3, PAPER_SIDE, PAPER_SIDE, device="meta")
    found = {}
    for kind in NETWORKS:
        enhancer = build_enhancer(EnhancerSettings.model_validate({"arch": kind})).to("meta")
        adam = torch.optim.Adam(enhancer.parameters(), foreach=True)
        for _ in range(2):  # the first step also makes the optimiser's moments
            with Operations() as operations:
                adam.zero_grad()
                objective.enhancement(image, enhancer(image)).total.backward()
                adam.step()
        parameters = sum(each.numel() for each in enhancer.parameters())
        found[kind] = {"operations": operations.found, "parameters": parameters}
    return {"batch": PAPER_BATCH, "side": PAPER_SIDE, "found": found}


# --- all-reduce -------------------------------------------------------------------------------------------------------


def measure_all_reduce() -> dict[str, Any]:
    """Latency and seconds per byte of gloo on this machine, by the clock and in processor time."""
    rows, found = list[tuple[float, float]](), {"clock": list[float](), "work": list[float]()}
    for workers in WORKERS[1:]:
        for size, (clock, work) in in_group(_all_reduce, workers).items():
            rows.append((2 * (workers - 1), 2 * (workers - 1) / workers * size))
            found["clock"].append(clock)
            found["work"].append(work)
            print(
                f"all-reduce of {size:,} bytes over {workers}: {clock * 1e6:.0f} us, work {work * 1e6:.0f}", flush=True
            )
    return {kind: fitted(rows, seconds) for kind, seconds in found.items()}


def fitted(rows: Sequence[tuple[float, float]], seconds: Sequence[float]) -> dict[str, float]:
    """Latency and bandwidth by least squares of relative errors; rows are messages and bytes of each all-reduce."""
    relative = np.array(rows) / np.array(seconds)[:, None]
    latency, per_byte = np.linalg.lstsq(relative, np.ones(len(rows)), rcond=None)[0]
    return {"latency": float(max(latency, 0)), "bandwidth": float(1 / max(per_byte, 1e-15))}


def _all_reduce(rank: int, workers: int) -> dict[int, tuple[float, float]]:
    """Seconds of an all-reduce by the clock, the median, and of processor time, the mean, by bytes."""
    found = {}
    for size in REDUCED_BYTES:
        values, times = torch.zeros(size // 4), list[float]()
        dist.all_reduce(values)
        began = time.process_time()
        for _ in range(REDUCES):
            started = time.perf_counter()
            dist.all_reduce(values)
            times.append(time.perf_counter() - started)
        found[size] = (statistics.median(times), (time.process_time() - began) / REDUCES)
    return found


# --- the check --------------------------------------------------------------------------------------------------------


class HereStream(RayStream):
    """The same stream without Ray: decoded in this process."""

    def _run(self) -> Generator[dict[str, np.ndarray]]:
        for batch in self._decode.batches():
            self._tell(batch)
            yield {name: values for name, values in batch.items() if name != "refused"}


def check(turns: int) -> Iterator[dict[str, Any]]:
    """Parts of a step measured by themselves, and the real loop with all of them, by network; anew after each turn."""
    found: dict[str, Any] = {
        kind: {"parts": [], "loop": {str(workers): [] for workers in WORKERS}} for kind in NETWORKS
    }
    with tempfile.TemporaryDirectory() as folder:
        photos = photos_at(folder, (768, 1024), cores=1, count=8).prepared
        for _ in range(turns):
            for kind, each in found.items():
                each["parts"].append(on_each_core(_parts, kind, photos))
                print(kind, each["parts"][-1], flush=True)
                for workers in WORKERS:
                    each["loop"][str(workers)].append(in_group(_loop, workers, kind, photos))
                    print(kind, workers, each["loop"][str(workers)][-1], flush=True)
            yield {"batch": BATCH, "side": SIDE, "pictures": PICTURES, "every": EVERY, "found": found}


def _parts(rank: int, workers: int, kind: str, photos: PhotoSet) -> dict[str, float]:
    """Processor seconds of a step by itself, of a picture decoded and validated, and of a checkpoint."""
    settings = settings_of(kind, workers, validate_every=10_000)
    found = dict[str, float]()
    validator = validator_of(settings)

    def report(report: Report) -> None:
        def written() -> None:
            with tempfile.TemporaryDirectory() as folder:
                assert report.write
                report.write(Path(folder, "checkpoint"))
            checkpoint_files.weights_hash(report.enhancer.state_dict())

        found["validation"] = work_of(lambda: validator.metrics(report.enhancer)) / PICTURES
        found["checkpoint"] = work_of(written)

    stamps = run_loop(settings, validator, lambda name, row: MemoryStream(100, row, SIDE), report)
    found["compute"] = statistics.median(after - before for (_, before), (_, after) in pairwise(stamps[WARM:]))
    blocks = decode_of(settings, photos, 0, 1).batches()
    next(blocks)
    pictures = 0

    def decoded() -> None:
        nonlocal pictures
        pictures += sum(len(next(blocks)["image"]) for _ in range(6))

    found["decoding"] = work_of(decoded) / (pictures / 4)
    return found


def _loop(rank: int, workers: int, kind: str, photos: PhotoSet) -> dict[str, float]:
    """Seconds of a step of the real loop, by the clock and of the first worker's processor time."""
    settings = settings_of(kind, workers, validate_every=EVERY)

    def report(report: Report) -> None:
        if rank == 0 and report.write:
            with tempfile.TemporaryDirectory() as folder:
                report.write(Path(folder, "checkpoint"))

    def open_stream(name: str, row: int) -> HereStream:
        return HereStream(decode_of(settings, photos, row + rank, workers), lambda path, reason: None)

    stamps = run_loop(settings, validator_of(settings), open_stream, report)
    (clock, work), (clock_after, work_after) = stamps[WARM], stamps[WARM + 2 * EVERY]
    return {"clock": (clock_after - clock) / (2 * EVERY), "work": (work_after - work) / (2 * EVERY)}


def run_loop(
    settings: TrainSettings, validator: Validator, open_stream: OpenStream, report: Callable[[Report], None]
) -> list[tuple[float, float]]:
    """Train; the clock and the processor time of this process at each step."""
    stamps: list[tuple[float, float]] = []

    def control_signal() -> ControlSignal:
        stamps.append((time.perf_counter(), time.process_time()))
        return ControlSignal.NOTHING

    hooks = Hooks(report=report, control_signal=control_signal)
    train(settings, load_prior(settings.prior), open_stream, validator, hooks)
    return stamps


def settings_of(kind: str, workers: int, validate_every: int) -> TrainSettings:
    """A training of few steps; validations and checkpoints come together."""
    settings = small_training(kind, SIDE, BATCH * workers, WARM + 2 * EVERY)
    loop = settings.loop.model_copy(update={"validate_every": validate_every, "checkpoint_every": validate_every})
    return settings.model_copy(update={"loop": loop})


def validator_of(settings: TrainSettings) -> Validator:
    """On noise of the pictures' size, half of it called dark."""
    noise = torch.Generator().manual_seed(0)
    pictures = list(torch.randint(0, 256, (PICTURES, 3, SIDE, SIDE), dtype=torch.uint8, generator=noise))
    photos = ValidationSet(pictures[: PICTURES // 2], pictures[PICTURES // 2 :])
    return Validator(photos, load_prior(settings.prior).guidance, torch.device("cpu"))


def decode_of(settings: TrainSettings, photos: PhotoSet, start: int, stride: int) -> Decode:
    """Rows of one worker on one thread."""
    return Decode(photos, SIDE, seed=0, start=start, stride=stride, threads=1, max_pixels=images.MAX_PIXELS)


def work_of(function: Callable[[], Any]) -> float:
    """Processor seconds of a call, the median of three behind one that warms up."""
    function()
    spent = []
    for _ in range(3):
        began = time.process_time()
        function()
        spent.append(time.process_time() - began)
    return statistics.median(spent)


@cache
def processes() -> ProcessPoolExecutor:
    """As many as there are workers in the largest group, used again and again."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.scale_parts"])
    return ProcessPoolExecutor(max(WORKERS), mp_context=context)


def in_group(function: Callable[..., Any], workers: int, *arguments: Any) -> Any:
    """What a function of rank, workers and more returns on rank 0 of a gloo group of processes with a thread each."""
    with tempfile.TemporaryDirectory() as folder:
        ranks = [processes().submit(_join, function, rank, workers, folder, *arguments) for rank in range(workers)]
        first, *_ = [each.result() for each in ranks]
        return first


def on_each_core(function: Callable[..., Any], *arguments: Any) -> Any:
    """The same of one of several groups of one, a group a core, all at a time: cores share memory and caches."""
    with tempfile.TemporaryDirectory() as folder:
        places = [tempfile.mkdtemp(dir=folder) for _ in range(min(os.cpu_count() or 1, max(WORKERS)))]
        groups = [processes().submit(_join, function, 0, 1, place, *arguments) for place in places]
        first, *_ = [each.result() for each in groups]
        return first


def _join(function: Callable[..., Any], rank: int, workers: int, folder: str, *arguments: Any) -> Any:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=workers)
    try:
        return function(rank, workers, *arguments)
    finally:
        dist.destroy_process_group()
