"""Enhancing as users run it: a folder of photos on a cluster, by a saved model and by a control; then once more."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lle.config import EnhancerSettings
from lle.enhancers import build_enhancer
from lle.images import read
from lle.model import Model
from tests.integration.conftest import Cluster, run

PHOTOS = 21


def enhance(cluster: Cluster, repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(repository / "pipelines" / "enhance.py"),
        "--cluster.address",
        cluster.address,
        *arguments,
    ]
    return run(command, cluster.environment, 300)


def report(out: Path) -> dict[str, dict[str, str]]:
    with (out / "report.csv").open(newline="") as lines:
        return {row["photo"]: row for row in csv.DictReader(lines)}


def test_a_folder_is_enhanced_once_and_failures_are_told(cluster: Cluster, repository: Path, tmp_path: Path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    random = np.random.default_rng(0)
    for index in range(PHOTOS):
        file = photos / f"folder{index % 3}" / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 90, (40 + index % 2, 64, 3), dtype=np.uint8)).save(file)
    bad = photos / "folder0" / "bad.png"
    bad.write_bytes((photos / "folder0" / "0.png").read_bytes()[:500])
    settings = EnhancerSettings(arch="bilateral", thumbnail_size=32, width=8, denoise=0)
    enhancer = build_enhancer(settings)
    torch.nn.init.constant_(enhancer.head.bias, 0.5)
    saved = Model(enhancer.requires_grad_(False), settings).save(tmp_path / "model")

    done = enhance(cluster, repository, "--model", str(saved), "--input", str(photos), "--output", str(out))
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"{PHOTOS} photos enhanced, 0 done before, 1 failed" in done.stdout
    assert "megapixels/s" in done.stdout and "failed: folder0/bad.png: damaged or truncated" in done.stdout
    assert len(report(out)) == PHOTOS + 1 and "truncated" in report(out)["folder0/bad.png"]["failed"]
    for file in photos.glob("*/[0-9]*.png"):
        before, after = read(file), read(out / file.relative_to(photos))
        assert before.shape == after.shape and after.mean() > before.mean() + 20

    written = {file: file.stat().st_mtime_ns for file in out.glob("*/*.png")}
    bad.unlink()
    again = enhance(cluster, repository, "--model", str(saved), "--input", str(photos), "--output", str(out))
    assert again.returncode == 0, again.stderr[-3000:]
    assert f"0 photos enhanced, {PHOTOS} done before, 0 failed" in again.stdout
    assert {file: file.stat().st_mtime_ns for file in out.glob("*/*.png")} == written

    other = enhance(
        cluster, repository, "--model", "baseline:auto-exposure", "--input", str(photos), "--output", str(out),
        "--format", "webp",
    )  # fmt: skip
    assert other.returncode == 0, other.stderr[-3000:]
    assert len([*out.glob("*/*.png.webp")]) == PHOTOS
