"""prepare, enhance and the streams of a training over bad photos, a failing server, a full disk, and killed.

Jobs run as users start them, two at a time to save minutes, on the shared cluster, whose workers find their keys in a
file; what they must give was computed here without cluster, proxy or trouble.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pyarrow.parquet as parquet
import pytest

from cluster.storage import list_files, open_uri, s3_client
from lle import images
from lle.config import DataSettings
from lle.training.order import photo_at
from pipelines import enhance, prepare, train
from pipelines.config.enhance import EnhanceSettings
from pipelines.config.prepare import PrepareSettings
from pipelines.data import shards
from pipelines.data.decoding import Decode
from pipelines.data.manifest import begin, finish
from pipelines.data.part import pending_parts, prepare_part
from pipelines.data.photo_sets import list_photos
from pipelines.inference.progress import Done
from pipelines.inference.work import find_work
from pipelines.inference.worker import Worker
from pipelines.models.resolve import find_model
from tests.integration.conftest import Cluster, Stack, use_environment
from tests.integration.unreliable import Request, Trouble, UnreliableServer

pytestmark = pytest.mark.drill

PHOTOS = 40
KILLED_ROUNDS = 5  # of two jobs each
BUCKETS = ("for-prepare", "for-enhance", "for-train")  # one each, so that a request tells whose it is
MODEL = "baseline:auto-exposure"
BAD = {
    "bomb.png": "50000 x 50000 pixels are over the limit",
    "empty.jpg": "the file is empty",
    "text.jpg": "not a JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC, AVIF or raw image",
    "truncated.jpg": "truncated",
}
FULL = "No space left on device"


# --- what jobs work on ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos() -> dict[str, bytes]:
    """Good photos by name; the last one is a PNG under a wrong name, which every viewer forgives."""
    chance = np.random.default_rng(0)
    pictures = [images.resize((chance.random((6, 8, 3)) * 255).astype(np.uint8), (96, 128)) for _ in range(PHOTOS)]
    named = {f"{index:02d}.jpg": images.encode(picture, "jpeg", 90) for index, picture in enumerate(pictures)}
    return named | {"png.jpg": images.encode(pictures[0], "png", 90)}


@pytest.fixture(scope="module")
def mixed(photos: dict[str, bytes]) -> dict[str, bytes]:
    """The same, and bad ones."""
    whole = photos["00.jpg"]
    bad = {"bomb.png": bomb(50_000), "empty.jpg": b"", "text.jpg": b"This is a letter.", "truncated.jpg": whole[:900]}
    return photos | bad | {"wrongly-named.txt": whole}


def bomb(side: int) -> bytes:
    """A valid PNG of one colour, side x side pixels, in a few hundred KB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    packer, row = zlib.compressobj(1), bytes(1 + side // 8)
    rows = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    header = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def filled(stack: Stack, photos: dict[str, bytes], mixed: dict[str, bytes]) -> None:
    """Buckets with the prefixes `good` and `mixed`."""
    with pytest.MonkeyPatch.context() as patch:
        use_environment(patch, stack.environment)
        client = s3_client()
        for bucket in BUCKETS:
            client.create_bucket(Bucket=bucket)
            for prefix, files in (("good", photos), ("truth", photos), ("mixed", mixed)):
                for name, data in files.items():
                    client.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=data)


@dataclass
class Jobs:
    """Starts prepare and enhance on the cluster against the proxy."""

    repository: Path
    environment: dict[str, str]
    address: str
    logs: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def prepare(self, source: str, target: str) -> Job:
        return self._start("prepare", "--input", source, "--output", target, "--short-side", "64", "--part-files", "2")

    def enhance(self, source: str, target: str) -> Job:
        return self._start("enhance", "--input", source, "--output", target, "--model", MODEL, "--workers", "1")

    def _start(self, name: str, *arguments: str) -> Job:
        log = self.logs / f"{name}{len(self.started)}.log"
        command = [
            sys.executable,
            f"{self.repository}/pipelines/{name}.py",
            *arguments,
            "--cluster.address",
            self.address,
        ]
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, env=self.environment, stdout=file, stderr=file, cwd=self.logs, start_new_session=True
            )
        self.started.append(process)
        return Job(process, log)


