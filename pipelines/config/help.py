"""Help: a page that fits one screen, a page for each branch, and tables of all settings."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal, get_origin

from lle.config.fields import Settings
from pipelines.config.files import SettingsError
from pipelines.config.text import Tree, accepts, entry, is_list, scalar, shown, tree_of

WIDTH = 100
COLUMN = 29  # of the options


def help_page(
    tree: Tree,
    doc: str,
    topic: str,
    values: Mapping[str, Any],
    sources: Mapping[str, str],
    presets: Mapping[str, str],
) -> str:
    """What --help prints.

    Args:
        tree: the job's settings.
        doc: what the first page begins with.
        topic: empty; or a branch, a setting, `presets` or `all`.
        values, sources: what holds while nothing else is given.
        presets: what each is for; empty in jobs without.

    Raises:
        SettingsError: there is no such topic.
    """
    everything = [path for path in tree.settings if "." not in path]
    everything += [path for path in tree.branches if "." not in path]
    if not topic:
        lines = _overview(tree, doc, presets)
    elif topic == "presets" and presets:
        lines = [f"  {name:<14}{about}" for name, about in presets.items()]
    elif topic == "all":
        lines = [line for each in everything for line in _explained(tree, each, values, sources)]
    elif (path := topic.replace("-", "_").removesuffix(".*")) in {*tree.settings, *tree.branches}:
        lines = list(_explained(tree, path, values, sources))
    else:
        near = get_close_matches(path, [*tree.branches, *tree.settings, "presets", "all"], n=1)
        hint = f"did you mean --help {near[0]}?" if near else "--help alone lists the branches"
        raise SettingsError(f"--help {shown(topic)}: no such branch or setting; {hint}")
    return "\n".join(lines) + "\n"


def as_tables(jobs: Mapping[str, type[Settings]]) -> str:
    """Every setting of every job with its default, what it accepts and what it does, as Markdown; those that an earlier
    job has just the same are not repeated.
    """
    known: dict[str, tuple[str, ...]] = {}
    page = ""
    for job, model in jobs.items():
        tree = tree_of(model)
        rows = {path: _row(tree, path) for path in tree.settings}
        own = {path: cells for path, cells in rows.items() if known.get(path) != cells}
        rest = "" if len(own) == len(rows) or job != "tune" else " And those of `train`, for every trial."
        page += f"## {job}\n\n{str(model.__doc__).strip()}{rest}\n\n"
        page += "| setting | default | accepts | what it does |\n|---|---|---|---|\n"
        for cells in (own if job == "tune" else rows).values():
            page += f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"
        page += "\n"
        known |= rows if job == "train" else {}
    return page.removesuffix("\n")


def _row(tree: Tree, path: str) -> tuple[str, ...]:
    info = tree.settings[path]
    default = f"`{scalar(tree.defaults[path])}`" if path in tree.defaults else "required"
    return f"`{path}`", default, accepts(info), str(info.description)


def _overview(tree: Tree, doc: str, presets: Mapping[str, str]) -> list[str]:
    """Title and examples, the options, the settings of the job itself, and a line for each branch."""
    options = {"--help [BRANCH]": "This page; a branch, a setting, presets or all in full."}
    if presets:
        options |= {
            "--preset NAME": "One of those below, or a YAML file like one.",
            "--prior bundled": "The small CLIP of the package instead of the preset's.",
        }
    options |= {
        "--config FILE": "YAML file with settings, nested or by dotted path.",
        "--dry-run": "Print all settings and where each came from, and stop.",
        "--print-diff": f"The same of those that differ from the {'preset' if presets else 'defaults'}.",
    }
    own = {_option(tree, path): path for path in tree.settings if "." not in path}
    about = {option: str(tree.settings[path].description) for option, path in own.items()}
    branches = {}
    for name, info in tree.branches.items():
        if "." not in name:
            members = dict.fromkeys(path.split(".")[1] for path in tree.below(name))
            branches[f"--{name}.*"] = f"{info.description} {', '.join(members)}"
    title, *examples = doc.strip().splitlines() or [""]
    return [
        title,
        "",
        *(line for line in examples if line),
        "options",
        *_listed(options),
        "settings",
        *_listed(about),
        "branches, each in full by --help BRANCH",
        *_listed(branches),
        *(textwrap.wrap(f"presets  {', '.join(presets)}", WIDTH, subsequent_indent=" " * 9) if presets else []),
    ]


def _listed(about: Mapping[str, str]) -> Iterator[str]:
    """A line for each."""
    for option, words in about.items():
        yield f"  {option:<{COLUMN}}{textwrap.shorten(words, WIDTH - COLUMN - 2, placeholder=' ...')}"


def _explained(tree: Tree, path: str, values: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[str]:
    """A setting, or a branch with all below it: what each does, what holds now, and what it accepts."""
    if path in tree.branches:
        yield from textwrap.wrap(f"{path}: {tree.branches[path].description}", WIDTH)
        for member in tree.branches[path].annotation.model_fields:  # type: ignore[union-attr]
            yield from _explained(tree, f"{path}.{member}", values, sources)
        return
    info = tree.settings[path]
    now = f"{shown(values[path])} ({sources[path]})" if path in values else "required"
    yield f"  {_option(tree, path)}"
    for words in (str(info.description), f"now {now}; accepts {accepts(info)}"):
        yield from textwrap.wrap(words, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _option(tree: Tree, path: str) -> str:
    """`--data.dark TEXT`."""
    kind: Any = tree.settings[path].annotation
    texts = is_list(tree.settings[path]) and entry(tree.settings[path]).annotation is str
    many = "TEXT ..." if texts else {Literal: "NAME", tuple: "NUMBER ..."}.get(get_origin(kind))
    return f"--{path} {many or {bool: '', int: 'INT', str: 'TEXT'}.get(kind, 'NUMBER')}".rstrip()
