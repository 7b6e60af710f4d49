"""One URI, one file system: folders, `file://`, `s3://` (any endpoint) and `gs://`, for pyarrow, boto3 and MLflow.

Keys are never read here: pyarrow and boto3 each find them in the usual AWS chain (environment, profile, instance), so
that no file system, client or message made here holds one.
"""

from __future__ import annotations

import contextlib
import hashlib
import mimetypes
import os
import posixpath
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from cluster.redaction import redacted

if TYPE_CHECKING:
    from pyarrow import fs  # imported where a place needs it: photos of this machine are enhanced without

CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 60.0  # without a byte from the server
ATTEMPTS = 5  # with growing pauses between them; AWS_MAX_ATTEMPTS sets another number
MORE_ATTEMPTS = 4  # of boto3, whose pauses double from 0.05 s; pyarrow's do from 1 s
ONE_REQUEST = 4 * 2**20  # bytes; more than that pyarrow sends in parts
PAGE = 1000  # keys per answer, the most that S3 allows
DEFAULT_REGION = "us-east-1"  # other servers than Amazon's ignore it, yet signatures need one
COPIED_AT_ONCE = 16 << 20  # bytes
READ_AT_ONCE = 1 << 20  # bytes; FFmpeg alone would ask for 32 KB at a time
UNFINISHED = ".unfinished"  # last part of the name of a file being written
LONGEST_NAME = 255  # bytes of one part of a path, on nearly every file system
SQLITE = "sqlite:///"
NOT_UTF8, DEAD_LINK, NO_FILE = "a name that is not UTF-8", "a link that leads nowhere", "no file"

# What systems and other programs keep beside people's files: bins, thumbnails, snapshots, halves of archives.
SYSTEM_FOLDERS = {
    "__macosx", "@eadir", "@__thumb", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin",
    "recycler", "lost+found", "system volume information",
}  # fmt: skip
LEASE = ".lease"  # the file that tells who works in a folder (cluster/lease.py)


class StorageError(OSError, ValueError):
    """Something at a URI cannot be used; the message says what to change, and holds no key."""


@dataclass(frozen=True)
class StoredFile:
    """A file or object as it was when listed."""

    path: str  # on its file system: an absolute path, or BUCKET/KEY
    size: int  # bytes
    version: str  # changes whenever the content does: the etag on S3, else modification time (ns) and size


def open_uri(uri: str) -> tuple[fs.FileSystem, str]:
    """The pyarrow file system of a folder or URI, and the path on it: the one place that says what a URI means.

    Args:
        uri: a local path, `file:///PATH`, `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`. In a local path `~` is the home
            folder and nothing else is special; in `file://` %XX stands for a byte, `?` and `#` for themselves; a key is
            taken as it stands. For S3 the endpoint comes from AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, the region from
            AWS_REGION or AWS_DEFAULT_REGION, certificates from AWS_CA_BUNDLE. Nothing is asked of the server yet.

    Raises:
        StorageError: an unknown scheme, no bucket, keys inside the URI, an endpoint that is none, a path that no file
            can have.
    """
    scheme, _, rest = uri.partition("://")
    if _is_of_this_machine(uri):
        path = local_path(uri)
        from pyarrow import fs

        return fs.LocalFileSystem(), path
    if scheme not in STORES:
        known = " or ".join(f"{each}://" for each in STORES)
        raise StorageError(f"{told(scheme)}://: unknown scheme; use a folder, file://, {known}")
    bucket, _, key = rest.partition("/")
    key = key.rstrip("/")
    if "@" in bucket or ":" in bucket:  # a secret key may hold the slash that ended the bucket
        raise StorageError(f"{scheme}://: keys do not belong into a URI; export AWS_ACCESS_KEY_ID and so on instead")
    if not bucket:
        raise StorageError(f"{told(uri)}: no bucket; write {scheme}://BUCKET/PREFIX")
    _refuse_odd(uri, f"{bucket}/{key}")
    if _is_odd_key(key):
        raise StorageError(
            f"{uri}: two slashes name another object than one; write one, or name the prefix in front of them"
        )
    return STORES[scheme](), f"{bucket}/{key}".rstrip("/")


