"""The settings of a job: defaults, then a preset, then a file, then the command line.

    settings = load(EvaluationSettings, __doc__).settings
    loaded = load_settings(["--preset", "clip_lit", "--data.dark", "photos/dark", "--data.well_lit", "photos/good"])

A setting is named by its dotted path in the job's settings, on the command line as in YAML. All sources are read as
text and become one tree, which pydantic converts and checks once: a mistake gets the same sentence wherever it was
made. This module imports neither torch nor ray, so that `--help` answers at once.

    python -m pipelines.config.loading       # the tables of all settings, docs/all_settings.md
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any, Generic, NoReturn, TypeVar, get_origin

from pydantic import TypeAdapter, ValidationError

from lle.config import SKIPPABLE_PHASES, IdleWeights, idle_weights
from lle.config.fields import Settings
from pipelines.config.files import SettingsError
from pipelines.config.help import as_tables, help_page
from pipelines.config.presets import (
    NONE,
    WHOLE,
    is_file,
    preset_values,
    presets,
    read,
    seal,
    user_path,
)
from pipelines.config.terminal import not_utf8, print_every_name
from pipelines.config.text import (
    OF_ONE_RUN,
    RUN,
    Tree,
    accepts,
    as_yaml,
    flat,
    nested,
    shown,
    tree_of,
    warn,
)
from pipelines.config.train import RunSettings

YES, NO = ("true", "1", "yes", "on", "t", "y"), ("false", "0", "no", "off", "f", "n")
S = TypeVar("S", bound=Settings)

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
class Loaded(Generic[S]):
    """Checked settings, and where they came from.

    Attributes:
        settings: the tree, valid as a whole.
        preset: name of the preset underneath; empty in jobs without presets.
        sources: for each dotted path `default`, `preset NAME`, `file PATH` or `command line`.
        warnings: sentences about settings that were given and have no effect.
        base: the shipped preset that what is kept of the settings can name.
        chosen: paths that somebody named, by a preset of their choice, in a file or on the command line.
    """

    settings: S
    preset: str
    sources: dict[str, str]
    warnings: list[str] = field(default_factory=list)
    base: str = NONE
    chosen: frozenset[str] = frozenset()


def load(
    model: type[S],
    doc: str | None = None,
    argv: Sequence[str] | None = None,
    preset: str = "",
    words: str = "",
    resumed: Callable[[_Layers], Loaded[S] | None] = lambda layers: None,
) -> Loaded[S]:
    """Settings of a job from the command line, or the end of the program.

    Args:
        model: the job's settings.
        doc: what --help begins with, the entry point's docstring.
        argv: arguments without the program's name; None: those of this process.
        preset: used when `--preset` is not given; empty: the job has no presets.
        words: the setting that takes what is given without an option.
        resumed: the settings that a run began with, if it goes on.

    Returns:
        The checked settings. Warnings were also printed on stderr.

    Raises:
        SystemExit: code 0 after `--help`, `--dry-run` or `--print-diff`; code 2 after a mistake, with one sentence on
            stderr.
    """
    print_every_name()
    argv = sys.argv[1:] if argv is None else argv
    tree = tree_of(model)
    with ending_at_mistakes():
        if mistake := not_utf8(argv):
            raise SettingsError(mistake)
        options = _parse(tree, argv, bool(preset), words)
        layers = _layers(tree, options, preset)
        if (topic := options.get("help")) is not None:
            print(help_page(tree, doc or "", topic, *layers.merged(), presets() if preset else {}), end="")
            raise SystemExit(0)
        loaded = resumed(layers) or _check(tree, *layers.merged(), layers)
    for warning in loaded.warnings:
        warn(warning)
    if options.get("dry_run") or options.get("print_diff"):
        whole = as_yaml(flat(loaded.settings.model_dump()), loaded.sources)
        print(whole if options.get("dry_run") else differences(loaded.settings, loaded, named=bool(preset)), end="")
        raise SystemExit(0)
    return loaded


@contextmanager
def ending_at_mistakes() -> Iterator[None]:
    """End the program with status 2 at a mistake in the settings, its sentence on stderr."""
    try:
        yield
    except SettingsError as mistake:
        print(mistake, file=sys.stderr)
        raise SystemExit(2) from None


def load_settings(
    argv: Sequence[str] | None = None, default_preset: str = "quickstart", doc: str | None = None
) -> Loaded[RunSettings]:
    """`load` for a training.

    With `--resume`, the settings that the run began with; what is given besides may say where it goes on, not what it
    is.
    """
    return load(RunSettings, doc, argv, default_preset, resumed=_resumed)


def with_run_name(loaded: Loaded[RunSettings]) -> Loaded[RunSettings]:
    """The settings with a name: the given one, else preset and local time, such as `quickstart-20261122-101500`."""
    if loaded.settings.name:
        return loaded
    preset = re.sub(r"[^A-Za-z0-9._-]", "-", loaded.preset)[:80]
    name = f"{preset}-{datetime.now():%Y%m%d-%H%M%S}"
    return replace(loaded, settings=loaded.settings.model_copy(update={"name": name}))


def to_yaml(settings: RunSettings) -> str:
    """Every setting but `resume` as YAML; `--config` reads the same settings back from it."""
    return as_yaml(flat(settings.model_dump()), without=("resume",))


def of_a_run(settings: RunSettings, loaded: Loaded[RunSettings] | None = None) -> str:
    """What a run keeps of its settings: with `--config` they repeat it under another name, from the beginning.

    Args:
        settings: of the run.
        loaded: as they came, with preset and sources; None: the differences from the defaults.
    """
    loaded = loaded or Loaded(settings, NONE, {})
    head, rest = differences(settings, loaded, without=OF_ONE_RUN).split("\n", 1)
    return f"{head}@{seal(loaded.base)}\n{rest}{WHOLE}"


def differences(settings: Settings, loaded: Loaded[Any], named: bool = True, without: Sequence[str] = ()) -> str:
    """The shipped preset, and what differs from it, each with its source; `--config` reads the same settings back.

    Args:
        settings: may have become others than those loaded.
        loaded: where they came from.
        named: whether the preset is said; else there is none.
        without: what is left out.
    """
    tree = tree_of(type(settings))
    below = tree.defaults | (preset_values(tree, loaded.base) if named else {})
    values = flat(settings.model_dump())
    different = {
        path: value
        for path, value in values.items()
        if path not in below or (value != below[path] and value != _converted(tree, path, below[path]))
    }
    sources = {path: loaded.sources.get(path, "") for path in different}
    head = f"preset: {loaded.base}\n" if named else ""
    return head + as_yaml(different, sources, without)


def _converted(tree: Tree, path: str, value: Any) -> Any:
    """A value of a preset, which is text, as the settings have it."""
    info = tree.settings[path]
    kind: Any = Annotated[info.annotation, info]
    return TypeAdapter(kind).validate_python(value)


def laid_over(loaded: Loaded[RunSettings], values: Mapping[str, Any], source: str) -> Loaded[RunSettings]:
    """Settings with other values by path in some places, checked again as a whole.

    Args:
        loaded: settings and their sources.
        values: by dotted path, plain or as text.
        source: where these come from, such as `file PATH`; mistakes name it.

    Raises:
        SettingsError: they are not allowed.
    """
    merged = {**flat(loaded.settings.model_dump()), **values}
    return _check(RUN, merged, loaded.sources | dict.fromkeys(values, source), loaded)


# --- sources ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layer:
    source: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class _Layers:
    """Sources of settings, the later over the earlier; `preset`, `base` and `chosen` as in `Loaded`."""

    layers: list[_Layer]
    preset: str
    base: str
    first_chosen: int

    def merged(self, first: int = 0) -> tuple[dict[str, Any], dict[str, str]]:
        """Values and their sources by path."""
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for layer in self.layers[first:]:
            values |= layer.values
            sources |= dict.fromkeys(layer.values, layer.source)
        return values, sources

    @property
    def chosen(self) -> frozenset[str]:
        """Paths that somebody named."""
        return frozenset(self.merged(self.first_chosen)[0])


def _layers(tree: Tree, options: dict[str, Any], default_preset: str) -> _Layers:
    """Defaults, preset, file and command line."""
    layers, base, name = [_Layer("default", tree.defaults)], NONE, options.get("preset", "")
    config = options.get("config")
    own, values = read(tree, user_path(config)) if config else ("", {})
    if own and name not in ("", own):
        raise SettingsError(f"--preset {name}: {config} holds differences from the preset {own}; leave --preset out")
    first_chosen = 1 if own or name else 2
    name = own or name or default_preset
    if name in (NONE, "") or is_file(name):
        below = read(tree, user_path(name)) if is_file(name) else ("", {})
        base = below[0] or NONE
        layers += [_Layer(f"preset {base}", preset_values(tree, base))] if below[0] else []
        layers.append(_Layer(f"preset {user_path(name).stem}", _without_resume(below[1], name)))
    else:
        base = name
        layers.append(_Layer(f"preset {name}", preset_values(tree, name)))
    if config:
        layers.append(_Layer(f"file {config}", _without_resume(values, config)))
    if "prior" in options:
        layers.append(_Layer("--prior bundled", BUNDLED_PRIOR))
    layers.append(_Layer("command line", {path: options[path] for path in options if path in tree.settings}))
    return _Layers(layers, user_path(name).stem, base, first_chosen)


def _without_resume(values: dict[str, Any], file: str) -> dict[str, Any]:
    """The settings of a file without those of one run: what a run wrote down may hold them, and would reopen it."""
    if "resume" not in values:
        return values
    kept = {path: value for path, value in values.items() if path not in OF_ONE_RUN}
    if values.get("name") or values["resume"].lower() in YES:
        warn(
            f"{file}: its name and resume are those of the run that wrote it, and left out; "
            "give --name NAME, and --resume to continue that run"
        )
    return kept


def _resumed(layers: _Layers) -> Loaded[RunSettings] | None:
    """The settings that a run began with, and of those chosen now what may differ; None where no run goes on.

    Raises:
        SettingsError: others differ too, or what the run wrote down cannot be read.
    """
    from pipelines.training.resuming import refuse_changes, remembered

    merged, _ = layers.merged()
    if str(merged["resume"]).lower() not in YES or not merged["name"]:
        return None
    given, sources = layers.merged(layers.first_chosen)
    known = remembered(*(merged[path] for path in ("name", "runs", "checkpoints")))
    if known is None:  # the job will say so
        return None
    file, values = known
    of_this_time = {"name": merged["name"], "resume": "true"}
    base = {**RUN.defaults, **values, **of_this_time}
    origin = dict.fromkeys(base, f"run {file}")
    plain = _Layers([], layers.preset, NONE, 0)
    began = _check(RUN, base, origin, plain)
    loaded = _check(RUN, {**base, **given, **of_this_time}, origin | sources, plain)
    refuse_changes(flat(began.settings.model_dump()), flat(loaded.settings.model_dump()), sources, merged["name"])
    return loaded


# --- the command line -------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(message.removeprefix("argument "))


def _parse(tree: Tree, argv: Sequence[str], presets: bool, words: str = "") -> dict[str, Any]:
    """Options given, by name; settings by path, their values still text."""
    parser = _Parser(argument_default=argparse.SUPPRESS, allow_abbrev=False, add_help=False)
    parser.add_argument("-h", "--help", nargs="?", const="")
    for option in ("--config", *(("--preset", "--prior") if presets else ())):
        parser.add_argument(option)
    for option in ("--dry-run", "--print-diff"):
        parser.add_argument(option, action="store_true")
    for path, info in tree.settings.items():
        arity: dict[str, Any] = {"nargs": "+"} if get_origin(info.annotation) is tuple else {}
        arity = {"nargs": "?", "const": "true"} if info.annotation is bool else arity
        parser.add_argument(f"--{path}", dest=path, **arity)
    namespace, unknown = parser.parse_known_args([_spelling(tree, word) for word in argv])
    for word in unknown:
        if word.startswith("--"):
            raise SettingsError(tree.no_such_setting(word.partition("=")[0].removeprefix("--"), dashes="--"))
    if unknown and not words:
        raise SettingsError(f"{unknown[0]}: not an option; settings are given as --path value")
    # argparse of Python 3.11 drops a value that is `--`.
    options = {name: "--" if value == [] else value for name, value in vars(namespace).items()}
    if unknown:
        options[words] = [*options.get(words, []), *unknown]
    if options.get("prior", "bundled") != "bundled":
        raise SettingsError(
            f"--prior {options['prior']}: only `bundled` has this short form; "
            "name other models with --prior.model and --prior.pretrained"
        )
    return options


def _spelling(tree: Tree, word: str) -> str:
    """A setting's option as its path is written, for `--profile`, `--data.image-size`, `--no-data.samples`, and for
    what it was called before.
    """
    option, equals, value = word.partition("=")
    if not option.startswith("--"):
        return word
    name = option.removeprefix("--").replace("-", "_")
    name = SHORT[name] if SHORT.get(name) in tree.settings else tree.now(name, dashes="--")
    if name in tree.settings:
        return f"--{name}{equals}{value}"
    if (path := name.removeprefix("no_")) in tree.settings and tree.settings[path].annotation is bool and not equals:
        return f"--{path}=false"
    return word


# --- checking ---------------------------------------------------------------------------------------------------------


BY_USER = ("file ", "command line")


def _check(
    tree: Tree, values: dict[str, Any], sources: dict[str, str], origin: _Layers | Loaded[RunSettings]
) -> Loaded[Any]:
    if missing := [f"--{path}" for path in tree.settings if path not in values]:
        raise SettingsError(f"the following arguments are required: {', '.join(missing)}")
    warnings: list[str] = []
    while True:
        # Without the defaults of the job itself, so that it knows what was given.
        given = {path: each for path, each in values.items() if "." in path or sources[path] != "default"}
        try:
            settings = tree.model.model_validate(nested(given))
            break
        except ValidationError as error:
            cause = error.errors(include_url=False)[0].get("ctx", {}).get("error")
            if not isinstance(cause, IdleWeights):
                raise SettingsError(_sentence(tree, error, values, sources)) from None
            _refuse_idle(cause.reasons, sources, BY_USER)
            values = values | dict.fromkeys(cause.reasons, "0")  # of a preset, whose other phase somebody took away
            warnings += [f"{path} ({sources[path]}) is taken as 0, for {why}" for path, why in cause.reasons.items()]
    if isinstance(settings, RunSettings):
        _refuse_idle(idle_weights(settings), sources, ("command line",))
        warnings += _skipped(settings, sources)
    warnings += _without_effect(tree, settings, sources)
    return Loaded(settings, origin.preset, sources, warnings, origin.base, origin.chosen)


def _refuse_idle(reasons: Mapping[str, str], sources: Mapping[str, str], givers: tuple[str, ...]) -> None:
    """Weights that act nowhere are a mistake where they were asked for."""
    if asked := {path: why for path, why in reasons.items() if sources[path].startswith(givers)}:
        source = sources[next(iter(asked))]
        where = f"{source.removeprefix('file ')}: " if source.startswith("file ") else ""
        raise SettingsError(f"{where}{IdleWeights(asked)}")


def _sentence(tree: Tree, error: ValidationError, values: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """The first mistake, with its file, its path and what would be right."""
    first = error.errors(include_url=False)[0]
    path = ".".join(part for part in first["loc"] if isinstance(part, str))
    own_words = first.get("ctx", {}).get("error")
    if path not in tree.settings:  # settings that contradict each other; the message names them
        return str(own_words or first["msg"])
    source = sources[path]
    where = "" if source == "command line" else source.removeprefix("file ") + ": "
    reason = own_words or f"{shown(values[path])} is not allowed; give {accepts(tree.settings[path])}"
    return f"{where}{path}: {reason}"


def _skipped(settings: RunSettings, sources: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each setting that somebody chose of a phase that is skipped."""
    values = flat(settings.model_dump())
    for phase in SKIPPABLE_PHASES:
        why = settings.why_skipped(phase)
        for path in RUN.below(f"schedule.{phase}") if why and values[f"schedule.{phase}.steps"] else ():
            if values[path] != RUN.defaults[path] and sources[path].startswith(BY_USER):
                yield f"{path} ({sources[path]}) has no effect while {why}; change that, or leave it out"


def _without_effect(tree: Tree, settings: Settings, sources: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each setting that somebody chose and that the other settings make useless."""
    values = flat(settings.model_dump())
    for path, info in tree.settings.items():
        extra = info.json_schema_extra
        needs = str(extra.get("needs", "")) if isinstance(extra, dict) else ""
        if not needs or values[path] == tree.defaults[path]:
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
    from pipelines.config.jobs import JOBS

    print(as_tables(JOBS), end="")
