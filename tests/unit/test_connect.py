from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.connect import ClusterError, connect, see_a_cluster_at

CONNECT = """
from cluster.connect import ClusterError, connect
try:
    with connect():
        print("connected")
except ClusterError as error:
    print("told:", error)
"""


def connecting(repository: Path, variables: dict[str, str]) -> str:
    """What a process that connects is told, in one line."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", CONNECT],
        env=others | variables | {"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    [told] = [line for line in done.stdout.splitlines() if line.startswith("told:")]
    return told


def test_whatever_ray_raises_when_it_does_not_start_is_one_sentence(tmp_path: Path, repository: Path):
    """Ray's sockets cannot lie in a folder of so long a name: an OSError, which no documentation tells."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    assert connecting(repository, {"RAY_TMPDIR": str(folder)}).startswith("told: Ray did not start here (")


@pytest.mark.parametrize(
    "address",
    ["ray://127.0.0.1:10001", "http://127.0.0.1:8265", "127.0.0.1", "head", ":6379", "head:port", "head:99999999"],
)
def test_what_is_no_address_of_a_head_node_is_told_with_what_to_give(address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ClusterError, match=r"^cluster\.address: .* is not host:port .*ray job submit"), connect():
        pass


def test_a_port_where_nobody_listens_is_told_with_the_command_that_starts_a_cluster():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError, match=r"no Ray cluster answers there \(Connection refused\); start one"):
            see_a_cluster_at(address)


def test_a_port_that_says_nothing_is_not_waited_for_longer_than_asked():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"{address}: no Ray cluster answers there"):
            see_a_cluster_at(address, seconds=1)


def test_somebody_else_at_the_address_is_told():
    command = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout
        port = re.search(r"port (\d+)", server.stdout.readline())
        assert port
        try:
            with pytest.raises(ClusterError, match="what answers there is no Ray head node"):
                see_a_cluster_at(f"127.0.0.1:{port[1]}")
        finally:
            server.kill()


def test_a_name_that_nobody_knows_is_told():
    with pytest.raises(ClusterError, match=r"no\.such\.host\.invalid:6379: no Ray cluster answers there"):
        see_a_cluster_at("no.such.host.invalid:6379")


def test_a_token_that_is_not_there_is_told(tmp_path: Path, repository: Path):
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "nowhere")}
    told = connecting(repository, token | {"RAY_ADDRESS": "127.0.0.1:6379"})
    assert "RAY_AUTH_TOKEN_PATH is set but file cannot be opened or is empty" in told
