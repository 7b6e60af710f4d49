"""Real clips, as users enhance them: in one process that is stopped in the middle, and on a cluster."""

from __future__ import annotations

import csv
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lle.clips import read_frames
from tests.integration.conftest import Cluster, run

pytestmark = pytest.mark.drill
av = pytest.importorskip("av")
TAGS = ("color_range", "color_primaries", "color_trc", "colorspace", "rotation")


@pytest.fixture(scope="module")
def clips(shared: Path) -> Path:
    folder = shared / "data" / "other_tasks" / "video"
    if not folder.is_dir():
        pytest.skip("the real clips (data/other_tasks/video) are not beside the repository")
    return folder


def command(repository: Path, *words: str) -> list[str]:
    return [sys.executable, str(repository / "pipelines" / "enhance.py"), *words]


def report(out: Path) -> dict[str, dict[str, str]]:
    with (out / "report.csv").open(newline="") as lines:
        return {row["photo"]: row for row in csv.DictReader(lines)}


def told(path: Path) -> tuple[list[tuple[Any, ...]], list[bytes]]:
    """Times and tags of all frames, and the sound."""
    with av.open(str(path)) as container:
        frames = [(frame.time, *(int(getattr(frame, tag)) for tag in TAGS)) for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        sound = [bytes(each) for each in container.demux(audio=0) if each.size] if container.streams.audio else []
    return frames, sound


def mean_levels(path: Path) -> np.ndarray:
    return np.array([pixels.mean() for pixels, _ in read_frames(path)])


def test_clips_stopped_in_the_middle_are_done_by_the_second_run(clips: Path, repository: Path, tmp_path: Path):
    out = tmp_path / "out"
    words = command(repository, str(clips), "--output", str(out))
    first = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 300
    while not list(out.glob("*.webm")) and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(2)  # into the second clip
    first.send_signal(signal.SIGTERM)
    said, _ = first.communicate(timeout=120)
    assert first.returncode != 0, said
    left = {each.name for each in out.iterdir() if not each.name.startswith((".", "report"))}
    assert "day_flower.webm" in left and len(left) < 4, said

    second = run(words, None, 600)
    assert second.returncode == 0, second.stdout[-3000:] + second.stderr[-3000:]
    assert f"{4 - len(left)} clip" in second.stdout and f" enhanced, {len(left)} done before, 0 failed" in second.stdout
    assert not [each.name for each in out.iterdir() if each.name.endswith(".unfinished")]
    for clip in sorted(clips.iterdir()):
        assert told(out / clip.name) == told(clip), clip.name
        before, after = mean_levels(clip), mean_levels(out / clip.name)
        if clip.name.startswith("night"):
            assert (after > 1.5 * before).all()
            steady = np.delete(np.abs(np.diff(after)), np.abs(np.diff(after)).argmax())  # night_cut has one cut
            assert steady.max() < 4
        else:
            assert np.abs(after - before).max() < 8


def test_clips_are_shared_out_by_segments_on_a_cluster_beside_photos(
    clips: Path, shared: Path, cluster: Cluster, repository: Path, tmp_path: Path
):
    mixed, out = tmp_path / "mixed", tmp_path / "out"
    mixed.mkdir()
    for each in (clips / "night_cut.mp4", clips / "night_drive.mp4", *sorted((shared / "data/kodak24").iterdir())[:3]):
        shutil.copyfile(each, mixed / each.name)
    (mixed / "broken.mp4").write_bytes((clips / "night_cut.mp4").read_bytes()[:5000])
    there = ("--cluster.address", cluster.address, "--workers", "2")
    words = command(repository, str(mixed), "--output", str(out), "--video.segment", "2", *there)
    done = run(words, cluster.environment, 600)
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-3000:]
    assert "night_cut.mp4: 3 of 3 segments" in done.stdout and "night_drive.mp4: 4 of 4 segments" in done.stdout
    assert "3 photos and 2 clips enhanced, 0 done before, 1 failed" in done.stdout
    assert "damaged or cut short" in report(out)["broken.mp4"]["failed"]
    assert told(out / "night_cut.mp4") == told(mixed / "night_cut.mp4")
    assert told(out / "night_drive.mp4") == told(mixed / "night_drive.mp4")
    assert not list(out.glob(".*.segment"))
