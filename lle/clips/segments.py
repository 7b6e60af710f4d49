"""A long clip by segments: each is changed and encoded by itself, in any order, on any machine; then they are joined.

A segment holds the encoder's packets as numbers and bytes, for containers round time stamps. All encoders of one clip
begin alike, which is checked, so that their packets go on from each other; each segment begins with a key frame.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from fractions import Fraction
from heapq import merge
from io import BytesIO
from itertools import chain
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lle.clips.reading import Frame, Source, copied, first_frame, opened, package, read_between
from lle.clips.rewriting import Change, changed
from lle.clips.threads import in_thread
from lle.clips.writing import Rewritten, copied_streams, encoded_stream, packer
from lle.images.files import ImageError

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer


def segments_of(source: Source, seconds: float, *, name: str = "") -> int:
    """How many segments of about so many seconds each make a clip; 1 where it does not tell its length.

    Raises:
        ImageError: it is no clip that can be used, or `av` is not installed.
    """
    with opened(source, name) as (clip, _):
        return max(1, round((clip.duration or 0) / 1e6 / seconds))


def rewrite_segment(
    source: Source,
    change: Change,
    index: int,
    count: int,
    *,
    name: str = "",
    container: str = "mp4",
    crf: int = 18,
    max_pixels: int | None = None,
    lead: float = 0.0,
    watch: Callable[[np.ndarray, float], object] = lambda pixels, seconds: None,
    tell: Callable[[int], object] = lambda frames: None,
) -> bytes:
    """One of `count` segments of equal length, its frames changed: what `join_segments` takes.

    Args:
        source: the clip.
        change: as of `rewrite_clip`.
        index: from 0.
        count: as of all the others.
        name: of the source, for messages.
        container: of the clip that it becomes a part of.
        crf: as of `rewrite_clip`.
        max_pixels: larger frames are refused.
        lead: s before the segment whose frames `watch` takes, as `change` would.
        watch: what decides by frames before.
        tell: takes the number of frames that are encoded, after each.

    Raises:
        ImageError: it is no clip that can be used, or `av` is not installed.
    """
    av, frames, size = package(name), 0, (0, 0)
    packets: list[Packet] = []
    with opened(source, name, max_pixels) as (clip, video):
        start, stop = _span(clip, index, count)
        pack, stream = packer(video), None
        with (
            av.open(os.devnull, "w", format=container) as nothing,  # for encoders ask what they encode for
            closing(in_thread(read_between(clip, video, name, start - lead, stop))) as read,
            closing(in_thread(changed(_watched(read, watch, start), change))) as items,
        ):
            for frame in items:
                assert isinstance(frame, Frame)
                if stream is None:
                    size = frame.size
                    stream = encoded_stream(nothing, video, frame.stored, size, crf)
                packets += stream.encode(pack(frame, stream))
                frames += 1
                tell(frames)
            packets += stream.encode(None) if stream else []
            header = _header(stream)
    return _Segment.of(packets, frames, size, header).dumped()


def join_segments(
    source: Path,
    parts: Iterable[bytes],
    target: Path,
    *,
    name: str = "",
    container: str = "mp4",
    crf: int = 18,
) -> Rewritten:
    """Write a clip of all its segments, as `rewrite_clip` would have.

    Args:
        source: the clip.
        parts: all segments in their order; each is asked for when the one before is written.
        target: the file to write, overwritten; half of it stays where this fails.
        name, container, crf: as of `rewrite_segment`, the same.

    Raises:
        ImageError: it is no clip that can be used, no segment holds a frame, their encoders differ, or `av` is not
            installed.
    """
    name = name or source.name
    av, done = package(name), Rewritten()
    with opened(source, name) as (clip, video), av.open(str(target), "w", format=container) as result:
        done.width, done.height = video.width, video.height
        loaded = (each for each in map(_Segment.loaded, parts) if each.frames)
        first = next(loaded, None)
        if first is None:
            raise ImageError(name, "holds no frame; it is damaged or cut short")
        stored = first_frame(clip, video, name).stored
        stream = encoded_stream(result, video, stored, first.size, crf)
        copies = copied_streams(result, clip, video, stored, done)
        result.start_encoding()
        segments = _of_one_kind(chain([first], loaded), _header(stream), name)
        pictures = _pictures(segments, video.time_base or Fraction(1, 1000), done)
        for packet, into in merge(
            ((packet, stream) for packet in pictures),
            ((packet, copies[packet.stream_index]) for packet in _copied(clip) if packet.stream_index in copies),
            key=lambda each: _seconds(each[0]),
        ):
            packet.stream = into
            result.mux(packet)
    return done


@dataclass(frozen=True)
class _Segment:
    """What a segment is, as arrays.

    Attributes:
        frames: how many it holds.
        size: height and width of what it shows, px.
        times: pts, dts and duration in units of the clip's stream, and 1 for key frames, (packets, 4).
        ends: of the packets in `data`, (packets,).
        data: of all packets.
        header: what the encoder says of all of them.
    """

    frames: int
    size: tuple[int, int]
    times: np.ndarray
    ends: np.ndarray
    data: np.ndarray
    header: np.ndarray

    @classmethod
    def of(cls, packets: Sequence[Packet], frames: int, size: tuple[int, int], header: bytes) -> _Segment:
        times = [[packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe] for packet in packets]
        parts = [bytes(packet) for packet in packets]
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        data, said = (np.frombuffer(each, np.uint8) for each in (b"".join(parts), header))
        return cls(frames, size, np.array(times, np.int64).reshape(-1, 4), ends, data, said)

    @classmethod
    def loaded(cls, stored: bytes) -> _Segment:
        with np.load(BytesIO(stored), allow_pickle=False) as arrays:
            height, width = (int(side) for side in arrays["size"])
            rest = {name: arrays[name] for name in ("times", "ends", "data", "header")}
            return cls(int(arrays["frames"]), (height, width), **rest)

    def dumped(self) -> bytes:
        stored = BytesIO()
        np.savez(stored, **asdict(self))
        return stored.getvalue()


def _header(stream: Any) -> bytes:
    """Of a stream's encoder, which has begun; empty where every key frame says it."""
    return bytes(stream.codec_context.extradata or b"") if stream else b""


