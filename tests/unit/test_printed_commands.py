"""Every command that README, docs, help pages and cluster files print is one that the jobs' parsers take."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.config.jobs import JOBS
from pipelines.config.loading import load, load_settings, of_a_run
from pipelines.tuning.search_space import prepared, remember

REPOSITORY = Path(__file__).parents[2]
PLACES = ("README.md", "ray_cluster.yaml", "docs/**/*.md", "lle/**/*.md", "cluster/**/*.yaml", "pipelines/**/*.*")
COMMAND = re.compile(  # lines go on after a backslash, or folded
    r"(?:python pipelines/(\w+)\.py|^lle (\w+))((?:\\\n|\n *--|[^\n`])*)", re.MULTILINE
)


def printed() -> Iterator[tuple[str, str, str]]:
    """File, job and arguments of each command."""
    files = (file for place in PLACES for file in sorted(REPOSITORY.glob(place)) if file.suffix != ".pyc")
    for file in files:
        name = str(file.relative_to(REPOSITORY))
        for found in COMMAND.finditer(file.read_text(encoding="utf-8", errors="replace")):
            yield name, found[1] or found[2], found[3].replace("\\\n", " ").replace("\n#", " ")


COMMANDS = [each for each in printed() if "{" not in each[2]]  # not those that the code itself puts together


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with what the commands name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE.yaml").write_text("optimiser.enhancer_lr: loguniform(1e-5, 1e-3)\n")
    sweep = prepared(["--search", "FILE.yaml", "--name", "NAME"])
    sweep.folder.mkdir(parents=True)
    remember(sweep, of_a_run(sweep.training.settings))
    (sweep.folder / "best.yaml").write_text(of_a_run(sweep.training.settings))
    return tmp_path


def words(arguments: str) -> list[str]:
    """As a shell gives them: without comments and dots, each DIR another folder."""
    number = itertools.count()
    plain = re.sub(r"\[|\]", "", arguments).replace("...", "")
    split = shlex.split(plain, comments=True)
    ends = next((index for index, word in enumerate(split) if word in ("&&", "|", ";")), len(split))
    return [f"DIR{next(number)}" if word == "DIR" else word for word in split[:ends]]


def test_there_are_commands_of_every_job():
    assert {job for _, job, _ in COMMANDS} >= JOBS.keys()
    assert all((REPOSITORY / "pipelines" / f"{job}.py").exists() for _, job, _ in COMMANDS)


@pytest.mark.parametrize(("file", "job", "arguments"), COMMANDS, ids=lambda each: each[:80].strip())
def test_a_printed_command_is_understood(here: Path, file: str, job: str, arguments: str, capsys):
    given = words(arguments)
    if "..." in arguments and "--data.dark" in given and "--data.well_lit" not in given:
        given += ["--data.well_lit", "day"]  # what the dots stand for
    try:
        if job == "train":
            load_settings(given)
        elif job == "tune":
            prepared(given)
        elif job == "enhance":  # which also takes photos without an option
            load(JOBS[job], "", given, words="input")
        else:
            load(JOBS[job], "", given)
    except SystemExit as end:
        assert end.code == 0 and {"--dry-run", "--print-diff", "--help"} & set(given), capsys.readouterr().err
    assert " is called " not in (told := capsys.readouterr().err) and " is said " not in told, f"{file}: {told}"
