"""What a job prints reaches every terminal: a name that the terminal's encoding cannot say is written with escapes."""

from __future__ import annotations

import io
import sys


def print_every_name() -> None:
    """Let nothing that is printed from now on raise, whatever LC_ALL or PYTHONIOENCODING say of the terminal."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
