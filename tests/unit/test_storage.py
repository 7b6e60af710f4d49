from __future__ import annotations

import os
import pickle
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from pyarrow import fs

from cluster.storage import (
    MORE_ATTEMPTS,
    StorageError,
    explain,
    from_anywhere,
    list_files,
    local_path,
    mlflow_environment,
    open_uri,
    place,
    s3_client,
    s3_endpoint,
    sqlite_path,
    sqlite_uri,
    write_atomically,
)

KEY, SECRET, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI-secret", "FwoGZXIvYXdzEBc-token"


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of the environment, and nothing else of AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/data/photos", "/data/photos"),
        ("/data/photos/", "/data/photos"),
        ("photos", f"{Path.cwd()}/photos"),
        ("~/photos", f"{Path.home()}/photos"),
        ("/data/100% sure#1?.jpg", "/data/100% sure#1?.jpg"),
        ("file:///data/photos", "/data/photos"),
        ("file:///data/two%20words", "/data/two words"),
        ("s3://photos", "photos"),
        ("s3://photos/dark/", "photos/dark"),
        ("s3://photos/dark/a b#1?%20.jpg", "photos/dark/a b#1?%20.jpg"),
        ("gs://photos/dark", "photos/dark"),
    ],
)
def test_a_uri_gives_the_path_on_its_file_system(uri: str, path: str):
    filesystem, found = open_uri(uri)
    assert found == path
    kind = {"s3": fs.S3FileSystem, "gs": fs.GcsFileSystem}.get(uri[:2], fs.LocalFileSystem)
    assert isinstance(filesystem, kind)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("ftp://host/photos", "ftp://: unknown scheme; use a folder, file://, s3:// or gs://"),
        ("s3:///photos", "s3:///photos: no bucket; write s3://BUCKET/PREFIX"),
        ("file://photos", "file://photos: write file:/// and the absolute path, with three slashes"),
    ],
)
def test_a_wrong_uri_is_a_sentence_that_says_what_to_write(uri: str, message: str):
    with pytest.raises(StorageError) as raised:
        open_uri(uri)
    assert str(raised.value) == message


def test_keys_inside_a_uri_are_refused_and_not_repeated():
    with pytest.raises(StorageError, match="do not belong into a URI") as raised:
        open_uri(f"s3://{KEY}:{SECRET}@photos/dark")
    assert SECRET not in str(raised.value) and KEY not in str(raised.value)


def test_pyarrow_and_boto3_use_the_endpoint_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000/")
    filesystem, _ = open_uri("s3://photos")
    other = fs.S3FileSystem(endpoint_override="127.0.0.1:9000", scheme="http", region="us-east-1")
    assert pickle.loads(pickle.dumps(filesystem)) == filesystem
    assert filesystem.region == other.region == s3_client().meta.region_name == "us-east-1"
    assert b"127.0.0.1:9000" in pickle.dumps(filesystem)
    assert s3_client().meta.endpoint_url == "http://127.0.0.1:9000"


def test_the_endpoint_for_s3_goes_before_the_one_for_all_services(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://all.example")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.example:8443")
    assert s3_endpoint() == s3_client().meta.endpoint_url == "https://s3.example:8443"


@pytest.mark.parametrize(
    "value", ["127.0.0.1:9000", "s3.example", "ftp://s3.example", f"https://u:{SECRET}@s3.example"]
)
def test_an_endpoint_that_is_none_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("AWS_ENDPOINT_URL", value)
    with pytest.raises(StorageError, match="AWS_ENDPOINT_URL: write https://HOST:PORT") as raised:
        open_uri("s3://photos")
    assert SECRET not in str(raised.value)


def test_requests_are_verified_retried_and_bounded_in_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "7")
    client = s3_client()
    config = client.meta.config
    assert config.retries["total_max_attempts"] == 7 + MORE_ATTEMPTS and config.retries["mode"] == "standard"
    assert config.connect_timeout <= 10 and config.read_timeout <= 60
    assert config.s3["addressing_style"] == "path"
    assert client._endpoint.http_session._verify  # True or the certificates to verify with


def test_a_number_of_attempts_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "many")
    with pytest.raises(StorageError, match="AWS_MAX_ATTEMPTS: 'many' is no number of attempts; write 1 or more"):
        s3_client()


