"""Haze and rain from the first command to the numbers on real pairs: trained on clear photos, measured as any model."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lle import load
from tests.integration.conftest import Cluster, Trainings

SHORT = """
data: {validation_images: 6, decoders: 1}
schedule: {enhancement: {steps: 250}}
loop: {validate_every: 125, log_every: 25}
"""


@pytest.mark.drill
@pytest.mark.parametrize(("preset", "fault", "gained"), [("dehaze", "haze", 1.5), ("derain", "rain", 2.0)])
def test_a_short_training_mends_real_pairs(
    trainings: Trainings,
    cluster: Cluster,
    repository: Path,
    shared: Path,
    tmp_path: Path,
    preset: str,
    fault: str,
    gained: float,
):
    pairs, photos = shared / "data" / "other_tasks" / fault, shared / "data" / "train" / "free"
    (tmp_path / "short.yaml").write_text(SHORT)
    short = replace(trainings, settings=tmp_path / "short.yaml")
    sets = ["--data.dark", str(pairs / "unpaired"), "--data.well_lit", str(photos / "well_lit")]
    if fault == "rain":  # there are three of them
        sets += ["--data.validation_images", "2"]
    training = short.start(preset, "--preset", preset, *sets)
    assert training.wait(1500) == 0, training.output[-3000:]

    done = subprocess.run(
        [
            sys.executable, str(repository / "pipelines" / "evaluate.py"), "--model", str(training.folder / "model"),
            "--data.dark", str(pairs / "input"), "--data.truth", str(pairs / "truth"),
            "--data.good", str(shared / "data" / "kodak24"), "--output", str(tmp_path / "measured"),
            "--cluster.address", cluster.address,
        ],
        env=cluster.environment, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    content = json.loads((tmp_path / "measured" / "metrics.json").read_text())
    ours, untouched = content["sets"], content["baselines"]["input"]
    assert ours["low"]["psnr"]["mean"] > untouched["low"]["psnr"]["mean"] + gained
    assert ours["low"]["ssim"]["mean"] > untouched["low"]["ssim"]["mean"]
    assert ours["good"]["unchanged"]["mean"] > 25
    assert load(training.folder / "model").enhancer.knows_strength