def _of_one_kind(segments: Iterable[_Segment], header: bytes, name: str) -> Iterator[_Segment]:
    for segment in segments:
        if segment.header.tobytes() != header:
            raise ImageError(
                name, "its segments come from encoders that differ, as on unlike machines; take --video.segment 0"
            )
        yield segment


def _pictures(segments: Iterable[_Segment], base: Fraction, done: Rewritten) -> Iterator[Packet]:
    """The packets of all segments; their decoding times, which an encoder guesses where it begins, go forward."""
    from av import Packet

    after = None
    for segment in segments:
        done.frames += segment.frames
        begin = 0
        for (pts, dts, duration, is_keyframe), end in zip(segment.times.tolist(), segment.ends.tolist(), strict=True):
            packet = Packet(segment.data[begin:end].tobytes())
            after = dts if after is None else max(dts, after + 1)
            packet.pts, packet.dts, packet.duration, packet.time_base = pts, after, duration, base
            packet.is_keyframe = bool(is_keyframe)
            yield packet
            begin = end


def _copied(clip: InputContainer) -> Iterator[Packet]:
    """The packets of sound and subtitles."""
    streams = copied(clip)
    for packet in clip.demux(streams) if streams else ():
        if packet.dts is not None:  # the last one of a stream is empty
            yield packet


def _seconds(packet: Packet) -> float:
    assert packet.dts is not None
    return float(packet.dts * packet.time_base)


def _watched(items: Iterable[Frame], watch: Callable[[np.ndarray, float], object], start: float) -> Iterator[Frame]:
    """The frames from `start` on; those before are watched."""
    for frame in items:
        if frame.seconds < start:
            watch(frame.pixels, frame.seconds)
        else:
            yield frame


def _span(clip: InputContainer, index: int, count: int) -> tuple[float, float]:
    """When a segment begins and ends, s; the first and the last take what lies outside."""
    began, length = (clip.start_time or 0) / 1e6, (clip.duration or 0) / 1e6 / count
    start = began + index * length if index else -inf
    return start, began + (index + 1) * length if index + 1 < count else inf
