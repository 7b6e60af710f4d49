"""Nothing that a page or a docstring refers to is missing: files, pages, anchors, sections of the method, settings."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

from lle.config.fields import Settings
from pipelines import config

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "first_steps.ipynb"
PLACES = ("*.md", "docs/**/*.md", "lle/**/*.md", "pipelines/**/*.md", "cluster/**/*.md", "benchmarks/**/*.md")
PAGES = [*(file for place in PLACES for file in sorted(ROOT.glob(place))), NOTEBOOK]
SOURCES = sorted(
    file
    for folder in ("lle", "pipelines", "cluster", "benchmarks", "tests", "docs")
    for file in (ROOT / folder).rglob("*.py")
)
FOLDERS = ("lle", "pipelines", "cluster", "benchmarks", "tests", "docs")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(r"(?<![\w./{<>-])((?:lle|pipelines|cluster|benchmarks|tests|docs)/[\w./*-]*[\w*/])(?![\w{<-])")
MODULE = re.compile(r"(?<![\w./-])((?:lle|pipelines|cluster|benchmarks)(?:\.[A-Za-z_]\w*)+)")
METHOD = re.compile(r"\b[Mm]ethod(?:\.md)? ((?:\d(?:\.\d+)?)(?:(?:, | and )\d(?:\.\d+)?)*)")
MADE = ("benchmarks/results", "tests/fuzz/found")
"""What commands make."""
RECORDED = set(
    re.findall(r'"((?:lle|data)(?:\.[a-z_]+)+)"', "".join(file.read_text(encoding="utf-8") for file in SOURCES))
)
"""What looks like modules and settings, and is text in a source: names of MLflow's tags."""
OF_THE_COMMAND_LINE = {"preset", "config", "prior", "dry-run", "print-diff", "help", "profile"}
OF_OTHERS = {"runtime-env-json", "working-dir", "env-manager"}
"""Options of Ray's and MLflow's own commands."""


def paths(settings: type[Settings]) -> Iterator[str]:
    """Dotted path of each setting and group of a tree of settings."""
    for name, info in settings.model_fields.items():
        yield name
        if isinstance(info.annotation, type) and issubclass(info.annotation, Settings):
            yield from (f"{name}.{below}" for below in paths(info.annotation))


MODULES = [import_module(f"pipelines.config.{each.name}") for each in iter_modules(config.__path__)]
JOBS = {
    each
    for module in MODULES
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, Settings) and each.__module__.startswith("pipelines.")
}
KNOWN = {path for job in JOBS for path in paths(job)}
TOPS = {path.split(".")[0] for path in KNOWN if "." in path}


def shown(file: Path) -> str:
    return str(file.relative_to(ROOT))