class LocalFiles:
    """The file system of this machine as far as reading and writing whole files goes, as pyarrow's without pyarrow."""

    type_name = "local"

    def open_input_stream(self, path: str, compression: str | None = None) -> BinaryIO:
        return Path(path).open("rb")

    def delete_file(self, path: str) -> None:
        Path(path).unlink()


def open_files(uri: str) -> tuple[LocalFiles | fs.FileSystem, str]:
    """As `open_uri`, for whole files: a folder of this machine needs no pyarrow."""
    return (LocalFiles(), local_path(uri)) if _is_of_this_machine(uri) else open_uri(uri)


def from_anywhere(uri: str) -> str:
    """The same place, however far away another process's working directory is; of a relative path the absolute one.

    Raises:
        StorageError: as `open_uri`.
    """
    filesystem, path = open_files(uri)
    return path if filesystem.type_name == "local" else uri


def local_path(uri: str, setting: str = "") -> str:
    """The absolute path of a file or folder of this machine, given as a path or as `file:///PATH`; as in `open_uri`.

    Args:
        uri: the path; `~` and `~NAME` are home folders, where there are such.
        setting: what to call it in messages.

    Raises:
        StorageError: it names another kind of place, or no file can have this path.
    """
    said = f"{setting}: {told(uri)}" if setting else told(uri)
    _refuse_odd(said, uri)
    scheme, separator, _ = uri.partition("://")
    if uri.startswith("file:"):
        found = re.match("file:(?://(?:localhost)?)?(?=/)(?!//[^/])(.*)", uri, re.DOTALL)
        if not found:
            raise StorageError(f"{said}: write file:/// and the absolute path, with three slashes")
        path = unquote(found[1], errors="surrogateescape")
        _refuse_odd(said, path)
    elif separator and "/" not in scheme:
        raise StorageError(f"{said} lies on no file system of this machine; name a folder or file")
    else:
        path = os.path.expanduser(uri)  # noqa: PTH111  # as Path.expanduser, without an error where nobody has a home
    try:
        return re.sub("^//+", "/", str(Path(path).absolute()))  # POSIX leaves open what two slashes mean
    except FileNotFoundError as error:
        raise StorageError(f"{said}: the working directory is gone; change to another, or give a whole path") from error


def sqlite_uri(path: str) -> str:
    """SQLAlchemy's URI of a data base file, whose path it decodes and cuts at the `?`."""
    return SQLITE + path.replace("%", "%25").replace("?", "%3F")


def sqlite_path(uri: str) -> str:
    """The absolute path of the data base that a URI of SQLite names; empty for other URIs."""
    if not uri.startswith(SQLITE):
        return ""
    return local_path(unquote(uri.removeprefix(SQLITE).partition("?")[0]))


def place(uri: str) -> str:
    """A folder or prefix as one text with a slash at its end, the same however it was written: links are followed.

    `place(a).startswith(place(b))` says that a is b or lies in it.
    """
    filesystem, path = open_files(uri)
    return (
        f"{filesystem.type_name}:{os.path.realpath(path) if filesystem.type_name == 'local' else path}".rstrip("/")
        + "/"
    )


def told(text: str) -> str:
    """A name or URI for messages: without passwords, line breaks and what is no text, and not without end."""
    printable = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return redacted(printable if len(printable) <= 300 else f"{printable[:200]}...")


