"""The manifest of a prepared set: every file that was ever listed, kept or refused with its reason.

    OUTPUT/prepare.json                what the pictures were made from and how
    OUTPUT/shards/KEY-0.tar            pictures of a part
    OUTPUT/parts/KEY.parquet           rows of a part, written once its shards are there: what is named here is done
    OUTPUT/manifest.parquet            all parts in one, by path, with duplicates and groups; written last
    OUTPUT/{dark,well_lit}/manifest.parquet    its rows of these groups, where they were asked for

KEY follows from the files of a part and the settings: whoever does a part again writes the same files again.
"""

from __future__ import annotations

import json
import posixpath
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs, parquet

from cluster.storage import StorageError, inside, leads_out, open_uri, write_atomically
from lle.dotted import said
from pipelines.config.prepare import PrepareSettings
from pipelines.data import shards
from pipelines.data.duplicates import first_equal, first_similar
from pipelines.data.listing import LeftOut, not_a_photo
from pipelines.job import UserError

MANIFEST, SETTINGS, PARTS, SHARDS = "manifest.parquet", "prepare.json", "parts", "shards"
MADE_BY = ("input", "short_side", "format", "quality", "max_pixels", "max_megabytes")
SHARD_NAME = re.compile(r"(\.\./)?(shards/[0-9a-f]+-[0-9]+\.(?:tar|parquet))")
DARK, WELL_LIT, NEITHER = "dark", "well_lit", "neither"
UNREAD, NOT_READABLE = "cannot be read", "is nothing to read"
READERS = 8

ROWS = pa.schema(
    {
        "path": pa.string(),  # below the input
        "bytes": pa.int64(),
        "version": pa.string(),  # of the file when it was read
        "revision": pa.int32(),  # 0, and one more each time the file had changed, or could be read at last
        "refused": pa.string(),  # reason; empty for pictures that were kept
        "again": pa.bool_(),  # refused for a reason that may pass: the next run tries once more
        "sha256": pa.string(),  # of the file
        "width": pa.int32(),  # of the upright picture in the file
        "height": pa.int32(),
        "mean": pa.float32(),  # luma in [0, 1], and its deviation and percentiles
        "deviation": pa.float32(),
        "p05": pa.float32(),
        "p50": pa.float32(),
        "p95": pa.float32(),
        "over_exposed": pa.float32(),  # share of pixels with a channel at 250 of 255 or more
        "p_well_lit": pa.float32(),  # in the eyes of the bundled prior, where it was asked
        "perceptual": pa.uint64(),
        "shard": pa.string(),  # below the output
        "offset": pa.int64(),  # of the encoded picture in its shard, and its length, in bytes
        "length": pa.int64(),
    }
)


class ManifestError(UserError):
    """A prepared set that cannot be used or continued; the message says what to change."""


@dataclass(frozen=True, slots=True)  # there are millions
class Known:
    """What a run before knew of a file."""

    version: str
    revision: int
    again: bool


@dataclass(frozen=True)
class Totals:
    """A manifest in numbers.

    Attributes:
        kept, refused: files.
        unread: of the refused, those that the storage would not give: a run later it may.
        exact, similar: of the kept, copies of another.
        groups: the kept by group, where they were divided.
        left_out: the refused that are no photos at all, in a line.
    """

    kept: int
    refused: int
    unread: int
    exact: int
    similar: int
    groups: dict[str, int] = field(default_factory=dict)
    left_out: str = ""


