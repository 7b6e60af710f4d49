"""Places that a submitted job may write to."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.lasting import refuse_throwaway
from cluster.storage import StorageError


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """A working directory as Ray makes it for a submitted job."""
    folder = tmp_path / "session_1" / "runtime_resources" / "working_dir_files" / "_ray_pkg_0123456789abcdef"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    "place", ["runs", "./runs", "../elsewhere", "sqlite:///runs/mlflow.db", "ABSOLUTE", "URI", "LINK"]
)
def test_what_lies_in_the_working_directory_of_a_job_is_refused(
    unpacked: Path, place: str, tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(unpacked)
    (tmp_path / "link").symlink_to(unpacked)
    named = {"ABSOLUTE": f"{unpacked}/runs", "URI": f"file://{unpacked}/runs", "LINK": str(tmp_path / "link" / "runs")}
    with pytest.raises(StorageError, match=r"^runs: .* lies in this job's working directory.* --runs \S+$"):
        refuse_throwaway({"checkpoints": "", "runs": named.get(place, place)})


@pytest.mark.parametrize(
    "place",
    [
        "",
        "s3://bucket/runs",
        "http://127.0.0.1:5000",
        "postgresql://host/runs",
        "ELSEWHERE",
        "sqlite:////srv/mlflow.db",
    ],
)
def test_what_lies_elsewhere_is_not(unpacked: Path, place: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(unpacked)
    refuse_throwaway({"runs": str(tmp_path / "runs") if place == "ELSEWHERE" else place})


def test_a_relative_place_is_fine_outside_of_a_job(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refuse_throwaway({"runs": "runs", "tracking.uri": "sqlite:///runs/mlflow.db"})
