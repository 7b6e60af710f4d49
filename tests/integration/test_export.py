"""Exported models run without this project, at any size, and give the model's own pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import lle
from lle.config import EnhancerSettings
from lle.enhancers import build_enhancer
from lle.exporting import save_onnx
from lle.model import Model
from pipelines.export import main
from pipelines.jobs.export import TOLERANCE, largest_difference, load_onnx, load_pt2

KINDS = [  # bilateral with its denoiser is the bundled model
    EnhancerSettings(kind="compact", look=48, width=8),
    EnhancerSettings(kind="retinex", padding="reflect"),
    EnhancerSettings(kind="curves"),
    EnhancerSettings(kind="exposure", look=48, width=8, denoise=8, local=0.7),
    EnhancerSettings(kind="scene", denoise=8),
]


def visible(settings: EnhancerSettings) -> Model:
    """Random weights that change the picture."""
    torch.manual_seed(0)
    enhancer = build_enhancer(settings)
    with torch.no_grad():
        for parameter in enhancer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        if settings.kind == "retinex":
            enhancer.head.bias.fill_(0.5)  # where there is no light, the smallest difference becomes a large one
    return Model(enhancer.requires_grad_(False), settings)


@pytest.mark.parametrize("settings", KINDS, ids=lambda settings: settings.kind)
def test_enhancers_give_their_pictures_in_onnxruntime(settings: EnhancerSettings, tmp_path: Path):
    model = visible(settings)
    save_onnx(model, tmp_path / "model.onnx")
    assert largest_difference(model, load_onnx(tmp_path / "model.onnx")) < TOLERANCE / 4
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("format", ["onnx", "pt2"])
def test_the_bundled_model_is_exported_with_its_batch_free(format: str, tmp_path: Path, capsys):
    assert main(["--model", "bundled", "--out", str(tmp_path / "out"), "--format", format]) == 0
    assert "of 255 at most, checked at 2 x 3, " in capsys.readouterr().out
    file = tmp_path / "out" / f"model.{format}"
    exported = (load_onnx if format == "onnx" else load_pt2)(file)
    photos = torch.rand(3, 3, 75, 133)
    with torch.inference_mode():
        assert (exported(photos) - lle.load("bundled")(photos)).abs().max() < TOLERANCE / 100


def test_a_difference_is_seen():
    model = visible(KINDS[0])
    assert largest_difference(model, lambda picture: model(picture) + 0.01) == pytest.approx(0.01, abs=1e-5)
    assert not largest_difference(model, lambda picture: model(picture) * float("nan")) <= TOLERANCE


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("control:auto-gain", "model: control:auto-gain is not one of ours; give a registered or saved model"),
        ("nowhere/model", "nowhere/model: no saved model"),
    ],
)
def test_what_cannot_be_exported_is_told_in_one_sentence(model: str, message: str, tmp_path: Path, capsys):
    assert main(["--model", model, "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
