import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from lle.training.checkpoint import (
    FORMAT,
    STATE,
    TENSORS,
    Checkpoint,
    CheckpointError,
    Progress,
    optimiser_tensors,
    read,
    restore_optimiser,
    write,
)
from lle.training.schedule import Phase, ScheduleState


def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    schedule = ScheduleState(Phase.REFINEMENT, round=2, step=41, phase_step=3, phase_length=9, recent=(0.1, 1 / 3))
    return Checkpoint(
        Progress(schedule, dark_row=120, well_lit_row=64, skipped=1, phase_steps={"prompt_init": 30, "refinement": 11}),
        {"seed": 3, "data": {"dark": "photos"}},
        {
            "enhancer/head.weight": torch.randn(2, 3),
            "enhancer_adam/0/step": torch.tensor(7.0),
            "earlier/0/head.weight": torch.randn(2, 3).to(torch.bfloat16),
            "average/n_averaged": torch.tensor(5),
            "guide/embeddings": torch.randn(2, 4, 3).transpose(1, 2),
        },
        best=(21.25, 30),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(checkpoint(), tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_what_is_written_is_read(folder: Path):
    written, found = checkpoint(), read(folder)
    assert found.progress == written.progress
    assert isinstance(found.progress.schedule.phase, Phase)
    assert found.settings == written.settings
    assert (found.best, found.round_best) == ((21.25, 30), None)
    assert found.tensors.keys() == written.tensors.keys()
    for name, tensor in written.tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor), name


def test_a_part_is_named_without_its_prefix():
    assert list(checkpoint().part("enhancer")) == ["head.weight"]
    assert list(checkpoint().part("earlier/0")) == ["head.weight"]
    assert checkpoint().part("earlier/1") == {}


def test_a_checkpoint_is_json_and_safetensors_only(folder: Path):
    assert sorted(each.name for each in folder.iterdir()) == [STATE, TENSORS]
    json.loads((folder / STATE).read_text())
    header = (folder / TENSORS).read_bytes()
    length = int.from_bytes(header[:8], "little")
    assert "enhancer/head.weight" in json.loads(header[8 : 8 + length])


def truncate(folder: Path) -> None:
    data = (folder / TENSORS).read_bytes()
    (folder / TENSORS).write_bytes(data[: len(data) // 2])


def alter(folder: Path) -> None:
    data = bytearray((folder / TENSORS).read_bytes())
    data[-1] ^= 1
    (folder / TENSORS).write_bytes(bytes(data))


def change(**values: object):
    def apply(folder: Path) -> None:
        description = json.loads((folder / STATE).read_text())
        (folder / STATE).write_text(json.dumps({**description, **values}))

    return apply


def forget_progress(folder: Path) -> None:
    description = json.loads((folder / STATE).read_text())
    del description["progress"]
    (folder / STATE).write_text(json.dumps(description))


def with_right_hashes(**changed):
    """Values that a stranger wrote, who can also hash (found by fuzzing)."""

    def damage(folder: Path) -> None:
        description = json.loads((folder / STATE).read_text()) | changed
        del description["sha256"]
        description["sha256"] = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
        (folder / STATE).write_text(json.dumps(description))

    return damage


def other_phase(folder: Path) -> None:
    description = json.loads((folder / STATE).read_text())
    description["progress"]["schedule"]["phase"] = "lunch"
    (folder / STATE).write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, "does not match its hash"),
        (alter, "does not match its hash"),
        (lambda folder: (folder / TENSORS).unlink(), "tensors.safetensors is missing"),
        (lambda folder: (folder / STATE).unlink(), "state.json is missing"),
        (shutil.rmtree, "state.json is missing"),
        (change(format=99), f"format 99, this version reads {FORMAT}"),
        (forget_progress, "state.json does not match its hash"),
        (with_right_hashes(best="x"), "not a readable checkpoint"),
        (with_right_hashes(best=[2**2000, 1]), "not a readable checkpoint"),
        (with_right_hashes(progress={"schedule": {"phase": "lunch", "recent": []}}), "lunch"),
        (with_right_hashes(progress={"schedule": {"phase": "done", "recent": []}, "dark_row": -1}), "whole steps"),
        (with_right_hashes(progress=[]), "not a readable checkpoint"),
        (other_phase, "state.json does not match its hash"),
        (lambda folder: (folder / STATE).write_text('{"format": 2, '), "not a readable checkpoint"),
        (lambda folder: (folder / STATE).write_text("[]"), "not a readable checkpoint"),
        (lambda folder: (folder / STATE).write_bytes(b"\xff\xfe\x00"), "not a readable checkpoint"),
    ],
)
def test_a_damaged_checkpoint_is_refused_with_its_folder_and_a_reason(damage, reason: str, folder: Path):
    damage(folder)
    with pytest.raises(CheckpointError) as refusal:
        read(folder)
    assert str(folder) in str(refusal.value)
    assert reason in str(refusal.value)


def test_half_a_checkpoint_has_no_state_file(tmp_path: Path):
    broken = checkpoint()
    broken.settings["handle"] = object()  # cannot be written as JSON: as if the process ended there
    with pytest.raises(TypeError):
        write(broken, tmp_path / "half")
    with pytest.raises(CheckpointError, match="missing"):
        read(tmp_path / "half")


def some_steps(network: nn.Module, adam: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(3):
        adam.zero_grad()
        network(torch.randn(8, 5, generator=generator)).square().mean().backward()
        adam.step()


def test_a_restored_optimiser_takes_the_same_next_step_to_the_bit(tmp_path: Path):
    torch.manual_seed(1)
    network, twin = nn.Linear(5, 2), nn.Linear(5, 2)
    adam = torch.optim.Adam(network.parameters(), 1e-2, weight_decay=1e-3)
    some_steps(network, adam, seed=0)
    tensors = {f"adam/{name}": each for name, each in optimiser_tensors(adam).items()}
    write(Checkpoint(checkpoint().progress, {}, tensors), tmp_path)

    twin.load_state_dict(network.state_dict())
    restored = torch.optim.Adam(twin.parameters(), 1e-2, weight_decay=1e-3)
    restore_optimiser(restored, read(tmp_path).part("adam"))
    some_steps(network, adam, seed=5)
    some_steps(twin, restored, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), twin.parameters(), strict=True))

    fresh = nn.Linear(5, 2)
    fresh.load_state_dict(network.state_dict())
    some_steps(fresh, torch.optim.Adam(fresh.parameters(), 1e-2, weight_decay=1e-3), seed=6)
    some_steps(network, adam, seed=6)
    assert not torch.equal(fresh.weight, network.weight), "without its moments Adam steps elsewhere"


def test_an_optimiser_that_never_stepped_is_restored_too():
    adam = torch.optim.Adam(nn.Linear(2, 2).parameters())
    restore_optimiser(adam, optimiser_tensors(adam))
    assert adam.state_dict()["state"] == {}
