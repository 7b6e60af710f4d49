"""The photos of an evaluation, pinned by their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from pyarrow import fs

from cluster.storage import open_uri, write_atomically
from lle.dotted import said
from lle.images import MAX_PIXELS, ImageError
from pipelines.data import shards
from pipelines.data.listing import DataError
from pipelines.evaluation.worker import Photo

READERS = 8
NAMED = 3


def read_contents(photos: Sequence[Photo], max_pixels: int = MAX_PIXELS) -> dict[str, str]:
    """SHA-256 of each photo by set and name, and of its ground truth by `high` and the same name.

    Raises:
        DataError: one cannot be read.
    """
    files = [(f"{photo.group}/{photo.name}", photo.uri, photo.path) for photo in photos]
    files += [(f"high/{photo.name}", photo.truth_uri, photo.truth_path) for photo in photos if photo.truth_path]
    with ThreadPoolExecutor(READERS) as pool:
        return dict(sorted(pool.map(partial(_content, max_pixels), files)))


def contents_hash(contents: dict[str, str]) -> str:
    """SHA-256 of a whole set."""
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def check_unchanged(contents: dict[str, str], manifest: str) -> None:
    """See that the photos are those of a manifest, or write it where it does not exist.

    Args:
        contents: as `read_contents` gives them.
        manifest: JSON file or URI.

    Raises:
        DataError: photos were changed, added or removed; or the file is no manifest, or cannot be used.
    """
    filesystem, path = open_uri(manifest)
    try:
        if filesystem.get_file_info(path).type == fs.FileType.NotFound:
            write_manifest(contents, manifest)
            return
        with filesystem.open_input_stream(path) as file:
            pinned = json.loads(file.read())
    except OSError as error:
        raise DataError(f"manifest: {manifest} cannot be read ({said(error)})") from error
    except (ValueError, RecursionError):
        pinned = None
    if not isinstance(pinned, dict):
        raise DataError(f"manifest: {manifest} is none; name one that a promotion has written, or a file to write")
    changed = sorted(name for name in pinned.keys() & contents.keys() if pinned[name] != contents[name])
    added, removed = sorted(contents.keys() - pinned.keys()), sorted(pinned.keys() - contents.keys())
    differences = [_told(names, what) for names, what in ((changed, "changed"), (added, "new"), (removed, "gone"))]
    if any(differences):
        raise DataError(
            f"manifest: the photos are not those of {manifest}: {'; '.join(filter(None, differences))}; bring them "
            "back, or pin the new ones with --repin"
        )


def write_manifest(contents: dict[str, str], manifest: str) -> None:
    """Pin the photos in a file.

    Raises:
        StorageError: it cannot be written.
    """
    write_atomically(*open_uri(manifest), (json.dumps(contents, indent=2) + "\n").encode())


def _content(max_pixels: int, file: tuple[str, str, str]) -> tuple[str, str]:
    name, uri, path = file
    try:
        return name, hashlib.sha256(shards.read(open_uri(uri)[0], path, max_pixels)).hexdigest()
    except (OSError, ImageError) as error:
        raise DataError(f"{name} cannot be read ({said(error)})") from error


def _told(names: list[str], what: str) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{what}: {', '.join(names[:NAMED])}{more}"
