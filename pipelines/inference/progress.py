"""What has been enhanced: a table in the output that a run reads first and writes last.

`report.csv` has a row for every photo. While a run goes on, its rows lie in `report.parts/`, so that a run that is
killed loses the notes of a few seconds, and does those photos again. People open such tables, and save them as their
programs do: what cannot be read any more counts as not done, and is kept beside the new table.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from cluster.storage import failing_as, list_files, open_files, write_atomically

REPORT, PARTS, UNREAD = "report.csv", "report.parts", "report.csv.unread"
DELIMITERS = ",;\t"  # ours, and those of spreadsheet programs
SECONDS_BETWEEN_PARTS = 20.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One photo.

    Attributes:
        photo: its path below the input.
        version: of its content, as listed.
        recipe: what it was enhanced with: model and kind of file.
        result: path of the enhanced photo below the output.
        width, height: px; 0 where it failed.
        failed: why there is no result; empty where there is one.
        note: what of the photo its result does not hold, such as alpha; empty where it holds all.
    """

    photo: str
    version: str
    recipe: str
    result: str
    width: int = 0
    height: int = 0
    failed: str = ""
    note: str = ""


class Done:
    """The notes of an output.

    Args:
        uri: the output; need not exist yet.

    Attributes:
        unreadable: rows of the table that make no sense; `write_report` keeps a table that has such as UNREAD.

    Raises:
        StorageError: it cannot be listed or read.
    """

    def __init__(self, uri: str) -> None:
        self._filesystem, self._root = open_files(uri)
        self.unreadable = 0
        self._noted: list[Entry] = []
        self._unread = b""
        self._written = time.monotonic()
        self._parts, results = list[str](), set[str]()
        reports = []
        for file in list_files(uri):
            name = file.path[len(self._root) + 1 :]
            if name == REPORT:
                reports = [file.path]
            elif name.startswith(f"{PARTS}/") and name.removeprefix(f"{PARTS}/").removesuffix(".csv").isdecimal():
                self._parts.append(file.path)
            else:
                results.add(name)
        self._foreign = results if not reports and not self._parts else set[str]()
        noted = dict[str, Entry]()
        for path in reports + self._parts:
            data, before = self._content(path), self.unreadable
            for entry in _rows(data):
                if entry is None or (entry.result not in results and not _is_text(entry.result)):
                    self.unreadable += 1
                else:
                    noted[entry.photo] = entry
            if path in reports and self.unreadable > before:
                self._unread = data
        self._entries = {photo: entry for photo, entry in noted.items() if entry.result in results and not entry.failed}

    def has(self, wanted: Entry) -> bool:
        """Whether this very content was enhanced by this very recipe, and the result is still there."""
        known = self._entries.get(wanted.photo)
        return known is not None and (known.version, known.recipe, known.result) == (
            wanted.version,
            wanted.recipe,
            wanted.result,
        )

    def is_foreign(self, result: str) -> bool:
        """Whether something lies there that no enhancement has written: the output has no notes of any."""
        return result in self._foreign

    def note(self, entry: Entry) -> None:
        """Remember what became of a photo.

        Raises:
            StorageError: the output cannot be written.
        """
        self._entries[entry.photo] = entry
        self._noted.append(entry)
        if time.monotonic() > self._written + SECONDS_BETWEEN_PARTS:
            self._parts.append(f"{self._root}/{PARTS}/{time.time_ns()}.csv")
            write_atomically(self._filesystem, self._parts[-1], _table(self._noted))
            self._noted, self._written = [], time.monotonic()

    def write_report(self) -> None:
        """Write down all that is known; what lay in parts is in it.

        Raises:
            StorageError: the output cannot be written.
        """
        if self._unread:
            write_atomically(self._filesystem, f"{self._root}/{UNREAD}", self._unread)
            self._unread = b""
        entries = (self._entries[photo] for photo in sorted(self._entries))
        write_atomically(self._filesystem, f"{self._root}/{REPORT}", _table(entries))
        with failing_as(f"{self._root}/{PARTS} cannot be removed"):
            for path in self._parts:
                with suppress(FileNotFoundError):
                    self._filesystem.delete_file(path)
            if self._parts and self._filesystem.type_name == "local":
                with suppress(OSError):  # somebody else has put something there
                    Path(self._root, PARTS).rmdir()
        self._parts = []

    def _content(self, path: str) -> bytes:
        with failing_as(f"{path} cannot be read"), self._filesystem.open_input_stream(path) as stream:
            return bytes(stream.read())


def _rows(data: bytes) -> Iterator[Entry | None]:
    """The entries of a table, None for each row that makes none; blank rows are none."""
    text = data.decode("utf-8-sig", "surrogateescape")
    header: list[str] = []
    for row in _cells(text, _delimiter(text)):
        if not any(cell.strip() for cell in row):
            continue
        if set(row) >= {field.name for field in fields(Entry)} - {"note"}:  # which earlier versions did not have
            header = row
        else:
            yield _entry(header, row)


def _delimiter(text: str) -> str:
    """The one that stands in the first line most often."""
    first = text.lstrip("\r\n").splitlines()[:1]
    return max(DELIMITERS, key=first[0].count) if first else ","


def _cells(text: str, delimiter: str) -> Iterator[list[str]]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error:  # such as a quote that nothing ends
            yield ["?"]


def _entry(header: list[str], row: list[str]) -> Entry | None:
    if not header or len(row) != len(header):
        return None
    cells = {"note": ""} | dict(zip(header, row, strict=True))
    said: dict[str, Any] = {field.name: cells[field.name] for field in fields(Entry)}
    try:
        return Entry(**(said | {name: int(said[name]) for name in ("width", "height")}))
    except ValueError:
        return None


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8, as all are but those of old file systems."""
    return name.encode("utf-8", "replace").decode() == name


def _table(entries: Iterable[Entry]) -> bytes:
    lines = _Lines()
    writer = csv.DictWriter(lines, [field.name for field in fields(Entry)])
    writer.writeheader()
    for entry in entries:
        writer.writerow(asdict(entry) | {"failed": entry.failed.encode("utf-8", "replace").decode()})
    return "".join(lines).encode("utf-8", "surrogateescape")


class _Lines(list[str]):
    """Ends rows with \\n, which the csv module allows only if names that hold \\r are left without quotes."""

    def write(self, row: str) -> None:
        self.append(row.removesuffix("\r\n") + "\n")
