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
from dataclasses import asdict, replace
from typing import Any

from cluster.storage import StorageError, explain, open_uri, write_atomically
from lle.config import TrainSettings
from pipelines.jobs import shards
from pipelines.jobs.ingest import DataError, PhotoSet, TrainingPhotos, find_photos

PHOTOS = "photos.json.gz"
CHOSEN_BY = ("dark", "well_lit", "pairs_low", "pairs_high", "validation_images")


def photos_of_run(settings: TrainSettings, checkpoints: str) -> TrainingPhotos:
    """The photos that a run began with, found and written down if it is new; with their `validation_hash`.

    Args:
        settings: of the run.
        checkpoints: folder or prefix of the run's checkpoints.

    Raises:
        DataError: as `find_photos`; or other settings, or other validation photos, than the run began with or than
            `data.validation_hash` names.
        StorageError: the list cannot be read or written.
    """
    chosen_by = {name: getattr(settings.data, name) for name in CHOSEN_BY} | {"seed": settings.seed}
    began = _read(checkpoints) if settings.resume else None
    if began:
        _refuse_other_settings(began["chosen_by"], chosen_by, settings.name)
    photos = _photos(began["sets"]) if began else find_photos(settings)
    found = validation_hash(photos)
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


def validation_hash(photos: TrainingPhotos) -> str:
    """SHA-256 of what is in the validation photos and of their number in each set, wherever they lie.

    Raises:
        DataError: one cannot be read.
    """
    digest = hashlib.sha256()
    for each in (photos.held_out_dark, photos.held_out_well_lit, photos.pairs_low, photos.pairs_high):
        if each is None:
            continue
        filesystem, _ = open_uri(each.uri)
        digest.update(f"{len(each.paths)} photos".encode())
        for path in each.paths:
            try:
                digest.update(hashlib.sha256(shards.read(filesystem, path)).digest())
            except OSError as error:
                raise DataError(f"data: {path}, a photo to validate on, cannot be read ({explain(error)})") from error
    return digest.hexdigest()


def _refuse_other_settings(began: dict[str, Any], now: dict[str, Any], name: str) -> None:
    for setting, value in now.items():
        if began[setting] != value:
            setting = setting if setting == "seed" else f"data.{setting}"
            raise DataError(
                f"{setting}: the run {name} began with {began[setting.removeprefix('data.')]!r}, not {value!r}; resume "
                "it with the same, or begin another run"
            )


def _photos(sets: dict[str, Any]) -> TrainingPhotos:
    restored: dict[str, Any] = {
        name: each and PhotoSet(each["uri"], tuple(each["paths"]), each["refused"]) for name, each in sets.items()
    }
    return TrainingPhotos(**restored)


def _write(checkpoints: str, content: dict[str, Any]) -> None:
    filesystem, root = open_uri(checkpoints)
    write_atomically(filesystem, f"{root}/{PHOTOS}", gzip.compress(json.dumps(content).encode(), compresslevel=1))


def _read(checkpoints: str) -> dict[str, Any] | None:
    """None where the run wrote no list: it began before there were any."""
    filesystem, root = open_uri(checkpoints)
    try:
        packed = shards.read(filesystem, f"{root}/{PHOTOS}")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{checkpoints}/{PHOTOS} cannot be read: {explain(error)}") from error
    try:
        content: dict[str, Any] = json.loads(gzip.decompress(packed))
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{checkpoints}/{PHOTOS} is damaged; remove it to find the photos anew, or begin another run"
        ) from error
    return content
