"""Exported models run without this project, at any size, and give the model's own pictures."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import lle
from lle.config import EnhancerSettings
from lle.enhancers import build_enhancer
from lle.exporting import ExportError, save_onnx
from lle.model import Model
from pipelines.export import main
from pipelines.models.export import FORMATS, TOLERANCE, largest_difference, load_onnx, load_pt2

pytestmark = pytest.mark.timeout(300)  # torch.export takes its time
KINDS = [  # scene with its denoiser is the bundled model
    EnhancerSettings(arch="compact", thumbnail_size=48, width=8),
    EnhancerSettings(arch="retinex", padding="reflect"),
    EnhancerSettings(arch="curves"),
    EnhancerSettings(arch="exposure", thumbnail_size=48, width=8, denoise=8, local=0.7),
]


def visible(settings: EnhancerSettings) -> Model:
    """Random weights that change the picture."""
    torch.manual_seed(0)
    enhancer = build_enhancer(settings)
    with torch.no_grad():
        for parameter in enhancer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        if settings.arch == "retinex":
            enhancer.head.bias.fill_(0.5)  # where there is no light, the smallest difference becomes a large one
    return Model(enhancer.requires_grad_(False), settings)


@pytest.mark.parametrize("settings", KINDS, ids=lambda settings: settings.arch)
def test_enhancers_give_their_pictures_in_onnxruntime(settings: EnhancerSettings, tmp_path: Path):
    model = visible(settings)
    save_onnx(model, tmp_path / "model.onnx")
    exported = load_onnx(tmp_path / "model.onnx")
    assert largest_difference(model, exported) < TOLERANCE / 4  # at every strength that it knows
    assert optional_inputs(tmp_path / "model.onnx") == (["strength"] if settings.arch == "exposure" else [])
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


def optional_inputs(file: Path) -> list[str]:
    return [each.name for each in onnxruntime.InferenceSession(file).get_overridable_initializers()]


@pytest.mark.parametrize("format", ["onnx", "pt2"])
def test_the_bundled_model_is_exported_with_its_batch_free(format: str, tmp_path: Path, capsys):
    assert main(["--model", "bundled", "--output", str(tmp_path / "out"), "--format", format]) == 0
    told, model = capsys.readouterr().out, lle.load("bundled")
    assert "of 255 at most, checked at 2 x 3, " in told
    file = tmp_path / "out" / f"model.{format}"
    assert [each.name for each in file.parent.glob("[!.]*")] == [file.name]
    assert format != "onnx" or optional_inputs(file) == ["strength"]
    exported = (load_onnx if format == "onnx" else load_pt2)(file)
    photos = torch.rand(3, 3, 75, 133)
    with torch.no_grad():
        assert (exported(photos, 1) - model(photos)).abs().max() < TOLERANCE / 100
        assert (run_as_told(told, file, photos) - model(photos, 0.5)).abs().max() < TOLERANCE / 100


def run_as_told(told: str, file: Path, photos: torch.Tensor) -> torch.Tensor:
    """What the line that a job printed about the strength gives."""
    said = told.splitlines()[-1].partition(": ")[2]
    if file.suffix == ".onnx":
        session = onnxruntime.InferenceSession(file)
        return torch.from_numpy(eval(said, {"session": session, "pixels": photos.numpy(), "np": np})[0])
    program = torch.export.load(file).module()
    eval(said, {"program": program})
    return program(photos)


@pytest.mark.parametrize("format", ["tiles", "litert", "coreml"])
def test_networks_without_one_exposure_have_no_tiles(format: str, tmp_path: Path):
    if format != "tiles":
        pytest.importorskip({"litert": "litert_torch", "coreml": "coremltools"}[format])
    with pytest.raises(ExportError, match="enhancer.arch: compact does not decide on a small copy"):
        FORMATS[format].save(visible(KINDS[0]), tmp_path)


def test_a_strength_goes_from_the_picture_over_what_is_left_out_to_more(tmp_path: Path):
    settings = EnhancerSettings(arch="exposure", thumbnail_size=48, width=8, denoise=0)
    enhancer = build_enhancer(settings)
    torch.nn.init.constant_(enhancer.exposure.bias, 0.3)
    save_onnx(Model(enhancer.requires_grad_(False), settings), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    pixels = np.random.default_rng(0).random((2, 3, 40, 57), np.float32) / 4

    def enhanced(**more: np.ndarray) -> np.ndarray:
        return session.run(None, {"image": pixels, **more})[0]

    pictures = [enhanced(strength=np.float32([strength])) for strength in (-1, 0, 0.5, 1, 1.5, 9)]
    np.testing.assert_allclose(pictures[1], pixels, atol=1e-5)
    np.testing.assert_array_equal(enhanced(), pictures[3])
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[5], pictures[4])
    for less, more in pairwise(pictures[1:5]):
        assert (more >= less).all() and (more - less).mean() > 0.01


def test_a_difference_is_seen():
    model = visible(KINDS[0])
    assert largest_difference(model, lambda picture, _: model(picture) + 0.01) == pytest.approx(0.01, abs=1e-5)
    assert not largest_difference(model, lambda picture, _: model(picture) * float("nan")) <= TOLERANCE
    knowing = visible(EnhancerSettings(arch="exposure", thumbnail_size=48, width=8, denoise=0))
    assert largest_difference(knowing, lambda picture, _: knowing(picture)) > TOLERANCE


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("baseline:auto-gain", "model: baseline:auto-gain is not one of ours; give a registered or saved model"),
        ("nowhere/model", "nowhere/model: no saved model"),
    ],
)
def test_what_cannot_be_exported_is_told_in_one_sentence(model: str, message: str, tmp_path: Path, capsys):
    assert main(["--model", model, "--output", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
