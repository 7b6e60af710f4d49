"""How long a few photos take from a cold shell: in the process itself, and through Ray.

    python -m benchmarks.start_up [--photos 1 8 32 128] [--turns 3] [--table]

Each turn is a process of its own, from its start to its end, over JPEGs of 3 megapixels with the bundled model; the two
ways take turns on the same photos. Where they cross is what `FEW` in pipelines/inference/job.py should be. Beside the
clock stands the processor time of the process without Ray, which a busy machine lengthens less. --photos measures only
these anew and keeps the rest of the stored results; --table only writes the section of the page from them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.pages import PAGE, machine, markdown_table, replace_section, save, stored, told
from lle.images import encode

HERE, RAY = "this process", "Ray"
SIZE = (1448, 2172)  # 3.1 megapixels
ROOT = Path(__file__).parents[1]
ENHANCE = (
    "import sys; from pipelines import enhance; from pipelines.inference import job; job.FEW = 10**9; "
    "sys.exit(enhance.main())"
)
FLOORS = {
    "import torch": "import torch",
    "lle.load and enhance": "import lle, sys; lle.load('bundled').enhance(sys.argv[1])",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, nargs="+", default=[1, 8, 32, 128], help="numbers of photos")
    parser.add_argument("--turns", type=int, default=3, help="processes of each kind")
    parser.add_argument("--table", action="store_true", help="only write the page from the stored results")
    arguments = parser.parse_args(argv)
    found = stored("start_up") if arguments.table else measure(arguments.photos, arguments.turns)
    replace_section(PAGE, "start-up", as_text(found))
    print(as_text(found))
    return 0


def measure(photos: Sequence[int], turns: int) -> dict[str, Any]:
    """Wall and processor seconds of every turn: of the floors, and of each way by number of photos (as text)."""
    found: dict[str, Any] = {"floors": {}, "ways": {HERE: {}, RAY: {}}} | stored("start_up")
    found["machine"] = machine(("torch", "ray"))
    with TemporaryDirectory() as folder:
        write_photo(Path(folder))
        for name, code in FLOORS.items() if 1 in photos else ():
            found["floors"][name] = [seconds([sys.executable, "-c", code, f"{folder}/1/0.jpg"]) for _ in range(turns)]
        for count in photos:
            source = Path(folder, str(count))
            source.mkdir(exist_ok=True)
            for number in range(count):
                if not (source / f"{number}.jpg").exists():
                    os.link(Path(folder, "1", "0.jpg"), source / f"{number}.jpg")
            for way in (HERE, RAY):
                found["ways"][way][str(count)] = []
            for turn in range(turns):
                for way in (HERE, RAY):
                    out = Path(folder, f"{way}-{count}-{turn}")
                    command = [sys.executable, "-c", ENHANCE, str(source), "--output", str(out)]
                    taken = seconds(command, {"RAY_ADDRESS": "local"} if way == RAY else {})
                    found["ways"][way][str(count)].append(taken)
                    print(count, way, taken, flush=True)
            save("start_up", found)
    return found


def write_photo(folder: Path) -> None:
    """One dark photo with structure and grain, folder/1/0.jpg."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    scene = 40 + 25 * np.sin(rows / 90) * np.cos(columns / 130)
    grain = random.normal(0, 4, (*SIZE, 3))
    (folder / "1").mkdir()
    pixels = (scene[..., None] * (1.0, 0.9, 0.7) + grain).clip(0, 255).astype(np.uint8)
    (folder / "1" / "0.jpg").write_bytes(encode(pixels, ".jpg"))


def seconds(command: Sequence[str], variables: dict[str, str] | None = None) -> tuple[float, float]:
    """Wall seconds of a command, and processor seconds of its own process and those it waited for."""
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=kept | {"PYTHONPATH": str(ROOT)} | (variables or {}), stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}; its reason is above")
    return round(wall, 2), round(used.ru_utime + used.ru_stime, 2)


def as_text(found: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    ways, floors = found["ways"], found["floors"]
    rows: list[list[object]] = []
    for count in sorted(ways[HERE], key=int):
        here, through_ray = _wall(ways[HERE][count]), _wall(ways[RAY][count])
        rows.append(
            [count, f"{here:.1f}", _processor(ways[HERE][count]), f"{through_ray:.1f}", f"{through_ray / here:.1f}"]
        )
    floor = "; ".join(
        f"`{name}` {_wall(taken):.1f} s ({_processor(taken)} s of processor time)" for name, taken in floors.items()
    )
    return "\n\n".join(
        (
            f"{told(found['machine'])}. Medians of some processes, from their start to their "
            f"end. For comparison: {floor}.",
            markdown_table(
                ["photos of 3 megapixels", "this process, s", "its processor time, s", "Ray, s", "Ray / this process"],
                rows,
            ),
        )
    )


def _wall(taken: Sequence[Sequence[float]]) -> float:
    return statistics.median(wall for wall, _ in taken)


def _processor(taken: Sequence[Sequence[float]]) -> str:
    return f"{statistics.median(used for _, used in taken):.1f}"


if __name__ == "__main__":
    sys.exit(main())
