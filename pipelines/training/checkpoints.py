"""The checkpoints of a run, in a folder or an object store: stored behind the training's back, pruned, found again.

A checkpoint is a folder `step_00001200`, or `step_00001200_round_1` where the enhancement of a round ended. Kept are
the newest ones and the last of each round; each holds the best enhancer so far.

    run.json          which run it is: written when it begins, in a place that must hold nothing else

A checkpoint that lies elsewhere, in the user's cache, is one of this run only if it lies under the same mark.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from pyarrow import fs

from cluster.storage import StorageError, explain, open_uri, s3_endpoint, write_atomically
from lle.training import checkpoint as checkpoint_files
from lle.training.checkpoint import STATE, TENSORS, Checkpoint, CheckpointError
from lle.training.hooks import Report
from pipelines.job import UserError

MARK = "run.json"
ATTEMPTS = 3
PAUSE_SECONDS = 2.0  # before the second attempt; then twice as long each time
NAME = re.compile(r"step_(\d{8})(_round_\d+)?")


@dataclass(frozen=True)
class Mark:
    """What tells a run from others, also from those of the same name.

    Attributes:
        name: of the run.
        id: drawn when it began; empty for runs that began before there were marks.
        began: when, UTC.
    """

    name: str
    id: str = ""
    began: str = ""


class TakenError(UserError):
    """Something lies where a new run's checkpoints should go; the message says what, and the ways on."""


@dataclass(frozen=True, order=True)
class Stored:
    """A checkpoint that lies somewhere; ordered by its step."""

    step: int
    ends_round: bool
    path: str


def begin(uri: str, name: str) -> Mark:
    """Mark the place of a new run's checkpoints as its own.

    Raises:
        TakenError: it is not empty.
        StorageError: it cannot be listed or written.
    """
    filesystem, root = open_uri(uri)
    if any(not entry.base_name.startswith(".") for entry in _entries(filesystem, root, uri)):  # such as a lease
        known = mark_of(uri)
        if known or _listed(filesystem, root, uri):
            whose = f"the run {known.name}, which began on {known.began}" if known else f"an earlier run {name}"
            raise TakenError(f"{uri} holds {whose}; choose another --name, or continue it with --resume")
        raise TakenError(f"{uri} holds other files; choose another --name, or another place with --checkpoints")
    mark = Mark(name, secrets.token_hex(8), datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))
    write_atomically(filesystem, f"{root}/{MARK}", (json.dumps(asdict(mark)) + "\n").encode())
    return mark


def forget(uri: str) -> None:
    """Empty a place that was marked in this very job, where nothing came of the run.

    Raises:
        StorageError: it cannot be emptied.
    """
    filesystem, root = open_uri(uri)
    try:
        if _entries(filesystem, root, uri):
            filesystem.delete_dir(root)
    except OSError as error:
        raise StorageError(f"{uri} cannot be emptied: {explain(error)}") from error


def mark_of(uri: str) -> Mark | None:
    """The mark of the run whose checkpoints lie there; None where there is none.

    Raises:
        StorageError: it cannot be read.
    """
    filesystem, root = open_uri(uri)
    try:
        with filesystem.open_input_stream(f"{root}/{MARK}") as stream:
            return Mark(**{name: str(value)[:200] for name, value in json.loads(stream.read(10_000)).items()})
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{uri}/{MARK} cannot be read: {explain(error)}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise StorageError(f"{uri}/{MARK} is not as a run has written it; begin another run") from error


