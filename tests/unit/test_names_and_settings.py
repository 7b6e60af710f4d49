"""A small part of what the fuzzer of names and settings tries, and what it has found."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.storage import sqlite_path
from lle.model import load
from pipelines.models.named import ModelError
from pipelines.models.resolve import find_model
from pipelines.tracking.address import TrackingError, tracking_uri
from tests.fuzz.names_and_settings import ACTS, try_one


@pytest.mark.parametrize("act", range(len(ACTS)), ids=[act.__name__ for act in ACTS])
@settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(min_size=20, max_size=200))
def test_every_name_and_setting_is_answered_or_told_in_a_sentence(act: int, data: bytes):
    try_one(act.to_bytes(2, "little") + data)


def test_a_printed_name_never_breaks_a_job(tmp_path: Path, repository: Path):
    (tmp_path / "写真").mkdir()
    command = [
        sys.executable,
        str(repository / "pipelines" / "train.py"),
        "--data.dark",
        "写真",
        "--data.well_lit",
        "写真",
    ]
    environment = {
        **os.environ,
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
    }
    told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 2 and "Traceback" not in told.stderr
    assert r"data.dark and data.well_lit: both name" in told.stderr and told.stderr.count("\n") == 1


def test_every_text_file_is_opened_as_utf8(repository: Path):
    for package in ("lle", "cluster", "pipelines", "benchmarks"):
        for file in (repository / package).rglob("*.py"):
            for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                    reads = call.func.attr in ("read_text", "write_text")
                    assert not reads or any(each.arg == "encoding" for each in call.keywords), f"{file}:{call.lineno}"


@pytest.mark.parametrize("name", ["a b", "a%41b", "a#b", "a?b", "é日本🌙", "a'b"])
def test_a_model_and_a_data_base_are_found_below_any_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = load("bundled").save(tmp_path / name)
    for uri in (str(folder), folder.as_uri(), f"~/{name}"):
        assert find_model(uri, "").name == name
        assert len(load(uri).state_dict()) > 0
        expected = str(folder / "mlflow.db")
        assert sqlite_path(tracking_uri("", uri)) == sqlite_path(tracking_uri(f"{uri}/mlflow.db", "")) == expected
    assert tracking_uri(str(folder), "") == tracking_uri(f"~/{name}", "") == folder.as_uri()
    assert sqlite_path(tracking_uri("sqlite:///~/x.db", "")) == str(tmp_path / "x.db")


def test_servers_keep_their_addresses():
    for uri in (
        "http://h:5000/a%20b?c#d",
        "https://h",
        "postgresql://h/db?x=1",
        "databricks",
        "sqlite:///a.db?cache=shared",
    ):
        assert tracking_uri(uri, "runs") == uri


def test_a_tracking_place_that_none_can_be_is_told():
    with pytest.raises(TrackingError, match="tracking: .*its name is not UTF-8"):
        tracking_uri("caf\udce9", "runs")


@pytest.mark.parametrize("uri", ["x" * 300, "a\0b", "caf\udce9", "file://x", "published:zero-dce=a\0", "x/" * 3000])
def test_a_model_that_no_file_can_be_is_told(uri: str):
    with pytest.raises(ModelError, match=r"model: "):
        find_model(uri, "")
