"""Ray nodes as machines of their own: each has its processes, its address, and a cable to the head that can be pulled.

A machine is a network namespace of Linux, a cable a pair of virtual interfaces, and the switch a bridge, on which the
head listens: what is pulled out is gone for every process on either side, as with a real cable.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import (
    Cluster,
    head_node,
    processes_of,
    ray_command,
    run,
    short_folder,
    signal_all,
    wait_for,
)

INTERFACE = "eth0"


@dataclass
class Network:
    """A switch with the head's address.

    Attributes:
        name: the switch's, the beginning of all others' names.
        prefix: first three numbers of every address.
    """

    name: str
    prefix: str
    sockets: list[str] = field(default_factory=list)

    @property
    def head(self) -> str:
        return f"{self.prefix}.1"

    def connect(self) -> str:
        """A new machine's name: its namespace's, and its cable's at this end."""
        name = f"{self.name}n{len(self.sockets)}"
        self.sockets.append(name)
        address = f"{self.prefix}.{len(self.sockets) + 1}/24"
        ip("netns", "add", name)
        ip("link", "add", name, "type", "veth", "peer", "name", INTERFACE, "netns", name)
        ip("link", "set", name, "master", self.name, "up")
        ip("-n", name, "address", "add", address, "dev", INTERFACE)
        for each in ("lo", INTERFACE):
            ip("-n", name, "link", "set", each, "up")
        return name

    def address(self, name: str) -> str:
        return f"{self.prefix}.{self.sockets.index(name) + 2}"


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A switch for the block.

    Raises:
        Skipped: no networks can be made here.
    """
    if not shutil.which("ip") or os.geteuid():
        pytest.skip("machines of their own need root and Debian's package iproute2")
    made = Network(f"lle{os.getpid()}", f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}")
    try:
        ip("link", "add", made.name, "type", "bridge")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine lets nobody make networks, as containers without NET_ADMIN: {error.stderr}")
    try:
        ip("address", "add", f"{made.head}/24", "dev", made.name)
        ip("link", "set", made.name, "up")
        yield made
    finally:
        for name in made.sockets:
            ip("netns", "delete", name)
        ip("link", "delete", made.name)


def ip(*arguments: str) -> None:
    """`ip` of iproute2.

    Raises:
        CalledProcessError: it refuses.
    """
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@dataclass
class Machine:
    """A Ray node in a network namespace.

    Attributes:
        name: the namespace's, the node's, and the cable's.
        process: `ray start`.
    """

    name: str
    process: psutil.Process

    @property
    def workers(self) -> list[psutil.Process]:
        return processes_of(self.process, "RayTrainWorker") if self.is_up else []

    @property
    def is_up(self) -> bool:
        return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE

    def lose(self) -> None:
        """As if its power went."""
        signal_all(self.process, signal.SIGKILL)

    def pull_cable(self) -> None:
        ip("link", "set", self.name, "down")

    def plug_cable(self) -> None:
        ip("link", "set", self.name, "up")


@dataclass
class Machines:
    """Machines of two CPUs each, beside a head that works on nothing."""

    cluster: Cluster
    network: Network
    folder: Path
    all: list[Machine] = field(default_factory=list)

    def add(self) -> Machine:
        name = self.network.connect()
        command = ["ip", "netns", "exec", name, ray_command(), "start", "--block", f"--address={self.cluster.address}"]
        command += ["--num-cpus=2", f"--node-name={name}", f"--node-ip-address={self.network.address(name)}"]
        command += [f"--temp-dir={short_folder()}"]  # or it clears away what the head has unpacked
        environment = self.cluster.environment | {"GLOO_SOCKET_IFNAME": INTERFACE}
        with (self.folder / f"{name}.log").open("wb") as log:
            started = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        machine = Machine(name, psutil.Process(started.pid))
        self.all.append(machine)
        wait_for(lambda: processes_of(machine.process, "raylet"), 60, "a raylet")
        return machine

    def keep(self, count: int) -> None:
        """Add or lose machines until so many are up."""
        up = [each for each in self.all if each.is_up]
        for each in up[count:]:
            each.lose()
        for _ in range(count - len(up)):
            self.add()

    def announce_the_end_of(self, machine: Machine, seconds: int) -> None:
        """What a cloud's notice becomes: Ray is told that the machine will be taken away in so many seconds."""
        listed = [ray_command(), "list", "nodes", "--address", self.cluster.dashboard, "--format", "json"]
        found = json.loads(run([*listed, "--filter", f"node_name={machine.name}"], self.cluster.environment).stdout)
        drained = run(
            [
                ray_command(), "drain-node", "--address", self.cluster.address, "--node-id", found[0]["node_id"],
                "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot",
                "--deadline-remaining-seconds", str(seconds),
            ],
            self.cluster.environment,
        )  # fmt: skip
        assert drained.returncode == 0, drained.stderr

    def at_work(self) -> Machine:
        """The newest machine with a worker of the training."""
        wait_for(lambda: any(each.workers for each in self.all), 60, "a worker")
        return next(each for each in reversed(self.all) if each.workers)


@contextlib.contextmanager
def machines(folder: Path) -> Iterator[Machines]:
    """A head for the block, and what machines are added; all are ended with it."""
    with network() as switch, head_node(folder, cpus=0, address=switch.head) as cluster:
        found = Machines(cluster, switch, folder)
        try:
            yield found
        finally:
            for each in found.all:
                if each.is_up:
                    each.lose()
