"""Preparing one part: some files into shards of pictures of one size, and a row for each."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from pyarrow import fs

from cluster.storage import explain, leads_out, list_files, name_below, open_file, open_uri, write_atomically
from lle import images
from pipelines.config.prepare import PrepareSettings
from pipelines.data import shards
from pipelines.data.duplicates import perceptual_hash
from pipelines.data.listing import DataError, not_a_photo
from pipelines.data.manifest import MADE_BY, NOT_READABLE, SHARDS, UNREAD, known_files, write_part

MEGABYTE = 1_000_000
BURNT = 250

Judge = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Source:
    """A file to prepare.

    Attributes:
        path: below the input.
        size: in bytes.
        version: from the listing.
        revision: 0 for a file that was never seen.
        refused: why nobody can read it; empty for what can be tried.
    """

    path: str
    size: int
    version: str
    revision: int
    refused: str = ""


@dataclass(frozen=True)
class Prepared:
    """What came of a part: pictures kept, bytes read, and how many files were refused by kind of reason."""

    kept: int
    bytes: int
    refused: dict[str, int]


def pending_parts(settings: PrepareSettings, done: list[str]) -> Iterator[list[Source]]:
    """Files that are new, or changed, or could not be read before, in the order of the listing; the listing is never
    held as a whole.

    A part that was left undone between two that were done comes again with the same files, hence the same key.

    Args:
        settings: of the job.
        done: from `done_parts`; the same ones give the same pending parts.
    """
    known = known_files(settings.output, done)
    _, root = open_uri(settings.input)
    unreadable = dict[str, str]()
    part = list[Source]()
    for file in list_files(settings.input, unreadable.__setitem__):
        name = name_below(root, file.path)
        seen = known.get(name)
        if seen and seen.version == file.version and not seen.again:
            continue
        part.append(Source(name, file.size, file.version, seen.revision + 1 if seen else 0))
        if len(part) == settings.part_files:
            yield part
            part = []
    part += [Source(name, 0, "", 0, reason) for name, reason in unreadable.items() if name not in known]
    if part:
        yield part


def prepare_part(settings: PrepareSettings, part: Iterable[Source], judge: Judge | None = None) -> Prepared:
    """Read, check and resize the files of a part, write its shards, and then its rows.

    Args:
        settings: of the job.
        part: from `pending_parts`.
        judge: P(well lit) of a picture, RGB uint8, (H, W, 3); None: nobody is asked.

    Raises:
        DataError: the output cannot be written.
    """
    files = list(part)
    key = part_key(settings, files)
    filesystem, root = open_uri(settings.input)
    shard = _Shards(settings, key)
    rows = list[dict[str, Any]]()
    with ThreadPoolExecutor(settings.decoders) as pool:
        for row, picture in pool.map(lambda file: _prepare(settings, filesystem, root, file, judge), files):
            if picture:
                shard.add(row, picture)
            rows.append(row)
    shard.close()
    try:
        write_part(settings.output, key, rows)
    except OSError as error:
        raise DataError(f"output: {explain(error)}") from error
    refused = Counter(_kind(row["refused"]) for row in rows if row["refused"])
    return Prepared(len(rows) - refused.total(), sum(file.size for file in files), dict(refused))


def part_key(settings: PrepareSettings, files: list[Source]) -> str:
    """Follows from the files, their versions, and all settings that a picture or a shard follows from."""
    made_by = {name: getattr(settings, name) for name in (*MADE_BY, "shard_megabytes")}
    content = [made_by, settings.split == "prior", [astuple(file)[: 5 if file.refused else 4] for file in files]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:20]


def light(picture: np.ndarray) -> dict[str, float]:
    """Statistics of luma (Rec. 601, of sRGB values, in [0, 1]) and the share of over-exposed pixels.

    Args:
        picture: RGB, uint8, (H, W, 3).
    """
    luma = picture @ np.array((0.299, 0.587, 0.114), np.float32) / 255
    p05, p50, p95 = np.percentile(luma, (5, 50, 95))
    return {
        "mean": float(luma.mean()),
        "deviation": float(luma.std()),
        "p05": float(p05),
        "p50": float(p50),
        "p95": float(p95),
        "over_exposed": float((picture.max(axis=2) >= BURNT).mean()),
    }


def bundled_judge() -> Judge:
    """P(well lit) in the eyes of the bundled prior."""
    import torch

    from lle.prior.bundled import load_bundled
    from lle.prior.pretraining import zero_shot_well_lit

    prior, _ = load_bundled()

    @torch.inference_mode()
    def judge(picture: np.ndarray) -> float:
        return float(zero_shot_well_lit(prior, images.to_tensor(picture)[None]))

    return judge


class _Shards:
    """Collects the pictures of a part and writes a shard whenever one is full."""

    def __init__(self, settings: PrepareSettings, key: str) -> None:
        self._settings, self._key, self._written = settings, key, 0
        self._rows: list[dict[str, Any]] = []
        self._pictures: list[bytes] = []
        self._bytes = 0

    def add(self, row: dict[str, Any], picture: bytes) -> None:
        """A picture, whose row will know its place once `close` was called."""
        if self._bytes + len(picture) > self._settings.shard_megabytes * MEGABYTE:
            self.close()
        self._rows.append(row)
        self._pictures.append(picture)
        self._bytes += len(picture)

    def close(self) -> None:
        """Write what was collected."""
        if not self._pictures:
            return
        content, offsets = shards.pack([row["path"] for row in self._rows], self._pictures, self._settings.format)
        name = f"{SHARDS}/{self._key}-{self._written}.tar"
        try:
            filesystem, root = open_uri(self._settings.output)
            write_atomically(filesystem, f"{root}/{name}", content)
        except OSError as error:
            raise DataError(f"output: {explain(error)}") from error
        for row, offset, picture in zip(self._rows, offsets, self._pictures, strict=True):
            row.update(shard=name, offset=offset, length=len(picture))
        self._written += 1
        self._rows, self._pictures, self._bytes = [], [], 0


def _prepare(
    settings: PrepareSettings, filesystem: fs.FileSystem, root: str, file: Source, judge: Judge | None
) -> tuple[dict[str, Any], bytes]:
    """The row of a file, and its picture, empty where it is refused."""
    row: dict[str, Any] = {
        "path": file.path, "bytes": file.size, "version": file.version, "revision": file.revision,
        "refused": "", "again": False,
    }  # fmt: skip
    if file.refused:
        return row | {"refused": f"{NOT_READABLE} ({file.refused})"}, b""
    if (kind := not_a_photo(file.path)).startswith("in "):
        return row | {"refused": f"lies {kind}"}, b""
    if kind:
        return row | {"refused": f"the name does not end as a picture's ({', '.join(images.SUFFIXES[:4])} ...)"}, b""
    if leads_out(file.path):  # a key of S3 may; no manifest holds an absolute path
        return row | {"refused": "its key begins with two slashes; copy it to another"}, b""
    if file.size > settings.max_megabytes * MEGABYTE:
        return row | {"refused": f"{file.size / MEGABYTE:.0f} MB are over the limit of {settings.max_megabytes}"}, b""
    try:
        with open_file(filesystem, f"{root}/{file.path}") as stream:
            data = images.read_bounded(stream, settings.max_megabytes * MEGABYTE, file.path)
    except FileNotFoundError:
        return row | {"refused": "gone between listing and reading", "again": True}, b""
    except OSError as error:
        return row | {"refused": f"{UNREAD} ({explain(error)})", "again": True}, b""
    except images.ImageError as error:  # it has grown since it was listed
        return row | {"refused": error.reason, "again": True}, b""
    row["sha256"] = hashlib.sha256(data).hexdigest()
    try:
        header = images.read_header(data, file.path, settings.max_pixels)
        picture = images.decode(data, file.path, max_pixels=settings.max_pixels, short_side=settings.short_side)
    except images.ImageError as error:
        return row | {"refused": error.reason}, b""
    picture = _shrunk(picture, settings.short_side)
    try:
        encoded = images.encode(picture, settings.format, settings.quality)
    except ValueError as error:
        return row | {"refused": str(error)}, b""
    row |= {"width": header.width, "height": header.height, "perceptual": perceptual_hash(picture), **light(picture)}
    return row | ({"p_well_lit": judge(picture)} if judge else {}), encoded


def _shrunk(picture: np.ndarray, short_side: int) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = short_side / min(height, width)
    if scale >= 1:
        return picture
    return images.resize(picture, (max(1, round(height * scale)), max(1, round(width * scale))))


def _kind(reason: str) -> str:
    """A reason without what is special to one file: no parentheses, no numbers."""
    return re.sub(r"\d[\d,.]*", "N", re.sub(r" \(.*\)", "", reason)).partition(";")[0]
