"""For each process of tests one Ray cluster with token authentication, and trainings as a user starts them."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from cluster.local.stack import READER
from cluster.local.stack import environment as stack_environment
from tests.integration.unreliable import UnreliableServer, unreliable

WORKER_PORTS = 500  # for each cluster: those of two processes of tests do not take one another's
TINY = """
init_from: ""
data: {samples: true, image_size: 64, prompt_size: 64, validation_images: 4, validation_size: 128, decoders: 1}
enhancer: {arch: compact, thumbnail_size: 32, width: 8}
prior: {over_exposed_share: 0.5}
objective: {smoothness: {weight: 30}, reconstruction: {weight: 0.1}}
schedule:
  prompt_init: {steps: 8}
  reconstruction: {steps: 6}
  enhancement: {steps: 10, extend_by: 0}
  refinement: {steps: 6, extend_by: 0}
  rounds: 2
optimiser: {enhancer_lr: 1e-3, prompt_lr: 1e-3, ema_decay: 0.9}
batch: {enhancement: 4, prompts: 4}
loop: {log_every: 2, validate_every: 5, checkpoint_every: 5}
scaling: {workers: 2, threads_per_worker: 1}
"""


@dataclass(frozen=True)
class Cluster:
    """A running head node: addresses, and the environment a client needs."""

    address: str
    dashboard: str
    environment: dict[str, str]
    head: psutil.Process

    def processes(self, name: str) -> list[psutil.Process]:
        """The head's processes whose command line holds a name."""
        return processes_of(self.head, name)


def processes_of(parent: psutil.Process, name: str = "") -> list[psutil.Process]:
    """A process's children and theirs whose command line holds a name."""
    found = []
    for each in parent.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if name in " ".join(each.cmdline()):
                found.append(each)
    return found


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head node of four CPUs for the session."""
    with head_node(tmp_path_factory.mktemp("ray"), cpus=4) as head:
        yield head


@contextlib.contextmanager
def head_node(folder: Path, cpus: int, address: str = "127.0.0.1") -> Iterator[Cluster]:
    """`ray start --head` with token authentication; everything it started ends with the block."""
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    environment = {
        # A Ray started in this process by another test leaves its own variables behind, MLflow the last server.
        **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))},
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_JOB_STOP_WAIT_TIME_S": "30",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # a node that a test ends need not wait for its work
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # a server that a test has ended does not come back
    }
    port, dashboard, agent = free_port(), free_port(), free_port()
    worker_port = 20000 + WORKER_PORTS * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 20)
    command = [
        ray_command(), "start", "--head", "--block", f"--port={port}", f"--num-cpus={cpus}", "--disable-usage-stats",
        f"--node-ip-address={address}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={agent}",  # jobs need the agent, and its own port is fixed for a machine
        f"--min-worker-port={worker_port}", f"--max-worker-port={worker_port + WORKER_PORTS - 1}",
        f"--temp-dir={short_folder()}",
    ]  # fmt: skip
    with (folder / "head.log").open("wb") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        url, log_file = f"http://127.0.0.1:{dashboard}", folder / "head.log"
        wait_for(lambda: answers(dashboard) and answers(agent), 240, f"Ray's dashboard and its agent; see {log_file}")
        first_job = [ray_command(), "job", "submit", "--address", url, "--", "true"]  # it takes jobs a little later
        wait_for(lambda: run(first_job, environment, 120).returncode == 0, 180, f"Ray's job agent; see {log_file}")
        yield Cluster(f"{address}:{port}", url, environment, psutil.Process(head.pid))
    finally:
        signal_all(psutil.Process(head.pid), signal.SIGKILL)  # asked to end, it would take half a minute
        head.wait(30)


def signal_all(parent: psutil.Process, number: int) -> None:
    """Send a signal to a process, its children and theirs."""
    for each in [parent, *processes_of(parent)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.send_signal(number)


@dataclass(frozen=True)
class Stack:
    """A running S3 and MLflow server, as `make stack` starts them."""

    folder: Path
    environment: dict[str, str]  # the AWS_ and MLFLOW_ variables of a user who may write
    reader: dict[str, str]  # and of one who may not

    def command(self, action: str) -> subprocess.CompletedProcess[str]:
        """`python -m cluster.local ACTION` for this stack."""
        return stack_command(action, self.folder)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Swift's S3 and MLflow in an empty folder, for the session; a test keeps to a bucket or prefix of its own."""
    if importlib.util.find_spec("swift") is None:
        pytest.skip("the local stack needs the extra `stack`: make env")
    folder = tmp_path_factory.mktemp("stack")
    try:
        started = stack_command("start", folder)
        assert started.returncode == 0, started.stderr
        yield Stack(folder, stack_environment(folder), stack_environment(folder, READER))
    finally:
        stack_command("stop", folder)


