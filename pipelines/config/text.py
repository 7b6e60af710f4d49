"""Settings in words: a job's tree by dotted path, what each setting accepts, and values as YAML."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lle.config.fields import OneOf, Settings
from pipelines.config.train import RunSettings

OF_ONE_RUN = ("name", "resume")


class Tree:
    """The settings of a job by dotted path; make it with `tree_of`.

    Attributes:
        model: the job's settings.
        settings: the field of each setting.
        branches: the field of each branch.
        defaults: values of the settings that have one.
        renamed: the present path of each former one.
    """

    def __init__(self, model: type[Settings]) -> None:
        self.model = model
        self.settings: dict[str, FieldInfo] = {}
        self.branches: dict[str, FieldInfo] = {}
        self._grow(model, "")
        # Not model(): few jobs have defaults for everything.
        fields = {name: info.get_default() for name, info in model.model_fields.items() if not info.is_required()}
        plain = {name: each.model_dump() if isinstance(each, BaseModel) else each for name, each in fields.items()}
        self.defaults: dict[str, Any] = flat(plain)
        self.renamed: Mapping[str, str] = getattr(model, "RENAMED", {})

    def _grow(self, model: type[BaseModel], prefix: str) -> None:
        for name, info in model.model_fields.items():
            if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
                self.branches[f"{prefix}{name}"] = info
                self._grow(info.annotation, f"{prefix}{name}.")
            else:
                self.settings[f"{prefix}{name}"] = info

    def below(self, branch: str) -> list[str]:
        """The settings of a branch."""
        return [path for path in self.settings if path.startswith(f"{branch}.")]

    def now(self, path: str, where: str = "", dashes: str = "") -> str:
        """The present name of a setting, with a warning where it was called by a former one; of a range's end, too."""
        owner, _, end = path.rpartition(".")
        new = self.renamed.get(path) or (end.isdigit() and owner in self.renamed and f"{self.renamed[owner]}.{end}")
        if not new:
            return path
        warn(f"{where}{dashes}{path} is called {dashes}{new} now; the next version knows only that")
        return new

    def no_such_setting(self, path: str, dashes: str = "") -> str:
        """What is wrong with an unknown path, and the nearest known one; `dashes` if it was an option."""
        if path in self.branches:
            members = dict.fromkeys(known[len(path) + 1 :].split(".")[0] for known in self.below(path))
            return f"{dashes}{path}: a group, not a setting; it holds {', '.join(members)}"
        near = [f"{dashes}{each}" for each in self._near(path)]
        hint = f"did you mean {' or '.join(near)}?" if near else "--help all lists them"
        return f"{dashes}{path}: no such setting; {hint}"

    def _near(self, path: str) -> list[str]:
        """The setting nearest to an unknown path: by the whole path, else by its name in the group nearest to its own,
        else by its name alone; the few that share it where it is the end of several.
        """
        if near := get_close_matches(path, self.settings, n=1, cutoff=0.75):
            return near
        group, _, name = path.rpartition(".")
        if not group and (home := get_close_matches(name, self.branches, n=1)):
            return self.below(home[0])[:3]
        for owner in get_close_matches(group, self.branches, n=1):
            members = {known.rpartition(".")[2]: known for known in self.settings if known.rpartition(".")[0] == owner}
            ending = [known for last, known in members.items() if name and last.endswith(name)]
            if near := ending or [members[last] for last in get_close_matches(name, members, n=1)]:
                return near[:3]
        by_last_name = {known.rpartition(".")[2]: known for known in self.settings}
        if ending := [known for last, known in by_last_name.items() if name and last.endswith(f"_{name}")]:
            return ending[:3]
        if near := get_close_matches(path, self.settings, n=1):
            return near
        return [by_last_name[last] for last in get_close_matches(name, by_last_name, n=1)]


@cache
def tree_of(model: type[Settings]) -> Tree:
    """The tree of a job's settings."""
    return Tree(model)


