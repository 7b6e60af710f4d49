"""Clips: frames out of a file and changed into another, with everything else that belongs to the clip.

file -> packets -> frames -> RGB (H, W, 3) -> changed, the same -> frames -> packets -> file

FFmpeg does it, by the package `av` (the extra `video`), which is asked for only when a clip comes. Decoding, changing
and encoding each have a thread; sound and subtitles are copied as they are stored. A frame's colours are unpacked and
packed by one matrix and one range, so that what is not changed comes back.
"""

from __future__ import annotations

import os
import posixpath
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from lle.images.files import ImageError

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer, OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Suffixes of the clips that are written, with FFmpeg's names of their containers."""
READ_ONLY = (".avi", ".3gp", ".mts", ".m2ts", ".wmv")
OTHERS_BECOME = ".mkv"  # takes streams of any kind
CLIP_SUFFIXES = (*CONTAINERS, *READ_ONLY)
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
HDR = {16: "PQ", 18: "HLG"}  # transfer functions of H.273
MATRICES = {1: "ITU709", 4: "FCC", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M", 9: "BT2020"}  # H.273 to swscale
RGB_MATRIX, BT709 = 0, 1
RANGE_UNKNOWN, VIDEO_RANGE, FULL_RANGE = 0, 1, 2
LARGE = 720  # rows from which a clip that does not tell its matrix has BT.709's
AHEAD = 4  # frames that wait between two threads
SHORT, SHORT_SHARE = 1.0, 0.05  # s and share of its length by which a clip may end earlier than it says
MOST_BITS = 12
OF_FILES = ("encoder", "major_brand", "minor_version", "compatible_brands", "duration")

T = TypeVar("T")
Change = Callable[[np.ndarray, float], np.ndarray]


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


def is_clip_name(name: str) -> bool:
    """True for a path or uri whose last part ends as a clip; hidden files are none."""
    base = posixpath.basename(name)
    return not base.startswith(".") and base.lower().endswith(CLIP_SUFFIXES)


def rewrite_clip(
    source: Path,
    target: Path,
    change: Change,
    *,
    name: str = "",
    container: str = "mp4",
    crf: int = 18,
    max_pixels: int | None = None,
    tell: Callable[[int], object] = lambda frames: None,
) -> Rewritten:
    """Write a clip whose frames are changed, with the sound, time stamps, colour tags and rotation of its source.

    Args:
        source: the clip.
        target: the file to write, overwritten; half of it stays where this fails.
        change: makes of a frame, RGB, uint8 (H, W, 3) as stored, and its time in seconds another of any one size.
        name: of the source, for messages.
        container: one of CONTAINERS.
        crf: constant rate factor in x264's scale: 0 to 51, the best first.
        max_pixels: larger frames are refused.
        tell: takes the number of frames that are written, after each.

    Raises:
        ImageError: it is no clip that can be used, or `av` is not installed.
    """
    name = name or source.name
    av = _av(name)
    done = Rewritten()
    with _explained(name, av), av.open(str(source)) as clip:
        video = _checked_video(clip, name, max_pixels)
        done.width, done.height = video.width, video.height
        with (
            av.open(str(target), "w", format=container) as result,
            closing(_in_thread(_read(clip, video, name))) as frames,
            closing(_in_thread(_changed(frames, change))) as changed,  # ends before what it takes from
        ):
            for _ in _written(changed, clip, video, result, crf, done):
                tell(done.frames)
    return done


def read_frames(source: Path) -> Iterator[tuple[np.ndarray, float]]:
    """The frames of a clip, RGB, uint8 (H, W, 3), each with its time in seconds.

    Raises:
        ImageError: as `rewrite_clip`.
    """
    av = _av(source.name)
    with _explained(source.name, av), av.open(str(source)) as clip:
        for item in _read(clip, _checked_video(clip, source.name, None), source.name):
            if isinstance(item, _Frame):
                yield item.pixels, item.seconds


@dataclass
class _Frame:
    """A frame that was read: what it looks like and how it was stored."""

    pixels: np.ndarray
    seconds: float
    pts: int
    duration: int
    stored: VideoFrame


def _av(name: str) -> Any:
    try:
        import av
    except ImportError as error:
        raise ImageError(name, "a clip, which needs one more package; pip install av (or 'lle[video]')") from error
    return av


@contextmanager
def _explained(name: str, av: Any) -> Iterator[None]:
    """FFmpeg's failures in a sentence; those of files and folders stay what they are."""
    try:
        yield
    except (av.error.InvalidDataError, av.error.EOFError) as error:
        raise ImageError(name, "is no clip, or damaged or cut short; try whether it plays") from error
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise ImageError(name, f"FFmpeg cannot do this clip ({error.strerror or error})") from error


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
    if _bits(video.format) > MOST_BITS:
        raise ImageError(name, f"{_bits(video.format)} bits a sample; convert it to 8 or 10")
    video.thread_type = "AUTO"
    return video


def _is_cover(stream: VideoStream) -> bool:
    return "attached_pic" in str(stream.disposition)


def _bits(format: Any) -> int:
    return max((component.bits for component in format.components), default=8) if format else 8


def _copied(clip: InputContainer) -> list[Any]:
    return [*clip.streams.audio, *clip.streams.subtitles]


def _read(clip: InputContainer, video: VideoStream, name: str) -> Iterator[_Frame | Packet]:
    """Frames, and packets of what is copied, in the order of the file."""
    from av.video.reformatter import VideoReformatter

    frames, after, base = 0, None, video.time_base or Fraction(1, 1000)
    began = ended = (clip.start_time or 0) / 1e6
    unpacker = VideoReformatter()
    for packet in clip.demux([video, *_copied(clip)]):
        if packet.pts is not None:
            ended = max(ended, float(packet.pts * packet.time_base))
        if packet.stream_index != video.index:
            if packet.dts is not None:  # the last one of a stream is empty
                yield packet
            continue
        for frame in cast("list[VideoFrame]", packet.decode()):
            pts = frame.pts if frame.pts is not None else after or 0
            if after is not None:
                pts = max(pts, after)  # encoders refuse what does not go forward
            after, frames = pts + 1, frames + 1
            yield _Frame(_unpacked(unpacker, frame), float(pts * base), pts, frame.duration or 0, frame)
    if not frames:
        raise ImageError(name, "holds no frame; it is damaged or cut short")
    said, lasted = (clip.duration or 0) / 1e6, ended - began
    if said - lasted > max(SHORT, SHORT_SHARE * said):
        raise ImageError(name, f"is cut short: it says {said:.1f} s, and ends after {lasted:.1f} s")


def _changed(items: Iterable[_Frame | Packet], change: Change) -> Iterator[_Frame | Packet]:
    for item in items:
        if isinstance(item, _Frame):
            item.pixels = change(item.pixels, item.seconds)
        yield item


def _written(
    items: Iterable[_Frame | Packet],
    clip: InputContainer,
    video: VideoStream,
    result: OutputContainer,
    crf: int,
    done: Rewritten,
) -> Iterator[None]:
    """Encode and write; pauses after each frame."""
    from av.video.reformatter import VideoReformatter

    packer, stream = VideoReformatter(), None
    copies, waiting = dict[int, Any](), list[Any]()
    for item in items:
        if not isinstance(item, _Frame):
            waiting.append(item)
        elif stream is None:
            stream = _encoded_stream(result, video, item, crf)
            copies = _copied_streams(result, clip, done)
            result.metadata.update(_own(clip.metadata))
            _note_losses(item.stored, video, clip, done)
        if stream is None:
            continue
        for packet in waiting:
            if packet.stream_index in copies:
                packet.stream = copies[packet.stream_index]
                result.mux(packet)
        waiting.clear()
        if isinstance(item, _Frame):
            result.mux(stream.encode(_packed(packer, item, stream, video)))
            done.frames += 1
            yield
    assert stream is not None
    result.mux(stream.encode(None))


def _encoded_stream(result: OutputContainer, video: VideoStream, frame: _Frame, crf: int) -> Any:
    """The stream of pictures, with the time base, tags and turn of the source's."""
    from av.codec.context import Flags

    encoder = ENCODERS.get(
        video.codec_context.codec.canonical_name, "libvpx-vp9" if result.format.name == "webm" else BEST_KNOWN
    )
    height, width = frame.pixels.shape[:2]
    rate = video.average_rate or Fraction(30)
    quality = crf if encoder.startswith("libx26") else round(crf * CRF_OF_OTHERS / CRF_OF_X264)
    stream: Any = result.add_stream(encoder, rate=rate, options=OPTIONS[encoder] | {"crf": str(quality)})
    context, stored = stream.codec_context, frame.stored
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
    _tag(context, stored)
    for data in cast(Any, stored.side_data):
        if data.type.name == "DISPLAYMATRIX":
            stream.set_display_matrix(np.frombuffer(bytes(data), np.int32).tolist())
    stream.metadata.update(_own(video.metadata))
    return stream


def _copied_streams(result: OutputContainer, clip: InputContainer, done: Rewritten) -> dict[int, Any]:
    """The streams of the result for what is copied, by the source's index."""
    copies = dict[int, Any]()
    for stream in _copied(clip):
        try:
            copies[stream.index] = result.add_stream_from_template(stream)
        except ValueError:  # the container does not take such a stream
            done.lost.append("subtitles" if stream.type == "subtitle" else f"sound ({stream.codec_context.name})")
        else:
            copies[stream.index].metadata.update(_own(stream.metadata))
    return copies


def _note_losses(frame: VideoFrame, video: VideoStream, clip: InputContainer, done: Rewritten) -> None:
    if len(clip.streams) > 1 + len(_copied(clip)):
        done.lost.append("data and further pictures")
    if _bits(video.format) > 8:
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


def _matrix(stored: VideoFrame) -> str:
    """swscale's name of the matrix between a frame's colours and RGB."""
    return MATRICES.get(stored.colorspace, "ITU709" if stored.height >= LARGE else "ITU601")


def _range(stored: VideoFrame) -> int:
    return FULL_RANGE if stored.color_range == FULL_RANGE or stored.format.name.startswith("yuvj") else VIDEO_RANGE


def _tag(tagged: Any, stored: VideoFrame) -> None:
    """Give a frame or an encoder the colour tags of the source, numbers of H.273; RGB has become BT.709's YUV."""
    tagged.color_range = _range(stored) if stored.color_range != RANGE_UNKNOWN or _range(stored) == FULL_RANGE else 0
    tagged.colorspace = stored.colorspace if stored.colorspace != RGB_MATRIX else BT709
    tagged.color_primaries, tagged.color_trc = stored.color_primaries, stored.color_trc


def _unpacked(unpacker: Any, stored: VideoFrame) -> np.ndarray:
    """RGB, uint8 (H, W, 3)."""
    pixels: np.ndarray = _converted(unpacker, stored, "rgb24", _matrix(stored), _range(stored), FULL_RANGE).to_ndarray()
    return pixels


def _packed(packer: Any, frame: _Frame, stream: Any, video: VideoStream) -> VideoFrame:
    from av.video.frame import VideoFrame

    rgb, stored = VideoFrame.from_ndarray(np.ascontiguousarray(frame.pixels), "rgb24"), frame.stored
    packed = _converted(packer, rgb, stream.codec_context.pix_fmt, _matrix(stored), FULL_RANGE, _range(stored))
    _tag(packed, frame.stored)
    packed.pts, packed.time_base, packed.duration = frame.pts, video.time_base, frame.duration
    return packed


def _converted(reformatter: Any, frame: VideoFrame, format: str, matrix: str, before: int, after: int) -> VideoFrame:
    """A frame in another pixel format; without all of these flags, dark tones come back a step darker."""
    from av.video.reformatter import Interpolation as Flag

    converted: VideoFrame = reformatter.reformat(
        frame,
        format=format,
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=before,
        dst_color_range=after,
        interpolation=Flag.BILINEAR | Flag.ACCURATE_RND | Flag.FULL_CHR_H_INT | Flag.FULL_CHR_H_INP,
        threads=1,
    )
    return converted


def _in_thread(items: Iterable[T]) -> Generator[T, None, None]:
    """The same items, made ahead in a thread of their own; it ends when nobody takes them any more."""
    queue: Queue[tuple[str, Any]] = Queue(AHEAD)
    stopped = threading.Event()

    def put(kind: str, item: Any) -> None:
        while not stopped.is_set():
            try:
                return queue.put((kind, item), timeout=0.1)
            except Full:
                continue
        return None

    def work() -> None:
        try:
            for item in items:
                put("item", item)
                if stopped.is_set():
                    break
            put("end", None)
        except BaseException as error:  # told where the items are taken
            put("error", error)
        finally:
            if hasattr(items, "close"):
                items.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            try:
                kind, item = queue.get(timeout=0.1)
            except Empty:
                continue
            if kind == "error":
                raise item
            if kind == "end":
                return
            yield item
    finally:
        stopped.set()
        thread.join()
