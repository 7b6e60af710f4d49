"""Frames out of a clip, each with its time and what it was stored as."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from lle.clips.colours import FULL_RANGE, converted, matrix_of, range_of
from lle.images.files import ImageError

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

HDR = {16: "PQ", 18: "HLG"}  # transfer functions of H.273
MOST_BITS = 12
SHORT, SHORT_SHARE = 1.0, 0.05  # s and share of its length by which a clip may end earlier than it says

Source = Path | BinaryIO
"""A clip, or one that is open for reading from anywhere in it."""


@dataclass
class Frame:
    """A frame that was read: what it looks like and how it was stored.

    Attributes:
        pixels: RGB, uint8 (H, W, 3).
        seconds: when it is shown.
        pts: the same, in units of its stream.
        duration: in those units; 0: not told.
        stored: as FFmpeg decoded it.
    """

    pixels: np.ndarray
    seconds: float
    pts: int
    duration: int
    stored: VideoFrame

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, px."""
        height, width, _ = self.pixels.shape
        return height, width


@contextmanager
def opened(source: Source, name: str, max_pixels: int | None = None) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A clip and its stream of pictures, with threads to decode it; FFmpeg's failures inside the block in a sentence.

    Raises:
        ImageError: it is no clip that can be used, or `av` is not installed.
    """
    av = package(name)
    try:
        if not isinstance(source, Path):
            source.seek(0)
        with av.open(str(source) if isinstance(source, Path) else source) as clip:
            yield clip, _checked_video(clip, name, max_pixels)
    except (av.error.InvalidDataError, av.error.EOFError) as error:
        raise ImageError(name, "is no clip, or damaged or cut short; try whether it plays") from error
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):  # of files and folders
            raise
        raise ImageError(name, f"FFmpeg cannot do this clip ({error.strerror or error})") from error


def read(clip: InputContainer, video: VideoStream, name: str) -> Iterator[Frame | Packet]:
    """Frames, and packets of what is copied, in the order of the file.

    Raises:
        ImageError: it holds no frame, or less than it says.
    """
    frames, after = 0, None
    began = ended = (clip.start_time or 0) / 1e6
    unpacker = _unpacker()
    for packet in clip.demux([video, *copied(clip)]):
        if packet.pts is not None:
            ended = max(ended, float(packet.pts * packet.time_base))
        if packet.stream_index != video.index:
            if packet.dts is not None:  # the last one of a stream is empty
                yield packet
            continue
        for stored in cast("list[VideoFrame]", packet.decode()):
            pts = stored.pts if stored.pts is not None else after or 0
            if after is not None:
                pts = max(pts, after)  # encoders refuse what does not go forward
            after, frames = pts + 1, frames + 1
            yield Frame(_unpacked(unpacker, stored), float(pts * _base(video)), pts, stored.duration or 0, stored)
    if not frames:
        raise ImageError(name, "holds no frame; it is damaged or cut short")
    said, lasted = (clip.duration or 0) / 1e6, ended - began
    if said - lasted > max(SHORT, SHORT_SHARE * said):
        raise ImageError(name, f"is cut short: it says {said:.1f} s, and ends after {lasted:.1f} s")


def read_between(clip: InputContainer, video: VideoStream, name: str, start: float, stop: float) -> Iterator[Frame]:
    """The frames that are shown from `start` on and before `stop`, s, without reading what lies before, where the clip
    can be entered there.

    Raises:
        ImageError: as `read`, where `stop` is infinite.
    """
    _enter(clip, video, start)
    for item in read(clip, video, name):
        if isinstance(item, Frame):
            if item.seconds >= stop:
                return
            if item.seconds >= start:
                yield item


def first_frame(clip: InputContainer, video: VideoStream, name: str) -> Frame:
    """The first frame; what is read afterwards begins anew.

    Raises:
        ImageError: there is none.
    """
    frame = next(item for item in read(clip, video, name) if isinstance(item, Frame))
    clip.seek(clip.start_time or 0)
    return frame


def copied(clip: InputContainer) -> list[Any]:
    """The streams that are not decoded."""
    return [*clip.streams.audio, *clip.streams.subtitles]


def bits(format: Any) -> int:
    """Of a sample."""
    return max((component.bits for component in format.components), default=8) if format else 8


def package(name: str) -> Any:
    """`av`.

    Raises:
        ImageError: it is not installed; says so of the clip of that name.
    """
    try:
        import av
    except ImportError as error:
        raise ImageError(name, "a clip, which needs one more package; pip install av (or 'lle[video]')") from error
    return av


def _enter(clip: InputContainer, video: VideoStream, seconds: float) -> None:
    """Go to where the frames from then on can be decoded; to the beginning where the clip's index leads past them."""
    if seconds <= (clip.start_time or 0) / 1e6:
        return
    clip.seek(int(seconds / _base(video)), stream=video)
    first = next(clip.decode(video), None)
    if first is None or first.pts is None or first.pts * _base(video) > seconds:
        clip.seek(clip.start_time or 0)
    else:
        clip.seek(int(seconds / _base(video)), stream=video)


def _base(video: VideoStream) -> Fraction:
    return video.time_base or Fraction(1, 1000)


def _checked_video(clip: InputContainer, name: str, max_pixels: int | None) -> VideoStream:
    """The stream of pictures, with threads to decode it."""
    videos = [each for each in clip.streams.video if not _is_cover(each)]
    if not videos:
        what = "sound without pictures" if clip.streams.audio else "a file without pictures"
        raise ImageError(name, f"{what}; leave it out")
    video = videos[0]
    context = video.codec_context
    if context is None or not video.width or not video.height:
        raise ImageError(name, "its pictures are of a kind that this FFmpeg does not decode; convert it to H.264")
    if max_pixels and video.width * video.height > max_pixels:
        raise ImageError(name, f"{video.width} x {video.height} px are over max_pixels: {max_pixels:,}; shrink it")
    if kind := HDR.get(context.color_trc):
        raise ImageError(name, f"high dynamic range ({kind}), which is not supported; convert it to SDR (BT.709)")
    if bits(video.format) > MOST_BITS:
        raise ImageError(name, f"{bits(video.format)} bits a sample; convert it to 8 or 10")
    video.thread_type = "AUTO"
    return video


def _is_cover(stream: VideoStream) -> bool:
    return "attached_pic" in str(stream.disposition)


def _unpacker() -> Any:
    from av.video.reformatter import VideoReformatter

    return VideoReformatter()


def _unpacked(unpacker: Any, stored: VideoFrame) -> np.ndarray:
    """RGB, uint8 (H, W, 3)."""
    pixels: np.ndarray = converted(
        unpacker, stored, "rgb24", matrix_of(stored), range_of(stored), FULL_RANGE
    ).to_ndarray()
    return pixels
