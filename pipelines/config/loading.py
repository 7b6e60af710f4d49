"""The settings of a training: defaults, then a preset, then a file, then the command line.

    loaded = load_settings(["--preset", "clip_lit", "--data.dark", "photos/dark", "--data.well_lit", "photos/good"])

A setting is named by its dotted path in `RunSettings`, on the command line as in YAML. All sources are read as text and
become one tree, which pydantic converts and checks once: a mistake gets the same sentence wherever it was made.
This module imports neither torch nor ray, so that `--help` answers at once.

    python -m pipelines.config.loading       # the table of all settings, docs/all_settings.md
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from lle.config import SKIPPABLE_PHASES, IdleWeights, idle_weights
from lle.config.fields import OneOf
from pipelines.config.terminal import not_utf8, print_every_name
from pipelines.config.text import (
    DEFAULTS,
    GROUPS,
    OF_ONE_RUN,
    SETTINGS,
    accepts,
    as_table,
    as_yaml,
    flat,
    is_list,
    nested,
    no_such_setting,
    shown,
)
from pipelines.config.train import RunSettings

PRESETS = Path(__file__).parent.parent / "presets"
YES = ("true", "1", "yes", "on", "t", "y")
PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}

SHORT = {"profile": "loop.profile"}  # options that need no path

# `--prior bundled`: one CLIP for guidance and identity, the one in the package. Its features are about a thousand times
# larger than RN101's and know only light: with the paper's weights, identity would forbid any brightening.
BUNDLED_PRIOR = {
    "prior.model": "bundled",
    "prior.pretrained": "",
    "prior.identity_model": "",
    "prior.identity_pretrained": "",
    "objective.identity.weight": "0.3",
    "objective.reconstruction.weight": "0.1",
}


@dataclass(frozen=True)
class Loaded:
    """Checked settings, and where they came from.

    Attributes:
        settings: the tree, valid as a whole.
        preset: name of the preset underneath.
        sources: for each dotted path `default`, `preset NAME`, `file PATH` or `command line`.
        warnings: sentences about settings that were given and have no effect.
    """

    settings: RunSettings
    preset: str
    sources: dict[str, str]
    warnings: list[str] = field(default_factory=list)


def load_settings(argv: Sequence[str] | None = None, default_preset: str = "quickstart") -> Loaded:
    """Settings of a training from the command line, or the end of the program.

    With `--resume`, those that the run began with; what is given besides may say where it goes on, not what it is.

    Args:
        argv: arguments without the program's name; None: those of this process.
        default_preset: preset used when `--preset` is not given.

    Returns:
        The checked settings. Warnings were also printed on stderr.

    Raises:
        SystemExit: code 0 after `--help` or `--dry-run`; code 2 after a mistake, with one sentence on stderr.
    """
    print_every_name()
    argv = sys.argv[1:] if argv is None else argv
    try:
        if mistake := not_utf8(argv):
            raise SettingsError(mistake)
        options = _parse(argv)
        layers = _layers(options, default_preset)
        if options.pop("help", False):
            _parser(_merge(layers)[0]).print_help()
            raise SystemExit(0)
        preset = layers[1].source.removeprefix("preset ")
        if options.get("resume", "").lower() in YES and _merge(layers)[0]["name"]:
            loaded = _resumed(layers, preset, chosen=layers[1:] if "preset" in options else layers[2:])
        else:
            loaded = _check(*_merge(layers), preset)
    except SettingsError as mistake:
        print(mistake, file=sys.stderr)
        raise SystemExit(2) from None
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if options.get("dry_run"):
        print(as_yaml(loaded.settings, loaded.sources), end="")
        raise SystemExit(0)
    return loaded


def with_run_name(loaded: Loaded) -> RunSettings:
    """The settings with a name: the given one, else preset and local time, such as `quickstart-20261122-101500`."""
    if loaded.settings.name:
        return loaded.settings
    preset = re.sub(r"[^A-Za-z0-9._-]", "-", loaded.preset)[:80]
    return loaded.settings.model_copy(update={"name": f"{preset}-{datetime.now():%Y%m%d-%H%M%S}"})


def to_yaml(settings: RunSettings) -> str:
    """Every setting but `resume` as YAML; `--config` reads the same settings back from it."""
    return as_yaml(settings, without=("resume",))


def of_a_run(settings: RunSettings) -> str:
    """What a run keeps of its settings: with `--config` they repeat it under another name, from the beginning."""
    return as_yaml(settings, without=OF_ONE_RUN)


def laid_over(loaded: Loaded, values: Mapping[str, Any], source: str) -> Loaded:
    """Settings with other values by path in some places, checked again as a whole.

    Args:
        loaded: settings and their sources.
        values: by dotted path, plain or as text.
        source: where these come from, such as `file PATH`; mistakes name it.

    Raises:
        SettingsError: they are not allowed.
    """
    merged = {**flat(loaded.settings.model_dump()), **values}
    return _check(merged, loaded.sources | dict.fromkeys(values, source), loaded.preset)


class SettingsError(ValueError):
    """A user's mistake, in one sentence."""


