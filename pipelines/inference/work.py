"""What is to be enhanced and where the results go: into an output under the names of the photos, or beside them.

photos/a.jpg -> OUTPUT/a.jpg              with an output; its table tells what is done
photos/a.jpg -> photos/a.enhanced.jpg     without one, of a photo; what is there is done
photos       -> photos.enhanced/a.jpg     without one, of a folder; with a table again
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from cluster.storage import fitting, leads_out, local_path, name_below, naming, open_files, place, told
from lle.clips import CONTAINERS, OTHERS_BECOME, is_clip_name
from lle.images import RAW_SUFFIXES, is_raw_name
from pipelines.config.enhance import EnhanceSettings
from pipelines.data.listing import DataError, LeftOut, no_picture, photos_in
from pipelines.inference.progress import Done, Entry

MARK = ".enhanced"
SUFFIX_OF = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "tiff": ".tif", "avif": ".avif", "cube": ".cube"}
WRITTEN_INSTEAD = {"gif": "png"} | dict.fromkeys(  # what is read, but not written
    ("heic", "heif", *(suffix.lstrip(".") for suffix in RAW_SUFFIXES)), "jpeg"
)
NAMES_SHOWN = 3


@dataclass(frozen=True)
class Photo:
    """One photo or clip to enhance, or a segment of a clip.

    Attributes:
        path: where it is read.
        entry: what will be noted about it.
        segment: which of `segments` of equal length, from 0.
        segments: of the clip; 1: the whole.
    """

    path: str
    entry: Entry
    segment: int = 0
    segments: int = 1


@dataclass(frozen=True)
class Part:
    """What has one output.

    Attributes:
        settings: with that output, and its own part of the input.
        beside: whether the results go beside the photos, which all lie below the output then.
    """

    settings: EnhanceSettings
    beside: bool = False


class Beside:
    """Results beside their photos: what is there is done, and no table is kept among somebody's photos.

    Args:
        root: folder that holds all the photos.
    """

    unreadable = 0

    def __init__(self, root: str) -> None:
        self._root = root
        self.there = list[str]()  # results that earlier runs have left
        self.written = list[str]()

    def has(self, wanted: Entry) -> bool:
        """Whether something lies where the result would."""
        path = os.path.join(self._root, wanted.result)  # noqa: PTH118
        is_there = os.path.lexists(path)
        self.there += [path] * is_there
        return is_there

    def is_foreign(self, result: str) -> bool:
        """What lies there counts as done, whoever wrote it."""
        return False

    def note(self, entry: Entry) -> None:
        """Remember the result, to tell of it."""
        if not entry.failed:
            self.written.append(os.path.join(self._root, entry.result))  # noqa: PTH118

    def write_report(self) -> None:
        """There is none."""


def parts(settings: EnhanceSettings) -> list[Part]:
    """What there is to do, by output: the one of the settings, else one for each folder and one for all single photos.

    Raises:
        DataError: results of photos in a store have no place.
        StorageError: an input that is none.
    """
    if settings.output:
        return [Part(settings)]
    found, files = list[Part](), list[str]()
    with naming("input"):
        for each in settings.input:
            filesystem, path = open_files(each)
            if filesystem.type_name != "local":
                raise DataError(f"output: {told(each)} lies in a store; say where the results go with --output")
            if not Path(path).is_dir():
                files.append(posixpath.join(os.path.realpath(posixpath.dirname(path)), posixpath.basename(path)))
            elif not path.endswith(MARK) or len(settings.input) == 1:  # those are ours, in a list such as `*`
                found.append(Part(settings.model_copy(update={"input": (each,), "output": f"{path}{MARK}"})))
    if files:
        root = os.path.commonpath([posixpath.dirname(path) for path in files])
        found.append(Part(settings.model_copy(update={"input": tuple(files), "output": root}), beside=True))
    return found


def find_work(
    settings: EnhanceSettings,
    model_version: str,
    done: Done | Beside,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[list[Photo], int]:
    """The photos of the input that are to be enhanced, and how many are done already.

    Args:
        settings: input, output, kind of file.
        model_version: of what will enhance them.
        done: the notes of the output.
        tell: told what is left out of the input.

    Raises:
        DataError: no photo there, or results would be written over photos.
        StorageError: it cannot be listed.
    """
    inputs, beside = settings.input, isinstance(done, Beside)
    with naming("input"):
        if len({open_files(each)[0].type_name for each in inputs}) > 1:
            raise DataError("input: photos of this machine and of a store; enhance them one after the other")
        places = [place(each) for each in inputs]
    if not beside:
        with naming("output"):
            _refuse_overwriting(settings.output, dict(zip(inputs, places, strict=True)))
    photos, skipped, photo_of, left_out = list[Photo](), 0, dict[str, tuple[str, str]](), LeftOut()
    entries = list[tuple[str, Entry]]()
    with naming("input"):
        for each in inputs:
            before = len(entries) + left_out.count
            entries += _entries_beside(each, settings, left_out) if beside else _entries(each, settings, left_out)
            if len(entries) + left_out.count == before:
                raise DataError(f"input: {each} does not exist or holds no file; check the path")
    for path, entry in entries:
        entry = replace(entry, recipe=recipe(settings, model_version, entry.photo))
        other_path, other = photo_of.get(entry.result, ("", ""))
        if other_path == path:  # named twice
            continue
        if other and other != entry.photo:
            raise DataError(f"format: {other} and {entry.photo} would both become {entry.result}; rename one of them")
        if other:
            raise DataError(
                f"input: {other_path} and {path} would both become {entry.result}; enhance them one after the other, "
                "each into an output of its own"
            )
        if done.is_foreign(entry.result):
            raise DataError(
                f"output: {settings.output} holds a {entry.result} that no enhancement wrote; choose another"
            )
        photo_of[entry.result] = path, entry.photo
        if done.has(entry) and not settings.again:
            skipped += 1
        else:
            photos.append(Photo(path, entry))
    if not photo_of:
        raise DataError(f"{no_picture('input', inputs[0], left_out)}; check the path")
    if left_out:
        tell(str(left_out))
    return photos, skipped


def recipe(settings: EnhanceSettings, model_version: str, name: str) -> str:
    """What a photo or clip is enhanced with, in words: another recipe, and it is done again."""
    kind = f"{settings.format} {settings.quality}"
    if is_clip_name(name):
        video = settings.video
        kind = f"clip crf {video.crf} seconds {video.seconds:g} stops {video.max_stops:g}"
        kind += " denoised" if video.denoise else ""
    said = f"{model_version} {kind}{' side-by-side' if settings.side_by_side else ''}"
    return said + (f" strength {settings.strength:g}" if settings.strength != 1 else "")


def result_name(photo: str, format: str) -> str:
    """The name of a result: the photo's own where it fits the format, else the format's suffix is added.

    Adding, not replacing: `a.jpg` and `a.png` must not become one file. A name that grows too long for a file system
    is shortened, and keys such as `a//b.jpg` are written with one slash. Clips keep their kind of file, or become .mkv.
    """
    own = written_as(photo)
    if format == "same":
        format = WRITTEN_INSTEAD.get(own, own)
    name = photo if leads_out(photo.lstrip("/")) else posixpath.normpath(photo.lstrip("/"))
    if is_clip_name(photo):
        return fitting(name, "" if f".{own}" in CONTAINERS else OTHERS_BECOME)
    return fitting(name, "" if format == own else SUFFIX_OF[format])


def written_as(name: str) -> str:
    """The format, such as jpeg, png, avif or heic, that the suffix of a file name promises."""
    suffix = posixpath.splitext(posixpath.basename(name))[1].lower().lstrip(".")
    return {"jpg": "jpeg", "jpe": "jpeg", "jfif": "jpeg", "tif": "tiff"}.get(suffix, suffix)


def is_done_too(name: str) -> bool:
    """Whether a file that nothing is trained on is enhanced, by its name: clips and raw photos are."""
    return is_clip_name(name) or is_raw_name(name)


def _entries(uri: str, settings: EnhanceSettings, left_out: LeftOut) -> Iterator[tuple[str, Entry]]:
    """Path and first notes of each photo of an input; the output is left out where it lies inside, or a link leads."""
    filesystem, root = open_files(uri)
    target = place(settings.output)
    kind = filesystem.type_name
    real = cache(os.path.realpath if kind == "local" else str)
    for file in photos_in(uri, left_out, is_done_too):
        name = name_below(root, file.path)
        if not f"{kind}:{real(posixpath.dirname(file.path))}/".startswith(target):
            yield file.path, Entry(name, file.version, "", result_name(name, settings.format))


def _entries_beside(path: str, settings: EnhanceSettings, left_out: LeftOut) -> Iterator[tuple[str, Entry]]:
    """The same of a single photo whose result goes beside it; what is named as such a result is left out."""
    for file in photos_in(path, left_out, is_done_too):
        name = name_below(local_path(settings.output), file.path)
        stem, suffix = posixpath.splitext(name)
        if f"{MARK}." in posixpath.basename(name):
            left_out.add(f"named {MARK}, as results are (with --output they are enhanced once more)")
        else:
            yield file.path, Entry(name, file.version, "", result_name(f"{stem}{MARK}{suffix}", settings.format))


def _refuse_overwriting(output: str, inputs: dict[str, str]) -> None:
    target = place(output)
    if any(each.startswith(target) for each in inputs.values()):
        raise DataError(f"output: {output} holds the input, whose photos would be written over; choose another folder")
