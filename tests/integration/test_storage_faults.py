"""Listing, reading and writing while the server fails: a real S3 server, and in front a proxy that makes trouble."""

from __future__ import annotations

import os
import re
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.storage import ONE_REQUEST, StorageError, explain, list_files, open_uri, s3_client, write_atomically
from pipelines.data import shards
from tests.integration.conftest import Stack, use_environment
from tests.integration.unreliable import Request, Trouble, UnreliableServer

CONTENT = os.urandom(300_000)
KEYS = 10_000


@pytest.fixture
def server(stack: Stack, proxy: UnreliableServer, monkeypatch: pytest.MonkeyPatch) -> UnreliableServer:
    """The proxy, calm, and this process's environment set for it."""
    proxy.calm()
    use_environment(monkeypatch, stack.environment | {"AWS_ENDPOINT_URL": proxy.url, "AWS_MAX_ATTEMPTS": "3"})
    return proxy


@pytest.fixture
def bucket(stack: Stack, server: UnreliableServer, request: pytest.FixtureRequest) -> str:
    """A bucket of the test's own with one object, `a.bin`."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")
    s3_client().create_bucket(Bucket=name)
    s3_client().put_object(Bucket=name, Key="a.bin", Body=CONTENT)
    server.calm()
    return name


def first(count: int, trouble: Trouble, method: str = "") -> Callable[[Request], Trouble | None]:
    """Trouble for so many requests, of a method if one is given; none after."""
    left = iter(range(count))
    return lambda request: trouble if method in ("", request.method) and next(left, None) is not None else None


def listed(bucket: str) -> list[str]:
    return [file.path for file in list_files(f"s3://{bucket}")]


def read(bucket: str) -> bytes:
    return shards.read(open_uri("s3://any")[0], f"{bucket}/a.bin")


def write(bucket: str, data: bytes, key: str = "b.bin") -> None:
    write_atomically(open_uri("s3://any")[0], f"{bucket}/{key}", data)


@pytest.mark.parametrize(
    "trouble",
    [Trouble(status=500), Trouble(status=503), Trouble(delay=1), Trouble(kept=0.5), Trouble(unheard=True)],
    ids=["500", "503", "slow", "cut", "unheard"],
)
def test_trouble_that_passes_is_survived(server: UnreliableServer, bucket: str, trouble: Trouble):
    server.trouble = first(2, trouble)
    assert listed(bucket) == [f"{bucket}/a.bin"]
    server.trouble = first(2, trouble, "GET")  # cut off in the middle of reading, not before
    assert read(bucket) == CONTENT
    server.trouble = first(2, trouble)
    write(bucket, CONTENT[::-1])
    assert sum(request.method == "PUT" for request in server.seen) == (1 if trouble.delay or trouble.kept < 1 else 3)
    server.calm()
    assert listed(bucket) == [f"{bucket}/a.bin", f"{bucket}/b.bin"]
    assert shards.read(open_uri("s3://any")[0], f"{bucket}/b.bin") == CONTENT[::-1]


@pytest.mark.drill
def test_a_server_that_falls_silent_is_left_and_asked_again(
    server: UnreliableServer, bucket: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cluster.storage.REQUEST_SECONDS", 1.0)
    for trouble in (Trouble(delay=3), Trouble(kept=0.5, silence=3)):
        server.trouble = first(1, trouble, "GET")
        assert listed(bucket) == [f"{bucket}/a.bin"]
        server.trouble = first(1, trouble, "GET")
        assert read(bucket) == CONTENT
    server.trouble = first(1, Trouble(delay=3), "PUT")
    write(bucket, CONTENT[::-1])
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    server.trouble = lambda request: Trouble(delay=3)
    with pytest.raises(OSError) as reading:
        read(bucket)
    assert explain(reading.value) == f"{server.url} does not answer; check AWS_ENDPOINT_URL and the network"


def test_trouble_that_stays_is_one_sentence(server: UnreliableServer, bucket: str):
    failing = f"{server.url} fails or is overloaded; try again later, or set AWS_MAX_ATTEMPTS higher"
    server.trouble = lambda request: Trouble(status=503)
    with pytest.raises(StorageError) as listing:
        listed(bucket)
    with pytest.raises(OSError) as reading:
        read(bucket)
    assert str(listing.value) == f"s3://{bucket} cannot be listed: {failing}"
    assert explain(reading.value) == failing
    server.trouble = lambda request: Trouble(kept=0.5) if request.method == "GET" else None
    with pytest.raises(OSError) as reading:
        read(bucket)
    assert explain(reading.value) == f"{server.url} breaks off in the middle of its answers; check the network"


@pytest.mark.parametrize("size", [1000, ONE_REQUEST, 4 * ONE_REQUEST])
def test_what_cannot_be_written_leaves_nothing_behind(server: UnreliableServer, bucket: str, size: int):
    server.trouble = lambda request: Trouble(status=503) if request.method == "PUT" else None
    with pytest.raises(StorageError, match=f"{bucket}/b.bin cannot be written: .* fails or is overloaded; "):
        write(bucket, b"1" * size)
    assert {(request.method, *request.query) for request in server.seen} == {("PUT",)}  # one request, and no parts
    server.calm()
    assert listed(bucket) == [f"{bucket}/a.bin"]
    assert "Uploads" not in s3_client().list_multipart_uploads(Bucket=bucket)


@pytest.mark.parametrize("size", [1000, 4 * ONE_REQUEST])
def test_a_file_is_replaced_wholly_or_not_at_all(server: UnreliableServer, bucket: str, size: int):
    server.trouble = lambda request: Trouble(status=500) if request.method == "PUT" else None
    with pytest.raises(StorageError):
        write(bucket, b"1" * size, "a.bin")
    server.calm()
    assert read(bucket) == CONTENT
    server.trouble = first(1, Trouble(unheard=True))
    write(bucket, b"2" * size, "a.bin")
    assert read(bucket) == b"2" * size and listed(bucket) == [f"{bucket}/a.bin"]


def test_a_listing_cut_off_between_pages_misses_and_repeats_nothing(
    server: UnreliableServer, bucket: str, monkeypatch: pytest.MonkeyPatch
):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda index: write(bucket, b"", f"{index:03d}.jpg"), range(40)))
    monkeypatch.setattr("cluster.storage.PAGE", 10)
    chance = iter([None, Trouble(status=503), Trouble(kept=0.3), None, Trouble(unheard=True), None, Trouble(kept=0.9)])
    server.trouble = lambda request: next(chance, None)
    assert listed(bucket) == [*(f"{bucket}/{index:03d}.jpg" for index in range(40)), f"{bucket}/a.bin"]


def test_ten_thousand_keys_are_listed_in_the_memory_of_a_page(stack: Stack, server: UnreliableServer):
    s3_client().create_bucket(Bucket="many")
    put_names(stack, "many", KEYS)
    tracemalloc.start()
    try:
        peaks, count = [], 0
        for file in list_files("s3://many"):
            assert file.path == f"many/{count:06d}.jpg"
            count += 1
            if count in (KEYS // 4, KEYS):
                peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert count == KEYS
    assert peaks[1] < 1.2 * peaks[0]


def put_names(stack: Stack, bucket: str, count: int) -> None:
    """Write names straight into the server's index of a bucket: as many requests would take minutes."""
    from swift.common.utils import Timestamp
    from swift.container.backend import ContainerBroker

    for database in (stack.folder / "swift").rglob("containers/**/*.db"):
        broker = ContainerBroker(str(database))
        if broker.get_info()["container"] == bucket:
            now = Timestamp.now().internal
            common = {"created_at": now, "size": 0, "content_type": "image/jpeg", "etag": "0" * 32, "deleted": 0}
            broker.merge_items(
                [{"name": f"{index:06d}.jpg", "storage_policy_index": 0, **common} for index in range(count)]
            )
            return
    pytest.fail(f"no index of the bucket {bucket} below {Path(stack.folder)}")
