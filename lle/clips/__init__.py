"""Clips: frames out of a file and changed into another, with everything else that belongs to the clip.

file -> packets -> frames -> RGB (H, W, 3) -> changed, the same -> frames -> packets -> file

FFmpeg does it, by the package `av` (the extra `video`), which is asked for only when a clip comes. Decoding, changing
and encoding each have a thread; sound and subtitles are copied as they are stored. A frame's colours are unpacked and
packed by one matrix and one range, so that what is not changed comes back. A long clip may be changed by segments, in
any order and on any machine, and joined.
"""

from lle.clips.names import CONTAINERS, OTHERS_BECOME, is_clip_name
from lle.clips.rewriting import Change, Rewritten, read_frames, rewrite_clip
from lle.clips.segments import join_segments, rewrite_segment, segments_of

__all__ = [
    "CONTAINERS",
    "OTHERS_BECOME",
    "Change",
    "Rewritten",
    "is_clip_name",
    "join_segments",
    "read_frames",
    "rewrite_clip",
    "rewrite_segment",
    "segments_of",
]