@dataclass
class Job:
    """One of them, in a process group of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait(self) -> tuple[int, str]:
        """Its exit status and what it said."""
        status = self.process.wait(400)
        return status, self.log.read_text(errors="replace")

    def kill(self) -> None:
        """As the system does when memory runs out: at once, with all its own processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def keys(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as AWS_SHARED_CREDENTIALS_FILE names it."""
    file = tmp_path_factory.mktemp("keys") / "credentials"
    file.touch(0o600)
    file.write_text(
        f"[default]\naws_access_key_id = {stack.environment['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {stack.environment['AWS_SECRET_ACCESS_KEY']}\n"
    )
    return file


@pytest.fixture
def jobs(
    cluster: Cluster, proxy: UnreliableServer, filled: None, keys: Path, repository: Path, tmp_path: Path
) -> Iterator[Jobs]:
    proxy.calm()
    aws = {
        "AWS_ENDPOINT_URL": proxy.url,
        "AWS_SHARED_CREDENTIALS_FILE": str(keys),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "8",
    }
    plain = {name: value for name, value in cluster.environment.items() if not name.startswith("AWS_")}
    for_workers = {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": {"env_vars": aws}})}  # as a submit does
    jobs = Jobs(repository, plain | aws | for_workers | {"OMP_NUM_THREADS": "1"}, cluster.address, tmp_path)
    yield jobs
    for process in jobs.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)


@pytest.fixture
def calm(stack: Stack, filled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process talks to the server itself."""
    use_environment(monkeypatch, stack.environment)


def contents(uri: str) -> dict[str, bytes]:
    """All files below, by name."""
    filesystem, root = open_uri(uri)
    read = partial(shards.read, filesystem)
    paths = [file.path for file in list_files(uri)]
    with ThreadPoolExecutor(8) as pool:
        return {path[len(root) + 1 :]: data for path, data in zip(paths, pool.map(read, paths), strict=True)}


def prepared_here(source: str, target: str) -> dict[str, bytes]:
    """What prepare must give."""
    settings = PrepareSettings(input=source, output=target, short_side=64, part_files=2)
    begin(settings)
    for part in list(pending_parts(settings, [])):
        prepare_part(settings, part)
    finish(settings)
    return contents(target)


def enhanced_here(source: str, target: str) -> dict[str, bytes]:
    """What enhance must give, without its report."""
    model = find_model(MODEL, "")
    settings = EnhanceSettings(input=source, output=target, model=MODEL)
    for entry in Worker(model, settings).enhance(find_work(settings, model.version, Done(target))[0]):
        assert not entry.failed or entry.photo in BAD
    return contents(target)


def rows(table: bytes) -> dict[str, dict]:
    """A manifest by path."""
    return {row["path"]: row for row in parquet.read_table(io.BytesIO(table)).to_pylist()}


def report(files: dict[str, bytes]) -> dict[str, dict[str, str]]:
    """A report by photo; every photo once."""
    lines = list(csv.DictReader(io.StringIO(files["report.csv"].decode())))
    found = {line["photo"]: line for line in lines}
    assert len(found) == len(lines)
    return found


def results(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name != "report.csv"}


# --- a failing server -------------------------------------------------------------------------------------------------


def now_and_then(seed: int) -> Callable[[Request], Trouble | None]:
    """A fifth of all requests fail in some way or other."""
    chance, lock = Random(seed), threading.Lock()
    kinds = [Trouble(status=500), Trouble(status=503), Trouble(kept=0.5), Trouble(unheard=True), Trouble(delay=0.5)]

    def trouble(request: Request) -> Trouble | None:
        with lock:
            return chance.choice(kinds) if chance.random() < 0.2 else None

    return trouble


def test_bad_photos_and_a_failing_server_cost_no_good_photo_and_every_reason_is_said(
    jobs: Jobs, proxy: UnreliableServer, calm: None, mixed: dict[str, bytes], photos: dict[str, bytes]
):
    client, troubled = s3_client(), now_and_then(1)
    for bucket in BUCKETS[:2]:
        client.put_object(Bucket=bucket, Key="mixed/vanishing.jpg", Body=photos["00.jpg"])

    def trouble(request: Request) -> Trouble | None:
        if request.path.endswith("/vanishing.jpg"):  # listed, and gone when somebody comes to read it
            client.delete_object(Bucket=request.path.split("/")[1], Key="mixed/vanishing.jpg")
        return troubled(request)

    proxy.trouble = trouble
    prepare_job = jobs.prepare("s3://for-prepare/mixed", "s3://for-prepare/faulty")
    enhance_job = jobs.enhance("s3://for-enhance/mixed", "s3://for-enhance/faulty")
    (status, said), (enhance_status, enhance_said) = prepare_job.wait(), enhance_job.wait()
    proxy.calm()

    assert status == 0, said[-3000:]
    assert f"holds {len(photos)} pictures" in said
    expected = prepared_here("s3://for-prepare/mixed", "s3://for-prepare/reference")
    found = contents("s3://for-prepare/faulty")
    manifest, reference = rows(found["manifest.parquet"]), rows(expected["manifest.parquet"])
    assert manifest.keys() == mixed.keys() | {"vanishing.jpg"}
    assert manifest.pop("vanishing.jpg")["refused"] == "gone between listing and reading"
    for name, row in manifest.items():
        place = (row.pop("shard"), row.pop("offset"), row.pop("length"))
        where = [reference[name].pop(column) for column in ("shard", "offset", "length")]
        assert row == reference[name]
        assert bool(row["refused"]) == (name not in photos)
        if not row["refused"]:
            assert part_of(found, *place) == part_of(expected, *where)
    for name, reason in BAD.items():
        assert reason in manifest[name]["refused"], manifest[name]["refused"]
    assert "the name does not end as a picture's" in manifest["wrongly-named.txt"]["refused"]
    assert {row["shard"] for row in rows(found["manifest.parquet"]).values() if row["shard"]} == {
        name for name in found if name.startswith("shards/")
    }

    assert enhance_status == 1, enhance_said[-3000:]
    assert f"{len(photos)} photos enhanced, 0 done before, {len(BAD) + 1} failed" in enhance_said
    enhanced = contents("s3://for-enhance/faulty")
    assert results(enhanced) == enhanced_here("s3://for-enhance/mixed", "s3://for-enhance/reference")
    noted = report(enhanced)
    assert noted.keys() == photos.keys() | BAD.keys() | {"vanishing.jpg"}
    assert noted["vanishing.jpg"]["failed"] == "nothing is there; check the path"
    for name, reason in BAD.items():
        assert reason in noted[name]["failed"] and f"failed: {name}: {noted[name]['failed']}" in enhance_said


def part_of(files: dict[str, bytes], shard: str, offset: int, length: int) -> bytes:
    return files[shard][offset : offset + length]


def refusals(block: dict) -> list[list[str]]:
    """Path and reason of each photo that was skipped to fill a block's rows."""
    return [each for row in block["refused"] if row for each in json.loads(row)]


def test_a_stream_over_bad_photos_and_a_failing_server_gives_the_rows_of_the_order(
    stack: Stack, proxy: UnreliableServer, calm: None, monkeypatch: pytest.MonkeyPatch, photos: dict[str, bytes]
):
    def stream() -> tuple[np.ndarray, dict[str, str]]:
        found = list_photos("s3://for-train/mixed", "data.dark", DataSettings())
        batches = Decode(found, 16, seed=3, start=0, stride=1, threads=4, max_pixels=10**6).batches()
        blocks = [next(batches) for _ in range(3)]
        told = dict(each for block in blocks for each in refusals(block))
        return np.concatenate([block["image"] for block in blocks]), found.refused | told

    expected, set_aside = stream()
    assert set_aside.keys() == {f"for-train/mixed/{name}" for name in BAD}
    proxy.calm()
    use_environment(monkeypatch, stack.environment | {"AWS_ENDPOINT_URL": proxy.url, "AWS_MAX_ATTEMPTS": "8"})
    proxy.trouble = now_and_then(2)
    under_trouble, reasons = stream()
    np.testing.assert_array_equal(under_trouble, expected)
    assert reasons == set_aside

    use_environment(monkeypatch, stack.environment | {"AWS_ENDPOINT_URL": proxy.url, "AWS_MAX_ATTEMPTS": "1"})
    proxy.calm()
    found = list_photos("s3://for-train/mixed", "data.dark", DataSettings())
    lost = "/" + found.paths[photo_at(5, len(found.paths), 3)]
    proxy.trouble = lambda request: Trouble(kept=0.5) if request.path == lost else None
    block = next(Decode(found, 16, seed=3, start=0, stride=1, threads=4, max_pixels=10**6).batches())
    told = {path: reason for path, reason in refusals(block) if "truncated.jpg" not in path}
    assert told == {lost[1:]: f"{proxy.url} breaks off in the middle of its answers; check the network"}
    assert len(block["image"]) == 16


# --- a full disk ------------------------------------------------------------------------------------------------------


@dataclass
class Disk:
    """A file system of a few KB."""

    folder: Path

    def enlarge(self) -> None:
        subprocess.run(["mount", "-o", "remount,size=64m", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_said_and_with_more_room_the_rest_is_done(
    jobs: Jobs, disk: Disk, calm: None, photos: dict[str, bytes]
):
    prepared, enhanced = disk.folder / "prepared", disk.folder / "enhanced"
    sources = ("s3://for-prepare/good", "s3://for-enhance/good")
    first, second = jobs.prepare(sources[0], str(prepared)), jobs.enhance(sources[1], str(enhanced))
    (status, said), (enhance_status, enhance_said) = first.wait(), second.wait()
    assert status == 1 and said.strip().splitlines()[-1].startswith(f"error: output: {prepared}"), said[-3000:]
    assert said.strip().endswith(f"cannot be written: {FULL}")
    assert enhance_status == 1 and f"cannot be written: {FULL}" in enhance_said, enhance_said[-3000:]
    assert "Traceback" not in said + enhance_said
    assert not [*disk.folder.rglob("*.unfinished")]

    disk.enlarge()
    first, second = jobs.prepare(sources[0], str(prepared)), jobs.enhance(sources[1], str(enhanced))
    for status, said in (first.wait(), second.wait()):
        assert status == 0, said[-3000:]
    assert contents(str(prepared)) == prepared_here(sources[0], "s3://for-prepare/after-full")
    assert results(contents(str(enhanced))) == enhanced_here(sources[1], "s3://for-enhance/after-full")
    assert report(contents(str(enhanced))).keys() == photos.keys()


# --- killed -----------------------------------------------------------------------------------------------------------


def test_killed_at_ten_random_moments_and_run_to_the_end_nothing_is_lost_and_nothing_is_there_twice(
    jobs: Jobs, proxy: UnreliableServer, calm: None, photos: dict[str, bytes]
):
    sources = ("s3://for-prepare/good", "s3://for-enhance/good")
    targets = ("s3://for-prepare/killed", "s3://for-enhance/killed")
    chance = Random(4)
    for _ in range(KILLED_ROUNDS):
        proxy.calm()
        moments = {"for-prepare": chance.randint(1, 60), "for-enhance": chance.randint(1, 120)}
        running = {
            "for-prepare": jobs.prepare(sources[0], targets[0]),
            "for-enhance": jobs.enhance(sources[1], targets[1]),
        }
        proxy.trouble = killing(running, moments, chance.random() < 0.5)
        for job in running.values():
            status, said = job.wait()
            assert status == -signal.SIGKILL, said[-3000:]
    proxy.calm()
    for job in (jobs.prepare(sources[0], targets[0]), jobs.enhance(sources[1], targets[1])):
        status, said = job.wait()
        assert status == 0, said[-3000:]
    assert contents(targets[0]) == prepared_here(sources[0], "s3://for-prepare/whole")
    assert results(contents(targets[1])) == enhanced_here(sources[1], "s3://for-enhance/whole")
    assert report(contents(targets[1])).keys() == photos.keys()


def killing(running: dict[str, Job], moments: dict[str, int], unheard: bool) -> Callable[[Request], Trouble | None]:
    """Kill each job when the request of its moment comes, before the server hears of it or after."""
    lock, left = threading.Lock(), dict(moments)

    def trouble(request: Request) -> Trouble | None:
        bucket = request.path.split("/")[1]
        with lock:
            left[bucket] = left.get(bucket, 0) - 1
            if left[bucket] == 0:
                running[bucket].kill()
                return Trouble(unheard=unheard)
        return None

    return trouble


# --- who may not ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("job", ["prepare", "enhance", "train"])
def test_a_wrong_key_a_wrong_bucket_and_no_permission_end_with_one_sentence_at_once(
    stack: Stack,
    filled: None,
    job: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    endpoint = stack.environment["AWS_ENDPOINT_URL"]
    wrong, nobody = {"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, {"AWS_ACCESS_KEY_ID": "nobody"}
    photos, out = f"s3://for-{job}/good", f"s3://for-{job}/forbidden"
    # A training asks by HEAD first, whose answer does not tell a wrong key from no permission.
    refuses = "AWS_ACCESS_KEY_ID" if job == "train" else f"{endpoint} refuses the key; check AWS_ACCESS_KEY_ID"
    missing = f"{endpoint} has no such bucket; check its name"
    cases = [
        (stack.environment | wrong, photos, out, refuses),
        (stack.environment | nobody, photos, out, refuses),
        (stack.environment, "s3://fotos/good", out, missing),
    ]
    if job != "train":
        cases += [
            (stack.environment, photos, "s3://fotos/out", f"{endpoint} has no such bucket; check its name"),
            (stack.reader, photos, out, "permission denied; check that the key is right and may do this there"),
        ]
    monkeypatch.chdir(tmp_path)
    for environment, source, target, sentence in cases:
        use_environment(monkeypatch, environment)
        arguments = {
            "prepare": ["--input", source, "--output", target],
            "enhance": ["--input", source, "--output", target, "--model", MODEL],
            "train": ["--data.dark", source, "--data.well_lit", f"{source}-too", "--name", "refused"],
        }[job]
        status = {"prepare": prepare, "enhance": enhance, "train": train}[job].main(arguments)
        said = capfd.readouterr()
        assert status == 2
        assert said.err.count("\n") == 1 and said.err.startswith("error: ") and sentence in said.err, said.err
        assert not any(name in said.out + said.err for name in (environment["AWS_SECRET_ACCESS_KEY"], "Traceback"))
    use_environment(monkeypatch, stack.environment)
    assert list(list_files(out)) == []


# --- and the keys -----------------------------------------------------------------------------------------------------

PASSWORD = "p4ssw0rd-of-the-tracking-server"
SHORT = """
schedule:
  prompt_init: {steps: 2}
  reconstruction: {steps: 0}
  enhancement: {steps: 4, extend_by: 0}
  rounds: 1
loop: {log_every: 1, validate_every: 4, checkpoint_every: 4, metric: psnr}
scaling: {workers: 1, threads_per_worker: 1}
"""


@pytest.fixture(scope="module")
def recorded(
    stack: Stack, cluster: Cluster, keys: Path, tiny: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with everything that a sweep, a training and what follows on it wrote, said or left in their temporary
    folder. The keys and a password are in their environment; workers find the keys in a file.
    """
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "tmp").mkdir()
    (folder / "short.yaml").write_text(SHORT)
    (folder / "search.yaml").write_text("objective.smoothness.weight: uniform(1, 100)\n")
    shared = {"AWS_ENDPOINT_URL": stack.environment["AWS_ENDPOINT_URL"], "AWS_SHARED_CREDENTIALS_FILE": str(keys)}
    environment = {
        **{name: value for name, value in cluster.environment.items() if not name.startswith("AWS_")},
        **stack.environment,
        "MLFLOW_TRACKING_URI": stack.environment["MLFLOW_TRACKING_URI"].replace("://", f"://somebody:{PASSWORD}@"),
        "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": {"env_vars": shared}}),
        "TMPDIR": str(folder / "tmp"),
    }

    def start(name: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, f"{repository}/pipelines/{name}.py", *arguments]
        with (folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)

    def ended(**jobs: subprocess.Popen[bytes]) -> None:
        for name, job in jobs.items():
            try:
                status = job.wait(300)
            finally:
                job.kill()
            said = (folder / f"{name}.log").read_text(errors="replace")
            assert status == (1 if name == "promote" else 0), said[-3000:]  # what is no better is not promoted
            assert name != "promote" or "not promoted: " in said, said[-3000:]

    trained = ["--config", str(folder / "short.yaml"), "--runs", str(folder), "--cluster.address", cluster.address]
    checkpoints = ["--checkpoints", "s3://for-train/checkpoints"]
    ended(
        tune=start(
            "tune", "--preset", str(tiny), *trained, *checkpoints, "--search", str(folder / "search.yaml"),
            "--trials", "1", "--name", "sweep",
        ),
        train=start("train", "--preset", str(tiny), *trained, *checkpoints, "--name", "trained"),
    )  # fmt: skip
    photos = [
        "--data.dark",
        "s3://for-enhance/good",
        "--data.truth",
        "s3://for-enhance/truth",
        "--cluster.address",
        cluster.address,
    ]
    challenger = ("--model", "models:/lle-enhancer@challenger", "--output")
    ended(
        evaluate=start("evaluate", *challenger, str(folder / "evaluated"), "--log", *photos),
        promote=start("promote", *photos),
        export=start("export", *challenger, str(folder / "exported"), "--format", "pt2"),
    )
    return folder


def test_no_secret_is_in_anything_that_any_job_writes(
    stack: Stack,
    cluster: Cluster,
    calm: None,
    filled: None,
    recorded: Path,
    tmp_path_factory: pytest.TempPathFactory,
    keys: Path,
):
    """Last of all: looks at what the others left behind, too."""
    login = base64.b64encode(f"somebody:{PASSWORD}".encode()).decode()
    secrets = [each.encode() for each in (stack.environment["AWS_SECRET_ACCESS_KEY"], PASSWORD, login)]
    [ray_folder] = [Path(each[11:]) for each in cluster.head.cmdline() if each.startswith("--temp-dir=")]
    written = [
        *ray_folder.glob("session_2*/**/*"),  # logs, and the runtime environments of workers
        *tmp_path_factory.getbasetemp().glob("test_*/*.log"),
        *recorded.rglob("*"),
        *stack.folder.rglob("*"),  # MLflow's data base and log, and every object in every bucket
    ]
    files = [file for file in written if file.is_file() and not file.is_symlink()]
    kept = {"stack.json", "environment", "swift-proxy.conf"}  # for their owner alone: test_stack.py
    assert {"settings.yaml", "tuner.pkl", "report.html", "raylet.out", "model.pt2"} <= {file.name for file in files}
    assert len([file for file in files if file.name.startswith("runtime_env_agent")]) >= 1
    holding = [file for file in files if any(secret in file.read_bytes() for secret in secrets)]
    assert [file for file in holding if not (file.name in kept and file.is_relative_to(stack.folder))] == []
    assert secrets[0] in keys.read_bytes()
