"""The Kubernetes manifests: rendered, then held against the operator's schema and against what they promise."""

from __future__ import annotations

import copy
import importlib.metadata
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipelines.config.loading import load_settings, with_run_name

SIZES = ("small", "gpu")
RAY_KINDS = ("RayCluster", "RayJob")
CRDS = {"RayCluster": "ray.io_rayclusters.yaml", "RayJob": "ray.io_rayjobs.yaml"}


def render(folder: Path) -> list[dict[str, Any]]:
    """What `kubectl kustomize` makes of a folder; of its features, the four that these folders use."""
    rules = yaml.safe_load((folder / "kustomization.yaml").read_text())
    unknown = rules.keys() - {"apiVersion", "kind", "namespace", "resources", "patches", "images"}
    assert not unknown, f"{folder}: this test renders no {unknown}"
    objects: list[dict[str, Any]] = []
    for name in rules["resources"]:
        path = folder / name
        objects += render(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    for each in rules.get("patches", []):
        (target,) = (o for o in objects if (o["kind"], o["metadata"]["name"]) == tuple(each["target"].values()))
        for operation in yaml.safe_load(each["patch"]):
            patch(target, **operation)
    images = {each["name"]: f"{each['newName']}:{each['newTag']}" for each in rules.get("images", [])}
    for each in objects:
        for container in containers(each):
            container["image"] = images.get(container["image"], container["image"])
        if each["kind"] != "Namespace" and "namespace" in rules:
            each["metadata"]["namespace"] = rules["namespace"]
    return objects


def patch(target: Any, op: str, path: str, value: Any) -> None:
    """One operation of RFC 6902 on a nested value."""
    *parents, last = path.lstrip("/").split("/")
    for key in parents:
        target = target[int(key) if isinstance(target, list) else key]
    assert op == "add" or last in target, f"{path} is not there to be replaced"
    target[last] = value


def containers(value: Any) -> Iterator[dict[str, Any]]:
    """Every container below a value."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from below if key == "containers" else containers(below)
    elif isinstance(value, list):
        for below in value:
            yield from containers(below)


def pods(value: Any) -> Iterator[dict[str, Any]]:
    """Every pod's specification below a value."""
    if isinstance(value, dict):
        if "containers" in value:
            yield value
        for below in value.values():
            yield from pods(below)
    elif isinstance(value, list):
        for below in value:
            yield from pods(below)


def strict(schema: Any) -> Any:
    """A schema that also refuses fields it does not name, as the API server drops them without a word."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    return schema


@pytest.fixture(scope="module")
def schemas(shared: Path) -> dict[str, jsonschema.Draft202012Validator]:
    folder = shared / "reference" / "kuberay-crds"
    if not folder.is_dir():
        pytest.skip(f"the operator's schema is not in {folder}")
    validators = {}
    for kind, file in CRDS.items():
        crd = yaml.load((folder / file).read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        schema = next(v for v in crd["spec"]["versions"] if v["name"] == "v1")["schema"]["openAPIV3Schema"]
        schema["properties"]["metadata"] = {}
        validators[kind] = jsonschema.Draft202012Validator(strict(schema))
    return validators


@pytest.fixture(scope="module", params=SIZES)
def folder(request: pytest.FixtureRequest, repository: Path) -> Path:
    return repository / "cluster" / "kuberay" / "overlays" / request.param


@pytest.fixture(scope="module")
def objects(folder: Path) -> list[dict[str, Any]]:
    return render(folder)


@pytest.fixture(scope="module")
def clusters(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Ray cluster specifications by the kind that holds them."""
    by_kind = {each["kind"]: each["spec"] for each in objects if each["kind"] in RAY_KINDS}
    return {"RayCluster": by_kind["RayCluster"], "RayJob": by_kind["RayJob"]["rayClusterSpec"]}


def test_the_operators_schema_takes_cluster_and_job(objects: list[dict[str, Any]], schemas: dict[str, Any]):
    for each in objects:
        if each["kind"] in RAY_KINDS:
            assert [error.message for error in schemas[each["kind"]].iter_errors(each)] == []


def test_the_schema_refuses_misspelt_fields_wrong_types_and_unknown_policies(
    objects: list[dict[str, Any]], schemas: dict[str, Any]
):
    job = next(each for each in objects if each["kind"] == "RayJob")
    for path, value in [
        ("/spec/rayClusterSpec/headGroupSpek", {}),
        ("/spec/backoffLimit", "none"),
        ("/spec/deletionStrategy/deletionRules/0/policy", "DeleteAll"),
        ("/spec/rayClusterSpec/workerGroupSpecs/0/template/spec/containers/0/imagge", "lle"),
    ]:
        broken = copy.deepcopy(job)
        *_, last = path.split("/")
        target = broken
        for key in path.lstrip("/").split("/")[:-1]:
            target = target[int(key) if isinstance(target, list) else key]
        target[last] = value
        assert list(schemas["RayJob"].iter_errors(broken)), path


def test_kustomize_renders_what_this_test_renders(folder: Path, objects: list[dict[str, Any]]):
    if tool := shutil.which("kustomize"):
        command = [tool, "build", str(folder)]
    elif tool := shutil.which("kubectl"):
        command = [tool, "kustomize", str(folder)]
    else:
        pytest.skip("neither kustomize nor kubectl is installed")
    rendered = yaml.safe_load_all(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert {(o["kind"], o["metadata"]["name"]): o for o in rendered} == {
        (o["kind"], o["metadata"]["name"]): o for o in objects
    }


def test_every_object_can_be_chosen_by_its_component(objects: list[dict[str, Any]]):
    part = {each["kind"]: each["metadata"]["labels"]["app.kubernetes.io/component"] for each in objects}
    assert (part.pop("RayCluster"), part.pop("RayJob")) == ("cluster", "job")
    assert set(part.values()) == {"common"}


def test_clusters_want_a_token_that_no_manifest_holds(clusters: dict[str, Any], folder: Path):
    for spec in clusters.values():
        assert spec["authOptions"] == {"mode": "token", "secretName": "lle-ray-token"}
        assert spec["rayVersion"] == importlib.metadata.version("ray")
    for file in folder.parents[1].rglob("*.yaml"):
        assert "kind: Secret" not in file.read_text(), file
        assert not any("KEY" in line or "TOKEN" in line for line in file.read_text().splitlines()), file


def test_every_container_has_the_pinned_image_and_requests_equal_to_limits(objects: list[dict[str, Any]]):
    found = [each for o in objects for each in containers(o)]
    assert len(found) == 5  # head and worker of the cluster; head, worker and submitter of the job
    for each in found:
        assert each["image"] == "REGISTRY/lle:0.2.0"
        assert each["resources"]["requests"] == each["resources"]["limits"], each["name"]
        assert {"cpu", "memory"} <= each["resources"]["limits"].keys()


def test_no_container_runs_as_root_or_keeps_a_capability(objects: list[dict[str, Any]]):
    for pod in (pod for o in objects for pod in pods(o)):
        assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] == 1000
        for each in pod["containers"]:
            assert each["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_only_the_autoscalers_pod_may_ask_the_kubernetes_api(clusters: dict[str, Any]):
    for kind, spec in clusters.items():
        head = spec["headGroupSpec"]["template"]["spec"]
        assert head.get("automountServiceAccountToken", True) is (kind == "RayCluster")
        for group in spec["workerGroupSpecs"]:
            assert group["template"]["spec"]["automountServiceAccountToken"] is False


def test_the_head_holds_no_work_and_the_object_store_fits_the_shared_memory(clusters: dict[str, Any]):
    for spec in clusters.values():
        assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
            volumes = {each["name"]: each for each in group["template"]["spec"]["volumes"]}
            shared = int(volumes["shared-memory"]["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 2**30
            assert int(group["rayStartParams"]["object-store-memory"]) < shared
            assert volumes["runs"]["persistentVolumeClaim"]["claimName"] == "lle-runs"


def test_the_cluster_scales_by_autoscaler_v2_and_the_job_is_fixed_in_size(clusters: dict[str, Any]):
    assert clusters["RayCluster"]["enableInTreeAutoscaling"] is True
    assert clusters["RayCluster"]["autoscalerOptions"]["version"] == "v2"
    # The operator refuses DeleteWorkers beside an autoscaler, which would bring the workers back.
    assert "enableInTreeAutoscaling" not in clusters["RayJob"]


def test_deletion_frees_workers_first_then_the_cluster_then_the_job(objects: list[dict[str, Any]]):
    job = next(each["spec"] for each in objects if each["kind"] == "RayJob")
    assert "shutdownAfterJobFinishes" not in job and "ttlSecondsAfterFinished" not in job  # exclusive with rules
    rules = job["deletionStrategy"]["deletionRules"]
    for status in ("SUCCEEDED", "FAILED"):
        after = {r["policy"]: r["condition"]["ttlSeconds"] for r in rules if r["condition"].get("jobStatus") == status}
        assert after["DeleteWorkers"] == 0 < after["DeleteCluster"] <= after.get("DeleteSelf", 10**9)


def test_nothing_comes_in_from_outside_but_the_operator_and_prometheus(objects: list[dict[str, Any]]):
    policy = next(each["spec"] for each in objects if each["kind"] == "NetworkPolicy")
    assert policy["podSelector"] == {} and set(policy["policyTypes"]) == {"Ingress", "Egress"}
    for rule in policy["ingress"]:
        outside = [peer for peer in rule["from"] if "namespaceSelector" in peer or "ipBlock" in peer]
        assert all("ipBlock" not in peer for peer in rule["from"])
        if outside:
            assert [port["port"] for port in rule["ports"]] in ([8265], [8080])


def test_jobs_run_the_programs_that_exist_with_settings_that_exist(objects: list[dict[str, Any]], repository: Path):
    job = next(each["spec"] for each in objects if each["kind"] == "RayJob")
    start, program, *arguments = job["entrypoint"].removeprefix("cd /app && exec ").split()
    assert start == "python" and (repository / program).is_file()
    settings = with_run_name(load_settings(arguments)).settings
    workers = job["rayClusterSpec"]["workerGroupSpecs"][0]
    assert settings.runs == "/runs" and settings.scaling.workers <= workers["replicas"]
    gpus = workers["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", "0")
    assert (settings.scaling.gpu == "true") is (gpus == "1")
