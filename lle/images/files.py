"""What an image file may be called, how large it may be, and the one exception for whatever is wrong with it."""

from __future__ import annotations

from typing import Protocol

MAX_PIXELS = 80_000_000
"""Default pixel budget, width x height: 240 MB as RGB, and below the size at which Pillow itself starts to warn."""

BYTES_PER_PIXEL, MORE_BYTES = 8, 16_000_000
"""Byte budget: what 16 bits of four channels take uncompressed, and metadata."""

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
    *(".heic", ".heif", ".avif"),
)
"""Lower-case file suffixes that are treated as images."""

RAW_SUFFIXES = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".mrw"),
    *(".nef", ".nrw", ".orf", ".pef", ".ptx", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
"""Lower-case file suffixes of raw photos: enhanced where `rawpy` is installed, and not trained on."""

_CHUNK = 32_000_000  # bytes read at once: nearly every photo in one piece, which need not be copied


class ImageError(ValueError):
    """A file that cannot be used as an image: the sentence "URI: reason".

    Attributes:
        uri: which file, as the caller named it.
        reason: what is wrong with it.
    """

    def __init__(self, uri: str, reason: str) -> None:
        super().__init__(uri, reason)  # both in args, so that it survives pickling between processes
        self.uri = uri
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.uri}: {self.reason}"


class TooLarge(ImageError):
    """A file of more pixels or bytes than are accepted."""


class Unsupported(ValueError):
    """Why a sound file is refused; becomes an `ImageError` where its uri is known."""


class Readable(Protocol):
    """Gives so many bytes at most, none at its end."""

    def read(self, size: int, /) -> bytes: ...


def read_bounded(file: Readable, limit: int, uri: str) -> bytes:
    """The rest of an open file, of which never more than the limit is held.

    Raises:
        TooLarge: it is longer than so many bytes.
    """
    parts, left = list[bytes](), limit
    while part := file.read(min(_CHUNK, left + 1)):
        left -= len(part)
        if left < 0:
            raise TooLarge(uri, f"is over the limit of {limit / 1e6:.0f} MB; shrink the image or raise the limit")
        parts.append(part)
    return b"".join(parts)


def most_bytes(max_pixels: int) -> int:
    """The byte budget that goes with a pixel budget."""
    return BYTES_PER_PIXEL * max_pixels + MORE_BYTES


def is_image_name(name: str) -> bool:
    """True for a path or uri whose last part ends as an image; hidden files ("._photo.jpg" of a Mac) are none."""
    return _ends_in(name, SUFFIXES)


def is_raw_name(name: str) -> bool:
    """The same of raw photos."""
    return _ends_in(name, RAW_SUFFIXES)


def _ends_in(name: str, suffixes: tuple[str, ...]) -> bool:
    base = name.replace("\\", "/").rpartition("/")[2]
    return not base.startswith(".") and base.lower().endswith(suffixes)
