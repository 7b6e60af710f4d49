"""Throw damaged checkpoints at their reader: `python -m tests.fuzz.fuzz_checkpoints -runs=200000`.

It must answer with a snapshot or a StateError, within two seconds. Half of the inputs carry right hashes, or nothing
behind the hashes would ever be tried. What it finds goes to tests/fuzz/found/checkpoints.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lle.training", "safetensors"]):
    import torch
    from safetensors.torch import save

    from lle.training import checkpoint as checkpoint_files
    from lle.training.checkpoint import STATE, TENSORS, Checkpoint, CheckpointError, Progress
    from lle.training.schedule import Phase, ScheduleState

LIMITS = ("-timeout=2", "-rss_limit_mb=2048", "-max_len=2048")
TENSOR_FILE = save({"enhancer/weight": torch.zeros(2, 3), "average/count": torch.tensor(1)})


def read_one(data: bytes) -> None:
    """A checkpoint made of whatever bytes."""
    with tempfile.TemporaryDirectory(dir=folder()) as name:
        checkpoint = Path(name)
        description, tensors = damaged(data)
        (checkpoint / STATE).write_bytes(description)
        (checkpoint / TENSORS).write_bytes(tensors)
        try:
            found = checkpoint_files.read(checkpoint)
        except CheckpointError:
            return
        assert isinstance(found.progress.schedule.phase, Phase)
        assert all(isinstance(tensor, torch.Tensor) for tensor in found.tensors.values())


def damaged(data: bytes) -> tuple[bytes, bytes]:
    """The two files: raw bytes, raw tensors of right hashes, or values of the description exchanged."""
    kind, data = data[:1], data[1:]
    if kind < b"\x40":
        return data, TENSOR_FILE
    description = json.loads(GOOD)
    if kind < b"\x80":
        return hashed(description, data), data
    groups = [description, description["progress"], description["progress"]["schedule"]]
    for place, value in zip(data[::2], data[1::2], strict=False):
        group = groups[place % len(groups)]
        key = list(group)[place // len(groups) % len(group)]
        group[key] = ODD[value % len(ODD)]
    return hashed(description, TENSOR_FILE), TENSOR_FILE


def good() -> str:
    """What a whole checkpoint says."""
    with tempfile.TemporaryDirectory(dir=folder()) as name:
        checkpoint = Checkpoint(Progress(ScheduleState(Phase.ENHANCEMENT, step=3)), {"seed": 1}, {}, best=(1.0, 2))
        checkpoint_files.write(checkpoint, Path(name, "checkpoint"))
        return Path(name, "checkpoint", STATE).read_text(encoding="utf-8")


def hashed(description: dict, tensors: bytes) -> bytes:
    """The description with hashes that are right."""
    if "tensors_sha256" in description:
        description["tensors_sha256"] = hashlib.sha256(tensors).hexdigest()
    description.pop("sha256", None)
    description["sha256"] = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
    return json.dumps(description).encode()


def folder() -> str | None:
    """Memory where there is some to write to: hundreds of thousands of files would wear out a disk."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


GOOD = good()
ODD = [
    None,
    True,
    -1,
    0,
    2**70,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "enhancement",
    [],
    [1],
    ["a", "b"],
    [1e400, 2],
]
ODD += [{}, {"a": 1}, {"phase": "done"}, [[[]]], "\x00", "\ud800"]


def main() -> None:
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate([b"\x00{}", b"\x41" + TENSOR_FILE, bytes(range(0x80, 0xC0)), b"\x80\x01\x02"]):
            Path(corpus, str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], *LIMITS, *sys.argv[1:], corpus], read_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