class Checkpoints:
    """The checkpoints of one run.

    Args:
        uri: folder or prefix of the run's checkpoints.
        keep: newest ones kept.
        tell: told what goes wrong, one sentence each.
        aside: folder of this machine for what the store does not take; its own one in the user's cache if None.
        run: id of the run's mark.
    """

    def __init__(
        self,
        uri: str,
        keep: int = 1,
        tell: Callable[[str], None] = lambda line: None,
        aside: Path | None = None,
        run: str = "",
    ) -> None:
        self.uri, self.keep, self._tell, self._run = uri, keep, tell, run
        self._filesystem, self._root = open_uri(uri)
        self._aside = aside or _cache() / self._key()
        self._thread = ThreadPoolExecutor(1)

    @classmethod
    def of_run(cls, uri: str, keep: int = 1, tell: Callable[[str], None] = lambda line: None) -> Checkpoints:
        """Those of the run whose mark lies there.

        Raises:
            StorageError: the mark cannot be read.
        """
        mark = mark_of(uri)
        return cls(uri, keep, tell, run=mark.id if mark else "")

    def save(self, report: Report) -> None:
        """Write a report's checkpoint; it is sent on from a thread while training goes on.

        One that cannot be written at all is told, and training goes on.

        Args:
            report: one with `write`.
        """
        assert report.write is not None
        round_ = f"_round_{report.ended_round}" if report.ended_round else ""
        name = f"step_{report.step:08d}{round_}"
        local: Path | None = None
        try:
            local = Path(tempfile.mkdtemp(prefix=self._temporary))
            report.write(local / name)
        except Exception as error:  # safetensors has errors of its own for a full disk
            _remove(local)
            self._tell_loss(name, f"not written to {tempfile.gettempdir()}: {_reason(error)}")
            return
        except BaseException:
            _remove(local)
            raise
        self._thread.submit(self._store, local / name)

    def flush(self) -> None:
        """Wait until all that was saved lies in the store, or aside."""
        self._thread.shutdown(wait=True)
        self._thread = ThreadPoolExecutor(1)

    def clear(self) -> None:
        """Remove what a killed process of this run has left of checkpoints under way on this machine."""
        if self._run:
            for left in Path(tempfile.gettempdir()).glob(f"{self._temporary}*"):
                _remove(left)

    def found(self) -> list[Stored]:
        """What there is, oldest first.

        Raises:
            StorageError: the store cannot be listed.
        """
        return sorted([*_listed(self._filesystem, self._root, self.uri), *self._kept_aside()])

    def newest(self) -> Checkpoint | None:
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
            except CheckpointError as error:
                self._tell(f"{error}; taking the checkpoint before it")
        if found:
            raise CheckpointError(
                f"{self.uri}: none of its {len(found)} checkpoints is whole; train anew under another name"
            )
        return ""

    def read(self, path: str) -> Checkpoint:
        """One checkpoint, by the path that `found` gave.

        Raises:
            StateError: it is damaged.
            StorageError: the store cannot be read.
        """
        is_aside = Path(path).parent == self._aside
        filesystem = fs.LocalFileSystem() if is_aside else self._filesystem
        with tempfile.TemporaryDirectory(prefix=self._temporary) as local:
            for name in (TENSORS, STATE):
                try:
                    with filesystem.open_input_stream(f"{path}/{name}") as stream:
                        Path(local, name).write_bytes(stream.read())
                except FileNotFoundError:
                    raise CheckpointError(f"{path}: no checkpoint ({name} is missing)") from None
                except OSError as error:
                    raise StorageError(f"{path} cannot be read: {explain(error)}") from error
            try:
                return checkpoint_files.read(Path(local))
            except CheckpointError as error:
                raise CheckpointError(str(error).replace(local, path)) from error

    @property
    def _temporary(self) -> str:
        """What the names of this run's folders for files under way begin with."""
        return f"lle-checkpoint-{self._run}-"

    def _key(self) -> str:
        """A name that no other run and no other store has, with the words that people know it by."""
        kind = self._filesystem.type_name
        place = f"{kind} {s3_endpoint() if kind == 's3' else ''} {self._root} {self._run}"
        words = re.sub(r"[^A-Za-z0-9._-]+", "-", self._root)[-60:].strip("-")
        return f"{words}-{sha256(place.encode()).hexdigest()[:16]}"

    def _store(self, folder: Path) -> None:
        try:
            failure = self._attempt(folder)
            if failure is None:
                self._prune()
                return
            try:
                kept = self._keep_aside(folder)
            except Exception as error:
                self._tell_loss(folder.name, f"not taken by {self.uri}: {failure}; nor by the cache: {_reason(error)}")
                return
            self._tell(
                f"the checkpoint {folder.name} did not reach its store ({failure}); it is kept in {kept} "
                f"on {socket.gethostname()}"
            )
        except Exception as error:  # nobody waits for this thread
            self._tell_loss(folder.name, _reason(error))
        finally:
            _remove(folder.parent)

    def _attempt(self, folder: Path) -> Exception | None:
        """Store a checkpoint; what was wrong the last time, if it could not be."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                for name in (TENSORS, STATE):  # the state last: without it there is no checkpoint
                    write_atomically(
                        self._filesystem, f"{self._root}/{folder.name}/{name}", (folder / name).read_bytes()
                    )
                return None
            except Exception as error:
                if attempt == ATTEMPTS:
                    return error
                time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        return None

    def _tell_loss(self, name: str, reason: str) -> None:
        step = int(name[len("step_") :][:8])
        self._tell(
            f"WARNING: the checkpoint of step {step} is LOST: {reason}; make room. Training goes on, and the next "
            "checkpoint will be tried"
        )

    def _keep_aside(self, folder: Path) -> Path:
        self._aside.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = self._aside / folder.name
        try:
            shutil.copytree(folder, kept, dirs_exist_ok=True)
        except BaseException:
            _remove(kept)  # half of one
            with suppress(OSError):
                self._aside.rmdir()
            raise
        return kept

    def _kept_aside(self) -> list[Stored]:
        return _listed(fs.LocalFileSystem(), str(self._aside), str(self._aside))

    def _prune(self) -> None:
        """Remove this run's checkpoints that newer ones have replaced; what cannot be removed does no harm."""
        try:
            found = _listed(self._filesystem, self._root, self.uri)
            for each in found[: -self.keep]:
                if not each.ends_round:
                    self._filesystem.delete_dir(each.path)
        except OSError as error:
            self._tell(f"old checkpoints in {self.uri} stay: {explain(error)}")
        for old in self._kept_aside():
            _remove(Path(old.path))  # a newer one has arrived


def _cache() -> Path:
    """The user's folder for such; where there is no home, one among the temporary files."""
    home = os.path.expanduser("~")  # noqa: PTH111  # Path.home raises where nobody has one
    cache = Path(home) / ".cache" / "lle" if home.startswith("/") else Path(tempfile.gettempdir(), f"lle-{os.getuid()}")
    return cache / "checkpoints"


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _reason(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error).strip()
    return (said or type(error).__name__).splitlines()[0][:200]


def _entries(filesystem: fs.FileSystem, root: str, uri: str) -> list[fs.FileInfo]:
    try:
        entries: list[fs.FileInfo] = filesystem.get_file_info(fs.FileSelector(root, allow_not_found=True))
    except OSError as error:
        raise StorageError(f"{uri} cannot be listed: {explain(error)}") from error
    return entries


def _listed(filesystem: fs.FileSystem, root: str, uri: str) -> list[Stored]:
    entries = _entries(filesystem, root, uri)
    named = [(NAME.fullmatch(entry.base_name), entry.path) for entry in entries if not entry.is_file]
    return sorted(Stored(int(name[1]), bool(name[2]), path) for name, path in named if name)
