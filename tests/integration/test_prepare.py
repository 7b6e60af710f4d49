"""A preparation as users run it: on a cluster, killed in the middle, run again; and a training from what it made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from lle.images import resize
from pipelines.prepare import main
from tests.integration.conftest import Cluster, run, wait_for

PHOTOS = 160


def write_photos(folder: Path, count: int) -> None:
    """Structured pictures of 2 megapixels, that take a while."""
    chance = np.random.default_rng(0)
    for number in range(count):
        coarse = (chance.random((6, 8, 3)) * 255).astype(np.uint8)
        Image.fromarray(resize(coarse, (1200, 1600))).save(folder / f"{number:03d}.jpg", quality=90)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Many, and some that are none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    write_photos(folder, PHOTOS)
    for number in range(8):
        whole = (folder / f"{number:03d}.jpg").read_bytes()
        (folder / f"cut{number}.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


def command(repository: Path, cluster: Cluster, source: Path, target: Path) -> list[str]:
    return [
        sys.executable, str(repository / "pipelines" / "prepare.py"), "--input", str(source), "--output", str(target),
        "--short-side", "64", "--part-files", "8", "--cluster.address", cluster.address,
    ]  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.drill
def test_killed_in_the_middle_and_run_again_gives_what_an_undisturbed_run_gives(
    cluster: Cluster, photos: Path, tmp_path: Path, repository: Path
):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with (tmp_path / "log").open("wb") as log:
        first = subprocess.Popen(
            command(repository, cluster, photos, killed), env=cluster.environment, stdout=log, stderr=log
        )
    try:
        wait_for(lambda: first.poll() is not None or any((killed / "parts").glob("*.parquet")), 200, "the first part")
        os.kill(first.pid, signal.SIGKILL)
    finally:
        first.wait(60)
    assert first.returncode == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert not (killed / "manifest.parquet").exists()

    for target in (killed, whole):
        done = subprocess.run(
            command(repository, cluster, photos, target), env=cluster.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert f"holds {PHOTOS} pictures" in done.stdout and "8 files are refused" in done.stdout
    assert contents(killed) == contents(whole)
    rows = parquet.read_table(whole / "manifest.parquet").to_pylist()
    assert [row["path"] for row in rows] == sorted(path.name for path in photos.iterdir())
    assert sum("truncated" in row["refused"] for row in rows) == 8


def test_a_second_run_finds_nothing_to_do_and_changes_nothing(
    cluster: Cluster, tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
):
    few, parts = tmp_path / "few", tmp_path / "out" / "parts"
    few.mkdir()
    write_photos(few, 3)
    words = command(repository, cluster, few, tmp_path / "out")
    done = run(words, cluster.environment, 300)
    assert done.returncode == 0, done.stderr[-3000:]
    written = {path: path.stat().st_mtime_ns for path in parts.iterdir()}
    assert "holds 3 pictures" in done.stdout and len(written) == 1
    assert main(words[2:]) == 0  # in this process, which has not the cluster's token: none is joined
    assert "nothing new to prepare" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in parts.iterdir()} == written
