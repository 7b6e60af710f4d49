"""Enhancing as users run it: a folder of photos on a cluster; then once more, and by a baseline, without one."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cluster.storage import list_files, s3_client
from lle.config import EnhancerSettings
from lle.enhancers import build_enhancer
from lle.images import read
from lle.model import Model
from pipelines.enhance import main
from tests.integration.conftest import Cluster, Stack, run
from tests.unit.test_clips import frames_of, sound_of, write_clip

PHOTOS = 21


def report(out: Path) -> dict[str, dict[str, str]]:
    with (out / "report.csv").open(newline="") as lines:
        return {row["photo"]: row for row in csv.DictReader(lines)}


def test_a_folder_is_enhanced_once_and_failures_are_told(
    cluster: Cluster, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
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

    folders = ("--input", str(photos), "--output", str(out))
    words = ("--model", str(saved), *folders, "--cluster.address", cluster.address, "--workers", "2")
    done = run([sys.executable, str(repository / "pipelines" / "enhance.py"), *words], cluster.environment, 300)
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"{PHOTOS} photos enhanced, 0 done before, 1 failed" in done.stdout
    assert "megapixels/s" in done.stdout and "failed: folder0/bad.png: damaged or truncated" in done.stdout
    assert len(report(out)) == PHOTOS + 1 and "truncated" in report(out)["folder0/bad.png"]["failed"]
    for file in photos.glob("*/[0-9]*.png"):
        before, after = read(file), read(out / file.relative_to(photos))
        assert before.shape == after.shape and after.mean() > before.mean() + 20

    written = {file: file.stat().st_mtime_ns for file in out.glob("*/*.png")}
    bad.unlink()
    assert main(words) == 0  # in this process, which has not the cluster's token: none is joined
    assert f"0 photos enhanced, {PHOTOS} done before, 0 failed" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in out.glob("*/*.png")} == written

    assert main(("--model", "baseline:auto-exposure", *folders, "--format", "webp")) == 0  # nor for so few
    assert f"{PHOTOS} photos enhanced, 0 done before, 0 failed" in capsys.readouterr().out
    assert len([*out.glob("*/*.png.webp")]) == PHOTOS


def test_a_clip_in_a_store_is_done_by_segments(
    on_stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("av")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    client = s3_client()
    client.create_bucket(Bucket="films")
    source = write_clip(tmp_path / "a.mp4", range(0, 8000, 40), sound=True, every=25)
    client.upload_file(str(source), "films", "dark/a.mp4")
    words = ["s3://films/dark", "--output", "s3://films/out", "--video.segment", "2", "--video.seconds", "0.2"]
    assert main(words) == 0
    assert "a.mp4: 4 of 4 segments" in capsys.readouterr().out
    assert sorted(file.path for file in list_files("s3://films/out")) == ["films/out/a.mp4", "films/out/report.csv"]
    client.download_file("films", "out/a.mp4", str(tmp_path / "b.mp4"))
    assert [frame.time for frame in frames_of(tmp_path / "b.mp4")] == [frame.time for frame in frames_of(source)]
    assert sound_of(tmp_path / "b.mp4") == sound_of(source)