def test_amazon_itself_needs_no_endpoint(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert open_uri("s3://photos")[0].region == "eu-west-1"
    assert s3_client().meta.endpoint_url == "https://s3.eu-west-1.amazonaws.com"
    assert mlflow_environment() == {}


def test_mlflow_is_sent_to_the_same_endpoint_without_keys(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example")
    environment = mlflow_environment()
    assert environment["MLFLOW_S3_ENDPOINT_URL"] == "https://s3.example"
    assert not {KEY, SECRET, TOKEN} & set(environment.values())


def test_no_key_is_in_what_is_shown_or_sent_to_workers():
    filesystem, _ = open_uri("s3://photos")
    for shown in (repr(filesystem), str(pickle.dumps(filesystem)), repr(s3_client()), repr(s3_client().meta.config)):
        assert not any(secret in shown for secret in (KEY, SECRET, TOKEN))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ClientError({"Error": {"Code": "SignatureDoesNotMatch"}}, "GetObject"), "refuses the key"),
        (OSError("AWS Error INVALID_ACCESS_KEY_ID during GetObject operation: no"), "refuses the key"),
        (ClientError({"Error": {"Code": "NoSuchBucket"}}, "ListObjectsV2"), "has no such bucket"),
        (OSError("When listing: AWS Error NO_SUCH_BUCKET during ListObjectsV2 operation"), "has no such bucket"),
        (ClientError({"Error": {"Code": "403"}}, "HeadObject"), "permission denied"),
        (OSError("AWS Error ACCESS_DENIED during PutObject operation: no"), "permission denied"),
        (PermissionError(13, "Permission denied"), "permission denied"),
        (NoCredentialsError(), "no credentials were found"),
        (EndpointConnectionError(endpoint_url="http://h"), "does not answer"),
        (OSError("AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 7"), "does not answer"),
        (OSError("AWS Error SLOW_DOWN during GetObject operation"), "fails or is overloaded"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError(f"unknown, with {SECRET}"), "unknown, with ..."),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_failures_are_explained_without_what_the_server_sent(error: Exception, sentence: str):
    assert sentence in explain(error)
    assert SECRET not in explain(error)


def test_files_are_listed_below_a_folder_in_the_order_of_object_keys(tmp_path: Path):
    for name in ("b/x.jpg", "b.txt", "b-c.txt", "a/deep/er.png", "z"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"123")
    (tmp_path / "empty").mkdir()
    listed = list(list_files(str(tmp_path)))
    names = [file.path.removeprefix(f"{tmp_path}/") for file in listed]
    assert names == ["a/deep/er.png", "b-c.txt", "b.txt", "b/x.jpg", "z"]
    assert names == sorted(names) and {file.size for file in listed} == {3}


def test_links_are_followed_but_not_in_circles(tmp_path: Path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.jpg").write_bytes(b"1")
    (tmp_path / "set" / "up").symlink_to(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path / "set")
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    assert [file.path.removeprefix(f"{tmp_path}/") for file in list_files(str(tmp_path))] == [
        "linked/a.jpg",
        "set/a.jpg",
    ]


def test_a_folder_that_does_not_exist_holds_nothing_and_a_file_itself(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"1")
    assert list(list_files(str(tmp_path / "nowhere"))) == []
    assert [file.path for file in list_files(str(tmp_path / "a.jpg"))] == [str(tmp_path / "a.jpg")]


def test_another_content_of_the_same_size_has_another_version(tmp_path: Path):
    filesystem, path = open_uri(str(tmp_path / "a"))
    versions = []
    for moment, content in enumerate((b"one", b"two")):
        write_atomically(filesystem, path, content)
        os.utime(path, ns=(0, moment))
        versions += [file.version for file in list_files(path)]
    assert len(set(versions)) == 2


def test_writing_makes_folders_and_leaves_only_the_file(tmp_path: Path):
    filesystem, path = open_uri(str(tmp_path / "deep" / "er" / "a.jpg"))
    write_atomically(filesystem, path, b"old")
    write_atomically(filesystem, path, b"new")
    assert Path(path).read_bytes() == b"new"
    assert [each.name for each in Path(path).parent.iterdir()] == ["a.jpg"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path):
    filesystem, path = open_uri(str(tmp_path / "a"))
    whole = {b"a" * 1_000_000, b"b" * 1_000_000}
    write_atomically(filesystem, path, min(whole))
    done, seen = threading.Event(), set()

    def read() -> None:
        while not done.is_set():
            seen.add(Path(path).read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        for content in whole:
            write_atomically(filesystem, path, content)
    done.set()
    reader.join()
    assert seen <= whole


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path):
    filesystem, path = open_uri(str(tmp_path / "a"))
    write_atomically(filesystem, path, b"old")
    with pytest.raises(TypeError):
        write_atomically(filesystem, path, "no bytes")  # type: ignore[arg-type]
    assert Path(path).read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_what_an_interrupted_write_left_is_not_listed(tmp_path: Path):
    (tmp_path / ".a.jpg.12345678.unfinished").write_bytes(b"ha")
    assert list(list_files(str(tmp_path))) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    filesystem, path = open_uri(str(tmp_path / "file" / "a.jpg"))
    with pytest.raises(StorageError, match="file/a.jpg cannot be written: "):
        write_atomically(filesystem, path, b"1")


def test_nobody_at_the_endpoint_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    filesystem, path = open_uri("s3://photos/a")
    said = "http://127.0.0.1:1 does not answer; check AWS_ENDPOINT_URL and the network"
    with pytest.raises(StorageError) as raised:
        list(list_files("s3://photos/dark"))
    assert str(raised.value) == f"s3://photos/dark cannot be listed: {said}"
    with pytest.raises(StorageError) as raised:
        write_atomically(filesystem, path, b"1")
    assert str(raised.value) == f"photos/a cannot be written: {said}"


def test_pages_follow_each_other_without_overlap():
    # Order is what lets a caller compare two listings without holding either.
    paths = [file.path for file in list_files(str(Path(__file__).parent))]
    assert len(paths) > 20 and all(first < second for first, second in pairwise(paths))


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:/data/a", "/data/a"),
        ("file://localhost/data/a", "/data/a"),
        ("file:///data/a%23b%3Fc%25", "/data/a#b?c%"),
        ("file:///data/a#b?c", "/data/a#b?c"),
        ("//data", "/data"),
        ("~nobody-of-this-name/x", f"{Path.cwd()}/~nobody-of-this-name/x"),
        ("/data/a://b", "/data/a:/b"),
    ],
)
def test_a_path_means_one_thing_everywhere(uri: str, path: str):
    assert open_uri(uri)[1] == local_path(uri) == local_path(local_path(uri)) == path
    assert local_path(Path(path).as_uri()) == path == sqlite_path(sqlite_uri(path))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("a\0b", r"holds a NUL, which no name can; check the path"),
        ("caf\udce9", r"caf\\udce9: its name is not UTF-8; rename it"),
        ("file:///caf%e9", "its name is not UTF-8; rename it"),
        ("s3://photos//dark", "two slashes name another object than one; write one"),
        ("s3://photos/a\0", "holds a NUL"),
    ],
)
def test_what_no_file_can_be_called_is_a_sentence(uri: str, message: str):
    with pytest.raises(StorageError, match=message) as raised:
        open_uri(uri)
    str(raised.value).encode()


