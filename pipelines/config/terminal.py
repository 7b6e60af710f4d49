"""What a job prints reaches every terminal: a name that the terminal's encoding cannot say is written with escapes."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence


def not_utf8(words: Sequence[str]) -> str:
    """The sentence for the first argument that is no text, which no setting can hold; empty where all are."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            return f"{word.encode(errors='surrogateescape')!r:.300} is not UTF-8; rename the file or folder"
    return ""


def print_every_name() -> None:
    """Let nothing that is printed from now on raise, whatever LC_ALL or PYTHONIOENCODING say of the terminal."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
