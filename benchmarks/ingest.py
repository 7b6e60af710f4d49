"""How fast photos come from folders and S3 into a training: our stream beside the usual loaders, on the same files.

    python -m benchmarks.ingest                  # everything, about 8 minutes on 2 free cores
    python -m benchmarks.ingest --quick          # one turn instead of three, fewer photos: about 4 minutes
    python -m benchmarks.ingest --parts folder   # only this anew, beside what was stored
    python -m benchmarks.ingest --table          # only the page, from the stored results

The loaders take turns on the same JPEGs, which are sample photos enlarged and given a camera's grain, all started from
one process and with as many decoders as there are cores; S3 is the local stack, on the same machine. Images per second
of one core are pictures over the processor time of this process and all it started (Ray and its workers, not the S3
server), which waiting for other work on the machine does not lengthen. Ratios are medians over the turns. The time to
the first batch is a clock's, as is the share of waiting. Memory is that of processes of their own: proportional set
sizes of a process and all it starts, at its peak.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
import torch

from benchmarks.loaders import LOADERS, WITHOUT_RAY, Photos
from benchmarks.pages import PAGE, machine, markdown_table, replace_section, save, stored, told
from cluster.connect import connect
from cluster.local.stack import environment, stop
from cluster.storage import open_uri, s3_client, write_atomically
from lle import images
from lle.config import DataSettings
from lle.prior.loading import load_prior
from lle.training.hooks import Hooks, Step
from lle.training.loop import train
from lle.training.validation import ValidationSet, Validator
from pipelines.config.prepare import PrepareSettings
from pipelines.config.train import RunSettings
from pipelines.data.decoding import Decode
from pipelines.data.manifest import begin, finish
from pipelines.data.part import pending_parts, prepare_part
from pipelines.data.photo_sets import PhotoSet, list_photos
from pipelines.data.samples import sample_photos
from pipelines.data.streams import RayStream
from tests.integration.unreliable import Trouble, unreliable

SIZES = {"3 MP": (1536, 2048), "12 MP": (3000, 4000)}
SMALL = (120, 160)
FROM_S3, LARGEST = SIZES
SIDE = 512
GRAIN = 4.0  # levels; with it a photo of 12 MP takes 2.6 MB, as from a phone
FILES = 24
LEAST = 48  # pictures of a turn, so that the few that were begun before it or are left after it do not matter
BUCKET = "ingest"
FOLDER, S3, MEMORY, GROWTH, WAITING = PARTS = ("folder", "s3", "memory", "growth", "waiting")
NETWORKS = {"retinex": "faithful", "compact": "small"}
FEW = 1_000  # small photos
ENOUGH = 96  # large photos that a loader gives until its memory no longer grows
TRAINED_SIDE, TRAINED_BATCH = 256, 8
STEPS = {"retinex": 6, "compact": 40}  # the small network must empty what was decoded ahead
READ, READ_SIZED, PILLOW, OUR_DECODER, STREAM, SHARDS = LOADERS
TARGETS: tuple[tuple[str, str, dict[str, float]], ...] = (
    (STREAM, READ, {"3 MP": 3, "12 MP": 6}),
    (STREAM, READ_SIZED, {}),
    (STREAM, PILLOW, {}),
    (STREAM, OUR_DECODER, {"3 MP": 1, "12 MP": 1}),
    (SHARDS, STREAM, {"3 MP": 5, "12 MP": 5}),
)
MOST_WAITING = 0.05
AWAY = 0.06  # s, of an answer: 50 ms and, at 20 MB/s, what a prepared picture takes


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    found = stored("ingest")
    if not arguments.table:
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        with tempfile.TemporaryDirectory() as folder:
            measure(arguments, Path(folder), found if set(arguments.parts) != set(PARTS) else {})
        found = stored("ingest")
    replace_section(PAGE, "ingest", as_text(found))
    print(as_text(found))
    return 0


def measure(arguments: argparse.Namespace, folder: Path, found: dict[str, Any]) -> None:
    """Measure the wanted parts and keep them beside those in `found`, in results/ingest.json, as they come."""
    cores = os.cpu_count() or 1
    turns, many = (1, 4 * FEW) if arguments.quick else (3, 20 * FEW)
    found |= {"machine": machine(("torch", "pillow", "ray", "pyarrow")), "cores": cores, "side": SIDE}
    local = {label: photos_at(str(folder / label), size, cores) for label, size in SIZES.items()}
    found["kilobytes"] = {label: _kilobytes(folder / label) for label in SIZES}
    parts: dict[str, Callable[[], Any]] = {
        FOLDER: lambda: take_turns(local, turns, arguments.seconds),
        S3: lambda: turns_on_s3(folder, turns, arguments.seconds),
        MEMORY: lambda: measure_memory(local[LARGEST]),
        GROWTH: lambda: measure_growth(photos_at(str(folder / "small"), SMALL, cores), folder, many),
        WAITING: lambda: measure_waiting(local[LARGEST], folder),
    }
    for part in arguments.parts:
        before = os.getloadavg()[0]
        measured = parts[part]()
        found[part] = {"load": [round(before, 1), round(os.getloadavg()[0], 1)], "found": measured}
        save("ingest", found)


# --- photos -----------------------------------------------------------------------------------------------------------


def photos_at(uri: str, size: tuple[int, int], cores: int, count: int = FILES) -> Photos:
    """Write JPEGs of a size (height, width) under `URI/plain`, prepare them under `URI/prepared`, and list both."""
    filesystem, root = open_uri(f"{uri}/plain")
    for number, data in enumerate(jpegs(size, count)):
        write_atomically(filesystem, f"{root}/{number:03d}.jpg", data)
    settings = PrepareSettings(
        input=f"{uri}/plain", output=f"{uri}/prepared", short_side=SIDE, decoders=cores, similar_bits=0
    )
    begin(settings)
    for part in pending_parts(settings, []):
        prepare_part(settings, part)
    finish(settings)
    plain, prepared = (list_photos(each, "data.dark", DataSettings()) for each in (settings.input, settings.output))
    return Photos(plain, prepared, SIDE, cores)


def jpegs(size: tuple[int, int], count: int) -> Iterator[bytes]:
    """Sample photos enlarged to a size (height, width), cut to its aspect, each with a grain of its own; quality 90."""
    samples = list(sample_photos().values())
    chance = np.random.default_rng(0)
    for number in range(count):
        sample = samples[number % len(samples)]
        scale = min(side / wanted for side, wanted in zip(sample.shape, size, strict=False))
        height, width = (int(wanted * scale) for wanted in size)
        whole = images.resize(np.ascontiguousarray(sample[:height, :width]), size)
        grain = chance.normal(0, GRAIN, (*size, 1)).astype(np.float32)
        yield images.encode((whole + grain).clip(0, 255).astype(np.uint8), "jpeg", 89)  # below 90: 4:2:0, as cameras


def _kilobytes(folder: Path) -> dict[str, int]:
    """Of a photo in the mean, as it is and as it is prepared."""
    whole = [file.stat().st_size for file in (folder / "plain").iterdir()]
    packed = [file.stat().st_size for file in (folder / "prepared" / "shards").iterdir()]
    return {"plain": round(sum(whole) / len(whole) / 1000), "prepared": round(sum(packed) / len(whole) / 1000)}


# --- speed ------------------------------------------------------------------------------------------------------------

Turn = dict[str, float]


def take_turns(photos: dict[str, Photos], turns: int, seconds: float) -> dict[str, dict[str, list[Turn]]]:
    """Turns of each loader on each size of photos, by size and loader."""
    taken: dict[str, dict[str, list[Turn]]] = {label: {name: [] for name in LOADERS} for label in photos}
    with connect():
        for _ in range(turns):
            for label, each in photos.items():
                for name in LOADERS:
                    taken[label][name].append(take_turn(name, each, seconds))
                    print(label, name, taken[label][name][-1], flush=True)
    return taken


def take_turn(name: str, photos: Photos, seconds: float) -> Turn:
    """One loader from its start: seconds to the first batch; then for a while images per second of the clock, and per
    second of processor time.
    """
    began = time.perf_counter()
    batches = LOADERS[name](photos)
    next(batches)
    first = time.perf_counter() - began
    busy, began, count = processor_seconds(), time.perf_counter(), 0
    while time.perf_counter() - began < seconds or count < LEAST:
        count += next(batches)
    clock = time.perf_counter() - began
    spent = sum(value - busy.get(process, 0.0) for process, value in processor_seconds().items())
    batches.close()
    settle()
    return {"first": first, "per_second": count / clock, "per_core": count / spent}


def processor_seconds() -> dict[int, float]:
    """Processor time so far of this process and all it started, by process."""
    spent = {}
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        spent[process.pid] = times.user + times.system
    return spent


def settle(most: float = 10.0) -> None:
    """Wait until what a turn left behind has come to rest."""
    deadline = time.monotonic() + most
    while time.monotonic() < deadline:
        busy = sum(processor_seconds().values())
        time.sleep(0.25)
        if sum(processor_seconds().values()) - busy < 0.05:
            return


def turns_on_s3(folder: Path, turns: int, seconds: float) -> dict[str, dict[str, list[Turn]]]:
    """`take_turns` on a local stack that is started for it."""
    with stack(folder / "stack"):
        s3_client().create_bucket(Bucket=BUCKET)
        cores = os.cpu_count() or 1
        photos = photos_at(f"s3://{BUCKET}/photos", SIZES[FROM_S3], cores)
        return take_turns({FROM_S3: photos}, turns, seconds)


@contextmanager
def stack(folder: Path) -> Iterator[None]:
    """A local stack, and this process's environment for it, for the length of a block."""
    # From a process of its own, so that the servers are not among those whose processor time is counted.
    subprocess.run(
        [sys.executable, "-m", "cluster.local", "start", "--folder", folder], check=True, capture_output=True
    )
    before = dict(os.environ)
    os.environ.update(environment(folder))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        stop(folder)


