"""The import rules of the house: pipelines -> lle, pipelines -> cluster, and nothing the other way."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

# Files that must load before torch does, so that --help and wrong arguments answer at once.
LIGHT = [
    *[f"lle/config/{name}.py" for name in ("__init__", "train")],
    *[f"lle/images/{name}.py" for name in ("__init__", "decode", "encode", "picture", "pixels")],
    *[
        f"pipelines/config/{name}.py"
        for name in ("loading", "text", "enhance", "evaluate", "compare", "vote", "promote")
    ],
    "lle_platform/command.py",
    "pipelines/inference/work.py",
]


def imported(file: Path, *, module_level: bool = False) -> Iterator[str]:
    """Top-level names of what a file imports, everywhere or only where loading the file runs it."""
    todo: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]
        if module_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if module_level and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo.extend(node.orelse)
            continue
        todo.extend(ast.iter_child_nodes(node))


def offenders(repository: Path, package: str, forbidden: set[str], *, module_level: bool = False) -> list[str]:
    files = sorted((repository / package).rglob("*.py"))
    assert files, f"{package} has no Python files to check"
    return [
        f"{file.relative_to(repository)} imports {name}"
        for file in files
        for name in sorted(forbidden.intersection(imported(file, module_level=module_level)))
    ]


def arrows(repository: Path, packages: tuple[str, ...]) -> dict[str, set[str]]:
    """Which modules each module imports, wherever in its file."""
    files = {
        file: file.relative_to(repository).with_suffix("").parts
        for each in packages
        for file in (repository / each).rglob("*.py")
    }
    modules = {".".join(parts).removesuffix(".__init__"): file for file, parts in files.items()}
    found: dict[str, set[str]] = {}
    for module, file in modules.items():
        named = set[str]()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                named |= inner if inner <= modules.keys() else {node.module, *inner}
        found[module] = (named & modules.keys()) - {module}
    return found


def test_the_method_knows_neither_platform_nor_pipelines(repository: Path) -> None:
    assert offenders(repository, "lle", {"ray", "mlflow", "boto3", "botocore", "pipelines", "cluster"}) == []


def test_the_cluster_knows_nothing_of_images_or_pipelines(repository: Path) -> None:
    assert offenders(repository, "cluster", {"lle", "pipelines"}) == []


def test_no_modules_import_each_other_in_a_circle_not_even_inside_functions(repository: Path) -> None:
    found = arrows(repository, ("lle", "cluster", "pipelines", "benchmarks"))
    assert len(found) > 200
    TopologicalSorter(found).prepare()  # or its error names the circle


def test_a_circle_is_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.py").write_text("from a import c")
    (tmp_path / "a" / "c.py").write_text("def late():\n    from a.b import anything")
    assert arrows(tmp_path, ("a",)) == {"a.b": {"a.c"}, "a.c": {"a.b"}}
    with pytest.raises(CycleError):
        TopologicalSorter(arrows(tmp_path, ("a",))).prepare()


def test_enhancing_a_few_photos_loads_nothing_that_the_extras_bring_nor_what_it_does_not_use() -> None:
    heavy = ("ray", "mlflow", "pyarrow", "rich", "scipy", "sklearn", "boto3", "open_clip", "kornia", "torchvision")
    code = f"import pipelines.inference.job, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_worker_of_a_training_does_not_load_what_only_the_driver_needs() -> None:
    code = "import pipelines.training.worker, sys; print('ray' in sys.modules, 'mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True False"


def test_the_command_names_the_pipelines_only_when_it_runs_one(repository: Path) -> None:
    assert offenders(repository, "lle_platform", {"pipelines", "cluster"}) == []


def test_open_clip_is_imported_only_where_a_prior_is_built(repository: Path) -> None:
    assert offenders(repository, "lle", {"open_clip"}, module_level=True) == []


def test_light_modules_do_not_import_torch_when_loaded(repository: Path) -> None:
    heavy = {"torch", "torchvision", "ray", "mlflow", "kornia"}
    assert [
        f"{name} imports {module}"
        for name in LIGHT
        for module in sorted(heavy.intersection(imported(repository / name, module_level=True)))
    ] == []


@pytest.mark.parametrize("module", [name.removesuffix(".py").replace("/", ".") for name in LIGHT])
def test_loading_a_light_module_really_leaves_torch_out(module: str) -> None:
    # In a process of its own: this one may have loaded torch long ago.
    code = f"import {module}, sys; print([m for m in ('torch', 'ray', 'mlflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("source", "module_level", "found"),
    [
        ("import torch.nn as nn", True, ["torch"]),
        ("from torch import nn", True, ["torch"]),
        ("def f():\n    import torch", True, []),
        ("def f():\n    import torch", False, ["torch"]),
        ("class A:\n    import torch", True, ["torch"]),
        ("if True:\n    import torch", True, ["torch"]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", True, ["typing"]),
        ("from . import torch", True, []),
    ],
)
def test_the_import_finder_sees_what_loading_runs(
    tmp_path: Path, source: str, module_level: bool, found: list[str]
) -> None:
    file = tmp_path / "example.py"
    file.write_text(source)
    assert sorted(imported(file, module_level=module_level)) == found
