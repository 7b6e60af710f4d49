"""What a killed worker costs a training: Ray Train's restart of all workers, and the lost one replaced alone.

    python -m benchmarks.replica_restart [--workers 2 3] [--turns 1] [--table]

For each number of workers the same small training runs undisturbed, and then with each way once a turn, one of its
workers killed (SIGKILL) between two checkpoints. All on a Ray cluster of its own on this machine, so workers that start
share its cores with those that wait. --table only writes the section of the page from the stored results.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from benchmarks.pages import PAGE, machine, markdown_table, replace_section, save, stored, told
from pipelines.data.samples import quickstart_folders, write_quickstart_data
from pipelines.tracking.history import HISTORY, read_history

ROOT = Path(__file__).parents[1]
WAYS = {"all restarted": False, "one replaced": True}
CHECKPOINT_EVERY, KILLED_AT, LAST = 40, 65, 110
SETTINGS = f"""
init_from: ""
data: {{image_size: 64, prompt_size: 64, validation_images: 4, validation_size: 128, decoders: 1}}
enhancer: {{arch: compact, thumbnail_size: 32, width: 8}}
objective: {{smoothness: {{weight: 30}}, reconstruction: {{weight: 0.1}}}}
schedule:
  prompt_init: {{steps: 10}}
  reconstruction: {{steps: 10}}
  enhancement: {{steps: 40, extend_by: 0}}
  refinement: {{steps: 10, extend_by: 0}}
  rounds: 2
optimiser: {{enhancer_lr: 1e-3, prompt_lr: 1e-3, ema_decay: 0.9}}
batch: {{enhancement: 12, prompts: 12}}
loop: {{log_every: 1, validate_every: 20, checkpoint_every: {CHECKPOINT_EVERY}}}
scaling: {{threads_per_worker: 1}}
tracking: {{register_model: false}}
"""
LIMIT_SECONDS = 900.0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 3], help="numbers of workers")
    parser.add_argument("--turns", type=int, default=1, help="trainings of each way")
    parser.add_argument("--table", action="store_true", help="only write the page from the stored results")
    arguments = parser.parse_args(argv)
    found = stored("replica_restart") if arguments.table else measure(arguments.workers, arguments.turns)
    replace_section(PAGE, "replica-restart", as_text(found))
    print(as_text(found))
    return 0


def measure(workers: Sequence[int], turns: int) -> dict[str, Any]:
    """Of each number of workers (as text): the undisturbed training's hash, and what each way's turns cost."""
    found: dict[str, Any] = {
        "machine": machine(("torch", "ray")),
        "workers": stored("replica_restart").get("workers", {}),
    }
    with TemporaryDirectory() as folder:
        write_quickstart_data(Path(folder, "photos"))
        Path(folder, "settings.yaml").write_text(SETTINGS, encoding="utf-8")
        for count in workers:
            costs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
            undisturbed = trained(Path(folder), count, replaces=False, kills=False)
            found["workers"][str(count)] = {"undisturbed": undisturbed, "ways": costs}
            for _ in range(turns):
                for way, replaces in WAYS.items():
                    costs[way].append(trained(Path(folder), count, replaces, kills=True))
                    print(count, way, costs[way][-1], flush=True)
                    save("replica_restart", found)
    return found


def trained(folder: Path, workers: int, replaces: bool, kills: bool) -> dict[str, Any]:
    """One training to its end: `hash` of what it came to, its last step, and what the kill cost, where there is one."""
    name = f"{len(list(folder.glob('*.log')))}"
    log = folder / f"{name}.log"
    words = {
        "config": folder / "settings.yaml",
        "runs": folder,
        "name": name,
        "scaling.workers": workers,
        "scaling.replace_lost": str(replaces).lower(),
        **{f"data.{what}": place for what, place in quickstart_folders(folder / "photos").items()},
    }
    command = [sys.executable, str(ROOT / "pipelines" / "train.py")]
    command += [str(word) for what, value in words.items() for word in (f"--{what}", value)]
    kept = {variable: value for variable, value in os.environ.items() if variable != "RAY_ADDRESS"}
    with log.open("wb") as file:
        job = psutil.Popen(command, cwd=folder, env=kept | {"PYTHONPATH": str(ROOT)}, stdout=file, stderr=file)
    try:
        cost = cost_of_a_kill(job, folder / name / HISTORY) if kills else {}
        ended = job.wait(LIMIT_SECONDS)
    finally:
        if job.is_running():
            job.terminate()
            job.wait(60)
    if ended:
        told_last = log.read_text(encoding="utf-8", errors="replace")[-3000:]
        raise RuntimeError(f"the training ended with {ended}: {told_last}")
    summary = json.loads((folder / name / "summary.json").read_text(encoding="utf-8"))
    return {**cost, **{each: summary[each] for each in ("hash", "last_step", "steps_lost", "worker_restarts")}}


def cost_of_a_kill(job: psutil.Popen, history: Path) -> dict[str, Any]:
    """Kill a worker at its step; the seconds until there is a step that there was not before, and of silence."""
    _wait_for(job, lambda: _steps(history) >= KILLED_AT)
    worker = next(each for each in job.children(recursive=True) if "RayTrainWorker" in " ".join(_words(each)))
    worker.kill()
    began, before = time.monotonic(), 0
    while time.monotonic() < began + 1:  # what was on its way to the driver
        before = _steps(history)
        time.sleep(0.02)
    _wait_for(job, lambda: _steps(history) > before)
    return {"killed_after": before, "seconds": round(time.monotonic() - began, 1)}


def _wait_for(job: subprocess.Popen[bytes], condition: Any) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        if job.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the training ended, or came no further, before what it was watched for")
        time.sleep(0.02)


def _steps(history: Path) -> int:
    """The furthest step told of so far."""
    return max((int(row["step"]) for row in read_history(history) if "phase" in row), default=0)


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []


def as_text(found: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    rows: list[list[object]] = []
    for count, of_these in found["workers"].items():
        for way, costs in of_these["ways"].items():
            same = [each["hash"] == of_these["undisturbed"]["hash"] for each in costs]
            rows.append(
                [
                    f"{count} workers, {way}",
                    ", ".join(str(each["steps_lost"]) for each in costs),
                    ", ".join(f"{each['seconds']:.0f}" for each in costs),
                    "yes" if all(same) else "no" if not any(same) else f"{sum(same)} of {len(same)}",
                ]
            )
    headings = [
        "",
        "steps done again",
        "seconds from the kill to the next new step",
        "weights as undisturbed, to the bit",
    ]
    return "\n\n".join(
        (
            f"{told(found['machine'])}. Killed soon after step {KILLED_AT} of {LAST}; the last checkpoint was of step "
            "60, where a round ended. What was done since is done again: `loop.checkpoint_every` steps at most.",
            markdown_table(headings, rows),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
