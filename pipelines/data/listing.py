"""Which files of a folder or prefix are photos, and in one line what is left out and what to do about it."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cluster.storage import StoredFile, list_files, name_below, open_files, system_folder, told
from lle.images import RAW_SUFFIXES, SUFFIXES, is_image_name
from pipelines.job import UserError

UNREADABLE = (
    ".ai .avif .dds .eps .exr .hdr .heic .heif .hif .ico .j2k .jp2 .jpf .jpx .jxl .jxr .pbm .pcx .pdf .pgm .pnm .ppm "
    ".psb .psd .qoi .svg .tga .xcf"
)
VIDEOS = ".3gp .avi .m4v .mkv .mov .mp4 .mts .webm .wmv"
KINDS_SHOWN, NAMES_SHOWN = 8, 3
LONGEST_SUFFIX = 8  # with its dot; what is longer is a name with a dot in it


class DataError(UserError):
    """The photos cannot be used; the message names the setting and says what to change."""


@dataclass
class LeftOut:
    """What a listing left out.

    Attributes:
        kinds: files by kind, such as `.dng` or `in @eaDir`.
        names: of what nobody can read, with the reason, the first few.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str) -> None:
        """Count a file."""
        self.kinds[kind] += 1

    def unreadable(self, name: str, reason: str) -> None:
        """Count what cannot be read at all, and keep the names of the first few."""
        if not system_folder(name):
            self.add(f"with {reason}" if reason.startswith("a ") else f"that are {reason}")
            self.names.setdefault(reason, []).append(told(name))

    @property
    def count(self) -> int:
        """Files in all."""
        return self.kinds.total()

    def __bool__(self) -> bool:
        return bool(self.kinds)

    def __str__(self) -> str:
        """`left out: 12 .dng (raw: ...), 3 without suffix, 40 in @eaDir`; empty where nothing was."""
        if not self.kinds:
            return ""
        # What could be made photos comes first.
        most = sorted(self.kinds.most_common(), key=lambda each: not self._hint(each[0]))
        parts = [f"{count:,} {kind}{f' ({hint})' if (hint := self._hint(kind)) else ''}" for kind, count in most]
        more = f", and {sum(count for _, count in most[KINDS_SHOWN:]):,} of other kinds" if most[KINDS_SHOWN:] else ""
        return f"left out: {', '.join(parts[:KINDS_SHOWN])}{more}"

    def _hint(self, kind: str) -> str:
        if kind in RAW_SUFFIXES:
            return "raw: develop them to TIFF or JPEG first"
        if kind in VIDEOS.split():
            return "video: take pictures out of it first"
        if kind in UNREADABLE.split():
            return "convert them to PNG, TIFF or JPEG first"
        if kind == "without suffix":
            return "rename them to .jpg, .png ... if they are photos"
        for reason, names in self.names.items():
            if kind.endswith(reason):
                more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
                return f"rename or mend: {', '.join(sorted(names)[:NAMES_SHOWN])}{more}"
        return ""


def photos_in(uri: str, left_out: LeftOut, wanted: Callable[[str], bool] = lambda name: False) -> Iterator[StoredFile]:
    """The files below a folder or prefix that are named as pictures, in the order of their paths.

    Args:
        uri: see `cluster.storage.open_uri`; a URI that names a file gives that file, if it is named as a picture.
        left_out: told of the others.
        wanted: says by its name what is given besides.

    Raises:
        StorageError: it cannot be listed.
    """
    _, root = open_files(uri)
    for file in list_files(uri, left_out.unreadable):
        name = name_below(root, file.path)
        if file.path == root:  # asked for by its own name
            name = name.lstrip(".")
        if (kind := not_a_photo(name)) and (system_folder(name) or not wanted(name)):
            left_out.add(kind)
        else:
            yield file


def not_a_photo(name: str) -> str:
    """What kind of file a name tells of, where it is no photo's: its suffix, or the folder of a system that it lies in.

    Args:
        name: below the root that was listed.
    """
    if folder := system_folder(name):
        return f"in {told(folder)}"
    file = posixpath.basename(name)
    if is_image_name(file):
        return ""
    if file.startswith("."):  # `._a.jpg` is what macOS keeps beside `a.jpg` on a foreign disk
        return "hidden"
    suffix = posixpath.splitext(file)[1].lower()
    return told(suffix) if 1 < len(suffix) <= LONGEST_SUFFIX else "without suffix"


def no_picture(setting: str, uri: str, left_out: LeftOut) -> str:
    """The sentence for a place without pictures."""
    suffixes = ", ".join(SUFFIXES[:4])
    return f"{setting}: {uri} holds no picture ({left_out.count} files, none named {suffixes} ...)" + (
        f"; {left_out}" if left_out else ""
    )