# --- sources ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layer:
    source: str
    values: Mapping[str, Any]


def _layers(options: dict[str, Any], default_preset: str) -> list[_Layer]:
    """Defaults, preset, file and command line, the later over the earlier."""
    preset_file = _find_preset(options.get("preset", default_preset))
    preset = _without_resume(_read(preset_file), str(preset_file))
    layers = [_Layer("default", DEFAULTS), _Layer(f"preset {preset_file.stem}", preset)]
    if config := options.get("config"):
        layers.append(_Layer(f"file {config}", _without_resume(_read(_file(config)), config)))
    given = {path: value for path, value in options.items() if path in SETTINGS}
    if "prior" in options:
        layers.append(_Layer("--prior bundled", BUNDLED_PRIOR))
    layers.append(_Layer("command line", given))
    return layers


def _without_resume(values: dict[str, Any], file: str) -> dict[str, Any]:
    """The settings of a file without those of one run: what a run wrote down may hold them, and would reopen it."""
    if "resume" not in values:
        return values
    kept = {path: value for path, value in values.items() if path not in OF_ONE_RUN}
    if values.get("name") or values["resume"].lower() in YES:
        print(
            f"warning: {file}: its name and resume are those of the run that wrote it, and left out; "
            "give --name NAME, and --resume to continue that run",
            file=sys.stderr,
        )
    return kept


def _resumed(layers: Sequence[_Layer], preset: str, chosen: Sequence[_Layer]) -> Loaded:
    """The settings that a run began with, and of those chosen now what may differ.

    Raises:
        SettingsError: others differ too, or what the run wrote down cannot be read.
    """
    from pipelines.training.resuming import refuse_changes, remembered

    given, sources = _merge(chosen)
    merged, _ = _merge(layers)
    known = remembered(*(merged[path] for path in ("name", "runs", "checkpoints")))
    if known is None:  # the job will say so
        return _check(*_merge(layers), preset)
    file, values = known
    of_this_time = {"name": merged["name"], "resume": "true"}
    base = {**DEFAULTS, **values, **of_this_time}
    origin = dict.fromkeys(base, f"run {file}")
    began = _check(base, origin, preset)
    loaded = _check({**base, **given, **of_this_time}, origin | sources, preset)
    refuse_changes(flat(began.settings.model_dump()), flat(loaded.settings.model_dump()), sources, merged["name"])
    return loaded


def read_settings(file: Path) -> dict[str, Any]:
    """Settings of a YAML file by dotted path, their values still text.

    Raises:
        SettingsError: it is missing, cannot be read, or holds something else.
    """
    return _read(file)


def _find_preset(name: str) -> Path:
    if "/" in name or name.endswith((".yaml", ".yml")):
        return _file(name)
    names = [file.stem for file in _presets()]
    if name in names:
        return PRESETS / f"{name}.yaml"
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}? There are" if near else "choose from"
    raise SettingsError(f"--preset {name}: no such preset; {hint} {', '.join(names)}, or give a YAML file")


def _file(name: str) -> Path:
    return Path(os.path.expanduser(name))  # noqa: PTH111  # Path's raises where nobody has a home


def _presets() -> list[Path]:
    return sorted(PRESETS.glob("*.yaml"))


