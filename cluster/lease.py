"""One driver at a time in a place that jobs write to: a lease in that place itself, a folder or a bucket.

The lease is a small file, `.lease`, made by a request that only one of many can win. Its holder renews it every
BEAT_SECONDS and takes it away at the end. It may be taken over when its process on this machine is dead, or when nobody
has renewed it for TTL_SECONDS: by the clock of the store, so machines need not agree on the time. A holder that was
taken over meanwhile (a laptop that slept) notices within a second or so of waking up, and ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from cluster.local.processes import Process, start_time
from cluster.storage import LEASE, UNFINISHED, StorageError, failing_as, open_files, s3_client

TTL_SECONDS = 60.0
BEAT_SECONDS = 15.0
LOOK_SECONDS = 1.0
SETTLE_SECONDS = 2.0  # before looking who has got it, where the store does not see to it that one of two does
RELEASE_SECONDS = 10.0  # for a store that does not answer; the lease then ends by itself
TRIES = 20
MOST_BYTES = 10_000
UNMET = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "412", "409", "404")
UNKNOWN_CONDITION = ("NotImplemented", "501")


class LeaseError(StorageError):
    """Somebody else is at work in a place; the message says who, since when, and what to do."""


def end_at_once(reason: str) -> None:
    """Say why, and end this process without cleaning up: what there is to clean up belongs to somebody else now."""
    print(f"error: {reason}", file=sys.stderr, flush=True)
    os._exit(1)


@contextmanager
def held(*places: str, lost: Callable[[str], None] = end_at_once) -> Iterator[None]:
    """Be the only one who works in some places for the length of a block, which signals must end by an exception.

    Args:
        places: folders or URIs, made if missing; one that is named twice is held once. `gs://` cannot be held.
        lost: called from a thread, with a sentence, when somebody else has taken a place over.

    Raises:
        LeaseError: somebody else holds one.
        StorageError: a place cannot be read or written.
    """
    stores = {store.path: store for store in map(_store, places) if store}
    with ExitStack() as stack:
        for store in stores.values():
            stack.enter_context(_held(store, lost))
        yield


@dataclass(frozen=True)
class Holder:
    """Who holds a lease: what its file says.

    Attributes:
        token: no two leases have the same.
        user, host, process: for people.
        machine, started: that tell the process from others of its number; the start in clock ticks.
        since: for people, UTC.
    """

    token: str
    user: str
    host: str
    process: int
    machine: str
    started: int
    since: str

    @classmethod
    def here(cls) -> Holder:
        """This process, with a new token."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container's user without a name
            user = f"user {os.getuid()}"
        pid = os.getpid()
        now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        return cls(secrets.token_hex(16), user, socket.gethostname(), pid, _machine(), start_time(pid) or 0, now)

    @classmethod
    def of(cls, data: bytes) -> Holder:
        """What a lease says, whatever is in it."""
        try:
            found = json.loads(data)
            numbers = {name: int(found[name]) for name in ("process", "started")}
            said: dict[str, Any] = {each.name: _shown(found[each.name]) for each in fields(cls)}
            return cls(**(said | numbers))
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
            return cls("", "somebody", "a machine", 0, "", 0, "")

    @property
    def is_here(self) -> bool:
        """Whether its process is one of this machine, which can be asked for."""
        return bool(self.machine and self.started) and self.machine == _machine()

    @property
    def lives(self) -> bool:
        """Of a process of this machine: whether it is still there."""
        try:
            os.kill(self.process, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:  # another user's, whose state may be hidden
            return start_time(self.process) in (None, self.started)
        return Process("", self.process, self.started).runs()

    def __str__(self) -> str:
        return (
            f"process {self.process} of {self.user} on {self.host} since {self.since} UTC" if self.token else "somebody"
        )


@dataclass(frozen=True)
class _Found:
    """A lease as it was read; `modified`, and `now` where it is known, in seconds of the store's clock."""

    data: bytes
    modified: float
    now: float = 0.0
    etag: str = ""


class _Folder:
    """The lease of a folder."""

    def __init__(self, place: str, path: str) -> None:
        self.place, self.path, self.certain = place, os.path.realpath(path), True
        self._file, self._made = Path(self.path, LEASE), list[Path]()

    def read(self) -> _Found | None:
        with failing_as(f"{self.place} cannot be read"), suppress(FileNotFoundError), self._file.open("rb") as file:
            return _Found(file.read(MOST_BYTES), os.fstat(file.fileno()).st_mtime)
        return None

    def age(self, found: _Found) -> float:
        """Seconds since it was renewed, by the clock that gives files their times."""
        with self._aside(b"") as aside:
            return aside.stat().st_mtime - found.modified

    def create(self, data: bytes) -> bool:
        with failing_as(f"{self.place} cannot be written"):
            folder = self._file.parent
            self._made += [each for each in (folder, *folder.parents) if not each.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            try:
                with self._file.open("xb") as file:
                    file.write(data)
            except FileExistsError:
                return False
            return True

    def replace(self, data: bytes, found: _Found) -> bool:
        with self._aside(data) as aside, self._locked(found.data) as same:
            if same:
                aside.replace(self._file)
            return same

    def renew(self, data: bytes) -> bool:
        with self._locked(data) as same:
            if same:
                os.utime(self._file)
            return same

    def delete(self, data: bytes) -> None:
        with self._locked(data) as same:
            if same:
                self._file.unlink()
        for folder in self._made:
            with suppress(OSError):  # something was written there
                folder.rmdir()

    @contextmanager
    def _locked(self, data: bytes) -> Iterator[bool]:
        """Nobody else changes the lease meanwhile; gives whether it holds what is expected."""
        with failing_as(f"{self.place} cannot be written"):
            try:
                file = self._file.open("rb")
            except FileNotFoundError:
                yield False
                return
            with file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX)
                except OSError:  # a network file system without locks
                    self.certain = False
                found = self._file.stat() if self._file.exists() else None
                yield (
                    found is not None
                    and os.path.samestat(os.fstat(file.fileno()), found)
                    and file.read(MOST_BYTES) == data
                )

    @contextmanager
    def _aside(self, data: bytes) -> Iterator[Path]:
        aside = self._file.with_name(f"{LEASE}.{secrets.token_hex(4)}{UNFINISHED}")
        with failing_as(f"{self.place} cannot be written"):
            try:
                aside.write_bytes(data)
                yield aside
            finally:
                aside.unlink(missing_ok=True)


class _Bucket:
    """The lease of a prefix in S3. Servers that do not know conditions for putting (Swift: If-Match) get none.

    Having put it is never certain: Swift looks at a condition before it writes, so two at once may both meet it.
    """

    def __init__(self, place: str, path: str) -> None:
        self.place, self.path, self.certain = place, path, False
        bucket, _, key = path.partition("/")
        self._where = {"Bucket": bucket, "Key": f"{key}/{LEASE}".lstrip("/")}
        self._client, self._unknown = s3_client(), set[str]()

    def read(self) -> _Found | None:
        from botocore.exceptions import ClientError

        with failing_as(f"{self.place} cannot be read"):
            try:
                answer = self._client.get_object(**self._where)
            except ClientError as error:
                if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                    return None
                raise
            now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            modified = answer["LastModified"].timestamp()
            return _Found(answer["Body"].read(MOST_BYTES), modified, now.timestamp(), answer["ETag"])

    def age(self, found: _Found) -> float:
        """Seconds since it was renewed, by the server's clock."""
        return found.now - found.modified

    def create(self, data: bytes) -> bool:
        return self._put(data, IfNoneMatch="*")

    def replace(self, data: bytes, found: _Found) -> bool:
        return self._put(data, IfMatch=found.etag)

    def renew(self, data: bytes) -> bool:
        found = self.read()
        return found is not None and found.data == data and self._put(data, IfMatch=found.etag)

    def delete(self, data: bytes) -> None:
        found = self.read()
        if found and found.data == data:
            with failing_as(f"{self.place} cannot be written"):
                self._client.delete_object(**self._where)

    def _put(self, data: bytes, **condition: str) -> bool:
        """Whether the condition was met."""
        from botocore.exceptions import ClientError

        condition = {name: value for name, value in condition.items() if name not in self._unknown}
        with failing_as(f"{self.place} cannot be written"):
            try:
                self._client.put_object(**self._where, Body=data, ContentType="application/json", **condition)
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code in UNMET:
                    return False
                if code not in UNKNOWN_CONDITION or not condition:
                    raise
                self._unknown |= condition.keys()
                return self._put(data)
            return True


_Store = _Folder | _Bucket


def _store(place: str) -> _Store | None:
    filesystem, path = open_files(place)
    if filesystem.type_name == "local":
        return _Folder(place, path)
    return _Bucket(place, path) if filesystem.type_name == "s3" else None


@contextmanager
def _held(store: _Store, lost: Callable[[str], None]) -> Iterator[None]:
    data = json.dumps(asdict(Holder.here())).encode()
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(store, data, ended, lost), daemon=True, name="lease")
    try:
        _take(store, data)
        keeper.start()
    except StorageError:
        raise
    except BaseException:  # a signal
        with suppress(StorageError):
            store.delete(data)
        raise
    try:
        yield
    finally:
        ended.set()
        keeper.join(RELEASE_SECONDS)