def begin(settings: PrepareSettings) -> None:
    """Write down how the set is made, or see that it is made as before.

    Raises:
        ManifestError: another way than before.
        OSError: the output cannot be read or written.
    """
    filesystem, root = open_uri(settings.output)
    path = f"{root}/{SETTINGS}"
    wanted = {name: getattr(settings, name) for name in MADE_BY} | {"prior": settings.split == "prior"}
    if filesystem.get_file_info(path).type == fs.FileType.NotFound:
        for name in (MANIFEST, f"{DARK}/{MANIFEST}", f"{WELL_LIT}/{MANIFEST}"):
            if filesystem.get_file_info(f"{root}/{name}").type != fs.FileType.NotFound:
                raise ManifestError(
                    f"output: {settings.output} holds {name}, which no preparation has written; choose another output"
                )
        write_atomically(filesystem, path, (json.dumps(wanted, indent=2) + "\n").encode())
        return
    with filesystem.open_input_stream(path) as file:
        found = _begun_with(file.read(), settings.output)
    if found.get("prior") != wanted["prior"]:
        done = "with" if found.get("prior") else "without"
        raise ManifestError(
            f"split: {settings.output} was prepared {done} the prior's judgement; go on so, or choose another output"
        )
    for name, value in wanted.items():
        if found.get(name) != value:
            raise ManifestError(
                f"{name}: {settings.output} was prepared with {found.get(name)}, not {value}; give the same, or "
                "choose another output"
            )


def write_part(output: str, key: str, rows: list[dict[str, object]]) -> None:
    """The rows of a part, once its shards are written; missing values are null."""
    filesystem, root = open_uri(output)
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(rows, schema=ROWS), sink)
    write_atomically(filesystem, f"{root}/{PARTS}/{key}.parquet", sink.getvalue().to_pybytes())


def done_parts(output: str) -> list[str]:
    """Paths of the parts that are done, sorted."""
    filesystem, root = open_uri(output)
    files = filesystem.get_file_info(fs.FileSelector(f"{root}/{PARTS}", allow_not_found=True))
    return sorted(file.path for file in files if file.path.endswith(".parquet"))


def known_files(output: str, parts: list[str]) -> dict[str, Known]:
    """The newest that parts know of each file, by path."""
    columns = ["path", "version", "revision", "again"]
    newest = _newest(_read_parts(output, parts, [*columns, "refused", "shard"]))
    return {
        path: Known(version, revision, again)
        for batch in newest.to_batches(max_chunksize=10_000)
        for path, version, revision, again in zip(*(batch[name].to_pylist() for name in columns), strict=True)
    }


def finish(settings: PrepareSettings) -> Totals:
    """All parts in one manifest, duplicates marked, divided where that is asked for.

    Raises:
        OSError: the output cannot be read or written.
    """
    table = _newest(_read_parts(settings.output, done_parts(settings.output), ROWS.names)).drop_columns(
        ["again", "revision"]
    )
    unread = pc.sum(pc.starts_with(table["refused"], UNREAD)).as_py() or 0
    table, exact, similar = _with_duplicates(table, settings.similar_bits)
    table = table.append_column("group", _groups(table, settings))
    _write(settings.output, table)
    kept = pc.sum(pc.equal(table["refused"], "")).as_py() or 0
    counts = dict[str, int]()
    if settings.split != "none":
        for group in (DARK, WELL_LIT):
            chosen = table.filter(pc.equal(table["group"], group))  # refused files are in none
            _write(f"{settings.output.rstrip('/')}/{group}", chosen.set_column(*_shards_above(chosen)))
            counts[group] = chosen.num_rows
        counts[NEITHER] = kept - sum(counts.values())
    return Totals(kept, table.num_rows - kept, unread, exact, similar, counts, str(_left_out(table)))


