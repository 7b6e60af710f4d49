"""The endpoint as users run it: on one cluster beside somebody else's, posted to over HTTP, its processes killed."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from mlflow.tracking import MlflowClient

import lle
from lle.images import decode, encode
from pipelines.config.train import RunSettings, TrackingSettings
from pipelines.models.registry import register
from pipelines.tracking.runs import TrackedRun
from tests.integration.conftest import Cluster, free_port, head_node, wait_for
from tests.integration.models import brightener

SECONDS = 240
CLIENTS = 4
NAME = "served"


class Served:
    """`lle serve` in a process of its own."""

    def __init__(self, cluster: Cluster, repository: Path, folder: Path, name: str, *words: str) -> None:
        command = [
            sys.executable, str(repository / "pipelines" / "serve.py"), "--cluster.address", cluster.address,
            "--name", name, "--route", f"/{name}", "--follow", "1", *words,
        ]  # fmt: skip
        self.log = folder / f"{name}{time.monotonic_ns()}.log"
        environment = cluster.environment | {"PYTHONPATH": str(repository)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder)

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def url(self) -> str:
        return next(line.split()[0] for line in self.said.splitlines() if line.startswith("http"))

    def wait_until(self, text: str) -> None:
        wait_for(lambda: text in self.said or self.process.poll() is not None, SECONDS, f"{text!r} in {self.log}")
        assert text in self.said, self.said[-2000:]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(SECONDS)


def asked(url: str, data: bytes | None = None, kind: str = "image/png") -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of an answer; a photo is posted where there is one."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=SECONDS)
    path = f"{address.path}?{address.query}" if address.query else address.path
    connection.request("POST" if data is not None else "GET", path, data, {"Content-Type": kind} if data else {})
    answer = connection.getresponse()
    return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}


def photo(seed: int = 0) -> bytes:
    return encode(np.random.default_rng(seed).integers(0, 60, (60, 80, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of its own: Ray Serve stays on one, with its port, when the last application has gone."""
    with head_node(tmp_path_factory.mktemp("ray"), cpus=8) as head:
        yield head


def processes(machine: Cluster, application: str) -> list[psutil.Process]:
    return machine.processes(f"ray::ServeReplica:{application}")


@pytest.mark.drill
def test_two_people_serve_on_one_cluster_and_a_killed_process_costs_no_photo(
    machine: Cluster, repository: Path, tmp_path: Path
):
    port = str(free_port())
    mine = Served(machine, repository, tmp_path, "mine", "--port", port, "--max_megabytes", "1")
    mine.wait_until("Ctrl-C ends it")
    theirs = Served(machine, repository, tmp_path, "theirs", "--port", "1", "--model", "baseline:auto-gain")
    theirs.wait_until("Ctrl-C ends it")
    assert f"Ray Serve runs on this cluster already, at 127.0.0.1:{port}" in theirs.said
    same_name = Served(machine, repository, tmp_path, "mine", "--port", port)
    assert same_name.process.wait(SECONDS) == 1 and "an application mine is served on this cluster" in same_name.said
    same_route = Served(machine, repository, tmp_path, "other", "--route", "/mine")
    assert same_route.process.wait(SECONDS) == 1 and "/mine belongs to the application mine" in same_route.said

    expected = lle.load("bundled").enhance(decode(photo()), strength=0.5)
    status, body, headers = asked(f"{mine.url}?strength=0.5", photo())
    assert (status, headers["content-type"], headers["x-model"]) == (200, "image/png", "champion")
    assert np.abs(decode(body).astype(int) - expected).max() <= 1
    assert asked(mine.url, bytes(1_100_000))[0] == 413 and asked(mine.url, b"text", "text/plain")[0] == 415
    assert json.loads(asked(f"{mine.url}/health")[1]) == {"status": "ok"}

    killed, statuses, stopped = processes(machine, "mine-champion"), list[int](), threading.Event()
    assert len(killed) == 2

    def post(seed: int) -> None:
        while not stopped.is_set():
            statuses.append(asked(mine.url, photo(seed))[0])

    clients = [threading.Thread(target=post, args=(seed,)) for seed in range(CLIENTS)]
    for each in clients:
        each.start()
    try:
        wait_for(lambda: len(statuses) > 2 * CLIENTS, SECONDS, "photos before a process is killed")
        killed[0].kill()
        before = len(statuses)
        wait_for(lambda: len(statuses) > before + 2 * CLIENTS, SECONDS, "photos behind it")
        wait_for(lambda: len(processes(machine, "mine-champion")) == 2, SECONDS, "another process in its place")
    finally:
        stopped.set()
        for each in clients:
            each.join()
    assert set(statuses) == {200}

    assert mine.stop() == 0 and "others were left alone" in mine.said
    assert asked(mine.url, photo())[0] == 404 and asked(theirs.url, photo())[0] == 200
    theirs.process.kill()  # its application stays, and may be taken over
    again = Served(machine, repository, tmp_path, "theirs", "--replace", "--replicas", "1")
    again.wait_until("Ctrl-C ends it")
    assert again.stop() == 0 and asked(theirs.url, photo())[0] == 404


