"""All that a resume needs, in one folder of safetensors and JSON (no pickle).

`state.json` says where the training stands (schedule, stream positions, best value, settings), and holds its own hash
and that of `tensors.safetensors`: weights, averaged weights, guide, earlier enhancers, best copies and optimisers.
Random states are not needed: the randomness of a step follows from (seed, step, rank).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, optim

from lle.training.schedule import ScheduleState

UNREADABLE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError, SafetensorError)
STATE, TENSORS, FORMAT = "state.json", "tensors.safetensors", 3


class CheckpointError(ValueError):
    """A checkpoint cannot be read; the message names the folder and the reason."""


@dataclass
class Best:
    """The best enhancer so far: a real copy, its value and the step it was found at."""

    value: float
    step: int
    weights: dict[str, Tensor]


@dataclass
class Progress:
    """Where a training stands, in plain values.

    Attributes:
        schedule: phase, round and step.
        dark_row: rows taken from the dark stream by all ranks together.
        well_lit_row: the same of the well-lit stream.
        skipped: steps skipped for a non-finite loss or gradient.
        phase_steps: steps done so far, by phase.
        reached: the best value of the chosen measure so far; None: not measured yet.
    """

    schedule: ScheduleState
    dark_row: int = 0
    well_lit_row: int = 0
    skipped: int = 0
    phase_steps: dict[str, int] = field(default_factory=dict)
    reached: float | None = field(default=None, compare=False)  # measured: the last bits differ between machines


@dataclass
class Checkpoint:
    """A checkpoint in memory: progress, settings, and named tensors (`enhancer/...`, `guide/...`, ...)."""

    progress: Progress
    settings: dict[str, Any]
    tensors: dict[str, Tensor]
    best: tuple[float, int] | None = None
    round_best: tuple[float, int] | None = None

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors under `name/`, without the prefix."""
        prefix = name + "/"
        return {key[len(prefix) :]: value for key, value in self.tensors.items() if key.startswith(prefix)}


def write(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a checkpoint into an empty or missing folder: aside, then renamed, so that there is never half of one."""
    aside = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    save_file({name: each.detach().cpu().contiguous() for name, each in checkpoint.tensors.items()}, aside / TENSORS)
    description = {
        "format": FORMAT,
        "progress": asdict(checkpoint.progress),
        "best": checkpoint.best,
        "round_best": checkpoint.round_best,
        "settings": checkpoint.settings,
        "tensors_sha256": _hash(aside / TENSORS),
    }
    description["sha256"] = _description_hash(description)
    (aside / STATE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    aside.replace(folder)


def read(folder: Path) -> Checkpoint:
    """The checkpoint in a folder, verified by its hash, on the CPU.

    Raises:
        StateError: incomplete, damaged, or of another format.
    """
    try:
        description = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            raise CheckpointError(f"{folder}: checkpoint format {description['format']}, this version reads {FORMAT}")
        if _description_hash(description) != description["sha256"]:
            raise CheckpointError(f"{folder}: {STATE} does not match its hash; the checkpoint is damaged")
        if _hash(folder / TENSORS) != description["tensors_sha256"]:
            raise CheckpointError(f"{folder}: {TENSORS} does not match its hash; the checkpoint is damaged")
        progress = dict(description["progress"])
        schedule = ScheduleState.from_json(progress.pop("schedule"))
        return Checkpoint(
            _checked(Progress(schedule, **progress)),
            description["settings"],
            load_file(folder / TENSORS),
            _pair(description["best"]),
            _pair(description["round_best"]),
        )
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder}: no checkpoint ({Path(error.filename).name} is missing)") from error
    except CheckpointError:
        raise
    except UNREADABLE as error:
        raise CheckpointError(f"{folder}: not a readable checkpoint ({type(error).__name__}: {error})") from error


def optimiser_tensors(optimiser: optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's moments, step counts and the like as named tensors, `INDEX/NAME`; what is None stays away."""
    state = optimiser.state_dict()["state"]
    named = {f"{index}/{name}": value for index, values in state.items() for name, value in values.items()}
    return {name: value for name, value in named.items() if value is not None}


def restore_optimiser(optimiser: optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimiser_tensors`, into an optimiser of the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split("/", 1)
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _checked(progress: Progress) -> Progress:
    counts = [progress.dark_row, progress.well_lit_row, progress.skipped, *progress.phase_steps.values()]
    if not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError("progress counts something other than whole steps and rows")
    return progress


def _pair(value: list[Any] | None) -> tuple[float, int] | None:
    return None if value is None else (float(value[0]), int(value[1]))


def _description_hash(description: dict[str, Any]) -> str:
    hashed = {name: value for name, value in description.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
