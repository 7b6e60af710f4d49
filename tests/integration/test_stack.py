from __future__ import annotations

import json
import logging
import os
import re
import stat
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError
from conftest import Stack, stack_command, use_environment

from cluster.local.stack import environment
from cluster.storage import StorageError, list_files, open_uri, s3_client, write_atomically


@pytest.fixture
def bucket(on_stack: Stack, request: pytest.FixtureRequest) -> str:
    """An empty bucket of the test's own."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")
    s3_client().create_bucket(Bucket=name)
    return name


def test_what_pyarrow_writes_boto3_reads_and_the_other_way(bucket: str):
    client = s3_client()
    filesystem, root = open_uri(f"s3://{bucket}/dark")
    write_atomically(filesystem, f"{root}/a b #1?.jpg", b"from pyarrow")
    answer = client.get_object(Bucket=bucket, Key="dark/a b #1?.jpg")
    assert answer["Body"].read() == b"from pyarrow" and answer["ContentType"] == "image/jpeg"
    client.put_object(Bucket=bucket, Key="dark/übung.png", Body=b"from boto3")
    assert filesystem.open_input_file(f"{root}/übung.png").read() == b"from boto3"


def test_a_part_of_an_object_is_read_alone(bucket: str):
    filesystem, path = open_uri(f"s3://{bucket}/a.bin")
    write_atomically(filesystem, path, bytes(range(256)))
    with filesystem.open_input_file(path) as file:
        assert file.size() == 256 and file.read_at(3, 100) == b"\x64\x65\x66"
    part = s3_client().get_object(Bucket=bucket, Key="a.bin", Range="bytes=100-102")
    assert part["Body"].read() == b"\x64\x65\x66" and part["ResponseMetadata"]["HTTPStatusCode"] == 206


def test_a_large_object_comes_back_whole_from_one_request_and_from_parts(bucket: str, tmp_path: Path):
    content = os.urandom(12 * 2**20)
    filesystem, path = open_uri(f"s3://{bucket}/one.bin")
    write_atomically(filesystem, path, content)
    (tmp_path / "parts.bin").write_bytes(content)
    s3_client().upload_file(str(tmp_path / "parts.bin"), bucket, "parts.bin")
    listed = list(list_files(f"s3://{bucket}"))
    assert [file.size for file in listed] == [len(content)] * 2
    assert re.fullmatch("[0-9a-f]{32}", listed[0].version) and re.fullmatch("[0-9a-f]{32}-[0-9]+", listed[1].version)
    for file in listed:
        assert filesystem.open_input_file(file.path).read() == content


def test_a_prefix_is_a_folder_and_not_the_beginning_of_a_name(bucket: str):
    filesystem, root = open_uri(f"s3://{bucket}")
    for key in ("dark/a.jpg", "dark/deep/er.jpg", "darker/b.jpg", "dark.txt"):
        write_atomically(filesystem, f"{root}/{key}", b"1")
    s3_client().put_object(Bucket=bucket, Key="dark/empty/", Body=b"")  # as consoles mark a folder
    for uri in (f"s3://{bucket}/dark", f"s3://{bucket}/dark/"):
        assert [file.path for file in list_files(uri)] == [f"{bucket}/dark/a.jpg", f"{bucket}/dark/deep/er.jpg"]
    assert [file.path for file in list_files(f"s3://{bucket}/dark.txt")] == [f"{bucket}/dark.txt"]
    assert list(list_files(f"s3://{bucket}/nothing")) == []


def test_another_content_has_another_version(bucket: str):
    filesystem, path = open_uri(f"s3://{bucket}/a")
    versions = []
    for content in (b"one", b"two", b"one"):
        write_atomically(filesystem, path, content)
        versions += [file.version for file in list_files(f"s3://{bucket}")]
    assert versions[0] == versions[2] != versions[1]


def test_keys_are_listed_page_by_page(bucket: str, monkeypatch: pytest.MonkeyPatch):
    client, keys, page = s3_client(), 130, 50
    for index in range(keys):
        client.put_object(Bucket=bucket, Key=f"{index:05d}.jpg", Body=b"")
    pages: list[int] = []
    monkeypatch.setattr("cluster.storage.PAGE", page)
    monkeypatch.setattr("cluster.storage.s3_client", lambda: watched_client(pages))
    paths = [file.path for file in list_files(f"s3://{bucket}")]
    assert len(paths) == keys and all(first < second for first, second in pairwise(paths))
    assert pages == [50, 50, 30]

    pages.clear()
    assert next(iter(list_files(f"s3://{bucket}"))).path == f"{bucket}/00000.jpg"
    assert pages == [50]  # who asks for one file does not wait for the rest


def watched_client(pages: list[int]):
    """A client that notes how many keys each answer of a listing holds."""
    client = s3_client()
    client.meta.events.register(
        "after-call.s3.ListObjectsV2", lambda parsed, **_: pages.append(len(parsed.get("Contents", ())))
    )
    return client


def failures(uri: str) -> list[str]:
    """What listing, reading and writing below a URI say; fails if one of them works."""
    said = []
    with pytest.raises(StorageError) as listing:
        list(list_files(uri))
    said.append(str(listing.value))
    filesystem, path = open_uri(uri)
    with pytest.raises(OSError) as reading:
        filesystem.open_input_file(f"{path}/a").read()
    said.append(str(reading.value))
    with pytest.raises(StorageError) as writing:
        write_atomically(filesystem, f"{path}/a", b"1")
    said.append(str(writing.value))
    return said


@pytest.mark.parametrize("change", [{"AWS_SECRET_ACCESS_KEY": "wrong"}, {"AWS_ACCESS_KEY_ID": "nobody"}])
def test_a_wrong_key_is_refused_and_said(on_stack: Stack, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]):
    use_environment(monkeypatch, on_stack.environment | change)
    listing, _, writing = failures("s3://photos/dark")
    sentence = f"{on_stack.environment['AWS_ENDPOINT_URL']} refuses the key; check AWS_ACCESS_KEY_ID and "
    assert listing.startswith(f"s3://photos/dark cannot be listed: {sentence}")
    assert writing.startswith(f"photos/dark/a cannot be written: {sentence}")


def test_a_wrong_bucket_is_said(on_stack: Stack):
    listing, _, writing = failures("s3://fotos/dark")
    endpoint = on_stack.environment["AWS_ENDPOINT_URL"]
    for said in (listing, writing):
        assert said.endswith(f": {endpoint} has no such bucket; check its name, or create it")


def test_who_may_only_read_lists_and_reads_and_writes_nothing(
    on_stack: Stack, bucket: str, monkeypatch: pytest.MonkeyPatch
):
    filesystem, path = open_uri(f"s3://{bucket}/a")
    write_atomically(filesystem, path, b"old")
    use_environment(monkeypatch, on_stack.reader)
    filesystem, path = open_uri(f"s3://{bucket}/a")
    assert [file.path for file in list_files(f"s3://{bucket}")] == [path]
    with pytest.raises(StorageError, match="a cannot be written: permission denied; "):
        write_atomically(filesystem, path, b"new")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3_client().delete_object(Bucket=bucket, Key="a")
    assert filesystem.open_input_file(path).read() == b"old"


def test_no_secret_is_logged_raised_or_shown(
    on_stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    secrets = {on_stack.environment["AWS_SECRET_ACCESS_KEY"], on_stack.reader["AWS_SECRET_ACCESS_KEY"], "wrong-secret"}
    said = []
    with caplog.at_level(logging.INFO):
        said += failures("s3://fotos/dark")
        use_environment(monkeypatch, on_stack.environment | {"AWS_SECRET_ACCESS_KEY": "wrong-secret"})
        said += failures("s3://photos/dark")
        said += [repr(s3_client()), repr(open_uri("s3://photos"))]
    logs = sorted((on_stack.folder / "logs").iterdir())
    assert len(logs) == 5
    said += [caplog.text, *(log.read_text() for log in logs)]
    assert [text for text in said if any(secret in text for secret in secrets)] == []
    processes = json.loads((on_stack.folder / "stack.json").read_text())["processes"]
    commands = [" ".join(psutil.Process(each["pid"]).cmdline()) for each in processes]
    assert len(commands) == 5 and not [each for each in commands if any(secret in each for secret in secrets)]


def test_files_with_keys_are_for_their_owner_alone(stack: Stack):
    secrets = [stack.environment["AWS_SECRET_ACCESS_KEY"], stack.reader["AWS_SECRET_ACCESS_KEY"]]
    holding = [
        file
        for file in stack.folder.rglob("*")
        if file.is_file() and any(secret.encode() in file.read_bytes() for secret in secrets)
    ]
    assert {file.name for file in holding} == {"stack.json", "environment", "swift-proxy.conf"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in holding} == {0o600}


def test_mlflow_keeps_artifacts_in_the_bucket(on_stack: Stack):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(on_stack.environment["MLFLOW_TRACKING_URI"])
    run = client.create_run(client.create_experiment("kept in s3"))
    client.log_text(run.info.run_id, "good evening", "note.txt")
    stored = [file.path for file in list_files("s3://mlflow") if run.info.run_id in file.path]
    assert len(stored) == 1 and stored[0].endswith("/artifacts/note.txt")
    assert open_uri("s3://mlflow")[0].open_input_file(stored[0]).read() == b"good evening"


def test_starting_twice_changes_nothing(stack: Stack):
    before = (stack.folder / "stack.json").read_text()
    again = stack.command("start")
    assert again.returncode == 0 and (stack.folder / "stack.json").read_text() == before
    assert all(f"export {name}=" in again.stdout for name in stack.environment)


def test_the_environment_file_can_be_sourced(stack: Stack):
    script = f". {stack.folder}/environment; env"
    shell = subprocess.run(
        ["sh", "-c", script], env={"AWS_PROFILE": "mine"}, capture_output=True, text=True, check=True
    )
    found = dict(line.split("=", 1) for line in shell.stdout.splitlines() if "=" in line)
    assert stack.environment.items() <= found.items() and "AWS_PROFILE" not in found


def test_a_restart_keeps_the_data_and_a_stop_ends_only_its_own(stack: Stack, bucket: str):
    filesystem, path = open_uri(f"s3://{bucket}/a.jpg")
    write_atomically(filesystem, path, b"kept")
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)  # swift.proxy.server mlflow"])
    try:
        # As if the system had given the number of one of ours, which had ended, to somebody else.
        state = stack.folder / "stack.json"
        stored = json.loads(state.read_text())
        own = [psutil.Process(each["pid"]) for each in stored["processes"]]
        own += [child for each in own for child in each.children(recursive=True)]
        stored["processes"].append({"name": "foreign", "pid": bystander.pid, "started": 1})
        state.write_text(json.dumps(stored))
        assert stack.command("stop").returncode == 0
        assert len(own) >= 5 and not [each for each in own if lives(each)]
        assert bystander.poll() is None
        assert stack.command("status").returncode == 1
    finally:
        bystander.kill()
        bystander.wait()
        assert stack.command("start").returncode == 0
    assert stack.command("status").returncode == 0
    assert environment(stack.folder) == stack.environment
    assert open_uri(f"s3://{bucket}")[0].open_input_file(path).read() == b"kept"
    assert [file.path for file in list_files(f"s3://{bucket}")] == [path]


def lives(process: psutil.Process) -> bool:
    """Whether a process runs; one that ended and that nobody has asked after does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_taken_port_is_said_and_nothing_stays_behind(stack: Stack, tmp_path: Path):
    taken = stack.environment["AWS_ENDPOINT_URL"].rpartition(":")[2]
    refused = stack_command("start", tmp_path / "own", "--s3-port", taken)
    assert refused.returncode == 1
    assert refused.stderr == f"--s3-port: {taken} is taken on this machine; give another\n"
    assert not (tmp_path / "own" / "logs").exists()


def test_stopping_where_nothing_was_started_is_a_mistake(tmp_path: Path):
    stopped = stack_command("stop", tmp_path)
    assert stopped.returncode == 1
    assert stopped.stderr == f"{tmp_path}: no stack was started there; python -m cluster.local start makes one\n"


def test_a_database_that_mlflow_refuses_is_said_without_its_password(tmp_path: Path):
    database = "nosuchdatabase://me:wrong-secret@127.0.0.1:1/mlflow"
    started = stack_command("start", tmp_path, MLFLOW_BACKEND_STORE_URI=database)
    assert started.returncode == 1 and started.stderr.startswith("mlflow ended at its start: ")
    assert "wrong-secret" not in started.stderr + started.stdout
    assert stack_command("status", tmp_path).returncode == 1
    assert json.loads((tmp_path / "stack.json").read_text())["processes"] == []
