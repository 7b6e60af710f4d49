"""YAML as the settings read it: every scalar as text, and nothing in it run or unfolded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pipelines.config.text import shown
from pipelines.job import UserError

PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}


class SettingsError(UserError):
    """A user's mistake in the settings, in one sentence."""


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
