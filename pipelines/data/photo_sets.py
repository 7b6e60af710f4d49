"""Photos that lie somewhere: what a folder, a bucket or a prepared set holds, found and looked at before it is used."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
from pyarrow import fs

from cluster.storage import StorageError, explain, name_below, open_file, open_uri, place, told
from lle import images
from lle.config import DataSettings
from lle.training.order import photo_of_sets
from pipelines.data import shards
from pipelines.data.listing import DataError, LeftOut, no_picture, photos_in
from pipelines.data.manifest import ManifestError, read_places

CHECKED_HEADERS = 2_000
HEADER_BYTES = 65_536
TAR = ".tar"


@dataclass(frozen=True)
class PhotoSet:
    """Photos of a folder or prefix, by path on its file system, sorted; or of a prepared set, by place in its shards.

    Attributes:
        uri: what was listed.
        paths: for `shards.read`: the photos that were found good, or not looked at (beyond the first 2,000).
        refused: what was skipped, with its reason.
        left_out: what was listed beside them and is no photo, in a line.
    """

    uri: str
    paths: tuple[str, ...]
    refused: dict[str, str] = field(default_factory=dict)
    left_out: str = ""

    @property
    def names(self) -> list[str]:
        """Of each path, the photo's below the root: no two are the same."""
        return photo_names(self.uri, self.paths)

    @property
    def sets(self) -> tuple[PhotoSet, ...]:
        """Itself, the only one: see `JoinedSets`."""
        return (self,)


