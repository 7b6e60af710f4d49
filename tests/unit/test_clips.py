"""Clips: what of them is kept, what is refused, and the job that enhances them beside photos."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lle.clips import CONTAINERS, read_frames, rewrite_clip
from lle.enhancers.exposure import OneExposure
from lle.images import ImageError
from pipelines import enhance as entry_point
from pipelines.inference.progress import Entry
from pipelines.inference.work import Photo, result_name
from pipelines.inference.worker import units
from pipelines.reporting.closing import IN_A_JOB

av = pytest.importorskip("av")
SIDE = (72, 96)
EVEN = tuple(range(0, 12 * 40, 40))  # ms
UNEVEN = (0, 40, 80, 200, 210, 220, 400, 480, 520, 600)


def write_clip(
    path: Path,
    times: Sequence[int] = EVEN,
    codec: str = "libx264",
    sound: bool = False,
    turned: int = 0,
    pixels: str = "yuv420p",
    every: int = 250,
    **tags: int,
) -> Path:
    """A dark clip of one scene, lit a little differently in each frame; times in ms, a key frame every so many."""
    random = np.random.default_rng(0)
    scene = np.kron(random.uniform(4, 40, (6, 8, 3)), np.ones((12, 12, 1)))
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "a night"
        stream: Any = container.add_stream(codec, rate=25, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *SIDE, pixels
        stream.codec_context.time_base, stream.codec_context.gop_size = Fraction(1, 1000), every
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        if turned:
            stream.set_display_rotation(turned)
        if sound:
            voice: Any = container.add_stream("aac", rate=16000)
            voice.layout = "mono"
            tone = np.sin(np.arange(16000) / 20).astype(np.float32)[None]
            for first in range(0, 8192, 1024):
                heard = av.AudioFrame.from_ndarray(tone[:, first : first + 1024].copy(), "fltp", "mono")
                heard.sample_rate, heard.pts, heard.time_base = 16000, first, Fraction(1, 16000)
                container.mux(voice.encode(heard))
            container.mux(voice.encode(None))
        for index, time in enumerate(times):
            lit = (scene * (1.0 + 0.2 * (-1) ** index)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(lit, "rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def frames_of(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def sound_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def title_of(path: Path) -> str | None:
    with av.open(str(path)) as container:
        return {key.lower(): value for key, value in container.metadata.items()}.get("title")


def same(pixels: np.ndarray, seconds: float) -> np.ndarray:
    return pixels


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_what_is_not_changed_comes_back_with_its_sound_and_its_times(tmp_path: Path, suffix: str):
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    source = write_clip(tmp_path / f"a{suffix}", UNEVEN, codec, sound=suffix != ".webm")
    target = tmp_path / f"b{suffix}"
    done = rewrite_clip(source, target, same, container=CONTAINERS[suffix], crf=5)
    assert (done.frames, done.height, done.width, done.lost) == (len(UNEVEN), *SIDE, [])
    before, after = frames_of(source), frames_of(target)
    assert [frame.time for frame in after] == [frame.time for frame in before]
    assert [round(1000 * frame.time) for frame in after] == list(UNEVEN)
    assert title_of(target) == "a night"
    if suffix != ".webm":
        assert sound_of(target) == sound_of(source) != []
    for one, other in zip(read_frames(source), read_frames(target), strict=True):
        assert np.abs(one[0].astype(int) - other[0]).mean() < 2.5 and one[1] == other[1]


def test_a_turned_clip_stays_turned(tmp_path: Path):
    source = write_clip(tmp_path / "a.mp4", turned=90)
    rewrite_clip(source, tmp_path / "b.mp4", same)
    assert (
        [frame.rotation for frame in frames_of(tmp_path / "b.mp4")[:2]]
        == [90, 90]
        == [frame.rotation for frame in frames_of(source)[:2]]
    )


@pytest.mark.parametrize("tags", [(1, 1, 1, 1), (2, 1, 1, 1), (1, 5, 6, 6), (1, 9, 1, 9)])
def test_colour_tags_are_kept_and_obeyed(tmp_path: Path, tags: tuple[int, ...]):
    names = ("color_range", "color_primaries", "color_trc", "colorspace")
    source = write_clip(tmp_path / "a.mp4", **dict(zip(names, tags, strict=True)))
    rewrite_clip(source, tmp_path / "b.mp4", same, crf=5)
    before, after = frames_of(source)[3], frames_of(tmp_path / "b.mp4")[3]
    assert tuple(int(getattr(after, name)) for name in names) == tags
    kept = [np.frombuffer(bytes(frame.planes[0]), np.uint8).astype(int) for frame in (before, after)]
    assert np.abs(kept[0] - kept[1]).mean() < 1


def test_what_a_result_does_not_hold_is_named(tmp_path: Path):
    source = write_clip(tmp_path / "a.mp4", pixels="yuv420p10le")
    assert rewrite_clip(source, tmp_path / "b.mp4", same).lost == ["more than 8 bits"]


def broken(folder: Path, kind: str) -> Path:
    whole = write_clip(folder / "whole.mp4", sound=True)
    path = folder / "broken.mp4"
    if kind == "text":
        path.write_text("no clip\n" * 100)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        path.write_bytes(whole.read_bytes()[:2000])
    elif kind == "cut in the middle":
        longer = write_clip(folder / "long.mkv", range(0, 20_000, 40))
        path = folder / "broken.mkv"
        path.write_bytes(longer.read_bytes()[: longer.stat().st_size // 2])
    elif kind == "sound":
        with av.open(str(whole)) as source, av.open(str(path), "w") as container:
            copy = container.add_stream_from_template(source.streams.audio[0])
            for packet in source.demux(audio=0):
                if packet.dts is not None:
                    packet.stream = copy
                    container.mux(packet)
    elif kind in ("PQ", "HLG"):
        write_clip(path, color_trc=16 if kind == "PQ" else 18, color_primaries=9, colorspace=9)
    elif kind == "16 bits":
        path = write_clip(folder / "broken.mkv", codec="ffv1", pixels="gray16le")
    return path


REASONS = {
    "text": "is no clip, or damaged or cut short",
    "empty": "is no clip, or damaged or cut short",
    "cut": "is no clip, or damaged or cut short",
    "cut in the middle": "is cut short: it says 20.0 s, and ends after",
    "sound": "sound without pictures",
    "PQ": "high dynamic range (PQ)",
    "HLG": "high dynamic range (HLG)",
    "16 bits": "16 bits a sample",
}


@pytest.mark.parametrize("kind", REASONS)
def test_what_is_wrong_with_a_clip_is_one_sentence(tmp_path: Path, kind: str):
    source = broken(tmp_path, kind)
    with pytest.raises(ImageError) as error:
        rewrite_clip(source, tmp_path / "result.mkv", same, container="matroska")
    assert REASONS[kind] in error.value.reason and "\n" not in error.value.reason


def test_frames_over_the_limit_are_refused(tmp_path: Path):
    with pytest.raises(ImageError, match="96 x 72 px are over max_pixels: 5,000"):
        rewrite_clip(write_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4", same, max_pixels=5000)


def test_without_the_package_a_sentence_says_what_brings_it(tmp_path: Path):
    program = (
        "import sys; sys.modules['av'] = None\n"
        "from pathlib import Path; from lle.clips import rewrite_clip\n"
        "try: rewrite_clip(Path('a.mp4'), Path('b.mp4'), lambda pixels, seconds: pixels)\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "a.mp4: a clip, which needs one more package; pip install av (or 'lle[video]')"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a clip and a photo in `mixed`."""
    for name in ("RAY_ADDRESS", IN_A_JOB):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "mixed").mkdir()
    write_clip(tmp_path / "mixed" / "clip.mp4", sound=True)
    Image.fromarray(np.full((20, 30, 3), 20, np.uint8)).save(tmp_path / "mixed" / "photo.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "report.csv").open(newline="") as lines:
        return {row["photo"]: row for row in csv.DictReader(lines)}


def test_clips_and_photos_of_a_folder_are_enhanced_once(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert entry_point.main(["mixed", "--output", "out"]) == 0
    assert "1 photos and 1 clip enhanced" in capsys.readouterr().out
    assert sorted(each.name for each in (folder / "out").iterdir()) == ["clip.mp4", "photo.png", "report.csv"]
    assert (rows(folder / "out")["clip.mp4"]["width"], rows(folder / "out")["clip.mp4"]["failed"]) == ("96", "")
    before, after = ([each[0].mean() for each in read_frames(Path(each, "clip.mp4"))] for each in ("mixed", "out"))
    assert np.mean(after) > 2 * np.mean(before)
    assert np.abs(np.diff(after)).mean() / np.mean(after) < 0.3 * np.abs(np.diff(before)).mean() / np.mean(before)
    assert sound_of(folder / "out" / "clip.mp4") == sound_of(folder / "mixed" / "clip.mp4")
    assert entry_point.main(["mixed", "--output", "out"]) == 0
    assert "0 photos enhanced, 2 done before" in capsys.readouterr().out
    assert entry_point.main(["mixed", "--output", "out", "--video.crf", "30"]) == 0
    assert "1 clip enhanced, 1 done before" in capsys.readouterr().out  # a setting of clips is none of photos


def test_a_clip_is_enhanced_beside_itself_next_to_what_it_was(folder: Path):
    assert entry_point.main(["mixed/clip.mp4", "--side-by-side"]) == 0
    pixels, _ = next(read_frames(folder / "mixed" / "clip.enhanced.mp4"))
    assert pixels.shape == (SIDE[0], 2 * SIDE[1] + 6, 3)


def test_a_clip_that_fails_leaves_nothing_but_a_row_and_the_photos_go_on(folder: Path):
    whole = folder / "mixed" / "clip.mp4"
    whole.write_bytes(whole.read_bytes()[:2000])
    assert entry_point.main(["mixed", "--output", "out"]) == 1
    assert sorted(each.name for each in (folder / "out").iterdir()) == ["photo.png", "report.csv"]
    assert "cut short" in rows(folder / "out")["clip.mp4"]["failed"]
    write_clip(whole)
    assert entry_point.main(["mixed", "--output", "out"]) == 0
    assert rows(folder / "out")["clip.mp4"]["failed"] == ""


def test_a_clip_that_is_interrupted_leaves_no_half_file(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("lle.enhancers.exposure.OneExposure.under", interrupted)
        assert entry_point.main(["mixed/clip.mp4", "--output", "out"]) != 0
    assert [each.name for each in (folder / "out").iterdir() if not each.name.startswith("report")] == []
    assert entry_point.main(["mixed/clip.mp4", "--output", "out"]) == 0


def test_a_core_is_left_to_the_decoder_while_frames_are_enhanced(folder: Path, monkeypatch: pytest.MonkeyPatch):
    under, threads, seen = OneExposure.under, torch.get_num_threads(), set[int]()

    def noted(*given: Any, **named: Any) -> torch.Tensor:
        seen.add(torch.get_num_threads())
        return under(*given, **named)

    torch.set_num_threads(3)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(OneExposure, "under", noted)
            assert entry_point.main(["mixed/clip.mp4", "--output", "out"]) == 0
        assert seen == {2} and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_a_model_that_does_not_know_video_says_so(folder: Path):
    assert entry_point.main(["mixed", "--output", "out", "--model", "baseline:auto-gain"]) == 1
    assert (
        "this model knows photos alone; take one of arch scene or exposure"
        in rows(folder / "out")["clip.mp4"]["failed"]
    )
    assert (folder / "out" / "photo.png").exists()


def test_kinds_of_clips_that_are_not_written_become_matroska():
    assert [result_name(each, "webp") for each in ("a.mp4", "b.AVI", "c.jpg")] == ["a.mp4", "b.AVI.mkv", "c.jpg.webp"]


def test_a_clip_is_a_unit_of_work_of_its_own():
    photos = [Photo(name, Entry(name, "", "", name)) for name in ("a.png", "b.mp4", "c.png", "d.png", "e.webm")]
    assert [[each.path for each in unit] for unit in units(photos, 2)] == [
        ["b.mp4"], ["e.webm"], ["a.png", "c.png"], ["d.png"]
    ]  # fmt: skip