def _take(store: _Store, data: bytes) -> None:
    """Get the lease.

    Raises:
        LeaseError: somebody has it who is alive.
        StorageError: the place cannot be read or written.
    """
    watched: float | None = None
    for _ in range(TRIES + round((TTL_SECONDS + BEAT_SECONDS) / LOOK_SECONDS)):
        found = store.read()
        if found is None:
            if store.create(data) and store.certain:
                return
        elif found.data == data:  # whatever was heard of the request for it
            return
        else:
            holder = Holder.of(found.data)
            moved = watched not in (None, found.modified)
            if moved or (holder.is_here and holder.lives):
                raise LeaseError(_refusal(store.place, holder))
            if not holder.is_here and (age := store.age(found)) < TTL_SECONDS:
                if watched is None:
                    print(
                        f"{store.place} is held by {holder}; seeing for {TTL_SECONDS - age:.0f} s at most whether that "
                        "still runs ...",
                        flush=True,
                    )
                watched = found.modified
                time.sleep(LOOK_SECONDS)
                continue
            if store.replace(data, found) and store.certain:
                return
        time.sleep(SETTLE_SECONDS)
    raise StorageError(f"{store.place}: its lease {LEASE} cannot be had, nobody knows why; remove it and try again")


def _keep(store: _Store, data: bytes, ended: threading.Event, lost: Callable[[str], None]) -> None:
    """Renew the lease until the end, and give it back; the body of a thread."""
    renewed = tried = _now()
    told = False
    while not ended.wait(LOOK_SECONDS):
        began = _now()
        if began - tried < BEAT_SECONDS:
            continue
        tried = began
        try:
            # Nobody can have taken it over yet: it was removed by hand.
            if store.renew(data) or (began - renewed < TTL_SECONDS and store.read() is None and store.create(data)):
                renewed, told = began, False
                continue
            found = store.read()
        except Exception as error:  # who would take it over needs the same store: going on is safe
            if not told and began - renewed > TTL_SECONDS:
                told = True
                print(f"the lease cannot be renewed, going on ({error})", file=sys.stderr, flush=True)
            continue
        if found and found.data == data:
            renewed = began
            continue
        lost(_loss(store.place, found))
        return
    with suppress(Exception):
        store.delete(data)


def _refusal(place: str, holder: Holder) -> str:
    end = f"or end it (kill {holder.process})" if holder.is_here else "or end it there"
    return f"{place} is in use by {holder}; wait until that has ended, {end}, or choose another place"


def _loss(place: str, found: _Found | None) -> str:
    by = f"by {Holder.of(found.data)}" if found else "and given back"
    return (
        f"{place} was taken over {by}, for this process was not heard of for {TTL_SECONDS:.0f} s or more; it ends here "
        "and writes nothing more"
    )


def _machine() -> str:
    """Of this start of this machine, and of the container that numbers its processes; empty where none can be known."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}"
    return ""


def _now() -> float:
    """Seconds that go on while the machine sleeps, where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _shown(text: Any) -> str:
    return "".join(each for each in str(text) if each.isprintable())[:100]