# --- memory -----------------------------------------------------------------------------------------------------------


def measure_memory(photos: Photos) -> dict[str, int]:
    """Peak MiB of each loader."""
    found = {}
    for name in LOADERS:
        found[name] = peak_apart(name, photos, ENOUGH)
        print(name, found[name], flush=True)
    return found


def measure_growth(photos: Photos, folder: Path, many: int) -> dict[str, dict[str, int]]:
    """Peak MiB of our stream over few and many small photos, each seen once, by their number."""
    found: dict[str, dict[str, int]] = {STREAM: {}, SHARDS: {}}
    for count in (FEW, many):
        repeated = replace(linked(photos, folder / f"small{count}", count), side=SMALL[0])
        for name, peaks in found.items():
            peaks[str(count)] = peak_apart(name, repeated, count)
            print(name, peaks, flush=True)
    return found


def linked(photos: Photos, folder: Path, count: int) -> Photos:
    """As many photos: links to the plain ones in a folder of their own, and places of the prepared ones repeated."""
    folder.mkdir()
    for number in range(count):
        os.link(photos.plain.paths[number % len(photos.plain.paths)], folder / f"{number:06d}.jpg")
    places = photos.prepared.paths * (count // len(photos.prepared.paths) + 1)
    plain = list_photos(str(folder), "data.dark", DataSettings())
    return replace(photos, plain=plain, prepared=replace(photos.prepared, paths=places[:count]))


def peak_apart(name: str, photos: Photos, count: int) -> int:
    """Peak MiB of a process that takes so many pictures from a loader, with all that it starts."""
    process = multiprocessing.get_context("spawn").Process(target=_take_apart, args=(name, photos, count))
    process.start()
    peak = 0
    while process.is_alive():
        peak = max(peak, memory_of(psutil.Process(process.pid)))
        process.join(0.1)
    if process.exitcode:
        raise RuntimeError(f"{name}: the loader failed; its reason is above")
    return peak // 2**20


def memory_of(process: psutil.Process) -> int:
    """Bytes that a process and all it started hold, what they share counted once."""
    held = 0
    with suppress(psutil.NoSuchProcess):
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                held += each.memory_full_info().pss
    return held


def _take_apart(name: str, photos: Photos, count: int) -> None:
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with nullcontext() if name in WITHOUT_RAY else connect():
        batches = LOADERS[name](photos)
        while count > 0:
            count -= next(batches)
        batches.close()
        let_readers_end()


# --- waiting ----------------------------------------------------------------------------------------------------------


def measure_waiting(photos: Photos, folder: Path) -> list[dict[str, Any]]:
    """Share of the time of enhancement steps that the real loop spends waiting for pictures, by network and source."""
    found = []
    with connect():
        for kind, chosen in (("retinex", photos.plain), ("compact", photos.plain), ("compact", photos.prepared)):
            source = "shards" if chosen is photos.prepared else LARGEST
            found.append({"network": kind, "source": source, **waited(kind, chosen, photos.cores)})
            print(found[-1], flush=True)
        let_readers_end()
    with stack(folder / "far"):
        s3_client().create_bucket(Bucket=BUCKET)
        prepared = photos_at(f"s3://{BUCKET}/photos", SIZES[FROM_S3], photos.cores).prepared
        with far_away(), connect():
            source = f"shards in a store {1000 * AWAY:.0f} ms away"
            found.append({"network": "compact", "source": source, **waited("compact", prepared, photos.cores)})
            print(found[-1], flush=True)
            let_readers_end()
    return found


@contextmanager
def far_away() -> Iterator[None]:
    """The store of this environment behind a server that passes everything on, and answers later."""
    process = multiprocessing.get_context("spawn")
    port, end = process.Queue(), process.Event()
    near = os.environ["AWS_ENDPOINT_URL"]
    server = process.Process(target=_answer_later, args=(urlsplit(near).port, port, end))
    server.start()
    os.environ["AWS_ENDPOINT_URL"] = port.get()
    try:
        yield
    finally:
        os.environ["AWS_ENDPOINT_URL"] = near
        end.set()
        server.join()


def _answer_later(port: int, url: Any, end: Any) -> None:
    with unreliable(port) as server:
        server.trouble = lambda request: Trouble(delay=AWAY)
        url.put(server.url)
        end.wait()


def let_readers_end() -> None:
    """Ray Data's threads outlive a closed iterator by a moment; if Ray is gone by then, they abort the process."""
    for thread in threading.enumerate():
        if thread.name == "iter_threaded":
            thread.join()


def waited(kind: str, photos: PhotoSet, cores: int) -> dict[str, float]:
    """Of the enhancement steps of a training, the first two left out: seconds, and the share of them spent waiting."""
    settings = training(kind)
    steps: list[tuple[float, float]] = []

    def open_stream(name: str, row: int) -> RayStream:
        size, budget = settings.data.image_size, images.MAX_PIXELS
        decode = Decode(photos, size, seed=0, start=row, stride=1, threads=cores, max_pixels=budget)
        return RayStream(decode, lambda path, reason: None)

    def log(step: Step) -> None:
        if "enhancement" in step.line:
            seconds = settings.batch.enhancement / step.metrics["images_per_second"]
            steps.append((seconds, step.metrics["data_wait_share"] * seconds))

    prior = load_prior(settings.prior)
    picture = torch.zeros(3, 64, 64, dtype=torch.uint8)
    validator = Validator(ValidationSet([picture], [picture]), prior.guidance, torch.device("cpu"))
    train(settings, prior, open_stream, validator, Hooks(log=log))
    seconds, waits = (sum(each) for each in zip(*steps[2:], strict=True))
    return {"seconds": seconds / len(steps[2:]), "share": waits / seconds}


def training(kind: str) -> RunSettings:
    """A training of one network with the bundled prior: larger ones would hide the waiting in longer steps."""
    return RunSettings.model_validate(
        {
            "data": {"samples": True, "image_size": TRAINED_SIDE, "prompt_size": TRAINED_SIDE},
            "enhancer": {"arch": kind},
            "schedule": {
                "prompt_init": {"steps": 1},
                "reconstruction": {"steps": 0},
                "enhancement": {"steps": STEPS[kind], "extend_by": 0},
                "refinement": {"steps": 1, "extend_by": 0},
                "rounds": 1,
            },
            "batch": {"enhancement": TRAINED_BATCH, "prompts": TRAINED_BATCH},
            "loop": {"log_every": 1, "validate_every": 10_000, "checkpoint_every": 100_000},
        }
    )


# --- the page ---------------------------------------------------------------------------------------------------------


def as_text(found: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    sizes = "; ".join(
        f"{label}: {each['plain']:,} KB, prepared {each['prepared']} KB" for label, each in found["kilobytes"].items()
    )
    parts = [
        f"{told(found['machine'])}. JPEGs to squares of {found['side']} px, as many decoders as cores; a photo of "
        f"{sizes}. Images/s of one core are pictures over processor time, of everything but the S3 server."
    ]
    for part, where in ((FOLDER, "From a folder"), (S3, "From an S3 server on the same cores")):
        if part in found:
            turns = found[part]["found"]
            parts += [f"{where} ({_load(found[part])}):", _speed_table(turns), _ratio_table(turns)]
    if MEMORY in found:
        parts += [
            f"Peak memory with all processes, ours and Ray's, over {ENOUGH} photos of {LARGEST} "
            f"({_load(found[MEMORY])}):",
            markdown_table(["", "MiB"], found[MEMORY]["found"].items()),
        ]
    if GROWTH in found:
        growth = found[GROWTH]["found"]
        counts = next(iter(growth.values()))
        parts += [
            f"The same over small photos ({SMALL[1]} x {SMALL[0]}), each seen once ({_load(found[GROWTH])}):",
            markdown_table(
                ["", *(f"{int(count):,} photos, MiB" for count in counts)],
                [[name, *peaks.values()] for name, peaks in growth.items()],
            ),
        ]
    if WAITING in found:
        rows = [
            [
                NETWORKS[each["network"]],
                each["source"],
                f"{each['seconds']:.2f}",
                f"{100 * each['share']:.1f}",
            ]
            for each in found[WAITING]["found"]
        ]
        parts += [
            f"Waiting for photos in the real loop, batch {TRAINED_BATCH} at {TRAINED_SIDE} px, bundled prior, on the "
            f"same cores; under {100 * MOST_WAITING:.0f} % was aimed at ({_load(found[WAITING])}):",
            markdown_table(["network", "photos", "step, s", "waiting, % of it"], rows),
        ]
    return "\n\n".join(parts)


def _load(part: dict[str, Any]) -> str:
    return "load {} to {}".format(*part["load"])


def _speed_table(turns: dict[str, dict[str, list[Turn]]]) -> str:
    columns = [(label, kind) for label in turns for kind in ("per_core", "per_second", "first")]
    heads = {"per_core": "images/s of one core", "per_second": "by the clock", "first": "first batch, s"}
    rows = [
        [name, *(f"{statistics.median(turn[kind] for turn in turns[label][name]):.1f}" for label, kind in columns)]
        for name in LOADERS
    ]
    return markdown_table(["", *(f"{label}: {heads[kind]}" for label, kind in columns)], rows)


def _ratio_table(turns: dict[str, dict[str, list[Turn]]]) -> str:
    rows = [
        [
            f"{ours} / {other}",
            *(cell for label in turns for cell in (aims.get(label, ""), f"{ratio(turns[label], ours, other):.1f}")),
        ]
        for ours, other, aims in TARGETS
    ]
    return markdown_table(
        ["images/s of one core", *(head for label in turns for head in (f"{label}: aim", "found"))], rows
    )


def ratio(turns: dict[str, list[Turn]], ours: str, other: str) -> float:
    """How many times more pictures ours gives for a core's second: the median over the turns both had."""
    pairs = zip(turns[ours], turns[other], strict=True)
    return statistics.median(mine["per_core"] / theirs["per_core"] for mine, theirs in pairs)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seconds", type=float, default=2.5, help="of a turn, after its first batch")
    parser.add_argument(
        "--quick", action="store_true", help="one turn, and fewer small photos to show that memory is flat"
    )
    parser.add_argument("--table", action="store_true", help="measure nothing")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
