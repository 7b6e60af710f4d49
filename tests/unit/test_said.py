"""What errors, help and warnings name exists: every option, every setting, in every sentence of the sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.config.jobs import JOBS
from pipelines.config.text import tree_of

ROOT = Path(__file__).parents[2]
FILES = sorted(file for folder in ("lle", "pipelines") for file in (ROOT / folder).rglob("*.py"))
FORMER = {path for job in JOBS.values() for path in tree_of(job).renamed}
TREES = [tree_of(job) for job in JOBS.values()]
KNOWN = {path for tree in TREES for path in (*tree.settings, *tree.branches)}
OF_THE_COMMAND_LINE = {"preset", "config", "prior", "dry-run", "print-diff", "help", "profile"}
TOPS = {path.split(".")[0] for path in KNOWN if "." in path}
OTHERS = {
    "env-manager", "working-dir", "backend-store-uri",  # of MLflow's and Ray's own commands
    "always", "dirty", "abbrev", "error-unmatch", "exclude",  # of git's
    "upgrade",  # of pip's
    "path", "name",  # what stands for any
}  # fmt: skip


def sentences(file: Path) -> Iterator[tuple[int, str]]:
    """Every string literal of a file with its line; what an f-string fills in becomes `{}`."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [each.value if isinstance(each, ast.Constant) else "{}" for each in node.values]
            yield node.lineno, "".join(str(part) for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def is_module(path: str) -> bool:
    place = ROOT / path.replace(".", "/")
    return place.is_dir() or place.with_suffix(".py").is_file() or place.parent.with_suffix(".py").is_file()


def own_options(file: Path) -> set[str]:
    """Options that a file adds to a parser of its own."""
    return set(re.findall(r'add_argument\(\s*"--([\w-]+)"', file.read_text()))


def test_the_search_for_names_finds_some() -> None:
    found = "".join(text for file in FILES for _, text in sentences(file))
    assert len(re.findall(r"--[a-z]+", found)) > 100


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_option_and_setting_that_a_sentence_names_exists(file: Path) -> None:
    known = {path.replace("_", "-") for path in KNOWN} | OF_THE_COMMAND_LINE | OTHERS | own_options(file)
    for line, text in sentences(file):
        for option in re.findall(r"(?<![\w-])--([a-z][\w.-]*[a-z0-9])(?![\w.{-]*\{)", text):
            path = option.replace("-", "_").removeprefix("no_")
            fine = path in KNOWN if "." in option else option.replace("_", "-") in known
            assert fine, f"{file}:{line}: --{option} is no option"
        for path in re.findall(r"(?<![\w./-])([a-z]\w*(?:\.[a-z]\w*)+)(?![\w./({-])", text):
            if (
                path.split(".")[0] in TOPS
                and " " in text
                and not is_module(path)
                and not path.endswith((".py", ".yaml", ".md", ".json"))
            ):
                assert path in KNOWN or path in FORMER, f"{file}:{line}: {path} is no setting"