def text_of(page: Path) -> str:
    """The Markdown of a page, or of a notebook's cells."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return without_code(text_of(page))


def without_code(text: str) -> str:
    return re.sub(r"^(`{3,})[^\n]*\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub and the site give to a page's headings."""
    found: dict[str, int] = {}
    names = set()
    for title in re.findall(r"^#{1,6} +(.+?) *#*$", prose(page), flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        count = found[name] = found.get(name, -1) + 1
        names.add(f"{name}-{count}" if count else name)
    return names


def words_about(file: Path) -> Iterator[tuple[int, str]]:
    """Docstrings and comments of a source, with their lines."""
    text = file.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            said = ast.get_docstring(node)
            if said:
                yield getattr(node, "lineno", 1), said
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def present(page: Path) -> str:
    """What a page says of the names of today: a change log tells of others, and so does a list of former names."""
    if page.name == "CHANGELOG.md":
        return ""
    return re.sub(r"^## Former names$.*?(?=^## |\Z)", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def is_there(path: str, page: Path | None = None) -> bool:
    """Whether a path exists; JOB and the like stand for any, and a page on adding something names the file to write."""
    path = path.rstrip("/.")
    found = any(True for _ in ROOT.glob(path))
    if found or path.startswith(MADE):
        return True
    if page is not None and page.name.startswith("adding_"):
        return True
    return Path(path).stem in ("JOB", "NAME", "X") and (ROOT / path).parent.is_dir()


def names_something(dotted: str) -> bool:
    """Whether a dotted name is a package, a module, or stands in the module that its beginning names."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:count])
        file = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
        if file.is_file() or place.is_dir():
            rest = parts[count : count + 1]
            return not rest or (file.is_file() and bool(re.search(rf"\b{rest[0]}\b", file.read_text(encoding="utf-8"))))
    return False


def test_the_searches_find_some() -> None:
    assert len(PAGES) > 25 and "objective.rank.weight" in KNOWN and "objective.rank.nothing" not in KNOWN
    assert sum(len(LINK.findall(prose(page))) for page in PAGES) > 150
    assert sum(len(PATH.findall(prose(page))) for page in PAGES) > 50
    said = [text for file in SOURCES for _, text in words_about(file)]
    assert sum(len(METHOD.findall(text)) for text in said) > 25
    assert sum(len(PATH.findall(text)) for text in said) > 15
    assert sum(len(MODULE.findall(text)) for text in said) > 50
    assert METHOD.findall("method 1.3 and 1.6; method 2, 3.1.") == ["1.3 and 1.6", "2, 3.1"]
    assert not is_there("lle/nothing.py") and not names_something("lle.model.Nothing")


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists() and file.is_relative_to(ROOT), f"{shown(page)}: {target}: there is no such file"
        if anchor:
            assert anchor in anchors(file), f"{shown(page)}: {target}: {shown(file)} has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_path_and_module_that_a_page_names_exists(page: Path) -> None:
    for path in PATH.findall(present(page)):
        assert is_there(path, page), f"{shown(page)}: there is no {path}"
    for dotted in MODULE.findall(LINK.sub("", without_code(present(page)))):
        known = dotted in KNOWN or dotted in RECORDED or is_file_name(dotted)
        assert known or names_something(dotted), f"{shown(page)}: there is no {dotted}"


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_setting_and_option_that_a_page_names_exists(page: Path) -> None:
    own = {each for file in SOURCES for each in re.findall(r'add_argument\(\s*"--([\w-]+)"', file.read_text())}
    known = {path.replace("_", "-") for path in KNOWN} | OF_THE_COMMAND_LINE | OF_OTHERS | own
    for code in re.findall(r"`([^`\n]+)`", without_code(present(page))):
        named = re.fullmatch(r"([a-z]\w*(?:\.[a-z]\w*)+)(?:[:=! ].*)?", code)
        if named and named[1].split(".")[0] in TOPS and not is_file_name(named[1]):
            assert named[1] in KNOWN | RECORDED or names_something(named[1]), f"{shown(page)}: {named[1]} is no setting"
        option = re.match(r"--([a-z][\w.-]*)(\*?)", code)
        if option and not option[2] and page.parent.name == "docs":
            name = option[1].replace("-", "_").removeprefix("no_")
            assert name in KNOWN or name.replace("_", "-") in known, f"{shown(page)}: --{option[1]} is no option"


@pytest.mark.parametrize("file", SOURCES, ids=shown)
def test_every_path_module_and_heading_that_a_comment_names_exists(file: Path) -> None:
    for line, said in words_about(file):
        for path in PATH.findall(said):
            assert is_there(path), f"{shown(file)}:{line}: there is no {path}"
        for page, anchor in re.findall(r"(docs/\w+\.md|README\.md|CONTRIBUTING\.md)#([\w-]+)", said):
            assert anchor in anchors(ROOT / page), f"{shown(file)}:{line}: {page} has no heading {anchor}"
        for dotted in MODULE.findall(said):
            assert names_something(dotted), f"{shown(file)}:{line}: there is no {dotted}"


@pytest.mark.parametrize("file", [*SOURCES, *PAGES], ids=shown)
def test_every_section_of_the_method_that_is_cited_is_there(file: Path) -> None:
    sections = set(re.findall(r"^#{2,3} (\d(?:\.\d+)?)\.? ", text_of(ROOT / "docs" / "method.md"), flags=re.MULTILINE))
    said = words_about(file) if file.suffix == ".py" else [(0, text_of(file))]
    for line, text in said:
        for cited in METHOD.findall(text):
            for section in re.findall(r"\d(?:\.\d+)?", cited):
                assert section in sections, f"{shown(file)}:{line}: docs/method.md has no section {section}"


def test_the_notebook_is_kept_without_what_it_printed() -> None:
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


def is_file_name(name: str) -> bool:
    return name.endswith(
        (".json", ".csv", ".html", ".yaml", ".md", ".parquet", ".parts", ".unread", ".py", ".gz", ".jsonl")
    )
