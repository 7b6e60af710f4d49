"""What stands at the end of a job: places and commands for whoever reads it, wherever the job ran."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from lle.config import DataSettings
from pipelines.config.train import RunSettings
from pipelines.reporting.closing import IN_A_JOB, command, record_of, shown
from pipelines.tracking.runs import TrackedRun
from pipelines.training.closing import closing_lines, resume_command

SUMMARY = {"model": "models:/lle-enhancer/3", "seconds": 1.0, "images_per_second": 1.0, "data_wait_share": 0.0}
SERVER = TrackedRun("https://mlflow.example.org/", "0123", "7")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, outside a job."""
    monkeypatch.delenv(IN_A_JOB, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(folder: Path, data: DataSettings, run: TrackedRun = SERVER, **summary: str) -> list[str]:
    settings = RunSettings(name="night", data=data)
    return closing_lines(settings, run, folder, SUMMARY | summary).splitlines()


def test_a_path_is_relative_only_below_the_working_directory_and_never_in_a_job(here: Path, monkeypatch):
    assert shown(here / "runs" / "night") == "runs/night"
    assert shown(Path("/shared/runs/night")) == "/shared/runs/night"
    monkeypatch.setenv(IN_A_JOB, "{}")
    assert shown(here / "runs" / "night") == str(here / "runs" / "night")


def test_a_server_is_named_by_the_runs_page_and_a_database_by_the_command_that_shows_it():
    assert record_of(SERVER) == "https://mlflow.example.org/#/experiments/7/runs/0123"
    assert record_of(TrackedRun("http://127.0.0.1:5000", "0123")) == "http://127.0.0.1:5000"
    shell = record_of(TrackedRun("sqlite:////data/my runs/mlflow.db", "0123"))
    assert shlex.split(shell)[1:] == ["-m", "mlflow", "ui", "--backend-store-uri", "sqlite:////data/my runs/mlflow.db"]
    secret = record_of(TrackedRun("postgresql://me:hidden@db/mlflow", "0123"))
    assert secret == "postgresql://...@db/mlflow"


def test_commands_are_for_this_model_and_for_the_photos_at_hand(here: Path):
    pairs = DataSettings(dark="my dark", well_lit="s3://p/day", pairs_dark="low", pairs_truth="high")
    told = [shlex.split(line) for line in lines(here / "runs" / "night", pairs)[-4:-1]]
    enhance, evaluate, promote = (
        line[-line[::-1].index(next(w for w in line if w.endswith(".py"))) :] for line in told
    )
    assert enhance == ["--model", "runs/night/model", "--input", "my dark", "--output", "runs/night/enhanced"]
    assert evaluate[2:] == ["--data.dark", "low", "--data.truth", "high", "--output", "runs/night/evaluation"]
    assert promote[:4] == ["--model", "lle-enhancer", "--candidate", "3"]
    assert promote[-4:] == ["--data.good", "s3://p/day", "--tracking.uri", SERVER.uri]
    several = lines(here / "runs" / "night", DataSettings(dark=("mine", "s3://p/dark"), well_lit="day"))
    assert "--input mine s3://p/dark --output" in several[-4] and "--data.dark mine --output" in several[-3]
    unpaired = DataSettings(dark="dark", well_lit="day")
    assert "--metric our_prior_well_lit" in lines(here / "runs" / "night", unpaired)[-2]


def test_photos_in_tar_files_are_measured_on_but_not_enhanced(here: Path):
    (here / "packed").mkdir()
    (here / "packed" / "000.tar").write_bytes(b"")
    told = lines(here / "runs" / "night", DataSettings(dark="packed", well_lit="day"))
    assert "--input PHOTOS --output" in told[-4] and "--data.dark packed --output" in told[-3]
    (here / "packed" / "a.jpg").write_bytes(b"")
    assert "--input packed --output" in lines(here / "runs" / "night", DataSettings(dark="packed", well_lit="day"))[-4]


def test_a_model_that_was_not_registered_is_not_proposed(here: Path):
    told = "\n".join(lines(here / "runs" / "night", DataSettings(samples=True), model=""))
    assert "promote.py" not in told and "model       saved in runs/night/model" in told


def test_in_a_job_commands_are_submissions(here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(IN_A_JOB, "{}")
    settings = RunSettings(name="night", runs="/runs", checkpoints="s3://b/p", data=DataSettings(samples=True))
    assert resume_command(settings) == (
        "ray job submit --working-dir . -- python pipelines/train.py --resume --name night --runs /runs "
        "--checkpoints s3://b/p"
    )


def test_the_interpreter_is_the_one_that_runs_here(here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", os.pathsep.join(["/usr/bin", "/bin"]))
    assert shlex.split(command("enhance"))[0] == sys.executable
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert shlex.split(command("enhance"))[0] == "python"
