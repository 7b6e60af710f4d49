"""An evaluation as users run it: over Ray Data on a cluster, of saved and of registered models, recorded in MLflow."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient
from PIL import Image

from lle.config import EnhancerSettings
from lle.enhancers import build_enhancer
from lle.images import read
from lle.model import Model
from pipelines.config.train import RunSettings, TrackingSettings
from pipelines.evaluation.worker import PICTURE_HEIGHT
from pipelines.models.registry import register
from pipelines.reporting.pictures import LABEL_HEIGHT
from pipelines.tracking.runs import TrackedRun
from tests.integration.conftest import Cluster, run

PAIRS = 11


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pairs in folders of folders, good photos, and one file that is broken behind its header."""
    random = np.random.default_rng(0)
    for index in range(PAIRS):
        truth = random.integers(0, 256, (40 + index, 64, 3), dtype=np.uint8)
        for name, picture in (("low", truth // 5), ("high", truth), ("good", truth)):
            file = tmp_path / "photos" / name / f"scene{index % 2}" / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(file)
    broken = tmp_path / "photos" / "good" / "scene0" / "0.png"
    broken.write_bytes(broken.read_bytes()[:500])
    return tmp_path / "photos"


@pytest.fixture
def model() -> Model:
    """Brightens by a constant number of stops."""
    settings = EnhancerSettings(arch="compact", thumbnail_size=32, width=4)
    enhancer = build_enhancer(settings)
    torch.nn.init.constant_(enhancer.head.bias, 0.5)
    return Model(enhancer.requires_grad_(False), settings)


def evaluate(cluster: Cluster, repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(repository / "pipelines" / "evaluate.py"),
        "--cluster.address",
        cluster.address,
        *arguments,
    ]
    return run(command, cluster.environment, 300)


def numbers(out: Path) -> dict[str, dict[str, float]]:
    content = json.loads((out / "metrics.json").read_text())
    return {photo["name"]: photo for photo in content["photos"] if photo["set"] == "low"}


def test_an_evaluation_measures_every_photo_and_records_it(
    cluster: Cluster, repository: Path, photos: Path, model: Model, tmp_path: Path
):
    tracking, out = f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "out"
    done = evaluate(
        cluster, repository, "--model", str(model.save(tmp_path / "mine")), "--data.dark", str(photos / "low"),
        "--data.truth", str(photos / "high"), "--data.good", str(photos / "good"), "--output", str(out),
        "--pictures", "2", "--log", "--tracking.uri", tracking,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "lpips is left out" in done.stdout and "scene0/0.png: " in done.stdout
    content = json.loads((out / "metrics.json").read_text())
    assert len(numbers(out)) == PAIRS == content["sets"]["low"]["psnr"]["photos"]
    assert content["sets"]["good"]["unchanged"]["photos"] == PAIRS - 1 and list(content["refused"]) == ["scene0/0.png"]
    assert set(content["skipped"]) == {"lpips", "niqe"}
    with (out / "metrics.csv").open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) == 2 * PAIRS - 1
    pictures = sorted(out.glob("pictures/low/*/*.jpg"))
    assert len(pictures) == 2 and read(pictures[0]).shape[0] == PICTURE_HEIGHT + LABEL_HEIGHT

    report = (out / "report.html").read_text()
    assert report.count("<figure") == report.count('data-left="exposure-shoulder"') == 4
    assert "2 of 11 photos" in report and "2 of 10 photos" in report
    worst, second, *better = sorted(numbers(out).values(), key=lambda photo: photo["psnr"])
    low = report[: report.index("2 of 10 photos")]
    assert 0 < low.find(f">{worst['name']}<") < low.find(f">{second['name']}<")
    assert not [photo for photo in better if f">{photo['name']}<" in low]

    client = MlflowClient(tracking)
    experiment = client.get_experiment_by_name("lle-evaluation")
    recorded = client.search_runs([experiment.experiment_id])[0]
    assert recorded.info.status == "FINISHED"
    assert recorded.data.metrics["low/psnr"] == pytest.approx(content["sets"]["low"]["psnr"]["mean"])
    files = [file.path for file in client.list_artifacts(recorded.info.run_id)]
    assert "metrics.csv" in files and "report.html" in files


@pytest.mark.drill
def test_a_registered_model_measures_like_the_saved_one(
    cluster: Cluster, repository: Path, photos: Path, model: Model, tmp_path: Path
):
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(tracking)
    experiment = client.create_experiment("training", artifact_location=(tmp_path / "artifacts").as_uri())
    started = client.create_run(experiment)
    settings = RunSettings.model_construct(name="run", tracking=TrackingSettings())
    register(model, TrackedRun(tracking, started.info.run_id), settings, "# A card")
    found = {}
    for name, uri in (
        ("saved", str(model.save(tmp_path / "mine"))),
        ("registered", "models:/lle-enhancer@challenger"),
        ("logged", f"runs:/{started.info.run_id}"),
    ):
        done = evaluate(
            cluster, repository, "--model", uri, "--data.dark", str(photos / "low"),
            "--data.truth", str(photos / "high"), "--output", str(tmp_path / name), "--log", "--tracking.uri", tracking,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        found[name] = numbers(tmp_path / name)
    recorded = client.search_runs([client.get_experiment_by_name("lle-evaluation").experiment_id])
    params = {each.data.params["model"]: each.data.params for each in recorded}
    assert params["models:/lle-enhancer@challenger"]["model_found_at"] == "models:/lle-enhancer/1"
    assert len({each["weights_hash"] for each in params.values()}) == 1  # the same weights, wherever they lie
    assert {each.dataset.name for each in recorded[0].inputs.dataset_inputs} == {"low", "high"}
    assert len(found["saved"]) == PAIRS
    for name in ("registered", "logged"):
        for photo, values in found["saved"].items():
            assert values == pytest.approx(found[name][photo], abs=1e-4), photo


def test_a_pair_of_different_sizes_ends_with_one_sentence(cluster: Cluster, repository: Path, tmp_path: Path):
    photos = tmp_path / "photos"  # a pair alone, for which one worker is started
    for name, size in (("low", (64, 43)), ("high", (30, 20))):
        (photos / name / "scene1").mkdir(parents=True)
        Image.new("RGB", size).save(photos / name / "scene1" / "3.png")
    done = evaluate(
        cluster, repository, "--model", "baseline:auto-gain", "--data.dark", str(photos / "low"),
        "--data.truth", str(photos / "high"), "--output", str(tmp_path / "out"),
    )  # fmt: skip
    assert done.returncode == 1
    assert (
        "error: data.dark and data.truth: scene1/3.png differs in size, 64x43 and 30x20; pairs must be aligned"
        in done.stderr
    )
    assert not (tmp_path / "out").exists()