def list_files(uri: str, left_out: Callable[[str, str], None] | None = None) -> Iterator[StoredFile]:
    """All files below a folder or prefix, in the order of their paths; a prefix that does not exist holds none.

    Memory: one page of 1000 keys on S3, one folder elsewhere. Left out: folders themselves, what an interrupted
    `write_atomically` left behind, leases, and keys that would lead out of a folder (`inside`); and on this machine
    what nobody can read: names that are no UTF-8, links that lead nowhere, pipes and devices. A URI that names a file
    gives that file.

    Args:
        uri: the folder or prefix.
        left_out: told name below the root and reason of what nobody can read.

    Raises:
        StorageError: the place cannot be listed: no such bucket, wrong key, no permission, nobody answers.
    """
    filesystem, root = open_files(uri)
    if filesystem.type_name == "s3":
        files = _list_s3(root)
    elif filesystem.type_name == "local":
        files = _list_local(root, left_out or (lambda name, reason: None))
    else:
        files = _list_folders(filesystem, root)
    with failing_as(f"{told(uri)} cannot be listed"):
        for file in files:
            ours = file.path.endswith((UNFINISHED, f"/{LEASE}"))
            if not ours and not leads_out(name_below(root, file.path).lstrip("/")):
                yield file


def name_below(root: str, path: str) -> str:
    """The name of a listed file below the root that it was listed under; its last part where it is the root itself.

    Two files have two names: `a//b` and `a/b` are two keys of S3.
    """
    return path[len(root.rstrip("/")) + 1 :] if path != root else path.rpartition("/")[2]


def system_folder(name: str) -> str:
    """The folder on the way to a file that a system keeps for itself, such as `.Trash` or `@eaDir`; empty without.

    Args:
        name: below the root that was listed.
    """
    folders = name.split("/")[:-1]
    return next((each for each in folders if each.startswith(".") or each.lower() in SYSTEM_FOLDERS), "")


@contextlib.contextmanager
def open_file(filesystem: LocalFiles | fs.FileSystem, path: str) -> Iterator[Any]:
    """A listed file for reading, with `read(size)`; also one whose key pyarrow does not take, such as `a//b.jpg`.

    Raises:
        OSError: it is not there or cannot be read.
    """
    if filesystem.type_name == "s3" and _is_odd_key(path):
        bucket, _, key = path.partition("/")
        with failing_as(told(path)):
            body = s3_client().get_object(Bucket=bucket, Key=key)["Body"]
        with contextlib.closing(body):
            yield body
    else:
        with filesystem.open_input_stream(path, compression=None) as file:
            yield file


@contextlib.contextmanager
def open_anywhere(filesystem: LocalFiles | fs.FileSystem, path: str) -> Iterator[Path | BinaryIO]:
    """A listed file for programs that read here and there in it: of this machine its path, of a store a file that asks
    for no more than what is read.

    Raises:
        OSError: it is not there or cannot be read.
    """
    if isinstance(filesystem, LocalFiles) or filesystem.type_name == "local" or _is_odd_key(path):
        with local_copy(filesystem, path) as file:
            yield file
    else:
        with filesystem.open_input_file(path) as file:
            yield cast(BinaryIO, BufferedReader(file, READ_AT_ONCE))


def fitting(name: str, suffix: str = "") -> str:
    """A path whose parts every file system takes, the same for the same name: shortened in bytes where they are too
    long, a hash telling two such apart.

    Args:
        name: parts with `/` between them.
        suffix: added behind it, and never cut.
    """
    *folders, file = name.split("/")
    return "/".join([*(_cut(folder, "") for folder in folders), _cut(file, suffix)])


def _cut(part: str, suffix: str) -> str:
    whole = f"{part}{suffix}"
    if len(os.fsencode(whole)) <= LONGEST_NAME:
        return whole
    stem, own = posixpath.splitext(part)
    ending = f"{own if len(own) <= 6 else ''}{suffix}"
    mark = f"~{hashlib.sha256(os.fsencode(part)).hexdigest()[:8]}"
    room = LONGEST_NAME - len(os.fsencode(f"{mark}{ending}"))
    return os.fsencode(stem)[: max(room, 0)].decode(errors="ignore") + mark + ending


