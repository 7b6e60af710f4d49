"""A cluster whose machines come after the job has started, and what Prometheus reads from a node."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request

import pytest

from pipelines.tracking.meters import GAUGES, REFUSED
from tests.integration.conftest import Cluster, free_port, ray_command, run, wait_for

GROWS = """
import os, subprocess, sys, tempfile, threading, time
import ray
from ray.cluster_utils import Cluster
from cluster.connect import connect, grown
from cluster.lasting import refuse_unshared
from cluster.storage import StorageError

head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": tempfile.mkdtemp(prefix="lle")}
os.makedirs(ray._common.utils.get_default_ray_temp_dir(), exist_ok=True)  # where Cluster writes its address
cluster = Cluster(initialize_head=True, head_node_args=head)
with connect(cluster.address):
    from ray.autoscaler.v2.sdk import get_cluster_status

    def asked():
        demands = get_cluster_status(cluster.address).resource_demands.placement_group_demand
        return [each.count for demand in demands for each in demand.bundles_by_count]

    print("at once", grown([{"CPU": 1}] * 2, minutes=0).get("CPU", 0), "asked", asked())
    found, told = [], []
    waiting = threading.Thread(target=lambda: found.append(grown([{"CPU": 1}] * 2, 4, told.append)))
    waiting.start()
    while not asked() or not told:
        time.sleep(0.2)
    print("waiting", waiting.is_alive(), "asked", asked(), told[0])
    cluster.add_node(num_cpus=1)  # two CPUs, but not on one machine
    cluster.add_node(num_cpus=1)
    print("too small", grown([{"CPU": 2}], minutes=0.02)["CPU"])
    waiting.join(60)
    while asked():
        time.sleep(0.2)
    print("grown", found[0]["CPU"], "asked", asked())

    runs = tempfile.mkdtemp(prefix="runs")
    refuse_unshared("runs", runs)
    print("shared, and left", os.listdir(runs))
    if sys.argv[1:]:  # a machine on which that folder is another one
        command = f"mount -t tmpfs none {runs} && exec {' '.join(sys.argv[1:])} --address={cluster.address}"
        with subprocess.Popen(["unshare", "--mount", "sh", "-c", command], stdout=subprocess.DEVNULL) as node:
            while sum(node["Alive"] for node in ray.nodes()) < 4:
                time.sleep(0.2)
            try:
                refuse_unshared("runs", runs)
            except StorageError as error:
                print("told:", error)
            node.terminate()
        print("left", os.listdir(runs))
cluster.shutdown()
"""

METERS = """
import sys, time
import ray, torch
from lle.training.hooks import Step
from lle.training.schedule import Phase
from pipelines.tracking.meters import Meters

ray.init(sys.argv[1], logging_level="ERROR")
meters = Meters("seen", 3)
speed = {"step_seconds": 0.5, "data_wait_share": 0.1, "images_per_second": 64.0}
meters.step(Step(7, "", {"loss": 3.0, "term/guidance": 0.25, **speed}, Phase.REFINEMENT))
for photo in range(2):
    meters.refused()
print(ray.nodes()[0]["MetricsExportPort"], flush=True)
sys.stdin.read()
"""


@pytest.mark.drill
def test_a_training_waits_for_machines_no_longer_than_told_and_is_refused_a_folder_that_one_does_not_see(
    cluster: Cluster,
):
    environment = {name: value for name, value in cluster.environment.items() if name != "RAY_ADDRESS"}
    ports = [f"--dashboard-agent-listen-port={free_port()}", "--min-worker-port=20000", "--max-worker-port=29999"]
    node = [ray_command(), "start", "--num-cpus=1", "--block", "--disable-usage-stats", *ports]
    done = run([sys.executable, "-c", GROWS, *(node if os.geteuid() == 0 else [])], environment, 300)
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout.splitlines()
    if os.geteuid() == 0:
        *said, told, left = said
        assert "is not seen by 1 of the cluster's machines" in told and "--checkpoints s3://" in told
        assert left == "left []"
    assert said == [
        "at once 0 asked []",
        "waiting True asked [2] waiting for 2 x 1 CPU: 0 of 0 CPUs free",
        "too small 2.0",
        "grown 2.0 asked []",
        "shared, and left []",
    ]


def test_prometheus_reads_the_meters_of_a_worker_from_its_node(cluster: Cluster):
    command = [sys.executable, "-c", METERS, cluster.address]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=cluster.environment, text=True, **pipes) as driver:
        assert driver.stdin and driver.stdout
        port = driver.stdout.readline().strip()
        wait_for(lambda: f"ray_{REFUSED}_total" in seen(port), 60, "the meters on the node's port")
        values = seen(port)
        driver.stdin.close()
    assert values.keys() == {f"ray_{name}" for name in GAUGES if name != "lle_gpu_memory_bytes"} | {
        f"ray_{REFUSED}_total"
    }
    assert values[f"ray_{REFUSED}_total"] == {("3", "seen", ""): 2.0}
    assert values["ray_lle_loss_term"] == {("3", "seen", "total"): 3.0, ("3", "seen", "guidance"): 0.25}
    assert values["ray_lle_phase"]["3", "seen", "refinement"] == 1.0


def seen(port: str) -> dict[str, dict[tuple[str, str, str], float]]:
    """Our metrics on a node, by name, then by rank, run and term or phase."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    found: dict[str, dict[tuple[str, str, str], float]] = {}
    for line in lines:
        if match := re.fullmatch(r"(ray_lle_\w+)\{(.*)\} (\S+)", line):
            tags = dict(re.findall(r'(\w+)="([^"]*)"', match[2]))
            found.setdefault(match[1], {})[tags["rank"], tags["run"], tags.get("term") or tags.get("phase") or ""] = (
                float(match[3])
            )
    return found
