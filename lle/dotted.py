"""Things named by a dotted path, `module:NAME`: lines of our own tables, and what users bring from outside."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class OwnCodeError(ValueError):
    """What a path names cannot be used; the message begins with the setting and says what to change."""


def is_dotted(text: str) -> bool:
    """Whether a text has the form `module:NAME`, such as `mypackage.nets:Net`; nothing is imported."""
    module, _, name = text.partition(":")
    return name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def imported(path: str, setting: str) -> Any:
    """What `module:NAME` names; the module is imported, which runs it.

    Args:
        path: of the form that `is_dotted` knows.
        setting: the one that names it, for the message.

    Raises:
        OwnCodeError: there is no such module on PYTHONPATH, it fails, or holds no such name.
    """
    module, _, name = path.partition(":")
    try:
        found = import_module(module)
    except (Exception, SystemExit) as error:  # a module of others may raise anything
        raise OwnCodeError(
            f"{setting}: {module} cannot be imported ({said(error)}); put the folder that holds it on PYTHONPATH, and "
            "on a cluster into --working-dir"
        ) from error
    try:
        return getattr(found, name)
    except AttributeError as error:
        raise OwnCodeError(f"{setting}: {module} ({found.__file__}) has no {name}; correct the name") from error


def package_of(path: str) -> Path | None:
    """The folder of the topmost package of `module:NAME`, or its file where it is a single one; nothing is imported.

    None: it is not on PYTHONPATH, or not made of files.
    """
    try:
        spec = find_spec(path.partition(":")[0].partition(".")[0])
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = [Path(each) for each in (*(spec.submodule_search_locations or ()), spec.origin) if each]
    return next((place.resolve() for place in places if place.exists()), None)


def said(error: BaseException) -> str:
    """The first line of an error of other people's code, or its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