def inside(filesystem: LocalFiles | fs.FileSystem, root: str, name: str) -> str:
    """The path of a name below a root, for names that come from others.

    Args:
        filesystem, root: as `open_uri` gave them.
        name: `FOLDER/FILE` below the root.

    Raises:
        StorageError: it leads out of the root; on this machine also where a link does so.
    """
    path = f"{root}/{name}"
    if leads_out(name) or (filesystem.type_name == "local" and not _really_below(root, path)):
        raise StorageError(f"the name {name[:200]!r} leads out of its folder; rename the file")
    return path


def leads_out(name: str) -> bool:
    """Whether a name that should lie below a folder is absolute, goes upwards or holds a NUL."""
    return name.startswith("/") or ".." in name.split("/") or "\0" in name


def write_atomically(filesystem: LocalFiles | fs.FileSystem, path: str, data: bytes) -> None:
    """Write a file so that others see the whole of it or nothing, whatever happens meanwhile.

    Args:
        filesystem: where, as `open_uri` gave it.
        path: on that file system; missing folders are made.
        data: the whole content, on S3 5 GB at most. Locally it goes under another name first, on S3 it is one request:
            parts would stay behind, unseen and paid for, where their upload is interrupted.

    Raises:
        StorageError: it cannot be written: no permission, no room, nobody answers.
    """
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    with failing_as(f"{path} cannot be written"):
        if isinstance(filesystem, LocalFiles) or filesystem.type_name == "local":
            _write_file(Path(path), data)
        elif filesystem.type_name == "s3" and (len(data) > ONE_REQUEST or _is_odd_key(path)):
            bucket, _, key = path.partition("/")
            s3_client().put_object(Bucket=bucket, Key=key, Body=data, ContentType=kind)
        else:
            with filesystem.open_output_stream(path, compression=None, metadata={"Content-Type": kind}) as stream:
                stream.write(data)


@contextlib.contextmanager
def written_aside(filesystem: LocalFiles | fs.FileSystem, path: str) -> Iterator[Path]:
    """A file of this machine to write, for programs that write files themselves; as `write_atomically` others see the
    whole of it at the end of the block, or nothing where the block fails.

    Raises:
        StorageError: as `write_atomically`.
    """
    if isinstance(filesystem, LocalFiles) or filesystem.type_name == "local":
        with _aside(Path(path)) as unfinished:
            yield unfinished
    else:
        with TemporaryDirectory() as folder:
            file = Path(folder, "file")
            yield file
            write_atomically(filesystem, path, file.read_bytes())


@contextlib.contextmanager
def local_copy(filesystem: LocalFiles | fs.FileSystem, path: str) -> Iterator[Path]:
    """A listed file as a file of this machine: itself, or a copy that goes at the end of the block.

    Raises:
        OSError: it is not there or cannot be read.
    """
    if isinstance(filesystem, LocalFiles) or filesystem.type_name == "local":
        yield Path(path)
    else:
        with TemporaryDirectory() as folder:
            copy = Path(folder, "file")
            with open_file(filesystem, path) as source, copy.open("xb") as file:
                while part := source.read(COPIED_AT_ONCE):
                    file.write(part)
            yield copy


