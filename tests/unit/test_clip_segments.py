"""Long clips by segments: joined they are what the whole would be, and a run that was stopped goes on with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import lle
from lle.clips import CONTAINERS, join_segments, read_frames, rewrite_clip, rewrite_segment, segments_of
from lle.enhancers.exposure import OneExposure
from lle.images import ImageError
from pipelines import enhance as entry_point
from pipelines.config.enhance import EnhanceSettings
from pipelines.inference.clips import ByFrames
from pipelines.inference.progress import Entry
from pipelines.inference.segments import joined
from pipelines.inference.work import Photo
from tests.unit.test_clips import UNEVEN, folder, frames_of, rows, same, sound_of, title_of, write_clip

av = pytest.importorskip("av")
__all__ = ["folder"]
LONG = tuple(range(0, 8000, 40))  # ms


def by_segments(source: Path, target: Path, count: int, container: str = "mp4", crf: int = 18) -> lle.clips.Rewritten:
    parts = [rewrite_segment(source, same, index, count, container=container, crf=crf) for index in range(count)]
    return join_segments(source, parts, target, container=container, crf=crf)


def levels(path: Path) -> np.ndarray:
    return np.array([pixels.mean() for pixels, _ in read_frames(path)])


@pytest.mark.parametrize("times", [UNEVEN, LONG], ids=["uneven", "long"])
@pytest.mark.parametrize("suffix", CONTAINERS)
def test_segments_that_are_joined_are_the_whole(tmp_path: Path, suffix: str, times: Sequence[int]):
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    source = write_clip(tmp_path / f"a{suffix}", times, codec, sound=suffix != ".webm", every=20)
    one, many = tmp_path / f"b{suffix}", tmp_path / f"c{suffix}"
    done = rewrite_clip(source, one, same, container=CONTAINERS[suffix], crf=5)
    assert by_segments(source, many, 3, CONTAINERS[suffix], crf=5) == done
    assert [frame.time for frame in frames_of(many)] == [frame.time for frame in frames_of(source)]
    assert title_of(many) == "a night"
    if suffix != ".webm":
        assert sound_of(many) == sound_of(source) != []
    for before, after in zip(read_frames(one), read_frames(many), strict=True):
        assert np.abs(before[0].astype(int) - after[0]).mean() < 2


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9", "libsvtav1"])
def test_every_codec_goes_on_from_segment_to_segment(tmp_path: Path, codec: str):
    source = write_clip(tmp_path / "a.mp4", LONG[:50], codec)
    done = by_segments(source, tmp_path / "b.mp4", 3)
    assert (done.frames, len(frames_of(tmp_path / "b.mp4"))) == (50, 50)
    with av.open(str(source)) as before, av.open(str(tmp_path / "b.mp4")) as after:
        names = [each.streams.video[0].codec_context.codec.canonical_name for each in (before, after)]
    assert names[0] == names[1]


def test_segments_of_unlike_encoders_are_not_joined(tmp_path: Path):
    source = write_clip(tmp_path / "a.mp4", LONG[:50])
    parts = [
        rewrite_segment(source, change, index, 2) for index, change in enumerate((same, lambda pixels, _: pixels[::2]))
    ]
    with pytest.raises(ImageError, match=r"encoders that differ.*--video\.segment 0"):
        join_segments(source, parts, tmp_path / "b.mp4")


def test_a_turned_and_tagged_clip_stays_so(tmp_path: Path):
    source = write_clip(tmp_path / "a.mp4", turned=90, color_range=2, color_primaries=1, color_trc=1, colorspace=1)
    by_segments(source, tmp_path / "b.mp4", 2)
    for frame in frames_of(tmp_path / "b.mp4"):
        assert (frame.rotation, int(frame.color_range), int(frame.colorspace)) == (90, 2, 1)


def test_a_segment_in_which_nothing_is_shown_is_none(tmp_path: Path):
    source = write_clip(tmp_path / "a.mp4", [*range(0, 1000, 40), *range(5000, 6000, 40)])
    assert by_segments(source, tmp_path / "b.mp4", 6).frames == 50
    assert [frame.time for frame in frames_of(tmp_path / "b.mp4")] == [frame.time for frame in frames_of(source)]


@pytest.mark.parametrize("every", [20, 1000], ids=["key frames", "no key frames"])
def test_frames_before_a_segment_are_watched_and_no_others(tmp_path: Path, every: int):
    source, changed, watched = write_clip(tmp_path / "a.mp4", LONG, every=every), list[float](), list[float]()

    def change(pixels: np.ndarray, seconds: float) -> np.ndarray:
        changed.append(seconds)
        return pixels

    with source.open("rb") as file:  # as from a store
        assert segments_of(file, 2.0) == 4
        rewrite_segment(file, change, 2, 4, lead=1, watch=lambda pixels, seconds: watched.append(seconds))
    assert np.allclose(watched, np.arange(3.0, 4, 0.04), atol=1e-3)
    assert np.allclose(changed, np.arange(4.0, 6, 0.04), atol=1e-3)


def test_what_is_cut_short_is_told_by_the_last_segment(tmp_path: Path):
    longer = write_clip(tmp_path / "long.mkv", range(0, 20_000, 40))
    source = tmp_path / "broken.mkv"
    source.write_bytes(longer.read_bytes()[: longer.stat().st_size // 2])
    with pytest.raises(ImageError, match="cut short"):
        rewrite_segment(source, same, 3, 4, container="matroska")


def test_light_goes_on_from_segment_to_segment(tmp_path: Path):
    source = write_clip(tmp_path / "a.mp4", range(0, 30_000, 40))
    network, settings = lle.load("bundled"), EnhanceSettings(input=("a",), video={"seconds": 0.5})
    rewrite_clip(source, tmp_path / "b.mp4", ByFrames(network, settings, "a"))
    parts = []
    for index in range(3):
        change = ByFrames(network, settings, "a")
        parts.append(rewrite_segment(source, change, index, 3, lead=2.5, watch=change.watch))
    join_segments(source, parts, tmp_path / "c.mp4")
    one, many = levels(tmp_path / "b.mp4"), levels(tmp_path / "c.mp4")
    assert one.mean() > 1.5 * levels(source).mean()
    by_second = [each.reshape(-1, 25).mean(1) for each in (one, many)]  # the clip flickers from frame to frame
    assert np.abs(by_second[0] - by_second[1]).max() < 0.5


def test_a_run_that_was_stopped_goes_on_with_the_segments(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    write_clip(folder / "mixed" / "clip.mp4", LONG, sound=True)
    words = ["mixed", "--output", "out", "--video.segment", "2"]
    under, asked = OneExposure.under, list[int]()

    def stopped(*given: object, **named: object) -> object:
        asked.append(1)
        if len(asked) == 120:
            raise KeyboardInterrupt
        return under(*given, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(OneExposure, "under", stopped)
        assert entry_point.main(words) != 0
    kept = sorted(each.name for each in (folder / "out").glob(".*"))
    assert [name.split(".")[3] for name in kept] == ["0001-of-0004", "0002-of-0004"]
    assert not (folder / "out" / "clip.mp4").exists()
    asked.clear()
    with monkeypatch.context() as patched:
        patched.setattr(OneExposure, "under", lambda *given, **named: (asked.append(1), under(*given, **named))[1])
        assert entry_point.main(words) == 0
    assert len(asked) == 100
    assert "clip.mp4: 4 of 4 segments" in capsys.readouterr().out
    assert sorted(each.name for each in (folder / "out").iterdir()) == ["clip.mp4", "photo.png", "report.csv"]
    assert len(frames_of(folder / "out" / "clip.mp4")) == len(LONG)
    assert sound_of(folder / "out" / "clip.mp4") == sound_of(folder / "mixed" / "clip.mp4")
    assert rows(folder / "out")["clip.mp4"]["width"] == "96"


def test_segments_are_not_clips_to_enhance(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "mixed" / ".clip.enhanced.mp4.0001-of-0002.0123456789ab.segment").write_bytes(b"1")
    assert entry_point.main(["mixed", "--output", "out"]) == 0
    assert "1 photos and 1 clip enhanced" in capsys.readouterr().out


def test_a_clip_fails_where_one_of_its_segments_does():
    parts = [Photo("a.mp4", Entry("a.mp4", "", "", "a.mp4"), index, 2) for index in range(2)]
    photo = Photo("b.png", Entry("b.png", "", "", "b.png"))
    failed = Entry("a.mp4", "", "", "a.mp4", failed="no room")
    results = [(parts[0].entry, 1.0), (photo.entry, 1.0), (failed, 2.0)]

    def never(clip: Photo) -> Entry:
        raise AssertionError

    lines = list[str]()
    found = list(joined(results, [*parts, photo], never, lines.append))
    assert found == [(photo.entry, 1.0), (failed, 2.0)]
    assert lines == ["a.mp4: 1 of 2 segments", "a.mp4: 2 of 2 segments"]
