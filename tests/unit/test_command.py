"""The command `lle`: which job it runs, what it says instead, and where it finds the code."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import lle
from lle_platform import command
from lle_platform.command import JOBS, add_to_path, home, main
from pipelines.reporting import closing
from pipelines.tracking.source import program


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch):
    """A process that the console script started; what the command changes in it goes with the test."""
    monkeypatch.setattr(sys, "argv", ["/opt/venv/bin/lle"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")


class Entry(ModuleType):
    """An entry point that notes what it was given."""

    def __init__(self, name: str, missing: str = "") -> None:
        super().__init__(name, f"python {name.replace('.', '/')}.py --model M")
        self.given, self.missing = list[str](), missing

    def main(self, argv: list[str]) -> int:
        if self.missing:
            raise ModuleNotFoundError(f"No module named {self.missing!r}", name=self.missing)
        self.given = argv
        return 130


def replaced(monkeypatch: pytest.MonkeyPatch, job: str, missing: str = "") -> Entry:
    entry = Entry(f"pipelines.{job}", missing)
    monkeypatch.setitem(sys.modules, f"pipelines.{job}", entry)
    return entry


@pytest.mark.parametrize("job", JOBS)
def test_a_job_gets_its_arguments_as_they_are_and_its_exit_status_comes_back(job: str, monkeypatch):
    entry = replaced(monkeypatch, job)
    assert main([job, "--name", "a b", "x.jpg"]) == 130
    assert entry.given == ["--name", "a b", "x.jpg"]
    assert entry.__doc__ == f"lle {job} --model M"


def test_every_entry_point_of_the_pipelines_is_a_job_of_the_command(repository: Path):
    files = {file.stem for file in (repository / "pipelines").glob("*.py") if "__main__" in file.read_text()}
    assert files - {"pretrain_prior"} == set(JOBS)


def test_records_and_printed_commands_name_the_job(monkeypatch: pytest.MonkeyPatch):
    replaced(monkeypatch, "train")
    monkeypatch.delenv(closing.IN_A_JOB, raising=False)
    main(["train", "--name", "night"])
    assert program() == "pipelines/train.py"
    assert closing.command("enhance", "--input", "my photos") == "lle enhance --input 'my photos'"
    monkeypatch.setenv(closing.IN_A_JOB, "{}")
    assert closing.command("enhance") == "ray job submit -- lle enhance"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trian"], "trian: no such job; did you mean lle train?"),
        (["fly"], "fly: no such job; choose from enhance, demo, serve, train"),
        ([str(Path(__file__))], "is no job; did you mean lle enhance "),
    ],
)
def test_what_is_no_job_is_told_in_a_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]):
    assert main(words) == 2
    told = capsys.readouterr().err
    assert sentence in told and told.count("\n") == 1


def test_help_lists_every_job_and_version_is_the_packages(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0 and main([]) == 2
    assert set(JOBS) <= set(capsys.readouterr().out.split())
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lle {lle.__version__}\n"


@pytest.mark.parametrize(
    ("missing", "extra"), [("ray", "pipeline"), ("mlflow.entities", "pipeline"), ("onnxruntime", "export")]
)
def test_a_missing_package_is_one_sentence_with_the_command_that_brings_it(
    missing: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    replaced(monkeypatch, "export", missing)
    assert main(["export"]) == 2
    told = capsys.readouterr().err
    assert missing.partition(".")[0] in told and f"pip install 'lle[{extra}]'" in told and told.count("\n") == 1


def test_a_module_of_our_own_that_is_missing_is_our_mistake_and_no_advice(monkeypatch: pytest.MonkeyPatch):
    replaced(monkeypatch, "train", "pipelines.nothing")
    with pytest.raises(ModuleNotFoundError):
        main(["train"])


def test_the_code_lies_beside_the_command_in_a_checkout_and_below_it_in_a_wheel(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
):
    assert home() == repository
    monkeypatch.setattr(command, "__file__", str(tmp_path / "lle_platform" / "command.py"))
    (tmp_path / "lle_platform" / "path").mkdir(parents=True)
    assert home() == tmp_path / "lle_platform" / "path"


def test_our_folder_comes_first_here_and_in_the_processes_started_from_here(monkeypatch: pytest.MonkeyPatch):
    add_to_path(Path("/ours"))
    assert sys.path[0] == os.environ["PYTHONPATH"] == "/ours"
    monkeypatch.setenv("PYTHONPATH", "/theirs")
    add_to_path(Path("/ours"))
    assert os.environ["PYTHONPATH"] == f"/ours{os.pathsep}/theirs"


def test_the_version_is_the_newest_of_the_change_log_and_that_of_the_image(repository: Path):
    newest = re.search(r"^## (\S+)", (repository / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest and newest[1] == lle.__version__
    for file in ("cluster/docker/Dockerfile", "ray_cluster.yaml", "docs/cluster.md"):
        assert set(re.findall(r"REGISTRY/lle:([0-9.]+[0-9])", (repository / file).read_text())) == {lle.__version__}
