"""A promotion as users run it: registered versions measured over Ray Data, the alias moved, the champion served."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient
from PIL import Image

import lle
from lle.config import EnhancerSettings
from lle.enhancers import build_enhancer
from lle.images import decode, encode
from lle.model import Model
from pipelines.config.train import RunSettings, TrackingSettings
from pipelines.evaluation.photos import contents_hash
from pipelines.models.champion import DECISION, Registry
from pipelines.models.named import NamedModel
from pipelines.models.registry import fetch_model, register
from pipelines.models.resolve import find_model
from pipelines.promote import main
from pipelines.promotion.decision import COMPARED
from pipelines.tracking.runs import TrackedRun
from pipelines.voting.votes import Vote, add
from tests.integration.conftest import Cluster, answers, free_port, run, wait_for
from tests.integration.models import brightener

TAKES_A_STRENGTH = """
from pathlib import Path
import mlflow
model = mlflow.pyfunc.load_model("{uri}")
photos = [Path("photo.png").read_bytes()]
Path("left_out.png").write_bytes(model.predict(photos)[0])
Path("half.png").write_bytes(model.predict(photos, params={{"strength": 0.5}})[0])
try:
    model.predict(photos, params={{"strength": 2}})
except mlflow.exceptions.MlflowException as error:
    print(error)