def warn(sentence: str) -> None:
    """Say on stderr what is no mistake."""
    print(f"warning: {sentence}", file=sys.stderr)


def as_yaml(values: Mapping[str, Any], sources: Mapping[str, str] | None = None, without: Collection[str] = ()) -> str:
    """Values by path as YAML, one setting a line, its source beside it as a comment where `sources` knows one; but for
    the settings `without`.
    """
    rows: list[tuple[str, str]] = []
    above: list[str] = []
    for path, value in values.items():
        if path in without:
            continue
        *branches, leaf = path.split(".")
        for depth, branch in enumerate(branches, start=1):
            if branches[:depth] != above[:depth]:
                rows.append((f"{'  ' * (depth - 1)}{branch}:", ""))
        above = branches
        rows.append((f"{'  ' * len(branches)}{leaf}: {scalar(value)}", (sources or {}).get(path, "")))
    width = min(60, max((len(line) for line, _ in rows), default=0))
    return "".join(f"{line:<{width}}  # {source}\n" if source else f"{line}\n" for line, source in rows)


def accepts(info: FieldInfo) -> str:
    """What a setting accepts, in words: `a whole number from 32 to 4096`."""
    limits: dict[str, Any] = {}
    for constraint in info.metadata:
        if isinstance(constraint, OneOf):
            return str(constraint)
        for name in ("ge", "gt", "le", "lt", "multiple_of", "min_length", "pattern"):
            if getattr(constraint, name, None) is not None:
                limits[name] = getattr(constraint, name)
    kind = info.annotation
    if kind is bool:
        return "true or false"
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if is_list(info):
        one = entry(info)
        return "any number of texts" if one.annotation is str else f"any number of values, each {accepts(one)}"
    if get_origin(kind) is tuple:
        return f"{len(get_args(kind))} numbers"
    if kind is str:
        shape = f" matching {limits['pattern']}" if "pattern" in limits else ""
        return f"text{shape}{', not empty' if limits.get('min_length') else ''}"
    if "ge" in limits and "le" in limits:
        bounds = f" from {limits['ge']} to {limits['le']}"
    else:
        words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
        phrases = [f"{word} {limits[name]}" for name, word in words.items() if name in limits]
        bounds = f" of {' and '.join(phrases)}" if phrases else ""
    steps = f", a multiple of {limits['multiple_of']}" if "multiple_of" in limits else ""
    return f"{'a whole number' if kind is int else 'a number'}{bounds}{steps}"


def is_list(info: FieldInfo) -> bool:
    """Whether a setting takes any number of values."""
    return get_origin(info.annotation) is tuple and Ellipsis in get_args(info.annotation)


def entry(info: FieldInfo) -> FieldInfo:
    """One of the values that a list takes, as a field of its own."""
    return FieldInfo.from_annotation(get_args(info.annotation)[0])


def shown(value: Any) -> str:
    """A value for a sentence: on one line, not too long, given text without quotes."""
    words = " ".join(value.split()) if isinstance(value, str) and value else scalar(value)
    return words if len(words) <= 60 else f"{words[:56]} ..."


def scalar(value: Any) -> str:
    """A value of a setting as YAML on one line."""
    plain = list(value) if isinstance(value, tuple) else value

    def dump(style: str | None) -> str:
        line: str = yaml.safe_dump(
            plain, default_flow_style=True, default_style=style, allow_unicode=True, width=sys.maxsize
        )
        return line.removesuffix("...\n").removesuffix("\n")

    return dump(None) if len(dump(None).splitlines()) == 1 else dump('"')


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of a nested dictionary by dotted path."""
    values: dict[str, Any] = {}
    for name, value in tree.items():
        values |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return values


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The nested dictionary of values by dotted path."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *branches, leaf = path.split(".")
        node = tree
        for branch in branches:
            node = node.setdefault(branch, {})
        node[leaf] = value
    return tree


RUN = tree_of(RunSettings)
SETTINGS, DEFAULTS, GROUPS = RUN.settings, RUN.defaults, frozenset(RUN.branches)