def read_places(uri: str) -> tuple[tuple[str, ...], dict[str, str]] | None:
    """The photos of a prepared set as paths for `shards.read`, by name, duplicates left out; and the refused ones with
    their reason. None where nothing was prepared.

    Raises:
        ManifestError: a preparation that was not finished; a manifest that is damaged, or names what is not its own.
        OSError: it cannot be read.
    """
    filesystem, root = open_uri(uri)
    found = filesystem.get_file_info([f"{root}/{MANIFEST}", f"{root}/{SETTINGS}"])
    manifest, begun = (each.type == fs.FileType.File for each in found)
    if begun and not manifest:
        raise ManifestError(f"{uri} was not prepared to the end; run pipelines/prepare.py again")
    if not manifest:
        return None
    kinds = [ROWS.field(name) for name in ("path", "refused", "shard", "offset", "length")]
    table = _read(filesystem, f"{root}/{MANIFEST}", pa.schema([*kinds, pa.field("duplicate_of", pa.string())]))
    good = table.filter(pc.and_(pc.equal(table["refused"], ""), pc.is_null(table["duplicate_of"])))
    shard_paths = {name: _shard_path(filesystem, root, name, uri) for name in pc.unique(good["shard"]).to_pylist()}
    places = list[str]()
    for batch in good.to_batches(max_chunksize=10_000):  # ten million rows as Python's numbers and texts are 4 GB
        columns = [batch[name].to_pylist() for name in ("shard", "offset", "length", "path")]
        for shard, offset, length, name in zip(*columns, strict=True):
            if offset is None or length is None or min(offset, length) < 0 or not name or leads_out(name):
                raise ManifestError(f"{uri}: its manifest has no usable place for {str(name)[:200]!r}; prepare it anew")
            places.append(shards.place(shard_paths[shard], offset, length, name))
    bad = table.filter(pc.not_equal(table["refused"], ""))
    return tuple(places), dict(zip(bad["path"].to_pylist(), bad["refused"].to_pylist(), strict=True))


def home_of(uri: str) -> str:
    """The folder that the photos of a URI lie in: itself or, for a group of a prepared set, that set."""
    root = posixpath.normpath(open_uri(uri)[1])
    above, last = posixpath.split(root)
    return above if last in (DARK, WELL_LIT) and is_prepared(uri) else root


def is_prepared(uri: str) -> bool:
    """Whether a folder or prefix is a prepared set, or a group of one."""
    filesystem, root = open_uri(uri)
    return bool(filesystem.get_file_info(f"{root}/{MANIFEST}").type == fs.FileType.File)


def _shard_path(filesystem: fs.FileSystem, root: str, name: str | None, uri: str) -> str:
    """Where a shard lies: below the set or, for one of its groups, below the set that the group is a part of."""
    whole = posixpath.normpath(root)
    above, last = posixpath.split(whole)
    own = SHARD_NAME.fullmatch(name or "")
    if not own or (own[1] and last not in (DARK, WELL_LIT)):
        raise ManifestError(f"{uri}: its manifest names {str(name)[:200]!r}, no shard of its own; prepare it anew")
    try:
        return inside(filesystem, above if own[1] else whole, own[2])
    except StorageError as error:
        raise ManifestError(f"{uri}: its manifest names {name!r}: {error}") from error


def _begun_with(data: bytes, output: str) -> dict[str, object]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ManifestError(f"output: {output}/{SETTINGS} is damaged; choose another output")
    return found


def _read_parts(output: str, parts: list[str], columns: list[str]) -> pa.Table:
    filesystem, _ = open_uri(output)
    schema = pa.schema([ROWS.field(name) for name in columns])
    with ThreadPoolExecutor(READERS) as pool:
        return pa.concat_tables([schema.empty_table(), *pool.map(lambda path: _read(filesystem, path, schema), parts)])


def _read(filesystem: fs.FileSystem, path: str, schema: pa.Schema) -> pa.Table:
    """The columns of a Parquet file, whatever lies in it.

    Raises:
        ManifestError: something else.
        OSError: it cannot be read.
    """
    try:
        with filesystem.open_input_file(path) as file:
            table = parquet.read_table(file, columns=schema.names).select(schema.names).cast(schema)
        table.validate(full=True)  # text that is none would be noticed only where it is used
        return table
    except StorageError:
        raise
    except (pa.ArrowException, LookupError, ValueError) as error:
        raise ManifestError(f"{path} cannot be understood ({said(error)}); prepare the set anew") from error


