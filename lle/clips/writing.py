"""A clip written: encoders, streams that are copied, and what the result does not hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lle.clips.colours import FULL_RANGE, converted, matrix_of, range_of, tag
from lle.clips.reading import Frame, bits, copied

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer, OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

ENCODERS = {"h264": "libx264", "hevc": "libx265", "vp8": "libvpx", "vp9": "libvpx-vp9", "av1": "libsvtav1"}
BEST_KNOWN = "libx264"  # for codecs that nobody writes any more
OPTIONS = {
    "libx264": {"preset": "veryfast"},
    "libx265": {"preset": "superfast", "x265-params": "log-level=none"},
    "libvpx": {"deadline": "realtime", "cpu-used": "6"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "7", "row-mt": "1"},
    "libsvtav1": {"preset": "10"},
}
CRF_OF_X264, CRF_OF_OTHERS = 51, 63  # the largest
BITS_OF_VP8 = 0.25  # for each pixel of each frame at most; VP8 wants a bound
OF_FILES = ("encoder", "major_brand", "minor_version", "compatible_brands", "duration")


@dataclass
class Rewritten:
    """What was written.

    Attributes:
        frames: how many.
        width, height: of the clip itself, px, as stored.
        lost: what of it the result does not hold, such as `subtitles`.
    """

    frames: int = 0
    width: int = 0
    height: int = 0
    lost: list[str] = field(default_factory=list)


def written(
    items: Iterable[Frame | Packet],
    clip: InputContainer,
    video: VideoStream,
    result: OutputContainer,
    crf: int,
    done: Rewritten,
) -> Iterator[None]:
    """Encode frames and write them with what is copied; pauses after each."""
    stream, copies, waiting = None, dict[int, Any](), list[Any]()
    pack = packer(video)
    for item in items:
        if not isinstance(item, Frame):
            waiting.append(item)
        elif stream is None:
            stream = encoded_stream(result, video, item.stored, item.size, crf)
            copies = copied_streams(result, clip, video, item.stored, done)
        if stream is None:
            continue
        for packet in waiting:
            if packet.stream_index in copies:
                packet.stream = copies[packet.stream_index]
                result.mux(packet)
        waiting.clear()
        if isinstance(item, Frame):
            result.mux(stream.encode(pack(item, stream)))
            done.frames += 1
            yield
    assert stream is not None
    result.mux(stream.encode(None))


def packer(video: VideoStream) -> Callable[[Frame, Any], VideoFrame]:
    """What makes of a frame one that a stream of the result encodes."""
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()

    def pack(frame: Frame, stream: Any) -> VideoFrame:
        rgb, stored = VideoFrame.from_ndarray(np.ascontiguousarray(frame.pixels), "rgb24"), frame.stored
        matrix, format = matrix_of(stored), stream.codec_context.pix_fmt
        packed = converted(reformatter, rgb, format, matrix, FULL_RANGE, range_of(stored))
        tag(packed, stored)
        packed.pts, packed.time_base, packed.duration = frame.pts, video.time_base, frame.duration
        return packed

    return pack


def encoded_stream(
    result: OutputContainer, video: VideoStream, stored: VideoFrame, size: tuple[int, int], crf: int
) -> Any:
    """The stream of pictures of that height and width, with the time base, tags and turn of the source's, which a frame
    of it shows.
    """
    from av.codec.context import Flags

    encoder = ENCODERS.get(
        video.codec_context.codec.canonical_name, "libvpx-vp9" if result.format.name == "webm" else BEST_KNOWN
    )
    height, width = size
    rate = video.average_rate or Fraction(30)
    quality = crf if encoder.startswith("libx26") else round(crf * CRF_OF_OTHERS / CRF_OF_X264)
    stream: Any = result.add_stream(encoder, rate=rate, options=OPTIONS[encoder] | {"crf": str(quality)})
    context = stream.codec_context
    context.width, context.height = width, height
    context.pix_fmt = _pixel_format(context, stored, width, height)
    context.time_base = stream.time_base = video.time_base
    context.flags |= Flags.frame_duration
    if encoder == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors alone; it writes to stderr by itself
    if encoder == "libvpx":
        context.bit_rate = int(BITS_OF_VP8 * width * height * rate)
    if encoder == "libx265" and result.format.name in ("mp4", "mov"):
        context.codec_tag = "hvc1"  # which Apple's players want
    if video.sample_aspect_ratio:
        context.sample_aspect_ratio = video.sample_aspect_ratio
    tag(context, stored)
    for data in cast(Any, stored.side_data):
        if data.type.name == "DISPLAYMATRIX":
            stream.set_display_matrix(np.frombuffer(bytes(data), np.int32).tolist())
    stream.metadata.update(_own(video.metadata))
    return stream


def copied_streams(
    result: OutputContainer, clip: InputContainer, video: VideoStream, stored: VideoFrame, done: Rewritten
) -> dict[int, Any]:
    """The streams of the result for what is copied, by the source's index; notes what the result does not hold."""
    copies = dict[int, Any]()
    for stream in copied(clip):
        try:
            copies[stream.index] = result.add_stream_from_template(stream)
        except ValueError:  # the container does not take such a stream
            done.lost.append("subtitles" if stream.type == "subtitle" else f"sound ({stream.codec_context.name})")
        else:
            copies[stream.index].metadata.update(_own(stream.metadata))
    result.metadata.update(_own(clip.metadata))
    _note_losses(stored, video, clip, done)
    return copies


def _note_losses(frame: VideoFrame, video: VideoStream, clip: InputContainer, done: Rewritten) -> None:
    if len(clip.streams) > 1 + len(copied(clip)):
        done.lost.append("data and further pictures")
    if bits(video.format) > 8:
        done.lost.append("more than 8 bits")
    if any(component.is_alpha for component in video.format.components):
        done.lost.append("alpha")
    if frame.interlaced_frame:
        done.lost.append("interlacing")


def _own(metadata: dict[str, str]) -> dict[str, str]:
    """Without what tells of the file rather than of the clip."""
    return {key: value for key, value in metadata.items() if key.lower() not in OF_FILES}


def _pixel_format(context: Any, stored: VideoFrame, width: int, height: int) -> str:
    """8 bits, with as many colours as the source's."""
    name = stored.format.name
    wanted = "yuv444p" if "444" in name or stored.format.is_rgb else "yuv422p" if "422" in name else "yuv420p"
    known = [each.name for each in context.codec.video_formats or ()]
    if wanted not in known:
        wanted = "yuv420p"
    odd = width % 2 or height % 2
    return "yuv444p" if odd and wanted != "yuv444p" and "yuv444p" in known else wanted
