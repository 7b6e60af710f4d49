"""The tree of settings in words: dotted paths, what each setting accepts, and the tree as YAML or as a table."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lle.config.fields import OneOf
from pipelines.config.train import RunSettings

OF_ONE_RUN = ("name", "resume")


def as_yaml(settings: RunSettings, sources: Mapping[str, str] | None = None, without: Collection[str] = ()) -> str:
    """The tree as YAML, one setting a line, its source beside it as a comment if `sources` (by path) are given; but for
    the settings `without`.
    """
    rows: list[tuple[str, str]] = []
    above: list[str] = []
    for path, value in flat(settings.model_dump()).items():
        if path in without:
            continue
        *branches, leaf = path.split(".")
        for depth, branch in enumerate(branches, start=1):
            if branches[:depth] != above[:depth]:
                rows.append((f"{'  ' * (depth - 1)}{branch}:", ""))
        above = branches
        rows.append((f"{'  ' * len(branches)}{leaf}: {scalar(value)}", sources[path] if sources else ""))
    width = min(60, max(len(line) for line, _ in rows))
    return "".join(f"{line:<{width}}  # {source}\n" if source else f"{line}\n" for line, source in rows)


def as_table() -> str:
    """Every setting with its default, what it accepts and what it does, as a Markdown table."""
    lines = ["| setting | default | accepts | what it does |", "|---|---|---|---|"]
    for path, info in SETTINGS.items():
        cells = (f"`{path}`", f"`{scalar(DEFAULTS[path])}`", accepts(info), str(info.description))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


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
        return "any number of texts, such as mypackage.losses:exposure_control=10"
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


def no_such_setting(path: str, dashes: str = "") -> str:
    """What is wrong with an unknown path, and the nearest known one; `dashes` if it was an option."""
    if path in GROUPS:
        members = dict.fromkeys(
            known[len(path) + 1 :].split(".")[0] for known in SETTINGS if known.startswith(f"{path}.")
        )
        return f"{dashes}{path}: a group, not a setting; it holds {', '.join(members)}"
    near = [f"{dashes}{each}" for each in _near_settings(path)]
    hint = f"did you mean {' or '.join(near)}?" if near else "--help lists them all"
    return f"{dashes}{path}: no such setting; {hint}"


def _near_settings(path: str) -> list[str]:
    """The setting nearest to an unknown path: by the whole path, else by its name in the group nearest to its own, else
    by its name alone; the few that share it where it is the end of several.
    """
    if near := get_close_matches(path, SETTINGS, n=1, cutoff=0.75):
        return near
    group, _, name = path.rpartition(".")
    if not group and (home := get_close_matches(name, GROUPS, n=1)):
        return [known for known in SETTINGS if known.startswith(f"{home[0]}.")][:3]
    for owner in get_close_matches(group, GROUPS, n=1):
        members = {known.rpartition(".")[2]: known for known in SETTINGS if known.rpartition(".")[0] == owner}
        ending = [known for last, known in members.items() if name and last.endswith(name)]
        if near := ending or [members[last] for last in get_close_matches(name, members, n=1)]:
            return near[:3]
    by_last_name = {known.rpartition(".")[2]: known for known in SETTINGS}
    if ending := [known for last, known in by_last_name.items() if name and last.endswith(f"_{name}")]:
        return ending[:3]
    if near := get_close_matches(path, SETTINGS, n=1):
        return near
    return [by_last_name[last] for last in get_close_matches(name, by_last_name, n=1)]


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


def _settings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _settings(info.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", info


def _defaults() -> dict[str, Any]:
    # Not RunSettings(): without photos that is no valid training.
    fields = {name: info.get_default() for name, info in RunSettings.model_fields.items()}
    return flat({name: value.model_dump() if isinstance(value, BaseModel) else value for name, value in fields.items()})


SETTINGS: Mapping[str, FieldInfo] = types.MappingProxyType(dict(_settings(RunSettings)))
DEFAULTS: Mapping[str, Any] = types.MappingProxyType(_defaults())
GROUPS = frozenset(path[: dot.start()] for path in SETTINGS for dot in re.finditer(r"\.", path))