def _newest(table: pa.Table) -> pa.Table:
    """The last revision of each path, by path; once, should two runs at a time have prepared it twice."""
    order = pc.sort_indices(
        table,
        [("path", "ascending"), ("revision", "descending"), ("refused", "ascending"), ("shard", "ascending")],
    )
    paths = table["path"].take(order).combine_chunks()
    last = pc.not_equal(paths.slice(1), paths.slice(0, max(0, len(paths) - 1)))
    first = np.concatenate([np.ones(min(1, len(paths)), bool), last.to_numpy(zero_copy_only=False)])
    return table.take(order.filter(pa.array(first))).combine_chunks()  # one copy of the table, whatever was replaced


def _with_duplicates(table: pa.Table, bits: int) -> tuple[pa.Table, int, int]:
    """With `duplicate_of`, the path of the first picture that is the same, and how many are exact and similar."""
    kept = np.flatnonzero(pc.equal(table["refused"], "").to_numpy())
    rows = table.select(["sha256", "perceptual", "mean"]).take(pa.array(kept))
    first = first_equal(pc.dictionary_encode(rows["sha256"]).combine_chunks().indices.to_numpy())
    own = np.flatnonzero(first == np.arange(len(kept)))
    exact, similar = len(kept) - len(own), 0
    if bits:
        singles = rows.take(pa.array(own))
        found = first_similar(singles["perceptual"].to_numpy(), singles["mean"].to_numpy(), bits)
        similar = int((found != np.arange(len(own))).sum())
        renamed = np.arange(len(kept))
        renamed[own] = own[found]
        first = renamed[first]
    original = np.full(table.num_rows, -1)
    original[kept[first != np.arange(len(kept))]] = kept[first[first != np.arange(len(kept))]]
    paths = table["path"].combine_chunks().take(pa.array(original, mask=original < 0))
    return table.append_column("duplicate_of", paths), exact, similar


def _left_out(table: pa.Table) -> LeftOut:
    """The files that are no photos, by kind."""
    left_out = LeftOut()
    refused = table.filter(pc.not_equal(table["refused"], ""))
    for path, reason in zip(refused["path"].to_pylist(), refused["refused"].to_pylist(), strict=True):
        if reason.startswith(NOT_READABLE):
            left_out.unreadable(path, reason[len(NOT_READABLE) + 2 : -1])
        elif kind := not_a_photo(path):
            left_out.add(kind)
    return left_out


def _groups(table: pa.Table, settings: PrepareSettings) -> pa.Array:
    """`dark`, `well_lit` or `neither`; null for refused files, and everywhere unless that was asked for."""
    if settings.split == "none":
        return pa.nulls(table.num_rows, pa.string())
    score = table["mean" if settings.split == "statistics" else "p_well_lit"].combine_chunks()
    well_lit = pc.and_(
        pc.greater_equal(score, settings.well_lit_from),
        pc.less_equal(table["over_exposed"].combine_chunks(), settings.max_over_exposed),
    )
    group = pc.if_else(pc.less(score, settings.dark_below), DARK, pc.if_else(well_lit, WELL_LIT, NEITHER))
    return pc.if_else(pc.equal(table["refused"].combine_chunks(), ""), group, pa.scalar(None, pa.string()))


def _shards_above(table: pa.Table) -> tuple[int, str, pa.Array]:
    """The column `shard` as seen from a folder below."""
    return table.schema.get_field_index("shard"), "shard", pc.binary_join_element_wise("..", table["shard"], "/")


def _write(uri: str, table: pa.Table) -> None:
    filesystem, root = open_uri(uri)
    sink = pa.BufferOutputStream()
    parquet.write_table(table.combine_chunks(), sink)
    write_atomically(filesystem, f"{root}/{MANIFEST}", sink.getvalue().to_pybytes())