class _TextLoader(yaml.BaseLoader):
    """YAML with every scalar left as text (the settings know their types), without repeated keys, and without what
    other programs run or unfold: tags and aliases.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()
            raise SettingsError(f"line {event.start_mark.line + 1}: *{event.anchor}: write out what it stands for")
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag not in PLAIN_TAGS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise SettingsError(f"line {node.start_mark.line + 1}: {shown(tag)} is not read; give the plain value")
        return super().construct_object(node, deep)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                line = node.value[index][0].start_mark.line + 1
                raise SettingsError(f"line {line}: {key} is given twice; keep one")
        return super().construct_mapping(node, deep)


def _read(file: Path) -> dict[str, Any]:
    """Settings of a YAML file by dotted path; keys may be nested, dotted or both."""
    values: dict[str, Any] = {}
    if tree := read_tree(file):
        _collect(tree, "", values, str(file))
    return values


def read_tree(file: Path) -> Any:
    """What a YAML file holds, every scalar as text.

    Raises:
        SettingsError: it is missing, cannot be read, is not YAML, or gives a key twice.
    """
    try:
        return read_yaml(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{file}: no such file") from None
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: not a text file; save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{file}: not valid YAML ({' '.join(str(error).split())})") from None
    except RecursionError:
        raise SettingsError(f"{file}: nested too deeply; settings are at most a few levels deep") from None
    except SettingsError as mistake:
        raise SettingsError(f"{file}: {mistake}") from None


def read_yaml(text: str) -> Any:
    """What YAML says, every scalar as text; nothing in it is run or unfolded.

    Raises:
        yaml.YAMLError: it is none.
        SettingsError: a key is given twice, a tag or an alias is used.
        RecursionError: it is nested too deeply.
    """
    return yaml.load(text, _TextLoader)


def _collect(tree: Any, prefix: str, values: dict[str, Any], file: str) -> None:
    if not isinstance(tree, dict):
        what = prefix.rstrip(".")
        raise SettingsError(
            f"{file}: {what}: a group; put its settings below it, indented"
            if what
            else f"{file}: holds no settings; write them as `path: value`, one a line"
        )
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if path in GROUPS:
            if value != "":  # a group with nothing below it
                _collect(value, f"{path}.", values, file)
        elif path not in SETTINGS:
            raise SettingsError(f"{file}: {no_such_setting(path)}")
        elif path in values:
            raise SettingsError(f"{file}: {path} is given twice; keep one")
        elif isinstance(value, dict):
            raise SettingsError(f"{file}: {path}: has settings below it; give {accepts(SETTINGS[path])}")
        else:
            values[path] = value


# --- the command line -------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(message.removeprefix("argument "))


def _parse(argv: Sequence[str]) -> dict[str, Any]:
    """Options given, by name; settings by path, their values still text."""
    namespace, unknown = _parser(DEFAULTS).parse_known_args([_spelling(word) for word in argv])
    for word in unknown:
        if word.startswith("--"):
            raise SettingsError(no_such_setting(word.partition("=")[0].removeprefix("--"), dashes="--"))
    if unknown:
        raise SettingsError(f"{unknown[0]}: not an option; settings are given as --path value")
    # argparse of Python 3.11 drops a value that is `--`.
    options = {name: "--" if value == [] else value for name, value in vars(namespace).items()}
    if options.get("prior", "bundled") != "bundled":
        raise SettingsError(
            f"--prior {options['prior']}: only `bundled` has this short form; "
            "name other models with --prior.model and --prior.pretrained"
        )
    return options


def _spelling(word: str) -> str:
    """A setting's option as its path is written, for `--profile`, `--data.image-size`, `--no-data.samples`."""
    option, equals, value = word.partition("=")
    name = option.removeprefix("--").replace("-", "_")
    if not option.startswith("--"):
        return word
    name = SHORT.get(name, name)
    if name in SETTINGS:
        return f"--{name}{equals}{value}"
    if (path := name.removeprefix("no_")) in SETTINGS and SETTINGS[path].annotation is bool and not equals:
        return f"--{path}=false"
    return word


def _parser(values: Mapping[str, Any]) -> _Parser:
    """The parser; its help shows `values` as what holds when an option is not given."""
    presets = "\n".join(f"  {file.stem:<12}{_first_comment(file)}" for file in _presets())
    parser = _Parser(
        prog=f"python {sys.argv[0]}",
        usage="%(prog)s [--preset NAME] [--config FILE] [--SETTING VALUE ...]",
        description="The preset comes first, then the file, then the settings named here.",
        epilog=f"presets:\n{presets}",
        formatter_class=_HelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="Show this page, with the values of the preset.")
    parser.add_argument("--preset", metavar="NAME", help="Preset (below), or a YAML file like one.")
    parser.add_argument("--config", metavar="FILE", help="YAML file with settings, nested or by dotted path.")
    parser.add_argument("--prior", metavar="bundled", help="Use the small CLIP of the package instead of the preset's.")
    parser.add_argument("--dry-run", action="store_true", help="Print all settings and where each came from, and stop.")
    sections: dict[str, argparse._ArgumentGroup] = {}
    for path, info in SETTINGS.items():
        top = path.split(".")[0]
        if path == top:
            title, about = "run", None
        else:
            title, about = top, type(RunSettings.model_fields[top].get_default()).__doc__
        if title not in sections:
            sections[title] = parser.add_argument_group(title, about)
        sections[title].add_argument(
            f"--{path}",
            dest=path,
            metavar=_placeholder(info),
            **_arity(info),
            help=f"{info.description} ({shown(values[path])})".replace("%", "%%"),
        )
    return parser


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=8, width=min(shutil.get_terminal_size().columns, 120) - 2)


