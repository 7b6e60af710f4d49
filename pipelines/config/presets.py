"""Files of settings, and the presets that they name.

preset: restoration
optimiser.enhancer_lr: 1e-3
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any

from pipelines.config.files import SettingsError, read_tree
from pipelines.config.text import RUN, Tree, accepts, as_yaml, warn
from pipelines.config.train import RunSettings

PRESETS = Path(__file__).parent.parent / "presets"
NONE = "none"  # the preset that changes no default
WHOLE = "...\n"  # YAML's end of a document: what was cut off does not have it


def read_settings(file: Path) -> dict[str, Any]:
    """Settings of a training in a YAML file by dotted path, over those of the preset that it names; still text.

    Raises:
        SettingsError: it is missing, cannot be read, or holds something else.
    """
    preset, values = read(RUN, file)
    return {**preset_values(RUN, preset or NONE), **values}


def read(tree: Tree, file: Path) -> tuple[str, dict[str, Any]]:
    """The preset that a YAML file names, and its settings by dotted path; keys may be nested, dotted or both."""
    found, preset = read_tree(file), ""
    if isinstance(found, dict) and issubclass(tree.model, RunSettings):  # other jobs have no presets
        preset, _, sealed = str(found.pop("preset", "")).partition("@")
        if preset not in ("", NONE, *presets()):
            raise SettingsError(f"{file}: preset: {no_such_preset(preset)}")
        if sealed and sealed != seal(preset):
            warn(f"{file}: the preset {preset} has changed since this was written, and these settings with it")
    values: dict[str, Any] = {}
    if found:
        _collect(tree, found, "", values, str(file))
    return preset, values


def preset_values(tree: Tree, name: str) -> dict[str, Any]:
    """The settings of a shipped preset, over those of the one that it names."""
    if name == NONE:
        return {}
    if name in presets():
        base, values = read(tree, PRESETS / f"{name}.yaml")
        return {**preset_values(tree, base or NONE), **values}
    raise SettingsError(f"--preset {name}: {no_such_preset(name)}, or give a YAML file")


def presets() -> dict[str, str]:
    """What each shipped preset is for, by name: the first line of its file."""
    files = sorted(PRESETS.glob("*.yaml"))
    return {file.stem: file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for file in files}


def seal(name: str) -> str:
    """By which a preset is known again: it may have changed when a run goes on."""
    return sha256(as_yaml(preset_values(RUN, name)).encode()).hexdigest()[:8]


def no_such_preset(name: str) -> str:
    """What is wrong with an unknown name, and the nearest known one."""
    near = get_close_matches(name, presets(), n=1)
    hint = f"did you mean {near[0]}? There are" if near else "choose from"
    return f"no such preset; {hint} {', '.join(presets())}"


def is_file(name: str) -> bool:
    """Whether a preset is named by its file."""
    return "/" in name or name.endswith((".yaml", ".yml"))


def user_path(name: str) -> Path:
    """A path as people write it, with ~."""
    return Path(os.path.expanduser(name))  # noqa: PTH111  # Path's raises where nobody has a home


def _collect(tree: Tree, found: Any, prefix: str, values: dict[str, Any], file: str) -> None:
    if not isinstance(found, dict):
        what = prefix.rstrip(".")
        raise SettingsError(
            f"{file}: {what}: a group; put its settings below it, indented"
            if what
            else f"{file}: holds no settings; write them as `path: value`, one a line"
        )
    for key, value in found.items():
        path = f"{prefix}{key}" if isinstance(value, dict) else tree.now(f"{prefix}{key}", f"{file}: ")
        if path in tree.branches:
            if value != "":  # a group with nothing below it
                _collect(tree, value, f"{path}.", values, file)
        elif path not in tree.settings:
            raise SettingsError(f"{file}: {tree.no_such_setting(path)}")
        elif path in values:
            raise SettingsError(f"{file}: {path} is given twice; keep one")
        elif isinstance(value, dict):
            raise SettingsError(f"{file}: {path}: has settings below it; give {accepts(tree.settings[path])}")
        else:
            values[path] = value