@pytest.fixture
def on_stack(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """The stack, with this process's environment set for it."""
    use_environment(monkeypatch, stack.environment)
    return stack


@pytest.fixture(scope="session")
def proxy(stack: Stack) -> Iterator[UnreliableServer]:
    """A server in front of the stack's S3 that makes the trouble a test wants."""
    with unreliable(urlsplit(stack.environment["AWS_ENDPOINT_URL"]).port or 0) as server:
        yield server


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A settings file for a training of a minute, of which most is starting the workers."""
    file = tmp_path_factory.mktemp("settings") / "tiny.yaml"
    file.write_text(TINY)
    return file


@dataclass
class Training:
    """`python pipelines/train.py` in a process of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    folder: Path

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def summary(self) -> dict:
        return json.loads((self.folder / "summary.json").read_text())

    def wait(self, seconds: float = 400) -> int:
        return self.process.wait(seconds)

    def wait_until(self, text: str, seconds: float = 300, times: int = 1) -> None:
        """Until its output holds a text so many times; fails where it ends without."""

        def said() -> bool:
            return self.output.count(text) >= times

        wait_for(lambda: said() or self.process.poll() is not None, seconds, f"{text!r} {times} times in {self.log}")
        assert said(), self.output[-3000:]


def submission(cluster: Cluster, repository: Path, *arguments: str, **options: str) -> list[str]:
    """`ray job submit` of `pipelines/train.py`, the repository as its working directory."""
    return [
        ray_command(), "job", "submit", "--address", cluster.dashboard, "--working-dir", str(repository),
        *(word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value) if word), "--",
        sys.executable, "pipelines/train.py", *arguments,
    ]  # fmt: skip


@dataclass
class Trainings:
    """Starts trainings on the cluster, in an empty folder."""

    cluster: Cluster
    settings: Path
    runs: Path
    repository: Path

    def start(self, name: str, *arguments: str) -> Training:
        command = [sys.executable, str(self.repository / "pipelines" / "train.py")]
        address = ("--cluster.address", self.cluster.address)
        return self._begin(name, [*command, *self._arguments(name), *address, *arguments])

    def submit(self, name: str, *arguments: str) -> Training:
        """As a job of the training's name."""
        words = (*self._arguments(name), *arguments)
        return self._begin(name, submission(self.cluster, self.repository, *words, submission_id=name))

    def stop(self, name: str) -> subprocess.CompletedProcess[str]:
        """End a job."""
        command = [ray_command(), "job", "stop", "--address", self.cluster.dashboard, name]
        return run(command, self.cluster.environment)

    def _arguments(self, name: str) -> list[str]:
        return ["--config", str(self.settings), "--runs", str(self.runs), "--name", name]

    def _begin(self, name: str, command: list[str]) -> Training:
        log = self.runs / f"{name}{len(list(self.runs.glob(f'{name}*.log')))}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, env=self.cluster.environment, stdout=file, stderr=subprocess.STDOUT, cwd=self.runs
            )
        return Training(process, log, self.runs / name)


@pytest.fixture
def trainings(cluster: Cluster, tiny: Path, tmp_path: Path, repository: Path) -> Iterator[Trainings]:
    started: list[Training] = []
    trainings = Trainings(cluster, tiny, tmp_path, repository)
    start = trainings.start
    trainings.start = lambda *args: started.append(start(*args)) or started[-1]  # type: ignore[method-assign]
    yield trainings
    for each in started:
        if each.process.poll() is None:
            each.process.terminate()
            each.process.wait(60)


def ray_command() -> str:
    """The `ray` beside this Python."""
    return str(Path(sys.executable).parent / "ray")


def stack_command(action: str, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python -m cluster.local ACTION --folder FOLDER` as a user runs it, without other AWS_ and MLFLOW_ variables."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MLFLOW_"))}
    plain["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "cluster.local", action, "--folder", str(folder), *arguments]
    return run(command, plain | variables, 800)


def use_environment(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Exactly these AWS_ and MLFLOW_ variables, until the test ends."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """An MLflow server over SQLite in a folder, killed at the end of the block; its address."""
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'server.db'}",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(lambda: answers(port), 120, "the MLflow server")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def free_port() -> int:
    """A free port of this machine outside the range Ray gives its workers."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if not 10002 <= port <= 29999:
            return port


def short_folder() -> str:
    """A folder whose path is short enough for Ray's sockets (107 bytes)."""
    import tempfile

    return tempfile.mkdtemp(prefix="lle")


def answers(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition, seconds: float, what: str) -> None:
    """Wait until a condition holds; fail with what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds} s for {what}")
        time.sleep(0.25)


def run(command: Sequence[str], environment: dict[str, str], seconds: float = 600) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, its output as text."""
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=False)