def _first_comment(file: Path) -> str:
    return file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def _arity(info: FieldInfo) -> dict[str, Any]:
    if info.annotation is bool:
        return {"nargs": "?", "const": "true"}
    return {"nargs": "+"} if get_origin(info.annotation) is tuple else {}


def _placeholder(info: FieldInfo) -> str:
    if get_origin(info.annotation) is Literal:
        return "{" + ",".join(get_args(info.annotation)) + "}"
    for constraint in info.metadata:
        if isinstance(constraint, OneOf):
            return "{" + ",".join([*constraint.names(), *filter(None, [constraint.own])]) + "}"
    if is_list(info):
        return "TEXT"
    return {bool: "true|false", int: "INT", str: "TEXT"}.get(info.annotation, "NUMBER")  # type: ignore[arg-type]


# --- checking ---------------------------------------------------------------------------------------------------------


def _merge(layers: Sequence[_Layer]) -> tuple[dict[str, Any], dict[str, str]]:
    """Values and their sources by path."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for layer in layers:
        values |= layer.values
        sources |= dict.fromkeys(layer.values, layer.source)
    return values, sources


BY_USER = ("file ", "command line")


def _check(values: dict[str, Any], sources: dict[str, str], preset: str) -> Loaded:
    warnings: list[str] = []
    while True:
        try:
            settings = RunSettings.model_validate(nested(values))
            break
        except ValidationError as error:
            cause = error.errors(include_url=False)[0].get("ctx", {}).get("error")
            if not isinstance(cause, IdleWeights):
                raise SettingsError(_sentence(error, values, sources)) from None
            _refuse_idle(cause.reasons, sources, BY_USER)
            values = values | dict.fromkeys(cause.reasons, "0")  # of a preset, whose other phase somebody took away
            warnings += [f"{path} ({sources[path]}) is taken as 0, for {why}" for path, why in cause.reasons.items()]
    _refuse_idle(idle_weights(settings), sources, ("command line",))
    return Loaded(settings, preset, sources, [*warnings, *_without_effect(settings, sources)])


def _refuse_idle(reasons: Mapping[str, str], sources: Mapping[str, str], givers: tuple[str, ...]) -> None:
    """Weights that act nowhere are a mistake where they were asked for."""
    if asked := {path: why for path, why in reasons.items() if sources[path].startswith(givers)}:
        source = sources[next(iter(asked))]
        where = f"{source.removeprefix('file ')}: " if source.startswith("file ") else ""
        raise SettingsError(f"{where}{IdleWeights(asked)}")


def _sentence(error: ValidationError, values: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """The first mistake, with its file, its path and what would be right."""
    first = error.errors(include_url=False)[0]
    path = ".".join(part for part in first["loc"] if isinstance(part, str))
    own_words = first.get("ctx", {}).get("error")
    if path not in SETTINGS:  # settings that contradict each other; the message names them
        return str(own_words or first["msg"])
    source = sources[path]
    where = "" if source == "command line" else source.removeprefix("file ") + ": "
    reason = own_words or f"{shown(values[path])} is not allowed; give {accepts(SETTINGS[path])}"
    return f"{where}{path}: {reason}"


def _without_effect(settings: RunSettings, sources: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each setting that somebody chose and that the other settings make useless."""
    values = flat(settings.model_dump())
    for phase in SKIPPABLE_PHASES:
        why = settings.why_skipped(phase)
        for path in SETTINGS if why and values[f"schedule.{phase}.steps"] else ():
            changed = path.startswith(f"schedule.{phase}.") and values[path] != DEFAULTS[path]
            if changed and sources[path].startswith(BY_USER):
                yield f"{path} ({sources[path]}) has no effect while {why}; change that, or leave it out"
    for path, info in SETTINGS.items():
        extra = info.json_schema_extra
        needs = str(extra.get("needs", "")) if isinstance(extra, dict) else ""
        if not needs or values[path] == DEFAULTS[path]:
            continue
        other, sign, wanted = re.split("(!?=)", needs, maxsplit=1)
        if any(_same(values[other], each) for each in wanted.split("|")) == (sign == "="):
            continue
        if sources[path].startswith(BY_USER) or (sources[path] != "default" and sources[other].startswith(BY_USER)):
            remedy = (
                f"{other}={wanted.replace('|', ' or ')}"
                if sign == "="
                else f"{other} to something other than {shown(wanted)}"
            )
            yield (
                f"{path} ({sources[path]}) has no effect while {other} is {shown(values[other])}; "
                f"set {remedy}, or leave it out"
            )


def _same(value: Any, text: str) -> bool:
    try:
        return float(value) == float(text)
    except ValueError:
        return value == text or shown(value) == text


if __name__ == "__main__":
    print(as_table(), end="")
