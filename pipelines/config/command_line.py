"""A flat model of settings as a command line: one option a field, mistakes in one sentence."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from pipelines.config.terminal import not_utf8, print_every_name
from pipelines.config.text import accepts, shown

Model = TypeVar("Model", bound=BaseModel)


def parse_settings(model: type[Model], doc: str | None, argv: Sequence[str] | None = None) -> Model:
    """`parse_known_settings` where nothing else may be given."""
    settings, rest = parse_known_settings(model, doc, argv)
    if rest:
        known = [f"--{name.replace('_', '-')}" for name in model.model_fields]
        print(unknown_options(rest, known), file=sys.stderr)
        raise SystemExit(2)
    return settings


def unknown_options(words: Sequence[str], known: Sequence[str]) -> str:
    """What is wrong with arguments that are none, and the option nearest to the first."""
    near = get_close_matches(words[0].partition("=")[0].replace("_", "-"), known, n=1)
    return f"unrecognized arguments: {' '.join(words)}; {f'did you mean {near[0]}?' if near else '--help lists all'}"


def parse_known_settings(
    model: type[Model], doc: str | None, argv: Sequence[str] | None = None
) -> tuple[Model, list[str]]:
    """Checked settings from the command line; `max_pixels` is given as `--max-pixels`, true as `--name` alone.

    Args:
        model: settings without branches; its fields' descriptions become the help, those without default are required.
        doc: what --help begins with, the entry point's docstring.
        argv: arguments; None: those of this process.

    Returns:
        The settings, and the arguments that are none of them.

    Raises:
        SystemExit: 0 after --help; 2 and one sentence on stderr after a mistake.
    """
    print_every_name()
    argv = sys.argv[1:] if argv is None else argv
    if mistake := not_utf8(argv):
        print(mistake, file=sys.stderr)
        raise SystemExit(2)
    parser = _Parser(
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for name, info in model.model_fields.items():
        option, about = f"--{name.replace('_', '-')}", str(info.description).replace("%", "%%")
        if info.annotation is bool:
            parser.add_argument(option, dest=name, action="store_true", help=about)
        else:
            default = "" if info.is_required() else f" ({shown(info.default)})"
            parser.add_argument(option, dest=name, required=info.is_required(), help=about + default)
    known, rest = parser.parse_known_args(argv)
    given = vars(known)
    try:
        return model(**given), rest
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        field = model.model_fields.get(name)
        own_words = first.get("ctx", {}).get("error")
        if field:
            reason = f"{name}: {own_words or f'{shown(given[name])} is not allowed; give {accepts(field)}'}"
        else:
            reason = str(own_words or first["msg"])
        parser.error(reason)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(message.removeprefix("argument "), file=sys.stderr)
        raise SystemExit(2) from None
