"""Which files are clips, by their names, and what those are written as."""

from __future__ import annotations

import posixpath

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Suffixes of the clips that are written, with FFmpeg's names of their containers."""
READ_ONLY = (".avi", ".3gp", ".mts", ".m2ts", ".wmv")
OTHERS_BECOME = ".mkv"  # takes streams of any kind
CLIP_SUFFIXES = (*CONTAINERS, *READ_ONLY)


def is_clip_name(name: str) -> bool:
    """True for a path or uri whose last part ends as a clip; hidden files are none."""
    base = posixpath.basename(name)
    return not base.startswith(".") and base.lower().endswith(CLIP_SUFFIXES)
