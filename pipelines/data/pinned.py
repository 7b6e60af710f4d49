"""The photos of a run, written down when it begins: a resumed run sees the same, whatever was added since.

    photos.json.gz    which settings the photos were chosen by, their paths, and the hash of the validation

It lies with the checkpoints, so that another machine can resume the run. The row of a stream is the same photo only as
long as the list stays as it is. What is in the photos is not written down but for those of the validation, whose hash
says whether two runs were measured on the same.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import posixpath
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from io import BytesIO
from typing import Any

from cluster.storage import StorageError, explain, open_uri, write_atomically
from lle.dotted import said
from lle.images import MAX_PIXELS, ImageError
from pipelines.config.train import RunSettings
from pipelines.data import shards
from pipelines.data.listing import DataError
from pipelines.data.manifest import home_of
from pipelines.data.photo_sets import Photos, PhotoSet, joined
from pipelines.data.training_photos import TrainingPhotos, find_photos

PHOTOS = "photos.json.gz"
KINDS = {"chosen_by": dict, "validation_hash": str, "sets": dict}
CHOSEN_BY = ("dark", "well_lit", "pairs_dark", "pairs_truth", "validation_images")


def photos_of_run(settings: RunSettings, checkpoints: str) -> TrainingPhotos:
    """The photos that a run began with, found and written down if it is new; with their `validation_hash`.

    Args:
        settings: of the run.
        checkpoints: folder or prefix of the run's checkpoints.

    Raises:
        DataError: as `find_photos`; or other settings, or other validation photos, than the run began with or than
            `data.validation_hash` names.
        StorageError: the list cannot be read or written.
    """
    data = settings.data.model_dump(mode="json")
    chosen_by = {name: data[name] for name in CHOSEN_BY} | {"seed": settings.seed}
    began = _read(checkpoints) if settings.resume else None
    if began:
        _refuse_other_settings(began["chosen_by"], chosen_by, settings.name)
    photos = _photos(began["sets"], chosen_by, f"{checkpoints}/{PHOTOS}") if began else find_photos(settings)
    found = validation_hash(photos, settings.data.max_pixels)
    wanted, source = settings.data.validation_hash, "data.validation_hash names"
    if not wanted and began:
        wanted, source = began["validation_hash"], f"the run {settings.name} began with"
    if wanted and found != wanted:
        raise DataError(
            f"data: the photos to validate on are not those that {source} ({found[:16]}..., not {wanted[:16]}...); "
            "bring those back, or begin a new run without data.validation_hash"
        )
    if not began:
        sets = {name: each for name, each in asdict(photos).items() if name != "validation_hash"}
        _write(checkpoints, {"chosen_by": chosen_by, "validation_hash": found, "sets": sets})
    return replace(photos, validation_hash=found)


def validation_hash(photos: TrainingPhotos, max_pixels: int = MAX_PIXELS) -> str:
    """SHA-256 of what is in the validation photos and of their number in each set, wherever they lie.

    Raises:
        DataError: one cannot be read.
    """
    digest = hashlib.sha256()
    for each in (photos.held_out_dark, photos.held_out_well_lit, photos.pairs_dark, photos.pairs_truth):
        if each is None:
            continue
        digest.update(f"{len(each.paths)} photos".encode())
        for one in each.sets:
            filesystem, _ = open_uri(one.uri)
            for path in one.paths:
                try:
                    digest.update(hashlib.sha256(shards.read(filesystem, path, max_pixels)).digest())
                except (OSError, ImageError) as error:
                    reason = explain(error)
                    raise DataError(f"data: {path}, a photo to validate on, cannot be read ({reason})") from error
    return digest.hexdigest()


def _refuse_other_settings(began: dict[str, Any], now: dict[str, Any], name: str) -> None:
    for setting, value in now.items():
        if began[setting] != value:
            setting = setting if setting == "seed" else f"data.{setting}"
            raise DataError(
                f"{setting}: the run {name} began with {began[setting.removeprefix('data.')]!r}, not {value!r}; resume "
                "it with the same, or begin another run"
            )


def _photos(sets: dict[str, Any], chosen_by: dict[str, Any], file: str) -> TrainingPhotos:
    with _understood(file):
        restored: dict[str, Any] = {name: each and _restored(each) for name, each in sets.items()}
        photos = TrainingPhotos(**restored)
        for name, each in restored.items():
            if each:
                _refuse_foreign(each, chosen_by[name.removeprefix("held_out_")], file)
    return photos


def _restored(kept: dict[str, Any]) -> Photos:
    """One set, or several, as `dataclasses.asdict` told them."""
    sets = [PhotoSet(each["uri"], tuple(each["paths"]), dict(each["refused"])) for each in kept.get("sets", [kept])]
    return joined(sets)


def _refuse_foreign(photos: Photos, uris: str | list[str], file: str) -> None:
    """The photos of a run lie where its settings say, whatever was written down."""
    wanted = [uris] if isinstance(uris, str) else uris
    for each in photos.sets:
        if each.uri not in wanted:
            raise DataError(
                f"data: {file} names photos in {str(each.uri)[:200]!r}, which no setting does; begin another run"
            )
        _refuse_outside(each, file)
    if [each.uri for each in photos.sets] != wanted:
        raise ValueError("not the sets that a setting lists")


def _refuse_outside(photos: PhotoSet, file: str) -> None:
    root = home_of(photos.uri)
    for path in photos.paths:
        if not f"{posixpath.normpath(path)}/".startswith(f"{root.rstrip('/')}/"):
            raise DataError(
                f"data: {file} names {path[:200]!r}, which does not lie in {photos.uri}; resume the run in the folder "
                "that it began in, or begin another"
            )


@contextmanager
def _understood(file: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except (OSError, EOFError, zlib.error, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"data: {file} cannot be understood ({said(error)}); begin another run") from error


def _write(checkpoints: str, content: dict[str, Any]) -> None:
    filesystem, root = open_uri(checkpoints)
    packed = BytesIO()
    with gzip.open(packed, "wt", compresslevel=1, encoding="utf-8") as text:
        json.dump(content, text)  # piece by piece: ten million paths are a gigabyte of text
    write_atomically(filesystem, f"{root}/{PHOTOS}", packed.getvalue())


def _read(checkpoints: str) -> dict[str, Any] | None:
    """None where the run wrote no list: it began before there were any."""
    filesystem, root = open_uri(checkpoints)
    try:
        packed = shards.read(filesystem, f"{root}/{PHOTOS}")
    except FileNotFoundError:
        return None
    except (OSError, ImageError) as error:
        raise StorageError(f"{checkpoints}/{PHOTOS} cannot be read: {explain(error)}") from error
    with _understood(f"{checkpoints}/{PHOTOS}"):
        content: dict[str, Any] = json.loads(gzip.decompress(packed))
        if {name: type(value) for name, value in content.items()} != KINDS:
            raise ValueError("other entries than a run writes down")
        if not re.fullmatch("[0-9a-f]{64}", content["validation_hash"]):
            raise ValueError("a hash that is none")
        if content["chosen_by"].keys() != {*CHOSEN_BY, "seed"}:
            raise ValueError("other settings than a run writes down")
    return content