@contextlib.contextmanager
def failing_as(what: str) -> Iterator[None]:
    """Failures of the storage inside the block, of pyarrow or boto3, as one sentence that begins with `what`.

    Raises:
        StorageError: `WHAT: reason`; one from inside the block stays as it is.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        if not _is_from_storage(error):
            raise
        raise StorageError(f"{what}: {explain(error)}") from error


@contextlib.contextmanager
def naming(setting: str) -> Iterator[None]:
    """Say with each StorageError of the block which setting names the place.

    Raises:
        StorageError: `SETTING: what was said`.
    """
    try:
        yield
    except StorageError as error:
        said = str(error)
        if said.startswith(f"{setting}: "):
            raise
        named = type(error)(f"{setting}: {said}")
        for note in getattr(error, "__notes__", []):  # such as that the job had begun
            named.add_note(note)
        raise named from error


def s3_client() -> Any:
    """A boto3 client for S3 with the endpoint, region and time-outs that `open_uri` uses, and retries for as long.

    Raises:
        StorageError: an endpoint that is none.
    """
    import boto3
    from botocore.config import Config

    endpoint = s3_endpoint()
    # Checksums in trailers are Amazon's own; other servers may refuse them.
    elsewhere: dict[str, Any] = {
        "s3": {"addressing_style": "path"},
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=REQUEST_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _attempts() + MORE_ATTEMPTS},
        max_pool_connections=32,
        **(elsewhere if endpoint else {}),
    )
    return boto3.Session().client("s3", endpoint_url=endpoint, region_name=_region(), config=config)


def mlflow_environment() -> dict[str, str]:
    """The variables with which MLflow, and servers it starts, reach the same S3 endpoint."""
    endpoint = s3_endpoint()
    if not endpoint:
        return {}
    return {
        "MLFLOW_S3_ENDPOINT_URL": endpoint,
        "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE": "path",
        "AWS_DEFAULT_REGION": _region() or DEFAULT_REGION,
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }


def s3_endpoint() -> str | None:
    """The S3 server that the environment names, `https://HOST:PORT`; None: Amazon's. TLS unless it says http.

    Raises:
        StorageError: it is no such address.
    """
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if value := os.environ.get(name):
            parts = urlsplit(value)
            if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
                raise StorageError(f"{name}: write https://HOST:PORT, without user name or password")
            return f"{parts.scheme}://{parts.netloc}"
    return None


def explain(error: BaseException) -> str:
    """What a failure of pyarrow or boto3 means and what to change, without the text that the server sent.

    Args:
        error: what reading, writing or listing raised.
    """
    for meaning, codes in MEANINGS:
        if re.search(codes, _code(error), re.IGNORECASE):
            return meaning.format(endpoint=s3_endpoint() or "Amazon S3")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return redacted(str(error).splitlines()[0] if str(error) else type(error).__name__)


# A failure's code in boto3 (NoSuchBucket) and pyarrow (NO_SUCH_BUCKET), and what to do about it; the first that fits.
MEANINGS = (
    (
        "{endpoint} refuses the key; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        "InvalidAccessKeyId|SignatureDoesNotMatch|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID"
        "|UnrecognizedClient|InvalidToken|ExpiredToken|EXPIRED_TOKEN",
    ),
    (
        "no credentials were found; export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        "NoCredentials|PartialCredentials|MISSING_AUTHENTICATION_TOKEN",
    ),
    (
        "{endpoint} does not accept the request; check that AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are set",
        "^400$",
    ),
    ("{endpoint} has no such bucket; check its name, or create it", "NoSuchBucket|NO_SUCH_BUCKET"),
    ("nothing is there; check the path", "NoSuchKey|NO_SUCH_KEY|RESOURCE_NOT_FOUND|FileNotFoundError|^404$"),
    (
        "the bucket lies in another region; set AWS_REGION to its own",
        "PermanentRedirect|PERMANENT_REDIRECT|AuthorizationHeaderMalformed|IllegalLocationConstraint|^301$",
    ),
    (
        "permission denied; check that the key is right and may do this there (AWS_ACCESS_KEY_ID, AWS_PROFILE)",
        "AccessDenied|ACCESS_DENIED|^403$|HTTP status 403",
    ),
    ("permission denied; see who may read and write there, and who runs this", "PermissionError"),
    (
        "{endpoint} breaks off in the middle of its answers; check the network",
        "Transferred a partial file|IncompleteRead|ResponseStreaming|ResponseParser",
    ),
    (
        "{endpoint} does not answer; check AWS_ENDPOINT_URL and the network",
        "EndpointConnection|ConnectionClosed|ConnectTimeout|ReadTimeout|NETWORK_CONNECTION|REQUEST_TIMEOUT|SSLError",
    ),
    (
        "{endpoint} fails or is overloaded; try again later, or set AWS_MAX_ATTEMPTS higher",
        "SlowDown|SLOW_DOWN|ServiceUnavailable|SERVICE_UNAVAILABLE|InternalError|INTERNAL_FAILURE|^50[0-9]$",
    ),
)


def _code(error: BaseException) -> str:
    """The error code of a boto3 or pyarrow failure, else the names of the exception."""
    response = getattr(error, "response", None)
    if isinstance(response, dict) and "Error" in response:
        return str(response["Error"].get("Code", ""))
    if "Transferred a partial file" in str(error):
        return "Transferred a partial file"
    said = re.search(r"AWS Error (\w+)", str(error))
    status = re.search(r"HTTP status (\d+)", str(error))
    if said and said[1] != "UNKNOWN":
        return said[1]
    return status[1] if status else type(error).__name__


def _is_from_storage(error: Exception) -> bool:
    kind = type(error)
    return isinstance(error, OSError) or kind.__name__ == "ArrowInvalid" or kind.__module__.startswith("botocore.")


def _is_of_this_machine(uri: str) -> bool:
    scheme, separator, _ = uri.partition("://")
    return not separator or uri.startswith("file:") or "/" in scheme


def _is_odd_key(path: str) -> bool:
    """Whether S3 takes a key as it stands and pyarrow does not: one of its parts is empty."""
    return "//" in path or path.startswith("/")


def _refuse_odd(said: str, path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise StorageError(f"{told(said)}: its name is not UTF-8; rename it") from error
    if "\0" in path:
        raise StorageError(f"{told(said)}: holds a NUL, which no name can; check the path")


def _s3() -> fs.S3FileSystem:
    from pyarrow import fs

    endpoint = s3_endpoint()
    where = {}
    if endpoint:
        parts = urlsplit(endpoint)
        where = {"scheme": parts.scheme, "endpoint_override": parts.netloc}
    return fs.S3FileSystem(
        region=_region(),
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_attempts()),
        tls_ca_file_path=os.environ.get("AWS_CA_BUNDLE"),
        allow_delayed_open=True,  # one request for a small object instead of three
        **where,
    )


def _gcs() -> fs.FileSystem:
    from pyarrow import fs

    if not hasattr(fs, "GcsFileSystem"):
        raise StorageError("gs://: this pyarrow was built without Google Cloud Storage; install another build")
    return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=REQUEST_SECONDS))


STORES: dict[str, Callable[[], fs.FileSystem]] = {
    "s3": _s3,
    "gs": _gcs,
}
"""What makes the file system of a URI, by its scheme; what is behind `SCHEME://` is the path on it."""


def _region() -> str | None:
    """None: Amazon's own rules decide (profile, instance)."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return region or (DEFAULT_REGION if s3_endpoint() else None)


