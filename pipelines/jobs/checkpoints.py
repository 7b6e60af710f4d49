"""The checkpoints of a run, in a folder or an object store: stored behind the training's back, pruned, found again.

A checkpoint is a folder `step_00001200`, or `step_00001200_round_1` where the enhancement of a round ended. Kept are
the newest ones and the last of each round; each holds the best enhancer so far.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from cluster.storage import StorageError, explain, fitting, open_uri, write_atomically
from lle.training import state as states
from lle.training.loop import Report
from lle.training.state import STATE, TENSORS, Snapshot, StateError

ATTEMPTS = 3
PAUSE_SECONDS = 2.0  # before the second attempt; then twice as long each time
NAME = re.compile(r"step_(\d{8})(_round_\d+)?")


@dataclass(frozen=True, order=True)
class Stored:
    """A checkpoint that lies somewhere; ordered by its step."""

    step: int
    ends_round: bool
    path: str


class Checkpoints:
    """The checkpoints of one run.

    Args:
        uri: folder or prefix of the run's checkpoints.
        keep: newest ones kept.
        tell: told what goes wrong, one sentence each.
        aside: folder of this machine for what the store does not take.
    """

    def __init__(
        self, uri: str, keep: int = 1, tell: Callable[[str], None] = lambda line: None, aside: Path | None = None
    ) -> None:
        self.uri, self.keep, self._tell = uri, keep, tell
        self._filesystem, self._root = open_uri(uri)
        self._aside = aside or _cache() / "lle" / "checkpoints" / fitting(self._root.replace("/", "_"))
        self._thread = ThreadPoolExecutor(1)

    def save(self, report: Report) -> None:
        """Write a report's checkpoint; it is sent on from a thread while training goes on.

        Args:
            report: one with `write`.
        """
        assert report.write is not None
        local = Path(tempfile.mkdtemp(prefix="lle-checkpoint-"))
        round_ = f"_round_{report.ended_round}" if report.ended_round else ""
        folder = local / f"step_{report.step:08d}{round_}"
        report.write(folder)
        self._thread.submit(self._store, folder)

    def flush(self) -> None:
        """Wait until all that was saved lies in the store, or aside."""
        self._thread.shutdown(wait=True)
        self._thread = ThreadPoolExecutor(1)

    def found(self) -> list[Stored]:
        """What there is, oldest first.

        Raises:
            StorageError: the store cannot be listed.
        """
        return sorted([*_listed(self._filesystem, self._root, self.uri), *self._kept_aside()])

    def newest(self) -> Snapshot | None:
        """The newest checkpoint that is whole; None where there is none at all.

        Raises:
            StateError: there are some, and all are damaged.
            StorageError: the store cannot be read.
        """
        path = self.newest_path()
        return self.read(path) if path else None

    def newest_path(self) -> str:
        """Where `newest` lies; empty where there is none at all. Raises what `newest` raises."""
        found = self.found()
        for each in reversed(found):
            try:
                self.read(each.path)
                return each.path
            except StateError as error:
                self._tell(f"{error}; taking the checkpoint before it")
        if found:
            raise StateError(
                f"{self.uri}: none of its {len(found)} checkpoints is whole; train anew under another name"
            )
        return ""

    def read(self, path: str) -> Snapshot:
        """One checkpoint, by the path that `found` gave.

        Raises:
            StateError: it is damaged.
            StorageError: the store cannot be read.
        """
        filesystem = fs.LocalFileSystem() if path.startswith(str(self._aside)) else self._filesystem
        with tempfile.TemporaryDirectory() as local:
            for name in (TENSORS, STATE):
                try:
                    with filesystem.open_input_stream(f"{path}/{name}") as stream:
                        Path(local, name).write_bytes(stream.read())
                except FileNotFoundError:
                    raise StateError(f"{path}: no checkpoint ({name} is missing)") from None
                except OSError as error:
                    raise StorageError(f"{path} cannot be read: {explain(error)}") from error
            try:
                return states.read(Path(local))
            except StateError as error:
                raise StateError(str(error).replace(local, path)) from error

    def _store(self, folder: Path) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                for name in (TENSORS, STATE):  # the state last: without it there is no checkpoint
                    write_atomically(
                        self._filesystem, f"{self._root}/{folder.name}/{name}", (folder / name).read_bytes()
                    )
                self._prune()
                break
            except OSError as error:
                if attempt < ATTEMPTS:
                    time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
                    continue
                kept = self._keep_aside(folder)
                self._tell(f"the checkpoint {folder.name} did not reach its store ({error}); it is kept in {kept}")
        shutil.rmtree(folder.parent, ignore_errors=True)

    def _keep_aside(self, folder: Path) -> Path:
        self._aside.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = self._aside / folder.name
        shutil.rmtree(kept, ignore_errors=True)
        shutil.move(folder, kept)
        return kept

    def _kept_aside(self) -> list[Stored]:
        return _listed(fs.LocalFileSystem(), str(self._aside), str(self._aside))

    def _prune(self) -> None:
        found = _listed(self._filesystem, self._root, self.uri)
        for each in found[: -self.keep]:
            if not each.ends_round:
                self._filesystem.delete_dir(each.path)
        for old in self._kept_aside():
            shutil.rmtree(old.path, ignore_errors=True)  # a newer one has arrived


def _cache() -> Path:
    """The user's folder for such; where there is no home, one among the temporary files."""
    home = os.path.expanduser("~")  # noqa: PTH111  # Path.home raises where nobody has one
    return Path(home) / ".cache" if home.startswith("/") else Path(tempfile.gettempdir()) / f"lle-{os.getuid()}"


def _listed(filesystem: fs.FileSystem, root: str, uri: str) -> list[Stored]:
    try:
        entries = filesystem.get_file_info(fs.FileSelector(root, allow_not_found=True))
    except OSError as error:
        raise StorageError(f"{uri} cannot be listed: {explain(error)}") from error
    named = [(NAME.fullmatch(entry.base_name), entry.path) for entry in entries if not entry.is_file]
    return sorted(Stored(int(name[1]), bool(name[2]), path) for name, path in named if name)
