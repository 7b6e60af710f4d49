"""What has been enhanced: a table in the output that a run reads first and writes last.

`report.csv` has a row for every photo. While a run goes on, its rows lie in `report.parts/`, so that a run that is
killed loses the notes of a few seconds, and does those photos again.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

from pyarrow import fs

from cluster.storage import failing_as, list_files, open_uri, write_atomically

REPORT, PARTS = "report.csv", "report.parts"
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

    Raises:
        StorageError: it cannot be listed or read.
    """

    def __init__(self, uri: str) -> None:
        self._filesystem, self._root = open_uri(uri)
        self._noted: list[Entry] = []
        self._written = time.monotonic()
        self._parts, results = list[str](), set[str]()
        reports = []
        for file in list_files(uri):
            name = file.path[len(self._root) + 1 :]
            if name == REPORT:
                reports = [file.path]
            elif name.startswith(f"{PARTS}/") and name.endswith(".csv"):
                self._parts.append(file.path)
            else:
                results.add(name)
        self._foreign = results if not reports and not self._parts else set[str]()
        noted = {entry.photo: entry for path in reports + self._parts for entry in self._read(path)}
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
        entries = (self._entries[photo] for photo in sorted(self._entries))
        write_atomically(self._filesystem, f"{self._root}/{REPORT}", _table(entries))
        with failing_as(f"{self._root}/{PARTS} cannot be removed"):
            for path in self._parts:
                self._filesystem.delete_file(path)
            if self._parts and isinstance(self._filesystem, fs.LocalFileSystem):
                self._filesystem.delete_dir(f"{self._root}/{PARTS}")
        self._parts = []

    def _read(self, path: str) -> Iterable[Entry]:
        with failing_as(f"{path} cannot be read"), self._filesystem.open_input_stream(path) as stream:
            text = bytes(stream.read()).decode()
        for row in csv.DictReader(io.StringIO(text, newline="")):
            row.setdefault("note", "")  # reports of earlier versions have none
            if row.keys() == {field.name for field in fields(Entry)}:
                width, height = int(row.pop("width")), int(row.pop("height"))
                yield Entry(**row, width=width, height=height)


def _table(entries: Iterable[Entry]) -> bytes:
    table = io.StringIO()
    writer = csv.DictWriter(table, [field.name for field in fields(Entry)], lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(asdict(entry) for entry in entries)
    return table.getvalue().encode()