def _attempts() -> int:
    given = os.environ.get("AWS_MAX_ATTEMPTS", "")
    if given and not (given.isdecimal() and int(given) > 0):
        raise StorageError(f"AWS_MAX_ATTEMPTS: {given!r} is no number of attempts; write 1 or more")
    return int(given or ATTEMPTS)


def _list_s3(root: str) -> Iterator[StoredFile]:
    bucket, _, key = root.partition("/")
    client = s3_client()
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=key and f"{key}/", PaginationConfig={"PageSize": PAGE}
    )
    empty = True
    for page in pages:
        for entry in page.get("Contents", ()):
            empty = False
            if not entry["Key"].endswith("/"):  # a folder's marker
                yield StoredFile(f"{bucket}/{entry['Key']}", entry["Size"], entry["ETag"].strip('"'))
    if empty and key:
        yield from _one_s3_object(client, bucket, key)


def _one_s3_object(client: Any, bucket: str, key: str) -> Iterator[StoredFile]:
    found = client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents", ())
    for entry in found:
        if entry["Key"] == key:
            yield StoredFile(f"{bucket}/{key}", entry["Size"], entry["ETag"].strip('"'))


def _list_folders(filesystem: fs.FileSystem, root: str) -> Iterator[StoredFile]:
    from pyarrow import fs

    at_root = filesystem.get_file_info(root)
    if at_root.type == fs.FileType.File:
        yield _stored(at_root)
    elif at_root.type == fs.FileType.Directory:
        yield from _walk(filesystem, root)


