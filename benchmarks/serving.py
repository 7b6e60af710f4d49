"""What the endpoint does: photos a second, how long they take, and whether any is lost when a process is killed.

    python -m benchmarks.serving [--replicas 1 2] [--clients 1 2 4 8] [--seconds 20]
    python -m benchmarks.serving --url http://HOST:PORT/enhance --clients 16 64     # an endpoint that runs already

Without an address, `lle serve` is started on this machine for each number of replicas. Clients are threads, each with a
connection that it keeps, and post one photo after another, a JPEG of noise and gradients; a photo whose answer is not
200 has failed. At the end, with the most replicas, if they are several, one of the processes that enhance is killed
while the most clients post.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil

import lle
from benchmarks.pages import PAGE, machine, markdown_table, replace_section, save, stored, told
from lle.images import decode_picture, encode, encode_picture
from lle.model import enhance_picture

PORT = 8797
NAME = "benchmark"
SIZES = {"0.3 MP": (480, 640), "3 MP": (1536, 2048)}
STARTS = 3  # Ray gives up on a busy machine
ENDED_SECONDS = 300
ANSWERED_SECONDS = 300
ALONE = 5  # photos by one process without HTTP


@dataclass
class Load:
    """What clients have seen.

    Attributes:
        seconds: of each photo that came back.
        statuses: of all answers; 0: the connection broke.
        lasted: seconds in all.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lasted: float = 0.0

    def report(self) -> dict[str, Any]:
        """Numbers."""
        p50, p95, p99 = np.percentile(self.seconds, (50, 95, 99)) if self.seconds else (0, 0, 0)
        return {
            "photos": len(self.seconds),
            "failed": sum(count for status, count in self.statuses.items() if status != 200),
            "a second": len(self.seconds) / self.lasted,
            **{"p50": float(p50), "p95": float(p95), "p99": float(p99), "most": max(self.seconds, default=0)},
        }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="an endpoint that runs already; its numbers are only printed")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args(argv)
    photos = {name: photo(*size) for name, size in SIZES.items()}
    if arguments.url:
        for name, data in photos.items():
            for clients in arguments.clients:
                print(
                    name, clients, "clients", load(arguments.url, data, clients, arguments.seconds).report(), flush=True
                )
        return 0
    rows = [row for row in stored("serving").get("rows", []) if row["replicas"] not in arguments.replicas]
    found: dict[str, Any] = stored("serving") | {"machine": machine(("torch", "ray")), "rows": rows}
    found["alone"] = {name: alone(data) for name, data in photos.items()}
    for replicas in arguments.replicas:
        with endpoint(replicas) as (url, server):
            for name, data in photos.items():
                load(url, data, 2 * replicas, 2)  # warm
                for clients in arguments.clients:
                    row = load(url, data, clients, arguments.seconds).report()
                    found["rows"].append({"replicas": replicas, "photo": name, "clients": clients, **row})
                    print(found["rows"][-1], flush=True)
            if replicas == max(arguments.replicas) > 1:
                small = photos[next(iter(SIZES))]
                killed = load(url, small, max(arguments.clients), 2 * arguments.seconds, lambda: kill_one(server))
                found["killed"] = {"replicas": replicas, "clients": max(arguments.clients), **killed.report()}
                print("killed", found["killed"], flush=True)
    save("serving", found)
    replace_section(PAGE, "serving", as_text(stored("serving")))
    return 0


def photo(height: int, width: int) -> bytes:
    """A dark JPEG."""
    across = np.linspace(10, 80, width)[None, :, None] * np.linspace(0.4, 1, height)[:, None, None]
    noise = np.random.default_rng(0).normal(0, 4, (height, width, 3))
    return encode(np.clip(across + noise, 0, 255).astype(np.uint8), "jpeg", 90)


def alone(data: bytes) -> float:
    """Seconds of a photo in this process, from bytes to bytes."""
    import torch

    torch.set_num_threads(1)
    model, seconds = lle.load("bundled"), []
    for _ in range(ALONE):
        began = time.perf_counter()
        encode_picture(enhance_picture(model, decode_picture(data)), "jpeg")
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


@contextlib.contextmanager
def endpoint(replicas: int) -> Iterator[tuple[str, psutil.Process]]:
    """`lle serve` on this machine; its address and process."""
    command = [sys.executable, "-m", "lle_platform", "serve", "--port", str(PORT), "--name", NAME]
    command += ["--replicas", str(replicas), "--route", f"/{NAME}"]
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", ""))))
    for _ in range(STARTS):
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path})
        assert server.stdout is not None
        url = next((line.split()[0] for line in server.stdout if line.startswith("http")), "")
        if url:
            break
    else:
        raise RuntimeError("lle serve does not start; try it by itself")
    try:
        yield url, psutil.Process(server.pid)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(ENDED_SECONDS)


def kill_one(server: psutil.Process) -> None:
    """End a process that enhances, as if its machine had gone."""
    replicas = [each for each in server.children(recursive=True) if f"{NAME}-champion" in " ".join(each.cmdline())]
    replicas[0].kill()


def load(url: str, data: bytes, clients: int, seconds: float, meanwhile: Any = None) -> Load:
    """Clients that post one photo after another.

    Args:
        meanwhile: called in the middle.
    """
    found, lock, began = Load(), threading.Lock(), time.perf_counter()

    def post() -> None:
        address = urlsplit(url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=ANSWERED_SECONDS)
        while time.perf_counter() < began + seconds:
            sent, status = time.perf_counter(), 0
            try:
                connection.request("POST", address.path, data, {"Content-Type": "image/jpeg"})
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                connection.close()
            with lock:
                found.statuses[status] += 1
                if status == 200:
                    found.seconds.append(time.perf_counter() - sent)

    threads = [threading.Thread(target=post) for _ in range(clients)]
    for each in threads:
        each.start()
    if meanwhile is not None:
        time.sleep(seconds / 2)
        meanwhile()
    for each in threads:
        each.join()
    found.lasted = time.perf_counter() - began
    return found


def as_text(found: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    columns = ("p50", "p95", "p99", "most")
    measured = sorted(found["rows"], key=lambda row: row["replicas"])
    if "killed" in found:
        measured.append(found["killed"] | {"photo": f"one process killed: {next(iter(SIZES))}"})
    rows = [
        [f"{row['photo']}, {row['replicas']} replicas, {row['clients']} clients", f"{row['a second']:.2f}"]
        + [f"{row[name]:.2f}" for name in columns]
        + [f"{row['failed']} of {row['photos'] + row['failed']}"]
        for row in measured
    ]
    by_itself = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found["alone"].items())
    return "\n\n".join(
        (
            f"{told(found['machine'])}. One process without HTTP, from bytes to bytes: {by_itself}.",
            markdown_table(["", "photos a second", *(f"{name}, s" for name in columns), "failed"], rows),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
