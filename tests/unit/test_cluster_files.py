"""ray_cluster.yaml as Ray's own launcher reads it, what a job uploads, and how a kind of machine is chosen."""

from __future__ import annotations

import json
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from ray._private.runtime_env.packaging import create_package
from ray.autoscaler._private.node_provider_availability_tracker import NodeProviderAvailabilityTracker
from ray.autoscaler._private.resource_demand_scheduler import ResourceDemandScheduler
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.node_launch_exception import NodeLaunchException

UPLOAD_BYTES = 10_000_000
NOT_EC2 = {"SubnetIds"}  # Ray takes one of them as SubnetId


@pytest.fixture(scope="module")
def launcher(repository: Path) -> dict[str, Any]:
    """The launcher's file with Ray's defaults filled in."""
    return prepare_config(yaml.safe_load((repository / "ray_cluster.yaml").read_text()))


@pytest.fixture(scope="module")
def machines(launcher: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """EC2 parameters by kind of node."""
    return {name: each["node_config"] for name, each in launcher["available_node_types"].items()}


@pytest.fixture(scope="module")
def run_instances() -> Any:
    """The shape of EC2's RunInstances."""
    return ServiceModel(Loader().load_service_model("ec2", "service-2")).operation_model("RunInstances").input_shape


def test_rays_own_loader_takes_the_launchers_file(launcher: dict[str, Any]):
    validate_config(launcher)


def test_rays_loader_would_refuse_a_misspelt_key(launcher: dict[str, Any]):
    with pytest.raises(Exception, match="idle_timeout_minuets"):
        validate_config(launcher | {"idle_timeout_minuets": 5})


def test_ec2_knows_every_parameter_of_the_machines(machines: dict[str, Any], run_instances: Any):
    for name, machine in machines.items():
        request = {key: value for key, value in machine.items() if key not in NOT_EC2} | {"MinCount": 1, "MaxCount": 1}
        assert not ParamValidator().validate(request, run_instances).generate_report(), name
        assert set(request) <= set(run_instances.members), name


def test_the_head_holds_no_work(launcher: dict[str, Any]):
    assert launcher["available_node_types"][launcher["head_node_type"]]["resources"] == {"CPU": 0}
    assert "--num-cpus=0" in launcher["head_start_ray_commands"][-1]


def test_no_machine_answers_the_world_or_metadata_version_one(launcher: dict[str, Any], machines: dict[str, Any]):
    assert launcher["provider"]["use_internal_ips"] is True
    for name, machine in machines.items():
        assert machine["SecurityGroupIds"] and machine["SubnetIds"], name  # else Ray makes a group with SSH for all
        assert machine["MetadataOptions"]["HttpTokens"] == "required", name
        assert machine["IamInstanceProfile"]["Name"] == f"lle-ray-{'head' if name.startswith('head') else 'worker'}"
        assert all(each["Ebs"]["Encrypted"] for each in machine["BlockDeviceMappings"]), name
    head = launcher["head_start_ray_commands"][-1]
    assert "--dashboard-host=127.0.0.1" in head and "--ray-client-server-port" not in head


def test_every_container_asks_for_a_token_that_no_file_holds(launcher: dict[str, Any], repository: Path):
    options = launcher["docker"]["run_options"]
    assert "--env RAY_AUTH_MODE=token" in options
    path = next(each.partition("=")[2] for each in options if "RAY_AUTH_TOKEN_PATH" in each)
    assert str(Path(path).parent) in launcher["file_mounts"]
    for word in ("RAY_AUTH_TOKEN=", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        assert word not in (repository / "ray_cluster.yaml").read_text()


def test_the_object_store_fits_the_shared_memory(launcher: dict[str, Any]):
    for kind in ("head", "worker"):
        shared = next(o for o in launcher["docker"][f"{kind}_run_options"] if o.startswith("--shm-size="))
        command = launcher[f"{kind}_start_ray_commands"][-1].split()
        store = next(int(w.partition("=")[2]) for w in command if w.startswith("--object-store-memory="))
        assert store < int(shared.removeprefix("--shm-size=").removesuffix("g")) * 2**30


def test_the_bill_is_bounded_and_idle_machines_leave(launcher: dict[str, Any]):
    assert launcher["max_workers"] <= 4 and launcher["idle_timeout_minutes"] <= 15
    workers = [each for name, each in launcher["available_node_types"].items() if name != launcher["head_node_type"]]
    assert all(each["min_workers"] == 0 for each in workers)


def test_comments_are_no_part_of_a_command(launcher: dict[str, Any]):
    for name in ("initialization_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        assert launcher[name] and not [each for each in launcher[name] if "YOURS" in each or "#" in each]


def test_images_are_pinned(launcher: dict[str, Any], machines: dict[str, Any]):
    images = [
        launcher["docker"]["image"],
        *(w for c in launcher["initialization_commands"] for w in c.split() if "/fluent-bit:" in w),
    ]
    assert len(images) == 2
    for image in images:
        assert image.rpartition(":")[2][0].isdigit(), image
    assert all(machine["ImageId"].startswith("ami-") for machine in machines.values())


def test_the_heads_role_may_start_the_machines_of_the_file_and_pass_on_the_workers_role(
    machines: dict[str, Any], launcher: dict[str, Any], repository: Path
):
    statements = json.loads((repository / "cluster" / "aws" / "head_policy.json").read_text())["Statement"]
    by_name = {each["Sid"]: each for each in statements}
    allowed = by_name["StartMachinesOfTheCluster"]["Condition"]["StringEqualsIfExists"]["ec2:InstanceType"]
    workers = {name: machine for name, machine in machines.items() if name != launcher["head_node_type"]}
    assert {machine["InstanceType"] for machine in workers.values()} == set(allowed)
    (role,) = {machine["IamInstanceProfile"]["Name"] for machine in workers.values()}
    assert by_name["GiveThemTheWorkersRole"]["Resource"].endswith(f":role/{role}")
    ends = by_name["EndMachinesOfTheCluster"]["Condition"]["StringEquals"]["ec2:ResourceTag/ray-cluster-name"]
    assert ends == launcher["cluster_name"]


def wanted(launcher: dict[str, Any], failed: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Machines Ray's scheduler starts for a worker with a GPU after some kinds could not be had."""
    scorer = next(o for o in launcher["docker"]["head_run_options"] if "UTILIZATION_SCORER" in o).partition("=")[2]
    monkeypatch.setenv("RAY_AUTOSCALER_UTILIZATION_SCORER", scorer)
    tracker = NodeProviderAvailabilityTracker()
    for kind in failed:
        refusal = NodeLaunchException("InsufficientInstanceCapacity", "no such machine now", None)
        tracker.update_node_availability(kind, int(time.time()), refusal)
    kinds = launcher["available_node_types"]
    scheduler = ResourceDemandScheduler(None, kinds, launcher["max_workers"], launcher["head_node_type"], 1.0)
    started, missing = scheduler.get_nodes_to_launch([], {}, [{"CPU": 1, "GPU": 1}], {}, [], {}, [], tracker.summary())
    assert not missing
    return {kind: count for kind, count in started.items() if kind != launcher["head_node_type"]}


def test_spot_machines_come_first(launcher: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    assert wanted(launcher, [], monkeypatch) == {"worker.gpu.spot": 1}


def test_on_demand_machines_come_where_no_spot_machine_could_be_had(
    launcher: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    assert wanted(launcher, ["worker.gpu.spot"], monkeypatch) == {"worker.gpu.ondemand": 1}


def test_spot_is_tried_again_where_neither_could_be_had(launcher: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    assert wanted(launcher, ["worker.gpu.spot", "worker.gpu.ondemand"], monkeypatch) == {"worker.gpu.spot": 1}


def test_a_submitted_job_uploads_the_packages_and_less_than_10_mb(repository: Path, tmp_path: Path):
    package = tmp_path / "upload.zip"
    create_package(str(repository), package, include_gitignore=True)
    with zipfile.ZipFile(package) as uploaded:
        files = {each.filename: each.file_size for each in uploaded.infolist() if not each.is_dir()}
    assert sum(files.values()) < UPLOAD_BYTES
    of_git = {name for name in files if name.startswith(".revision")}  # none in an archive, a file in a worktree
    assert {name.partition("/")[0] for name in files.keys() - of_git} == {
        "lle",
        "pipelines",
        "cluster",
        "pyproject.toml",
    }
    assert all(re.fullmatch(r"\.revision(/HEAD|/packed-refs|/refs/heads/.+)?", name) for name in of_git)
    assert {"pipelines/train.py", "lle/config/train.py", "pipelines/presets/clip_lit.yaml"} <= files.keys()


def printed_commands(repository: Path, start: str) -> list[str]:
    """Commands of README, docs and what the launcher runs that begin so, with the lines that continue them."""
    files = [repository / "README.md", *(repository / "docs").glob("*.md"), repository / "ray_cluster.yaml"]
    text = "\n".join(file.read_text() for file in files).replace("\\\n", " ")
    return [start + line.split(start, 1)[1].partition("`")[0] for line in text.splitlines() if start in line]


def test_every_printed_start_of_ray_leaves_its_statistics_out(repository: Path):
    starts = printed_commands(repository, "ray start --")
    assert len(starts) >= 5 and [each for each in starts if "--disable-usage-stats" not in each] == []


def test_every_printed_submission_of_a_training_names_where_its_run_stays(repository: Path):
    submitted = printed_commands(repository, "ray job submit --address")
    trainings = [each for each in submitted if "pipelines/train.py" in each]
    assert len(trainings) >= 5 and [each for each in trainings if "--runs " not in each] == []