def _walk(filesystem: fs.FileSystem, folder: str) -> Iterator[StoredFile]:
    from pyarrow import fs

    entries = filesystem.get_file_info(fs.FileSelector(folder))
    # The slash gives folders the place among files that S3 gives their keys.
    for entry in sorted(entries, key=lambda e: e.path + "/" * (e.type == fs.FileType.Directory)):
        if entry.type == fs.FileType.Directory:
            yield from _walk(filesystem, entry.path)
        elif entry.type == fs.FileType.File:
            yield _stored(entry)


def _list_local(root: str, left_out: Callable[[str, str], None]) -> Iterator[StoredFile]:
    """Not by pyarrow, which gives up a whole folder for one name that is no UTF-8."""
    try:
        at_root = Path(root).stat()
    except (FileNotFoundError, NotADirectoryError):
        if Path(root).is_symlink():
            raise StorageError(f"{told(root)} is a link that leads nowhere; mend it, or name another folder") from None
        return
    if stat.S_ISREG(at_root.st_mode):
        yield _stored_at(root, at_root)
    elif stat.S_ISDIR(at_root.st_mode):
        yield from _walk_local(root, root, left_out, frozenset())
    else:
        raise StorageError(f"{told(root)} is neither a folder nor a file; name a folder")


def _walk_local(
    folder: str, root: str, left_out: Callable[[str, str], None], above: frozenset[tuple[int, int]]
) -> Iterator[StoredFile]:
    here = Path(folder).stat()
    if (here.st_dev, here.st_ino) in above:  # a link back up
        return
    found = list[tuple[str, os.stat_result]]()
    try:
        entries = list(os.scandir(folder))
    except PermissionError as error:
        if system_folder(name_below(root, f"{folder}/x")):
            return
        raise StorageError(f"{told(folder)}: no permission to look into it; allow it, or move it elsewhere") from error
    for entry in entries:
        name = name_below(root, entry.path)
        try:
            entry.path.encode()
            found.append((entry.path, entry.stat()))
        except UnicodeEncodeError:
            left_out(os.fsencode(name).decode(errors="backslashreplace"), NOT_UTF8)
        except OSError:  # gone meanwhile, or a link that leads nowhere or to itself
            if entry.is_symlink():
                left_out(name, DEAD_LINK)
    # The slash gives folders the place among files that S3 gives their keys.
    for path, status in sorted(found, key=lambda each: each[0] + "/" * stat.S_ISDIR(each[1].st_mode)):
        if stat.S_ISDIR(status.st_mode):
            yield from _walk_local(path, root, left_out, above | {(here.st_dev, here.st_ino)})
        elif stat.S_ISREG(status.st_mode):
            yield _stored_at(path, status)
        else:
            left_out(name_below(root, path), NO_FILE)


def _stored_at(path: str, status: os.stat_result) -> StoredFile:
    return StoredFile(path, status.st_size, f"{status.st_mtime_ns}-{status.st_size}")


def _stored(entry: fs.FileInfo) -> StoredFile:
    return StoredFile(entry.path, entry.size, f"{entry.mtime_ns}-{entry.size}")


def _really_below(root: str, path: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _write_file(path: Path, data: bytes) -> None:
    with _aside(path) as unfinished, unfinished.open("xb") as file:
        file.write(data)


@contextlib.contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """A name beside a path for what takes its place at the end of the block; gone where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{secrets.token_hex(8)}{UNFINISHED}")  # short, however long the name is
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())  # the name must not reach the disk before the content
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
