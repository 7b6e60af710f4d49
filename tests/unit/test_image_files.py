"""The container image, by its Dockerfile: no daemon is needed to see what it promises."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from pathspec import PathSpec

Instruction = tuple[str, str]


@pytest.fixture(scope="module")
def dockerfile(repository: Path) -> Path:
    return repository / "cluster" / "docker" / "Dockerfile"


@pytest.fixture(scope="module")
def stages(dockerfile: Path) -> list[list[Instruction]]:
    """Instructions and their arguments, stage by stage; what precedes the first stage comes first."""
    lines = [
        line
        for line in dockerfile.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    ]
    instructions = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    stages: list[list[Instruction]] = [[]]
    for name, _, argument in (each.partition(" ") for each in instructions):
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, argument))
    return stages


def arguments(stage: list[Instruction], name: str) -> list[str]:
    return [argument for each, argument in stage if each == name]


def test_the_base_is_pinned_and_the_same_for_every_stage(stages: list[list[Instruction]]):
    before, *rest = stages
    (base,) = arguments(before, "ARG")
    assert re.fullmatch(r"BASE=python:3\.12\.\d+-slim-\w+", base)
    assert all(arguments(stage, "FROM")[0].split()[0] == "${BASE}" for stage in rest)


def test_the_container_is_not_root_and_owns_no_code(stages: list[list[Instruction]]):
    final = stages[-1]
    assert arguments(final, "USER") == ["1000:1000"]
    assert all("--chown=root:root" in argument for argument in arguments(final, "COPY"))
    assert [name for name, _ in final].index("USER") > max(i for i, (name, _) in enumerate(final) if name == "RUN")


def test_it_has_a_health_check_and_an_init(stages: list[list[Instruction]]):
    (check,) = arguments(stages[-1], "HEALTHCHECK")
    assert "127.0.0.1:52365/api/local_raylet_healthz" in check  # Ray answers it without a token
    assert arguments(stages[-1], "ENTRYPOINT")[0].startswith('["tini"')


def test_ray_asks_for_a_token_unless_told_otherwise(stages: list[list[Instruction]]):
    assert "RAY_AUTH_MODE=token" in arguments(stages[-1], "ENV")[0]


def test_login_shells_find_ray_too(stages: list[list[Instruction]]):
    final = " ".join(argument for _, argument in stages[-1])
    (line,) = re.findall(r"echo '([^']*)' > /etc/profile\.d/\w+\.sh", final)
    (folder,) = re.findall(r" PATH=(/opt/\w+/bin):", final)
    script = f"PATH=/usr/bin:/bin; {line}; echo $PATH"  # as Debian's /etc/profile does it
    shell = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout.startswith(f"{folder}:/usr/bin")


def test_every_python_package_has_the_version_of_the_constraints(stages: list[list[Instruction]]):
    installs = [
        part for stage in stages for run in arguments(stage, "RUN") for part in run.split("&&") if " install " in part
    ]
    python = [each for each in installs if "pip install" in each]
    assert len(python) == 2
    assert all("-c constraints.txt" in each for each in python)


def test_the_image_has_the_pipelines_packages_and_no_others(stages: list[list[Instruction]], repository: Path):
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", " ".join(arguments(stages[1], "RUN")))
    project = tomllib.loads((repository / "pyproject.toml").read_text())
    assert set(extras.split(",")) <= project["project"]["optional-dependencies"].keys()


def test_the_build_sees_what_it_copies_and_nothing_else(stages: list[list[Instruction]], repository: Path):
    ignored = PathSpec.from_lines("gitignore", (repository / ".dockerignore").read_text().splitlines())
    copied = [
        source
        for stage in stages
        for argument in arguments(stage, "COPY")
        if "--from" not in argument
        for source in [word for word in argument.split() if not word.startswith("--")][:-1]
    ]
    for source in copied:
        path = repository / source
        assert path.exists(), source
        inside = next(path.rglob("*.py")) if path.is_dir() else path
        assert not ignored.match_file(str(inside.relative_to(repository))), source
    for outside in (".git/config", "runs/first/model/model.json", "tests/conftest.py", ".stack/environment", ".venv/x"):
        assert ignored.match_file(outside), outside


def test_hadolint_finds_nothing(dockerfile: Path):
    tool = shutil.which("hadolint")
    if tool is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([tool, "--no-color", str(dockerfile)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
