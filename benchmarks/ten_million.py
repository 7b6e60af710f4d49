"""What breaks first at ten million photos: each step of preparing and training on them, before the first picture.

    python -m benchmarks.ten_million                      # a million rows and ten million, some 10 minutes
    python -m benchmarks.ten_million --rows 1000000       # a hundred thousand and a million
    python -m benchmarks.ten_million --parts order        # only this anew, beside what was stored
    python -m benchmarks.ten_million --table              # only the page, from the stored results

Parts of a preparation are written as `pipelines.data.part` does, with made-up rows; from there on all is done by the
code that jobs run: the manifest is gathered and divided into dark and well-lit photos, three rows of five dark, and a
training finds them, holds some out, writes the list down, reads it again, and hands it to a worker. Shards are empty
files of the right length. Plain files are hard links to tiny JPEGs, a hundredth of the rows.

Each step runs in a process of its own, at a tenth of the rows and at all of them. Seconds are processor time; memory is
the peak of the process above what it held before, inputs included in neither.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from benchmarks.pages import PAGE, machine, markdown_table, replace_section, save, stored, told
from cluster.storage import list_files
from lle import images
from lle.config import DataSettings
from lle.training.checkpoint import Progress
from lle.training.order import photo_at
from lle.training.schedule import Phase, ScheduleState
from pipelines.config.prepare import PrepareSettings
from pipelines.config.train import RunSettings
from pipelines.data.duplicates import first_similar
from pipelines.data.manifest import PARTS, ROWS, begin, done_parts, finish, known_files
from pipelines.data.photo_sets import list_photos, names_hash
from pipelines.data.pinned import photos_of_run
from pipelines.data.training_photos import TrainingPhotos, find_photos

NAME = "ten_million"
PART_ROWS = 100_000  # more than a part has, so that not the number of files is measured
SHARD_ROWS, PICTURE_BYTES = 500, 150_000
ROWS_OF_A_FILE = 100  # of the manifest, for each plain file
ROWS_OF_A_HASH = 10  # for each that near copies are looked for of
FOLDER_FILES = 1_000
MIB = 2**20
HEXADECIMAL = np.array([f"{byte:02x}" for byte in range(256)], "S2")

Work = Callable[[], Any]


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    found = stored(NAME)
    if not arguments.table:
        found |= {"machine": machine(("pyarrow", "numpy")), "rows": arguments.rows}
        found.setdefault("steps", {})
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            for rows in (arguments.rows // 10, arguments.rows):
                measure(Path(folder, str(rows)), rows, arguments.parts, found)
    replace_section(PAGE, "ten-million", as_text(found))
    print(as_text(found))
    return 0


def measure(folder: Path, rows: int, parts: Sequence[str], found: dict[str, Any]) -> None:
    """Measure steps at a number of rows, and keep them in results/ten_million.json as they come."""
    folder.mkdir()
    write_files(folder / "plain", rows // ROWS_OF_A_FILE)
    write_parts(folder, rows)
    for name, step in STEPS.items():
        # Later steps read what these two have written.
        if name in parts or step in (gathering, finding_anew):
            result = apart(step, folder, rows)
            print(f"{rows:,}", name, result, flush=True)
            found["steps"].setdefault(name, {})[str(rows)] = result
            save(NAME, found)


def apart(step: Callable[[Path, int], Work], folder: Path, rows: int) -> dict[str, float]:
    """Processor seconds and peak MiB of a step in a process of its own; what it counts is told as `many`."""
    context = multiprocessing.get_context("forkserver")  # a fresh process, with everything imported
    context.set_forkserver_preload(["benchmarks.ten_million"])
    answers = context.SimpleQueue()
    process = context.Process(target=_measure, args=(step, folder, rows, answers))
    process.start()
    process.join()
    if process.exitcode:
        return {"ended_with": process.exitcode}
    found: dict[str, float] = answers.get()
    return found


def _measure(step: Callable[[Path, int], Work], folder: Path, rows: int, answers: Any) -> None:
    work = step(folder, rows)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew here
    began = time.process_time()
    many = work()
    spent = time.process_time() - began
    answers.put({"seconds": spent, "peak_mib": (_memory("VmHWM") - before) // MIB, "many": many})


def _memory(entry: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(entry))


# --- what is there to begin with --------------------------------------------------------------------------------------


def prepare_settings(folder: Path) -> PrepareSettings:
    """Of the preparation, without a search for near copies, which is a step of its own."""
    return PrepareSettings(
        input=str(folder / "plain"), output=str(folder / "prepared"), similar_bits=0, split="statistics"
    )


def run_settings(folder: Path, resume: bool = False) -> RunSettings:
    """Of a training on both groups."""
    places = {name: str(folder / "prepared" / name) for name in ("dark", "well_lit")}
    return RunSettings(name="run", resume=resume, data=DataSettings.model_validate(places))


def write_files(folder: Path, count: int) -> None:
    """Plain photos, a thousand in a folder: a tiny JPEG and links to it."""
    picture = images.encode(np.zeros((16, 16, 3), np.uint8), "jpeg")
    for start in range(0, count, FOLDER_FILES):
        inner = folder / f"{start:08d}"
        inner.mkdir(parents=True)
        (inner / f"{start:08d}.jpg").write_bytes(picture)
        for number in range(start + 1, min(start + FOLDER_FILES, count)):
            os.link(inner / f"{start:08d}.jpg", inner / f"{number:08d}.jpg")


def write_parts(folder: Path, rows: int) -> None:
    """The parts of a preparation and its shards, as they lie there before the manifest is gathered."""
    begin(prepare_settings(folder))
    prepared = folder / "prepared"
    (prepared / PARTS).mkdir()
    (prepared / "shards").mkdir()
    for start in range(0, rows, PART_ROWS):
        count = min(PART_ROWS, rows - start)
        parquet.write_table(part(start, count), prepared / PARTS / f"{start:020x}.parquet")
    for shard in range(-(-rows // SHARD_ROWS)):
        with (prepared / "shards" / f"{shard:020x}-0.tar").open("wb") as file:
            file.truncate(SHARD_ROWS * PICTURE_BYTES)


def part(start: int, count: int) -> pa.Table:
    """Rows of a part: three photos of five dark, the others well lit, no two of them alike."""
    chance = np.random.default_rng(start)
    number = np.arange(start, start + count)
    shard = np.repeat([f"shards/{each:020x}-0.tar" for each in np.unique(number // SHARD_ROWS)], SHARD_ROWS)
    digests = HEXADECIMAL[chance.integers(256, size=(count, 32))].view("S64")[:, 0]
    padded = pc.utf8_lpad(pa.array(number).cast(pa.string()), 8, "0")
    light = np.where(number % 5 < 2, 0.6, 0.1).astype(np.float32)
    columns = {
        "path": pc.binary_join_element_wise("2024/05/17/IMG_", padded, ".jpg", ""),
        "bytes": np.full(count, 3_000_000),
        "version": pc.binary_join_element_wise("1716000000000000000", padded, "-"),
        "revision": np.zeros(count, np.int32),
        "refused": pa.array([""]).take(pa.array(np.zeros(count, np.int64))),
        "again": np.zeros(count, bool),
        "sha256": pa.array(digests).cast(pa.string()),
        "width": np.full(count, 4000, np.int32),
        "height": np.full(count, 3000, np.int32),
        **dict.fromkeys(("mean", "deviation", "p05", "p50", "p95"), light),
        "over_exposed": np.zeros(count, np.float32),
        "p_well_lit": pa.nulls(count, pa.float32()),
        "perceptual": chance.integers(2**64, size=count, dtype=np.uint64),
        "shard": shard[start % SHARD_ROWS :][:count],
        "offset": number % SHARD_ROWS * PICTURE_BYTES,
        "length": np.full(count, PICTURE_BYTES),
    }
    return pa.table(columns, schema=ROWS)


# --- steps: from a folder and a number of rows to the work that is measured -------------------------------------------


def listing(folder: Path, rows: int) -> Work:
    return lambda: sum(1 for _ in list_files(str(folder / "plain")))


def listing_photos(folder: Path, rows: int) -> Work:
    return lambda: len(list_photos(str(folder / "plain"), "data.dark", DataSettings()).paths)


def knowing(folder: Path, rows: int) -> Work:
    output = prepare_settings(folder).output
    return lambda: len(known_files(output, done_parts(output)))


def gathering(folder: Path, rows: int) -> Work:
    return lambda: finish(prepare_settings(folder)).kept


def finding_similar(folder: Path, rows: int) -> Work:
    count = rows // ROWS_OF_A_HASH
    chance = np.random.default_rng(0)
    hashes, light = chance.integers(2**64, size=count, dtype=np.uint64), chance.random(count).astype(np.float32)
    bits = PrepareSettings.model_fields["similar_bits"].default
    return lambda: len(first_similar(hashes, light, bits))


def finding(folder: Path, rows: int) -> Work:
    return lambda: _count(find_photos(run_settings(folder)))


def finding_anew(folder: Path, rows: int) -> Work:
    return lambda: _count(photos_of_run(run_settings(folder), str(folder / "run")))


def resuming(folder: Path, rows: int) -> Work:
    return lambda: _count(photos_of_run(run_settings(folder, resume=True), str(folder / "run")))


def hashing(folder: Path, rows: int) -> Work:
    photos = find_photos(run_settings(folder))
    return lambda: _count(photos) if names_hash(photos.dark) != names_hash(photos.well_lit) else 0


def handing_over(folder: Path, rows: int) -> Work:
    photos = find_photos(run_settings(folder))
    sent = folder / "sent"

    def send() -> int:
        sent.write_bytes(pickle.dumps(photos, protocol=5))
        return _count(photos)

    return send


def receiving(folder: Path, rows: int) -> Work:
    return lambda: _count(pickle.loads((folder / "sent").read_bytes()))  # of our own making


def ordering(folder: Path, rows: int) -> Work:
    counts = (rows * 3 // 5, rows * 2 // 5)
    return lambda: sum(count for seed, count in enumerate(counts) if photo_at(0, count, seed) < count)


def remembering(folder: Path, rows: int) -> Work:
    progress = Progress(ScheduleState(Phase.ENHANCEMENT), dark_row=rows, well_lit_row=rows)
    return lambda: len(json.dumps(asdict(progress)))


def _count(photos: TrainingPhotos) -> int:
    return len(photos.dark.paths) + len(photos.well_lit.paths)


STEPS: dict[str, Callable[[Path, int], Work]] = {
    "listing": listing,
    "photos": listing_photos,
    "known": knowing,
    "manifest": gathering,
    "similar": finding_similar,
    "found": finding,
    "pinned": finding_anew,
    "resumed": resuming,
    "hash": hashing,
    "sent": handing_over,
    "received": receiving,
    "order": ordering,
    "state": remembering,
}
TOLD = {
    "listing": "prepare: list plain files of a folder",
    "photos": "training: list a plain folder, look at 2,000 headers",
    "known": "prepare: what was done before, by path",
    "manifest": "prepare: gather and divide the manifest",
    "similar": "prepare: search near copies",
    "found": "training: find its photos in both manifests, hold some out",
    "pinned": "training: the same, and write the list down",
    "resumed": "training resumed: read the list",
    "hash": "training: the sets' hashes for MLflow",
    "sent": "driver: pack the lists for the workers",
    "received": "worker: unpack the lists",
    "order": "worker: the order of an epoch of both sets",
    "state": "checkpoint: where in the data a training stands (bytes)",
}


# --- the page ---------------------------------------------------------------------------------------------------------


def as_text(found: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    few, many = found["rows"] // 10, found["rows"]
    rows = []
    for name, what in TOLD.items():
        cells = [_cells(found["steps"].get(name, {}).get(str(count), {})) for count in (few, many)]
        if any(any(each) for each in cells):
            rows.append([what, *cells[0], *cells[1]])
    return "\n\n".join(
        [
            f"{told(found['machine'])}. {few:,} rows of a manifest and {many:,}, three of five dark; plain files are a "
            "hundredth of them, hashes that near copies are searched among a tenth. Seconds of processor time; MiB at "
            "the peak, above what was there before.",
            markdown_table(["", "of", "s", "MiB", "of", "s", "MiB"], rows),
        ]
    )


def _cells(result: dict[str, float]) -> list[str]:
    if "ended_with" in result:
        return ["", "breaks", ""]
    if not result:
        return ["", "", ""]
    return [f"{result['many']:,}", f"{result['seconds']:.1f}", f"{result['peak_mib']:,}"]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the manifest; a tenth of them is measured too")
    parser.add_argument("--parts", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--folder", help="where the files go, 6 GB; by default that of temporary files")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
