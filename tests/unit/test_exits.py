"""Exit status, the same in all jobs: 2 for a mistake that is seen before anything begins, 1 for what fails later."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cluster.connect import ClusterError
from cluster.storage import StorageError, naming
from lle.images import encode
from pipelines import job as jobs
from pipelines.data.listing import DataError
from pipelines.job import FAILED, MISTAKEN, begun, ended
from pipelines.tracking.address import TrackingError

NOBODY = "http://127.0.0.1:9"
Arguments = Callable[[str, str], list[str]]

JOBS: dict[str, Arguments] = {
    "evaluate": lambda model, photos: ["--model", model, "--data.dark", photos, "--output", "out"],
    "compare": lambda model, photos: ["--models", model, "baseline:input", "--data.dark", photos, "--output", "out"],
    "vote": lambda model, photos: ["--models", model, "baseline:input", "--photos", photos, "--port", "0"],
    "enhance": lambda model, photos: ["--model", model, "--input", photos, "--output", "out"],
    "export": lambda model, photos: ["--model", model, "--output", "out"],
    "demo": lambda model, photos: ["--model", model, "--port", "0"],
    "serve": lambda model, photos: ["--model", model],
}
ALL = [*JOBS, "prepare", "promote", "train", "tune"]
PRIOR = ["--prior.model", "ViT-B-32-quickgelu", "--prior.pretrained", "nowhere.pt"]


@pytest.fixture(autouse=True)
def nothing_begins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("ray.init", lambda *args, **kwargs: pytest.fail("a cluster was joined in spite of the mistake"))


@pytest.fixture
def photos(tmp_path: Path) -> str:
    (tmp_path / "photos").mkdir()
    for index in range(5):
        (tmp_path / "photos" / f"{index}.png").write_bytes(encode(np.full((20, 30, 3), 40 + index, np.uint8)))
    return str(tmp_path / "photos")


def status(job: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> int:
    """The exit status, after one sentence on stderr."""
    capsys.readouterr()
    try:
        found = importlib.import_module(f"pipelines.{job}").main(arguments)
    except SystemExit as stop:
        found = stop.code
    told = capsys.readouterr().err
    assert len(told.strip().splitlines()) == 1 and "Traceback" not in told, told
    return found


@pytest.mark.parametrize("job", ALL)
def test_an_unknown_option_is_a_mistake_in_every_job(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = {
        "prepare": ["--input", "in", "--output", "out"],
        "promote": ["--data.dark", "low", "--data.truth", "high"],
        "train": [],
        "tune": [],
    }
    arguments = given.get(job) or (JOBS[job]("bundled", "photos") if job in JOBS else [])
    assert status(job, [*arguments, "--nosuchoption", "1"], capsys) == 2


@pytest.mark.parametrize("model", ["nowhere/model", "baseline:nothing", "published:nobody=file.pth", "nokind:x"])
@pytest.mark.parametrize("job", JOBS)
def test_a_missing_model_is_a_mistake_in_every_job(
    job: str, model: str, photos: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(job, JOBS[job](model, photos), capsys) == 2
    assert not Path("out").exists()


@pytest.mark.parametrize("job", JOBS)
def test_a_registry_that_does_not_answer_is_a_failure_in_every_job(
    job: str, photos: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*JOBS[job]("models:/lle-enhancer@champion", photos), "--tracking.uri", NOBODY]
    assert status(job, arguments, capsys) == 1


def test_a_registry_that_does_not_answer_is_a_failure_of_a_promotion(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("promote", ["--data.dark", "low", "--data.truth", "high", "--tracking.uri", NOBODY], capsys) == 1


@pytest.mark.parametrize(
    ("job", "arguments"),
    [
        ("evaluate", ["--model", "bundled", "--data.dark", "nowhere", "--output", "out"]),
        ("compare", ["--models", "bundled", "baseline:input", "--data.dark", "nowhere", "--output", "out"]),
        ("vote", ["--models", "bundled", "baseline:input", "--photos", "nowhere"]),
        ("enhance", ["--model", "bundled", "--input", "nowhere", "--output", "out"]),
        ("prepare", ["--input", "nowhere", "--output", "out"]),
        ("train", ["--data.dark", "nowhere", "--data.well_lit", "nowhere2", "--runs", "runs"]),
        ("tune", ["--data.dark", "nowhere", "--data.well_lit", "nowhere2", "--runs", "runs"]),
    ],
)
def test_missing_photos_are_a_mistake_in_every_job(
    job: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(job, arguments, capsys) == 2


@pytest.mark.parametrize("job", ["train", "tune"])
def test_a_missing_prior_is_a_mistake(job: str, photos: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(job, [*PRIOR, "--data.dark", photos, "--data.well_lit", f"{photos}2"], capsys) == 2


def test_the_same_error_is_a_failure_once_the_job_has_begun(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(DataError("data.dark: nothing there")) == jobs.MISTAKEN == 2
    with pytest.raises(DataError) as failed, begun():
        raise DataError("output: the disk is full")
    assert ended(failed.value) == jobs.FAILED == 1
    assert capsys.readouterr().err == "error: data.dark: nothing there\nerror: output: the disk is full\n"


@pytest.mark.parametrize("error", [ClusterError("nobody answers"), TrackingError("nobody answers")])
def test_who_does_not_answer_is_no_mistake(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(error) == 1


def test_an_error_that_is_named_by_a_setting_still_says_that_the_job_had_begun():
    with pytest.raises(StorageError, match="^output: it is full") as found, naming("output"), begun():
        raise StorageError("it is full")
    assert ended(found.value) == FAILED
    with pytest.raises(StorageError) as found, naming("output"):
        raise StorageError("it is full")
    assert ended(found.value) == MISTAKEN
