"""A frame's colours: unpacked into RGB and packed again by one matrix and one range, told by tags of H.273."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

MATRICES = {1: "ITU709", 4: "FCC", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M", 9: "BT2020"}  # H.273 to swscale
RGB_MATRIX, BT709 = 0, 1
RANGE_UNKNOWN, VIDEO_RANGE, FULL_RANGE = 0, 1, 2
LARGE = 720  # rows from which a clip that does not tell its matrix has BT.709's


def matrix_of(stored: VideoFrame) -> str:
    """swscale's name of the matrix between a frame's colours and RGB."""
    return MATRICES.get(stored.colorspace, "ITU709" if stored.height >= LARGE else "ITU601")


def range_of(stored: VideoFrame) -> int:
    return FULL_RANGE if stored.color_range == FULL_RANGE or stored.format.name.startswith("yuvj") else VIDEO_RANGE


def tag(tagged: Any, stored: VideoFrame) -> None:
    """Give a frame or an encoder the colour tags of the source, numbers of H.273; RGB has become BT.709's YUV."""
    tagged.color_range = (
        range_of(stored) if stored.color_range != RANGE_UNKNOWN or range_of(stored) == FULL_RANGE else 0
    )
    tagged.colorspace = stored.colorspace if stored.colorspace != RGB_MATRIX else BT709
    tagged.color_primaries, tagged.color_trc = stored.color_primaries, stored.color_trc


def converted(reformatter: Any, frame: VideoFrame, format: str, matrix: str, before: int, after: int) -> VideoFrame:
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
