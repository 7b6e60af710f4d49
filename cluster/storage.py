"""One URI, one file system: folders, `file://` and `s3://` (any endpoint), for pyarrow and Ray."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from pyarrow import fs


class StorageError(ValueError):
    """A URI that cannot be used; the message says what to change."""


def open_uri(uri: str) -> tuple[fs.FileSystem, str]:
    """The pyarrow file system of a folder or URI, and the path on it.

    Args:
        uri: a local path, `file://PATH` or `s3://BUCKET/PREFIX`. Credentials come from the usual AWS chain, the
            endpoint from AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, the region from AWS_REGION.

    Raises:
        StorageError: an unknown scheme.
    """
    parts = urlsplit(uri)
    if parts.scheme in ("", "file") or len(parts.scheme) == 1:  # one letter: a drive
        path = parts.path if parts.scheme == "file" else uri
        return fs.LocalFileSystem(), str(Path(path).expanduser().absolute())
    if parts.scheme == "s3":
        return _s3(), f"{parts.netloc}{parts.path}".rstrip("/")
    raise StorageError(f"{uri}: unknown scheme {parts.scheme}://; use a folder, file:// or s3://")


def _s3() -> fs.FileSystem:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not endpoint:
        return fs.S3FileSystem(region=region)
    parts = urlsplit(endpoint)
    return fs.S3FileSystem(
        region=region or "us-east-1",
        scheme=parts.scheme,
        endpoint_override=parts.netloc,
        force_virtual_addressing=False,
    )