@dataclass(frozen=True)
class JoinedSets:
    """Photos of several sets, of any kinds, in the order in which a setting lists them.

    Attributes:
        sets: two or more.
    """

    sets: tuple[PhotoSet, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """Those of each set, one set behind the other."""
        return tuple(path for each in self.sets for path in each.paths)

    @property
    def refused(self) -> dict[str, str]:
        """What was skipped in any of them, with its reason."""
        return {path: reason for each in self.sets for path, reason in each.refused.items()}


Photos = PhotoSet | JoinedSets


def joined(sets: Sequence[PhotoSet]) -> Photos:
    """One set as it is, several as one."""
    return sets[0] if len(sets) == 1 else JoinedSets(tuple(sets))


def photo_in_row(photos: Photos, row: int, seed: int, weights: Sequence[int] = ()) -> tuple[PhotoSet, int]:
    """The set and the index of the photo in it that a row of a stream shows; see `lle.training.order`."""
    which, index = photo_of_sets(row, [len(each.paths) for each in photos.sets], seed, weights)
    return photos.sets[which], index


def list_photos(uri: str, setting: str, data: DataSettings) -> PhotoSet:
    """The photos under a folder or prefix; those whose header is bad are skipped with their reason.

    Args:
        uri: where they are, searched with all its folders, in tar files where there are no others; or a prepared set,
            which was checked when it was made.
        setting: name of the setting, for messages.
        data: gives the pixel budget.

    Raises:
        DataError: nothing there, or nothing readable.
    """
    try:
        if prepared := read_places(uri):
            return _prepared_set(uri, setting, *prepared)
        left_out = LeftOut()
        found = dict(sorted((file.path, file.size) for file in photos_in(uri, left_out, is_tar)))
        filesystem, root = open_uri(uri)
        sizes, refused = _photos_or_packed(filesystem, root, found, left_out)
        exists = sizes or left_out or filesystem.get_file_info(root).type != fs.FileType.NotFound
    except (ManifestError, StorageError) as error:
        raise DataError(f"{setting}: {error}") from None
    except OSError as error:
        raise DataError(f"{setting}: {told(uri)} cannot be listed ({explain(error)})") from error
    if not exists:
        raise DataError(f"{setting}: {uri} does not exist; check the path")
    if not sizes and not refused:
        raise DataError(no_picture(setting, uri, left_out))
    limit = images.most_bytes(data.max_pixels)
    refused |= {path: f"is over the limit of {limit / 1e6:.0f} MB" for path, size in sizes.items() if size > limit}
    looked_at = [path for path in sizes if path not in refused][:CHECKED_HEADERS]
    with ThreadPoolExecutor(8) as pool:
        reasons = list(pool.map(lambda path: _bad_header(filesystem, path, data.max_pixels), looked_at))
    refused |= {path: reason for path, reason in zip(looked_at, reasons, strict=True) if reason}
    good = tuple(path for path in sizes if path not in refused)
    if not good:
        path, reason = next(iter(refused.items()))
        raise DataError(f"{setting}: none of the {len(sizes)} pictures in {uri} is readable; {path}: {reason}")
    return PhotoSet(uri, good, refused, str(left_out))


def is_tar(name: str) -> bool:
    """Whether a file may hold photos, by its name; hidden ones do not."""
    return name.lower().endswith(TAR) and not posixpath.basename(name).startswith(".")


def holds_packed_photos(uri: str) -> bool:
    """Whether a folder or prefix holds tar files and no photos.

    Raises:
        StorageError: it cannot be listed.
    """
    packed = False
    for file in photos_in(uri, LeftOut(), is_tar):
        packed = is_tar(file.path)
        if not packed:
            break
    return packed


def photo_names(uri: str, paths: Iterable[str]) -> list[str]:
    """The names of photos of a set, below its root or, of a prepared set, below what was prepared."""
    _, root = open_uri(uri)
    return [shards.name_at(path) or name_below(root, path) for path in paths]


def names_hash(photos: Photos) -> str:
    """SHA-256 of a set's sorted paths, of several sets' behind one another: which photos, not what is in them; of a
    prepared set also that, for its shards are named after the versions of their files.
    """
    digest = hashlib.sha256()
    for piece in json.JSONEncoder().iterencode(photos.paths):  # not as one text: of ten million paths it is a gigabyte
        digest.update(piece.encode())
    return digest.hexdigest()


def refuse_nested(places: Iterable[tuple[str, str]]) -> None:
    """See that of some folders none is or holds another, wherever links lead.

    Args:
        places: settings, each with a folder or prefix that it names; empty ones are passed over.

    Raises:
        DataError: one does.
    """
    found = list[tuple[str, str, str]]()
    for setting, uri in places:
        try:
            found += [(setting, uri, place(uri))] if uri else []
        except StorageError as error:
            raise DataError(f"{setting}: {error}") from None
    for (setting, uri, inner), (other, other_uri, outer) in permutations(found, 2):
        if not inner.startswith(outer):
            continue
        settings = both(setting, other)
        if inner == outer:
            raise DataError(f"{settings}: {uri} and {other_uri} hold the same files: they are one folder; name two")
        raise DataError(f"{settings}: {uri} lies in {other_uri}; name two folders beside each other")


def both(setting: str, other: str) -> str:
    """Two settings in a message; one where both are the same."""
    return setting if setting == other else f"{setting} and {other}"


def load_photo(photos: PhotoSet, path: str, max_pixels: int, longest_side: int = 0) -> np.ndarray:
    """One photo, RGB uint8, (H, W, 3), shrunk to `longest_side` where that is given and smaller.

    Raises:
        ImageError: it cannot be decoded.
    """
    picture = read_photo(photos.uri, path, max_pixels)
    longest = max(picture.shape[:2])
    if longest_side and longest > longest_side:
        height, width = (max(1, round(side * longest_side / longest)) for side in picture.shape[:2])
        picture = images.resize(picture, (height, width))
    return picture


def read_photo(uri: str, path: str, max_pixels: int) -> np.ndarray:
    """One photo at full size, RGB uint8, (H, W, 3).

    Args:
        uri: folder or prefix that it was listed under; tells the file system.
        path: on that file system.
        max_pixels: pixel budget.

    Raises:
        ImageError: it cannot be decoded.
    """
    filesystem, _ = open_uri(uri)
    return images.decode(shards.read(filesystem, path, max_pixels), path, max_pixels=max_pixels)


def _photos_or_packed(
    filesystem: fs.FileSystem, root: str, found: dict[str, int], left_out: LeftOut
) -> tuple[dict[str, int], dict[str, str]]:
    """The sizes of photos by path; where all that was found are tar files, of those in them, and what is wrong with a
    tar file. Beside photos tar files are left out: they may hold the same.
    """
    photos = {path: size for path, size in found.items() if not is_tar(path)}
    if photos:
        for _ in range(len(found) - len(photos)):
            left_out.add(TAR)
        return photos, {}

    def packed(path: str) -> tuple[dict[str, int], str]:
        inside = dict[str, int]()
        try:
            for name, offset, length in shards.members(filesystem, path):
                inside[shards.place(path, offset, length, f"{name_below(root, path)}/{name}")] = length
        except images.ImageError as error:
            return inside, error.reason
        return inside, ""

    with ThreadPoolExecutor(8) as pool:
        opened = dict(zip(found, pool.map(packed, found), strict=True))
    sizes = {place: size for inside, _ in opened.values() for place, size in inside.items()}
    return sizes, {path: reason for path, (_, reason) in opened.items() if reason}


def _prepared_set(uri: str, setting: str, places: tuple[str, ...], refused: dict[str, str]) -> PhotoSet:
    if not places:
        raise DataError(f"{setting}: {uri} was prepared, but holds no picture; choose another set")
    return PhotoSet(uri, places, refused)


def _bad_header(filesystem: fs.FileSystem, path: str, max_pixels: int) -> str:
    """Why a file cannot be a photo, from its first bytes; empty where nothing speaks against it."""
    try:
        if shards.name_at(path):
            images.read_header(shards.read(filesystem, path, max_pixels), path, max_pixels)
            return ""
        with open_file(filesystem, path) as file:
            head = file.read(HEADER_BYTES)
            try:
                images.read_header(head, path, max_pixels)
            except images.ImageError:  # some formats keep their header at the end
                rest = images.read_bounded(file, images.most_bytes(max_pixels), path)
                images.read_header(head + rest, path, max_pixels)
    except images.ImageError as error:
        return error.reason
    except OSError as error:
        return explain(error)
    return ""
