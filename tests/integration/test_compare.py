"""A comparison and a vote as users run them, on real photos: over Ray, in the browser's place by its requests, and
what people said in the report and as a gate of a promotion.
"""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from lle.images import read
from pipelines.voting.votes import read as read_votes
from tests.integration.conftest import Cluster, run

pytestmark = pytest.mark.drill
PHOTOS = 5
SIDES = ("left", "right")
MODELS = ("bundled", "baseline:exposure-shoulder", "baseline:input")


@pytest.fixture
def sets(shared: Path, tmp_path: Path) -> Path:
    """Links to some pairs of LOL and, unpaired and under the same names, to their well-lit photos."""
    lol = shared / "data" / "test_paired" / "lol_eval15"
    if not lol.is_dir():
        pytest.skip("shared/data holds no LOL eval15")
    for folder, kind in (("dark", "low"), ("truth", "high"), ("good", "high")):
        (tmp_path / folder).mkdir()
        for photo in sorted((lol / kind).iterdir())[:PHOTOS]:
            (tmp_path / folder / photo.name).symlink_to(photo)
    return tmp_path


def ask(address: str, path: str, method: str = "GET", **values: object) -> bytes:
    query = "&".join(f"{name}={value}" for name, value in values.items())
    request = urllib.request.Request(f"{address}{path}?{query}", method=method)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return bytes(answer.read())


def voted(repository: Path, sets: Path, environment: dict[str, str], voters: int) -> str:
    """Serve the page to people who dislike grain, which makes files larger; what it said in the end."""
    votes, program = sets / "votes.jsonl", str(repository / "pipelines" / "vote.py")
    photos = ["--photos", str(sets / "dark"), "--votes", str(votes), "--port", "0"]
    command = [sys.executable, program, "--models", *MODELS[:2], *photos]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    page = subprocess.Popen(command, env=environment, text=True, cwd=sets, **pipes)
    try:
        assert page.stdout
        address = page.stdout.readline().split()[0]
        for voter in (f"voter{number}" for number in range(voters)):
            while (trial := json.loads(ask(address, "/trial", voter=voter))["trial"]) is not None:
                shown = {side: ask(address, "/picture", voter=voter, trial=trial, side=side) for side in SIDES}
                choice = min(SIDES, key=lambda side: len(shown[side]))
                ask(address, "/vote", "POST", voter=voter, trial=trial, choice=choice, seconds=1)
    finally:
        page.send_signal(signal.SIGINT)
        said, error = page.communicate(timeout=60)
    assert page.returncode == 0, error
    assert len(read_votes(votes)) == PHOTOS * voters
    return said


def test_models_are_compared_on_sets_and_by_people_and_the_report_tells(cluster: Cluster, repository: Path, sets: Path):
    said = voted(repository, sets, cluster.environment, voters=2)
    assert f"of {2 * PHOTOS} votes on {PHOTOS} photos" in said and "votes.jsonl --tally" in said
    out, tracking = sets / "out", f"sqlite:///{sets / 'mlflow.db'}"
    done = run(
        [sys.executable, str(repository / "pipelines" / "compare.py"), "--cluster.address", cluster.address,
         "--models", *MODELS, "--data.dark", str(sets / "dark"), "--data.truth", str(sets / "truth"),
         "--data.good", str(sets / "good"), "--votes", str(sets / "votes.jsonl"), "--pictures", "2",
         "--output", str(out), "--log", "--tracking.uri", tracking],
        cluster.environment, 600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads((out / "metrics.json").read_text())
    assert list(found["sets"]) == ["dark", "good"] and list(found["models"]) == [
        "bundled",
        "exposure-shoulder",
        "input",
    ]
    means = {name: each["psnr"]["mean"] for name, each in found["sets"]["dark"]["models"].items()}
    assert means["bundled"] > means["input"] + 5 and found["sets"]["dark"]["metric"] == "psnr"
    assert found["sets"]["good"]["models"]["input"]["unchanged"]["mean"] == 100
    with (out / "metrics.csv").open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) == 2 * PHOTOS * len(MODELS)
    rows = sorted(out.glob("pictures/*/*.jpg"))
    assert len(rows) == 4 and read(rows[0]).shape[1] > 2000
    report = (out / "report.html").read_text()
    assert report.count("<figure") == 4 and report.count('<circle class="dot each"') == 2 * 2 * PHOTOS
    assert "dark: bundled has the best PSNR" in done.stdout and "What people prefer" in report
    gained = {row["name"]: 0.0 for row in found["photos"]}
    for row in found["photos"]:
        if row["set"] == "dark" and row["model"] != "input":
            gained[row["name"]] += row["psnr"] * (1 if row["model"] == "bundled" else -1)
    dark = report.partition("<h2>dark: photos to enhance</h2>")[2].partition("</section>")[0]
    worst = sorted(gained, key=gained.__getitem__)[:2]
    assert re.findall(r"<h3>([^<]+)</h3>", dark) == worst
    client = MlflowClient(tracking)
    recorded, *_ = client.search_runs([client.get_experiment_by_name("lle-comparison").experiment_id])
    assert recorded.data.metrics["dark/bundled/psnr"] == pytest.approx(means["bundled"])
    assert "report.html" in [each.path for each in client.list_artifacts(recorded.info.run_id)]