def test_what_must_lie_on_this_machine_names_its_setting():
    with pytest.raises(
        StorageError, match=r"runs: s3://photos/x lies on no file system of this machine; name a folder"
    ):
        local_path("s3://photos/x", "runs")


def test_a_home_folder_is_not_needed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "")
    assert local_path("photos") == f"{Path.cwd()}/photos"
    assert Path(local_path("~/photos")).is_absolute()


def test_a_folder_that_vanished_under_the_program_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(StorageError, match="the working directory is gone"):
        local_path("photos")


@pytest.mark.parametrize("name", ["日" * 85, "🌙" * 63 + "abc", "é" * 127 + "a", "a" * 255])
def test_a_name_that_fills_its_bytes_can_be_written(tmp_path: Path, name: str):
    filesystem, path = open_uri(str(tmp_path / name))
    write_atomically(filesystem, path, b"1")
    assert [file.path for file in list_files(str(tmp_path))] == [path]


def test_a_place_is_the_same_however_it_is_written(tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert place(str(tmp_path / "link" / "b")).startswith(place(f"file://{tmp_path}/a/"))
    assert not place(str(tmp_path / "ab")).startswith(place(str(tmp_path / "a")))
    assert place("s3://photos/a/b").startswith(place("s3://photos")) and place("/tmp").startswith(place("/"))


def test_a_relative_path_goes_to_processes_in_other_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert from_anywhere("photos/") == str(tmp_path / "photos") == from_anywhere(f"file://{tmp_path}/photos")
    assert from_anywhere("s3://photos/a") == "s3://photos/a"


def test_roots_that_are_no_folder_are_a_sentence(tmp_path: Path):
    (tmp_path / "dead").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("dead", "is a link that leads nowhere"), ("pipe", "is neither a folder nor a file")):
        with pytest.raises(StorageError, match=message):
            list(list_files(str(tmp_path / name)))
    with pytest.raises(StorageError, match="cannot be listed: Too many levels of symbolic links"):
        list(list_files(str(tmp_path / "loop")))
    with pytest.raises(StorageError, match="cannot be listed: File name too long"):
        list(list_files(str(tmp_path / ("x" * 300))))