@pytest.mark.drill
def test_a_canary_has_its_share_and_a_moved_alias_is_served_without_an_unanswered_photo(
    machine: Cluster, repository: Path, tmp_path: Path
):
    database = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(database)
    experiment = client.create_experiment("training", artifact_location=(tmp_path / "artifacts").as_uri())
    settings = RunSettings.model_construct(name="run", tracking=TrackingSettings(model_name=NAME))
    for bias in (0.1, 0.4):
        started = client.create_run(experiment).info.run_id
        register(brightener(bias), TrackedRun(database, started), settings, f"# Bias {bias}\n\n## Settings\n")
    client.set_registered_model_alias(NAME, "champion", 1)
    client.set_registered_model_alias(NAME, "canary", 2)
    served = Served(
        machine, repository, tmp_path, "both", "--tracking.uri", database, "--model", f"models:/{NAME}@champion",
        "--canary.model", f"models:/{NAME}@canary", "--canary.share", "0.5",
    )  # fmt: skip
    served.wait_until("Ctrl-C ends it")
    assert f"models:/{NAME}/1 (champion), models:/{NAME}/2 (canary)" in served.said
    answers = [asked(served.url, photo(seed)) for seed in range(20)]
    assert {status for status, _, _ in answers} == {200}
    by = {headers["x-model"] for _, _, headers in answers}
    assert by == {"champion", "canary"}
    canaries = sum(headers["x-model"] == "canary" for _, _, headers in answers)

    def report() -> dict:
        return json.loads(asked(f"{served.url}/models")[1])

    wait_for(lambda: report().get("same_photos", {}).get("photos") == canaries, SECONDS, "the comparison")
    told = report()
    assert told["canary"]["answered"] == canaries and told["champion"]["answered"] == 20 - canaries
    assert told["same_photos"]["canary_brighter_by"] > 0.01

    client.set_registered_model_alias(NAME, "champion", 2)
    while f"now with models:/{NAME}/2 (champion)" not in served.said:
        assert asked(served.url, photo())[0] == 200
        assert served.process.poll() is None, served.said
    assert asked(served.url, photo(1))[0] == 200
    versions = {asked(served.url, photo(seed))[2]["x-model-version"] for seed in range(6)}
    assert len(versions) == 1
    assert served.stop() == 0


@pytest.mark.drill
def test_prometheus_is_told_of_requests_and_of_what_is_under_way(machine: Cluster, repository: Path, tmp_path: Path):
    served = Served(machine, repository, tmp_path, "counted", "--replicas", "1")
    served.wait_until("Ctrl-C ends it")
    assert asked(served.url, photo())[0] == 200 and asked(served.url, b"text", "text/plain")[0] == 415
    served.wait_until("for Prometheus: ")
    page = served.said.partition("for Prometheus: ")[2].split()[0]

    def exported(meter: str, *labels: str) -> bool:
        """Whether it is told of this application; others on the cluster have told of theirs before."""
        lines = asked(page)[1].decode().splitlines()
        wanted = 'application="counted"', *labels
        return any(line.startswith(f"ray_lle_serve_{meter}") and all(each in line for each in wanted) for line in lines)

    for meter, *labels in (
        ("requests_total", 'status="200"'),
        ("requests_total", 'status="415"'),
        ("seconds_bucket",),
        ("under_way",),
    ):
        wait_for(partial(exported, meter, *labels), 60, f"{meter} {labels}")
    assert served.stop() == 0
