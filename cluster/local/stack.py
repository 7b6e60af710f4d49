"""The local stack: Swift for objects, MLflow for records, both on loopback with keys of their own.

Everything lies in one folder that only its owner may read: `stack.json` (keys, ports, the processes), `environment`
(to be sourced), `swift/`, `mlflow.db`, `logs/`. It may be moved or copied while the stack does not run.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import secrets
import shlex
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.local import swift
from cluster.local.processes import Process, end, launch
from cluster.storage import DEFAULT_REGION, StorageError, explain, mlflow_environment, s3_client

BUCKETS = ("photos", "mlflow")
WRITER, READER = "lle:writer", "lle:reader"  # the reader may list and read every bucket, and write none
NAMES = {*swift.SERVERS, "mlflow"}
READY_SECONDS = 600.0  # a quarter of a minute where nothing else runs; a server that ended is noticed at once
DATABASE = "MLFLOW_BACKEND_STORE_URI"
LOOPBACK = "127.0.0.1"
# What another account's environment would change.
FOREIGN = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_CA_BUNDLE")


class StackError(RuntimeError):
    """The stack cannot be started or found; the message says what to change."""


@dataclass
class State:
    """What a stack remembers between starts."""

    keys: dict[str, str] = field(default_factory=lambda: {user: secrets.token_hex(20) for user in (WRITER, READER)})
    hash_prefix: str = field(default_factory=lambda: secrets.token_hex(16))
    hash_suffix: str = field(default_factory=lambda: secrets.token_hex(16))
    ports: dict[str, int] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)


def start(folder: Path, s3_port: int = 0, mlflow_port: int = 0) -> str:
    """Start what does not run yet and wait until it answers; gives what to tell the user.

    Args:
        folder: of the stack; made if it is not there.
        s3_port, mlflow_port: where to listen; 0: the port of the last time if it is free, else any.

    Raises:
        StackError: Swift is not installed, a port is taken, a server ended or does not answer in time.
    """
    _check_packages()
    with _only_one(folder):
        state = _load(folder)
        wanted = {"swift-proxy": s3_port, "mlflow": mlflow_port}
        running = {process.name for process in state.processes if process.runs()}
        moved = any(port and port != state.ports.get(name) for name, port in wanted.items())
        if running != NAMES or moved:
            end(reversed(state.processes))
            state.processes = []
            _choose_ports(state, wanted)
            _save(folder, state)
            _start(folder, state)
        return _welcome(folder, state)


def stop(folder: Path) -> list[str]:
    """End the processes of a stack, and no other; gives the names of those that ran.

    Raises:
        StackError: there is no stack in the folder.
    """
    _check_folder(folder)
    with _only_one(folder):
        state = _load(folder)
        ended = end(reversed(state.processes))
        state.processes = []
        _save(folder, state)
    return [process.name for process in ended]


def status(folder: Path) -> dict[str, bool]:
    """Whether each process of a stack runs.

    Raises:
        StackError: there is no stack in the folder.
    """
    _check_folder(folder)
    running = {process.name for process in _load(folder).processes if process.runs()}
    return {name: name in running for name in sorted(NAMES)}


def environment(folder: Path, user: str = WRITER) -> dict[str, str]:
    """The variables with which boto3, `cluster.storage` and MLflow use a stack.

    Raises:
        StackError: there is no stack in the folder.
    """
    _check_folder(folder)
    return _environment(_load(folder), user)


def _environment(state: State, user: str = WRITER) -> dict[str, str]:
    endpoint = f"http://{LOOPBACK}:{state.ports['swift-proxy']}"
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": user,
        "AWS_SECRET_ACCESS_KEY": state.keys[user],
        "AWS_DEFAULT_REGION": DEFAULT_REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "MLFLOW_TRACKING_URI": f"http://{LOOPBACK}:{state.ports['mlflow']}",
        "MLFLOW_S3_ENDPOINT_URL": endpoint,
    }


def _start(folder: Path, state: State) -> None:
    """Start all processes; where one fails, end the others."""
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MLFLOW_"))}
    try:
        for name, command in _swift(folder, state).items():
            _launch(folder, state, name, command, variables)
        _wait(folder, state, f"http://{LOOPBACK}:{state.ports['swift-proxy']}/healthcheck")
        with _using(_environment(state)):
            _make_buckets()
            variables |= _environment(state) | mlflow_environment()
        variables[DATABASE] = os.environ.get(DATABASE) or f"sqlite:///{folder / 'mlflow.db'}"
        variables["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # eight more processes, for judging chat models
        _launch(folder, state, "mlflow", _mlflow(state), variables)
        _wait(folder, state, f"http://{LOOPBACK}:{state.ports['mlflow']}/health")
    except BaseException:
        end(reversed(state.processes))
        state.processes = []
        _save(folder, state)
        raise


def _launch(folder: Path, state: State, name: str, command: Sequence[str], variables: Mapping[str, str]) -> None:
    state.processes.append(launch(name, command, variables, folder / "logs" / f"{name}.log"))
    _save(folder, state)  # at once: whatever happens next, `stop` knows of it


def _swift(folder: Path, state: State) -> dict[str, Sequence[str]]:
    users = {WRITER: (state.keys[WRITER], ".admin"), READER: (state.keys[READER], ".reseller_reader")}
    account = swift.Account(state.hash_prefix, state.hash_suffix, users)
    try:
        return swift.configure(folder / "swift", account, state.ports)
    except OSError as error:
        raise StackError(
            f"{folder}: Swift cannot keep its data there ({error.strerror}); give --folder on a disk with extended "
            "attributes (ext4, xfs, btrfs)"
        ) from error


def _mlflow(state: State) -> Sequence[str]:
    port = state.ports["mlflow"]
    hosts = ",".join(f"{host},{host}:{port}" for host in (LOOPBACK, "localhost"))
    return (
        sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port), "--workers", "1",
        "--artifacts-destination", "s3://mlflow", "--allowed-hosts", hosts,
    )  # fmt: skip


def _make_buckets() -> None:
    client = s3_client()
    try:
        for bucket in BUCKETS:
            with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket=bucket)
    except (StorageError, client.exceptions.ClientError) as error:
        raise StackError(f"the S3 server answers, but makes no bucket: {explain(error)}") from error


def _wait(folder: Path, state: State, url: str) -> None:
    """Until a server says that it is well, as long as all processes live."""
    deadline = time.monotonic() + READY_SECONDS
    while not _answers(url):
        for process in state.processes:
            if not process.runs():
                log = folder / "logs" / f"{process.name}.log"
                raise StackError(f"{process.name} ended at its start: {_last_line(log)} (all of it in {log})")
        if time.monotonic() > deadline:
            raise StackError(f"{url} does not answer after {READY_SECONDS:.0f} s; see {folder / 'logs'}")
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace", encoding="utf-8").splitlines() if line.strip()]
    last = lines[-1] if lines else "it said nothing"
    password = urlsplit(os.environ.get(DATABASE, "")).password
    return last.replace(password, "...") if password else last


def _choose_ports(state: State, wanted: Mapping[str, int]) -> None:
    for name in (*swift.SERVERS, "mlflow"):
        given = wanted.get(name, 0)
        if given and not _is_free(given):
            setting = "--s3-port" if name == "swift-proxy" else "--mlflow-port"
            raise StackError(f"{setting}: {given} is taken on this machine; give another")
        last = state.ports.get(name, 0)
        state.ports[name] = given or (last if last and _is_free(last) else _free_port())


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _welcome(folder: Path, state: State) -> str:
    """What to export; the same is in the file `environment`."""
    values = {name: shlex.quote(value) for name, value in _environment(state).items()}
    lines = [f"unset {' '.join(FOREIGN)}", *(f"export {name}={value}" for name, value in values.items())]
    file = folder / "environment"
    _write_private(file, "\n".join(lines) + "\n")
    return "\n".join([f"# . {shlex.quote(str(file))}", *lines])


def _load(folder: Path) -> State:
    file = folder / "stack.json"
    if not file.exists():
        return State()
    stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return State(**stored | {"processes": [Process(**each) for each in stored["processes"]]})


def _save(folder: Path, state: State) -> None:
    _write_private(folder / "stack.json", json.dumps(asdict(state), indent=2) + "\n")


def _write_private(file: Path, text: str) -> None:
    unfinished = file.with_name(f"{file.name}.new")
    unfinished.touch(mode=0o600)
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """The folder, made if need be, for one start or stop at a time."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w", encoding="utf-8") as lock:  # a process started below does not inherit it
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _using(variables: Mapping[str, str]) -> Iterator[None]:
    """This process's environment with a stack's variables, and nothing foreign, for the length of a block."""
    before = dict(os.environ)
    for name in FOREIGN:
        os.environ.pop(name, None)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _check_packages() -> None:
    missing = [name for name in ("swift", "pyeclib", "mlflow") if importlib.util.find_spec(name) is None]
    if missing:
        raise StackError(f"{', '.join(missing)}: not installed; run make env, or pip install -e '.[pipeline,stack]'")


def _check_folder(folder: Path) -> None:
    if not (folder / "stack.json").exists():
        raise StackError(f"{folder}: no stack was started there; python -m cluster.local start makes one")