"""
PAIRS = 6
NAME = "lle-enhancer"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return registered(tmp_path_factory.mktemp("registry"))


def registered(folder: Path) -> Registry:
    """Three versions: a bit of light, the right light, the wrong direction."""
    registry = Registry(f"sqlite:///{folder / 'mlflow.db'}", NAME, "champion")
    client = MlflowClient(registry.uri)
    experiment = client.create_experiment("training", artifact_location=(folder / "artifacts").as_uri())
    settings = RunSettings.model_construct(name="run", tracking=TrackingSettings())
    for bias in (0.1, 0.4, -0.2):
        started = client.create_run(experiment).info.run_id
        register(brightener(bias), TrackedRun(registry.uri, started), settings, f"# Bias {bias}\n\n## Settings\n")
    return registry


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Dim scenes, which no baseline leaves dim, in pairs a factor of 4 apart; one is broken behind its header."""
    folder, random = tmp_path / "photos", np.random.default_rng(0)
    for index in range(PAIRS + 1):
        truth = random.integers(0, 60 + 10 * index, (40 + index, 64, 3), dtype=np.uint8)
        for name, picture in (("low", truth // 4), ("high", truth)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / name / f"{index}.png")
    broken = folder / "low" / "6.png"
    broken.write_bytes(broken.read_bytes()[:500])
    return folder


def promote(
    cluster: Cluster, repository: Path, registry: Registry, photos: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, str(repository / "pipelines" / "promote.py"), "--cluster.address", cluster.address,
        "--tracking.uri", registry.uri, "--data.dark", str(photos / "low"), "--data.truth", str(photos / "high"),
        "--manifest", str(photos / "photos.json"), *arguments,
    ]  # fmt: skip
    return run(command, cluster.environment, 300)


def recorded(registry: Registry, run_id: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The files of a promotion's run, and the decision among them."""
    kept = Path(MlflowClient(registry.uri).download_artifacts(run_id, "", str(folder)))
    return kept, json.loads((kept / "decision.json").read_text())


def psnr(kept: Path, name: str) -> float:
    return json.loads((kept / name / "metrics.json").read_text())["sets"]["low"]["psnr"]["mean"]


def test_the_first_version_becomes_champion_and_a_worse_one_does_not(
    cluster: Cluster, repository: Path, registry: Registry, photos: Path, tmp_path: Path, capsys
):
    first = promote(cluster, repository, registry, photos, "--candidate", "1")
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    assert "no --data.good was given: the ground truth must stay as it is, too" in first.stdout
    assert f"against no champion yet, but {len(COMPARED)} baselines that learn nothing" in first.stdout
    for baseline in ("the input", *COMPARED[1:]):
        assert f"passed  PSNR against {baseline}: better by" in first.stdout
    assert f"at the mean of {PAIRS} photos, p = 0.016" in first.stdout
    assert "passed  takes" in first.stdout and "times the bundled enhancer's time" in first.stdout
    assert "version 1 of lle-enhancer is champion" in first.stdout and registry.champion == "1"
    assert max(len(line) for line in first.stdout.splitlines() if "│" in line) <= 80
    assert len(json.loads((photos / "photos.json").read_text())) == 2 * (PAIRS + 1)

    worse = promote(cluster, repository, registry, photos)  # challenger is version 3, the last registered
    assert worse.returncode == 1, worse.stdout[-3000:] + worse.stderr[-3000:]
    assert f"against the champion, version 1, and {len(COMPARED)} baselines" in worse.stdout
    assert "FAILED  PSNR against the champion: worse by" in worse.stdout
    assert "not promoted: psnr, psnr_over_input" in worse.stdout and registry.champion == "1"

    kept, decision = recorded(registry, re.search(r"in run (\w+):", worse.stdout)[1], tmp_path)
    assert (decision["candidate"], decision["champion"], decision["earned"]) == ("3", "1", False)
    assert [check["name"] for check in decision["checks"]] == [
        "psnr", *(f"psnr_over_{name}" for name in COMPARED), "over_exposed", "colour_cast", "unchanged", "speed",
    ]  # fmt: skip
    assert psnr(kept, "candidate") < psnr(kept, "champion") - 0.1
    assert len(list(kept.glob("worst/*.jpg"))) == 4 and (kept / "manifest.json").is_file()
    report = (kept / "report.html").read_text()
    assert "Version 3 is not promoted; version 1 stays champion." in report
    addresses = re.findall(r'(?:src|href)="([^"]*)"', report)
    assert all(each.startswith("data:") for each in addresses) and not re.search(r"https?://", report)
    pictures = [base64.b64decode(each.partition(",")[2]) for each in addresses if each.startswith("data:image/jpeg")]
    of_each_case = ("input", "truth", "baseline", "champion", "candidate")
    assert [decode(each).shape[1] for each in pictures] == [64] * 4 * len(of_each_case)

    Image.new("RGB", (64, 40)).save(photos / "high" / "0.png")
    folders = ["--data.dark", str(photos / "low"), "--data.truth", str(photos / "high")]
    assert main(["--tracking.uri", registry.uri, *folders]) == 2
    assert "not the photos of the last promotion of lle-enhancer" in capsys.readouterr().err

    registry.promote("2", "1", registry.evaluation_set, "run")
    assert main(["--tracking.uri", registry.uri, "--rollback"]) == 0
    assert "version 1 of lle-enhancer is champion again, in place of 2" in capsys.readouterr().out
    assert registry.champion == "1"


@pytest.mark.drill
def test_people_must_prefer_it_where_their_votes_are_given(
    cluster: Cluster, repository: Path, registry: Registry, photos: Path, tmp_path: Path, capsys
):
    """Against the baseline, for there is no champion by this alias; all other gates are passed."""
    candidate, baseline, other = (
        find_model(uri, registry.uri)
        for uri in (f"models:/{NAME}/1", "baseline:exposure-shoulder", f"models:/{NAME}/3")
    )

    def votes(ours: NamedModel, wins: int, name: str) -> str:
        for index in range(40):
            photo, won = f"{index % 20}.png", index < wins
            names, versions = (ours.name, baseline.name), (ours.version, baseline.version)
            choice = "left" if won else "right"
            add(Vote(photo, photo, *names, *versions, choice, f"voter {index // 20}", "now"), tmp_path / name)
        return str(tmp_path / name)

    alias = ("--champion", "liked", "--candidate", "1", "--repin")
    of_others = votes(other, 40, "others.jsonl")
    data = ("--data.dark", str(photos / "low"), "--data.truth", str(photos / "high"))
    assert main(["--tracking.uri", registry.uri, *data, *alias, "--votes.file", of_others]) == 2
    told = capsys.readouterr().err
    assert f"{of_others} holds no vote on the candidate (weights {candidate.version}) and exposure-shoulder" in told
    assert f"--models models:/{NAME}/1 baseline:exposure-shoulder --photos DIR --votes {of_others}" in told

    unliked = promote(
        cluster, repository, registry, photos, *alias, "--votes.file", votes(candidate, 22, "unliked.jsonl")
    )
    assert unliked.returncode == 1, unliked.stdout[-3000:] + unliked.stderr[-3000:]
    assert "FAILED  People prefer it to exposure-shoulder in 55 % of 40 votes" in unliked.stdout
    assert "not promoted: votes" in unliked.stdout

    liked = promote(cluster, repository, registry, photos, *alias, "--votes.file", votes(candidate, 36, "liked.jsonl"))
    assert liked.returncode == 0, liked.stdout[-3000:] + liked.stderr[-3000:]
    assert "passed  People prefer it to exposure-shoulder in 90 % of 40 votes on 20 photos by 2 people" in liked.stdout
    assert Registry(registry.uri, NAME, "liked").champion == "1"


@pytest.mark.drill
def test_a_harmful_version_never_becomes_champion_and_a_better_one_does(
    cluster: Cluster, repository: Path, photos: Path, tmp_path: Path
):
    registry = registered(tmp_path)
    harmful = promote(cluster, repository, registry, photos, "--candidate", "2")
    assert harmful.returncode == 1, harmful.stdout[-3000:] + harmful.stderr[-3000:]
    assert "FAILED  Likeness to the input 14." in harmful.stdout and "wanted: 20.00 dB or more" in harmful.stdout
    assert "not promoted: unchanged" in harmful.stdout and registry.champion == ""

    pinned = contents_hash(json.loads((photos / "photos.json").read_text()))
    registry.promote("1", "", pinned, "run")
    allowed = ("--max-slower", "1000", "--min-unchanged", "0", "--max-changed", "50")
    better = promote(cluster, repository, registry, photos, "--candidate", "2", *allowed)
    assert better.returncode == 0, better.stdout[-3000:] + better.stderr[-3000:]
    assert registry.champion == "2" and registry.evaluation_set == pinned
    assert f"at the mean of {PAIRS} photos, p = 0.016" in better.stdout
    run_id = MlflowClient(registry.uri).get_model_version(NAME, "2").tags[DECISION]
    kept, decision = recorded(registry, run_id, tmp_path)
    assert (decision["candidate"], decision["champion"], decision["earned"]) == ("2", "1", True)
    assert psnr(kept, "candidate") > psnr(kept, "champion") + 0.1
    earned = "Version 2 has earned its promotion over version 1: PSNR against the champion: better by"
    assert earned in (kept / "report.html").read_text()


def test_a_registered_version_comes_back_as_a_folder_with_its_card(registry: Registry, tmp_path: Path):
    folder = fetch_model(f"models:/{NAME}/2", registry.uri, tmp_path / "mine")
    photo = torch.rand(3, 30, 41)
    assert torch.equal(lle.load(folder).enhance(photo), brightener(0.4).enhance(photo))
    mlflow.set_tracking_uri(registry.uri)
    program = mlflow.pytorch.load_model(f"models:/{NAME}/2")
    with torch.no_grad():
        assert torch.equal(program(photo[None])[0], brightener(0.4).enhance(photo))
    assert (folder / "MODEL_CARD.md").read_text() == "# Bias 0.4\n\n## Settings\n"
    assert MlflowClient(registry.uri).get_model_version(NAME, "2").description == "# Bias 0.4\n"


def test_a_registered_version_takes_a_strength(registry: Registry, tmp_path: Path):
    """Loaded as by strangers: in an empty folder, without the project's source."""
    settings = EnhancerSettings(arch="exposure", thumbnail_size=32, width=8, denoise=0)
    enhancer = build_enhancer(settings)
    torch.nn.init.constant_(enhancer.exposure.bias, 0.3)
    model, client = Model(enhancer.requires_grad_(False), settings), MlflowClient(registry.uri)
    started = client.create_run(client.get_experiment_by_name("training").experiment_id).info.run_id
    training = RunSettings.model_construct(name="run", tracking=TrackingSettings(model_name="with-strength"))
    uri = register(model, TrackedRun(registry.uri, started), training, "# Card\n")
    photo = np.random.default_rng(0).integers(0, 60, (37, 91, 3), dtype=np.uint8)
    (tmp_path / "photo.png").write_bytes(encode(photo))
    (tmp_path / "load.py").write_text(TAKES_A_STRENGTH.format(uri=uri))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"MLFLOW_TRACKING_URI": registry.uri}
    done = subprocess.run(
        [sys.executable, "load.py"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name, strength in (("left_out", 1.0), ("half", 0.5)):
        assert np.abs(decode((tmp_path / f"{name}.png").read_bytes()) - model.enhance(photo, strength)).max() <= 1
    assert "strength: 2 lies outside 0 to 1.5" in done.stdout

    mlflow.set_tracking_uri(registry.uri)
    program, pixels = mlflow.pytorch.load_model(uri), torch.rand(1, 3, 30, 41)
    with torch.no_grad():
        torch.testing.assert_close(program(pixels), model(pixels), atol=1e-6, rtol=0)
        program.strength.fill_(0.5)
        torch.testing.assert_close(program(pixels), model(pixels, 0.5), atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def server(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`mlflow models serve` of a version, in an empty folder: it must not need the project's source."""
    folder = tmp_path_factory.mktemp("server")
    port, log = free_port(), folder / "server.log"
    scripts = str(Path(sys.executable).parent)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"MLFLOW_TRACKING_URI": registry.uri, "PATH": f"{scripts}:{os.environ['PATH']}"}
    command = [
        f"{scripts}/mlflow", "models", "serve", "-m", f"models:/{NAME}/2", "--env-manager", "local", "--port", str(port)
    ]  # fmt: skip
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=file, stderr=file, start_new_session=True
        )
    try:
        wait_for(lambda: answers(port) or process.poll() is not None, 200, f"the model's server; see {log}")
        assert process.poll() is None, log.read_text()[-3000:]
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)  # the server of MLflow's own server too
        process.wait(60)


def test_a_server_answers_with_pictures_of_any_size(server: str):
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 60, (*size, 3), dtype=np.uint8) for size in ((1, 1), (37, 91), (480, 640))]
    sent = [base64.b64encode(encode(picture)).decode() for picture in pictures]
    answer = post(server, {"inputs": sent})["predictions"]
    for picture, received in zip(pictures, answer, strict=True):
        with Image.open(io.BytesIO(base64.b64decode(received))) as image:
            assert image.format == "PNG"
            assert np.abs(np.asarray(image).astype(int) - brightener(0.4).enhance(picture)).max() <= 1
    with pytest.raises(urllib.error.HTTPError) as refusal:
        post(server, {"inputs": sent[:1], "params": {"strength": 0.5}})
    assert refusal.value.code == 400 and "knows none but 1; leave it out" in refusal.value.read().decode()
    with pytest.raises(urllib.error.HTTPError) as refusal:
        post(server, {"inputs": [sent[0], base64.b64encode(b"no picture").decode()]})
    assert refusal.value.code == 400
    assert "photo 2: not a JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC, AVIF or raw image" in refusal.value.read().decode()


@pytest.mark.parametrize("kind", ["application/json", "text/csv", ""])
def test_a_server_answers_garbage_with_a_sentence_and_not_with_the_garbage(server: str, kind: str):
    garbage = b"\xff\xd8\xff garbage " * 200_000
    request = urllib.request.Request(server, garbage, {"Content-Type": kind})
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request, timeout=60)
    told = refusal.value.read()
    assert (
        refusal.value.code == 400
        and len(told) < 500
        and b"garbage" not in told
        and b'"inputs"' in told.replace(b"\\", b"")
    )


def post(url: str, content: dict[str, Any]) -> dict[str, list[str]]:
    request = urllib.request.Request(url, json.dumps(content).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())
