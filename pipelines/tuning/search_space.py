"""What a sweep searches: distributions over settings, from YAML, checked against the settings before anything starts.

    objective.pixel_contrast.weight: loguniform(0.1, 30)
    curves.gamma.under.0: uniform(3, 6)         # one end of a range
    schedule.rounds: int(1, 4)                  # both ends included
    enhancer.arch: choice(compact, bilateral)

This module imports neither torch nor ray.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from pipelines.config.files import SettingsError, read_tree, read_yaml
from pipelines.config.loading import NO, YES, Loaded, laid_over, load, load_settings
from pipelines.config.text import OF_ONE_RUN, RUN, SETTINGS, flat, is_list, shown, warn
from pipelines.config.train import RunSettings
from pipelines.config.tune import SearchSettings, TuneSettings

SEARCHES = Path(__file__).parent.parent / "searches"
KINDS = {
    "uniform": "uniform(0.1, 0.5)",
    "loguniform": "loguniform(0.001, 0.1)",
    "int": "int(1, 4)",
    "choice": "choice(a, b)",
}
# What must be the same in all trials, or they cannot be compared or run side by side.
FIXED = (
    *("name", "runs", "checkpoints", "resume", "scaling", "tracking", "cluster", "loop.metric"),
    *("data.dark", "data.well_lit", "data.pairs_dark", "data.pairs_truth", "data.samples"),
    *("data.validation_images", "data.validation_size"),
)
OF_THE_PLACE = ("runs", "cluster.", "tracking.uri")  # what may differ where a sweep goes on
INSTEAD = "leave that out, or begin another sweep"
JUDGE = ("prior.model", "prior.pretrained")  # of feature_gap


@dataclass(frozen=True)
class Distribution:
    """What a setting is drawn from.

    Attributes:
        kind: `uniform`, `loguniform`, `int` or `choice`.
        values: both ends, included; of a choice its values, as text.
    """

    kind: str
    values: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(map(str, self.values))})"


Search = Mapping[str, Distribution]


@dataclass(frozen=True)
class Plan:
    """A sweep that may start.

    Attributes:
        sweep: its settings, with a name.
        training: settings that all trials share, and their sources.
        search: distributions by dotted path; the ends of a range are `path.0` and `path.1`.
        resume: whether the sweep began earlier.
    """

    sweep: SearchSettings
    training: Loaded[RunSettings]
    search: Search
    resume: bool = False

    @property
    def folder(self) -> Path:
        """`runs/NAME`."""
        from cluster.storage import local_path  # with pyarrow, which --help need not wait for

        return Path(local_path(self.training.settings.runs, "runs")) / self.sweep.name


def prepared(argv: Sequence[str] | None = None, doc: str | None = None) -> Plan:
    """The sweep that was asked for; or the one that was interrupted, as its folder remembers it.

    Args:
        argv: arguments, also those of the training; None: those of this process.
        doc: what --help begins with.

    Raises:
        SettingsError: the search space does not fit the settings, there is no such sweep, or it began with others.
        SystemExit: mistakes in the arguments, already told.
    """
    loaded = load(TuneSettings, doc, with_name(sys.argv[1:] if argv is None else argv), "quickstart")
    settings = loaded.settings
    given = SearchSettings.model_validate(settings.model_dump(include=set(SearchSettings.model_fields)))
    of_training = settings.model_dump(include=set(RunSettings.model_fields) - set(OF_ONE_RUN))
    training = Loaded(**{**vars(loaded), "settings": RunSettings.model_validate(of_training)})
    if settings.resume:
        return _remembered(given, training)
    file = find_search(given.search)
    search = read_search(file)
    check_search(search, training, file)
    name = given.name or f"{re.sub(r'[^A-Za-z0-9._-]', '-', file.stem)[:70]}-{datetime.now():%Y%m%d-%H%M%S}"
    return Plan(given.model_copy(update={"name": name}), training, search)


def with_name(argv: Sequence[str]) -> list[str]:
    """`--resume NAME`, as it was said once, as `--resume --name NAME`."""
    words = [part for word in argv for part in (word.split("=", 1) if word.startswith("--resume=") else [word])]
    for index, name in enumerate(words[1:], start=1):
        if words[index - 1] == "--resume" and not name.startswith("--") and name.lower() not in (*YES, *NO):
            warn(f"--resume {name} is said --resume --name {name} now; the next version knows only that")
            return [*words[:index], f"--name={name}", *words[index + 1 :]]
    return words


def remember(plan: Plan, settings_yaml: str) -> None:
    """Write into the sweep's folder what `--resume` needs.

    Args:
        plan: a sweep whose folder exists.
        settings_yaml: settings that all trials share, with their photos.
    """
    lines = [f"{path}: {drawn}\n" for path, drawn in plan.search.items()]
    (plan.folder / "search.yaml").write_text("".join(lines), encoding="utf-8")
    (plan.folder / "settings.yaml").write_text(settings_yaml, encoding="utf-8")
    (plan.folder / "sweep.yaml").write_text(yaml.safe_dump(plan.sweep.model_dump(), sort_keys=False), encoding="utf-8")


def remembered(folder: Path) -> bool:
    """Whether a folder holds a sweep that can be resumed."""
    return (folder / "sweep.yaml").exists()


def find_search(name: str) -> Path:
    """The file of a search space, by its name or path; raises SettingsError where there is none."""
    if "/" in name or name.endswith((".yaml", ".yml")):
        return Path(os.path.expanduser(name))  # noqa: PTH111  # Path's raises where nobody has a home
    names = sorted(file.stem for file in SEARCHES.glob("*.yaml"))
    if name in names:
        return SEARCHES / f"{name}.yaml"
    near = get_close_matches(name, names, n=1)
    hint = f"perhaps you meant {near[0]}? There are" if near else "choose from"
    raise SettingsError(f"--search {name}: no such search; {hint} {', '.join(names)}, or give a YAML file")


def read_search(file: Path) -> Search:
    """Distributions by path; keys may be nested, dotted or both.

    Raises:
        SettingsError: the file cannot be read, names no setting, or a value is no distribution.
    """
    tree = read_tree(file)
    if not isinstance(tree, dict) or not tree:
        raise SettingsError(f"{file}: searches nothing; write `path: uniform(LOW, HIGH)`, one a line")
    search: dict[str, Distribution] = {}
    for path, text in _leaves(tree).items():
        path = RUN.now(path, f"{file}: ")
        info = _setting(path, file)
        if path.startswith(tuple(f"{fixed}." for fixed in FIXED)) or path in FIXED:
            raise SettingsError(
                f"{file}: {path}: must be the same for all trials, or they could not be compared; "
                "leave it out, and give it on the command line"
            )
        search[path] = _parse(text, info, path, file)
    for path in search:
        if (whole := path.rpartition(".")[0]) in search:
            raise SettingsError(f"{file}: {whole} and {path}: search the whole or its parts, not both")
    return search


def check_search(search: Search, training: Loaded[RunSettings], file: Path) -> None:
    """Refuse what the settings do not allow: the extremes of each distribution, beside the shared settings.

    Raises:
        SettingsError: with file, setting and what is allowed.
    """
    source = f"file {file}"
    settings = training.settings
    judged = [path for path in JUDGE if path in search]
    if judged and settings.loop.metric == "feature_gap":
        raise SettingsError(
            f"{file}: {judged[0]}: feature_gap is measured by this very model, so trials could not be compared; "
            "choose --loop.metric restored, or leave it out"
        )
    groups: dict[str, list[str]] = {}
    for path in search:
        groups.setdefault(_owner(path), []).append(path)
    for owner, paths in groups.items():
        warnings: dict[str, None] = {}
        for corner in product(*(search[path].values for path in paths)):
            try:
                checked = laid_over(training, settings_of(dict(zip(paths, corner, strict=True)), training), source)
            except SettingsError as mistake:
                drawn = ", ".join(f"{path} {shown(value)}" for path, value in zip(paths, corner, strict=True))
                raise SettingsError(f"{mistake} (the search could draw {drawn})") from None
            warnings |= dict.fromkeys(each for each in checked.warnings if each.startswith(f"{owner} "))
        for warning in warnings:
            if not any(other in warning for other in groups if other != owner):
                warn(warning)


def settings_of(drawn: Mapping[str, Any], training: Loaded[RunSettings]) -> dict[str, Any]:
    """Settings by path from what was drawn: entries of ranges put into their range, text of choices read."""
    plain = flat(training.settings.model_dump())
    values: dict[str, Any] = {}
    for path, value in drawn.items():
        owner = _owner(path)
        if isinstance(value, str):
            value = read_yaml(value)
        if owner == path:
            values[path] = value
        else:
            entries = list(values.get(owner, plain[owner]))
            entries[int(path.rpartition(".")[2])] = value
            values[owner] = entries
    return values


def trial_settings(drawn: Mapping[str, Any], training: Loaded[RunSettings], name: str) -> Loaded[RunSettings]:
    """The settings of a trial; raises SettingsError where what was drawn does not go together."""
    return laid_over(training, settings_of(drawn, training), f"search {name}")


def _remembered(sweep: SearchSettings, given: Loaded[RunSettings]) -> Plan:
    name = sweep.name
    from cluster.storage import StorageError, local_path

    try:
        folder = Path(local_path(given.settings.runs, "runs")) / name
    except StorageError as error:
        raise SettingsError(str(error)) from None
    if not remembered(folder):
        raise SettingsError(f"--name {name}: {folder} holds no sweep; check the name, and --runs")
    remembers = read_tree(folder / "sweep.yaml")
    if isinstance(remembers, dict):
        remembers.pop("resume", "")  # of former versions
    try:
        began = SearchSettings.model_validate(remembers)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise SettingsError(f"{folder / 'sweep.yaml'}: not as a sweep has written it ({reason})") from None
    search = read_search(folder / "search.yaml")
    training = load_settings(["--config", str(folder / "settings.yaml")])

    options = {path: value for path, value in sweep.model_dump().items() if path in given.chosen - {"search"}}
    _refuse_changes(name, options, began.model_dump())
    if "search" in given.chosen and read_search(find_search(sweep.search)) != search:
        raise SettingsError(f"--resume: search: {sweep.search} is not what {name} searches; {INSTEAD}")
    values = flat(given.settings.model_dump())
    settings = {path: values[path] for path in SETTINGS if path in given.chosen and path not in OF_ONE_RUN}
    here = {path: settings.pop(path) for path in list(settings) if path.startswith(OF_THE_PLACE)}
    _refuse_changes(name, settings, flat(training.settings.model_dump()))
    return Plan(began, laid_over(training, here, "command line"), search, resume=True)


def _refuse_changes(name: str, chosen: Mapping[str, Any], began: Mapping[str, Any]) -> None:
    for option, value in chosen.items():
        if value != began[option]:
            raise SettingsError(
                f"--resume: {option} was {shown(began[option])} when {name} began, and cannot become "
                f"{shown(value)}; {INSTEAD}"
            )


def _leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Values of nested and dotted keys by dotted path."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        leaves |= _leaves(value, f"{path}.") if isinstance(value, dict) and path not in SETTINGS else {path: value}
    return leaves


def _owner(path: str) -> str:
    """The setting that a path belongs to: itself, or the range whose end it is."""
    return path if path in SETTINGS else path.rpartition(".")[0]


def _setting(path: str, file: Path) -> FieldInfo:
    owner, _, entry = path.rpartition(".")
    if path in SETTINGS:
        return SETTINGS[path]
    if owner not in SETTINGS:
        raise SettingsError(f"{file}: {RUN.no_such_setting(path).replace('did you mean', 'perhaps you meant')}")
    if get_origin(SETTINGS[owner].annotation) is not tuple or is_list(SETTINGS[owner]):
        raise SettingsError(f"{file}: {path}: {owner} is one value, without parts; search {owner} itself")
    count = len(get_args(SETTINGS[owner].annotation))
    if not entry.isdigit() or int(entry) >= count:
        raise SettingsError(f"{file}: {path}: no such part; {owner} has {count}: {owner}.0 to {owner}.{count - 1}")
    return SETTINGS[owner]


def _parse(text: Any, info: FieldInfo, path: str, file: Path) -> Distribution:
    """A distribution from its text; nothing in it is run."""
    where = f"{file}: {path}"
    match = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", text, re.DOTALL) if isinstance(text, str) else None
    if match is None:
        raise SettingsError(
            f"{where}: {shown(text)} is no distribution; write one such as {KINDS['uniform']}; "
            "fixed values go on the command line or into --config"
        )
    kind, inside = match.groups()
    if kind not in KINDS:
        near = get_close_matches(kind, KINDS, n=1)
        hint = f"perhaps you meant {near[0]}?" if near else f"choose from {', '.join(KINDS)}"
        raise SettingsError(f"{where}: {kind}: no such distribution; {hint}")
    try:
        values = read_yaml(f"[{inside}]")
    except SettingsError as mistake:
        raise SettingsError(f"{where}: {mistake}") from None
    except (yaml.YAMLError, RecursionError):
        raise SettingsError(f"{where}: {shown(text)} cannot be read; write it like {KINDS[kind]}") from None
    if kind == "choice":
        if len(values) < 2:
            raise SettingsError(f"{where}: {shown(text)} leaves no choice; give two values or more")
        return Distribution(kind, tuple(each if isinstance(each, str) else _inline(each) for each in values))
    return Distribution(kind, _ends(kind, values, text, info, path, where))


def _ends(kind: str, values: list[Any], text: str, info: FieldInfo, path: str, where: str) -> tuple[Any, Any]:
    number: Any = int if kind == "int" else float
    if path in SETTINGS and info.annotation not in (int, float):
        has_parts = get_origin(info.annotation) is tuple and not is_list(info)
        way = f"search {path}.0" if has_parts else f"write {KINDS['choice']}"
        raise SettingsError(f"{where}: {kind} draws one number, which this setting is not; {way} instead")
    if info.annotation is int and kind != "int":
        raise SettingsError(f"{where}: takes whole numbers, {kind} draws others; write it like {KINDS['int']}")
    try:
        low, high = (number(each) for each in values)
    except (TypeError, ValueError):
        words = "two whole numbers" if kind == "int" else "two numbers"
        raise SettingsError(f"{where}: {shown(text)}: {kind} takes {words}, as in {KINDS[kind]}") from None
    if not low < high:
        raise SettingsError(f"{where}: {shown(text)} is empty; write the smaller number first")
    if kind == "loguniform" and low <= 0:
        raise SettingsError(f"{where}: {shown(text)} begins at or below 0, which has no logarithm; use uniform")
    return low, high


def _inline(value: Any) -> str:
    return "[" + ", ".join(each if isinstance(each, str) else _inline(each) for each in value) + "]"
