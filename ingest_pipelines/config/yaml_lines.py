"""YAML with line numbers, read as YAML 1.2 reads it: `on`, `no` and `12:30` are text, `007` is not seven."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

Path = tuple[str | int, ...]


class _Loader(yaml.CSafeLoader):
    """CSafeLoader with the YAML 1.2 core schema instead of YAML 1.1's surprises."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])


@dataclass(frozen=True)
class Document:
    """A YAML file's value and the line (from 1) of every key and list entry in it."""

    value: Any
    lines: dict[Path, int]
    mistakes: tuple[tuple[int, str], ...] = ()

    def line(self, path: Path) -> int:
        """The line of the deepest part of `path` that stands in the file."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return 1


def read_yaml(text: str) -> Document:
    """A Document; syntax errors and repeated keys are `mistakes` as (line, message)."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        return Document(None, {}, (((mark.line + 1) if mark else 1, f"not YAML: {error.problem or error}"),))
    except yaml.YAMLError as error:
        return Document(None, {}, ((1, f"not YAML: {str(error).splitlines()[0]}"),))
    if node is None:
        return Document(None, {})
    lines: dict[Path, int] = {}
    mistakes: list[tuple[int, str]] = []
    _walk(node, (), lines, mistakes)
    if mistakes:
        return Document(None, lines, tuple(mistakes))
    try:
        return Document(loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        return Document(None, lines, (((mark.line + 1) if mark else 1, f"not YAML: {error.problem or error}"),))


def _walk(node: yaml.Node, path: Path, lines: dict[Path, int], mistakes: list[tuple[int, str]]) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen and name != "<<":
                mistakes.append(
                    (key.start_mark.line + 1, f"{'.'.join(map(str, (*path, name)))}: the key stands here twice")
                )
            seen.add(name)
            lines[(*path, name)] = key.start_mark.line + 1
            _walk(value, (*path, name), lines, mistakes)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            _walk(value, (*path, index), lines, mistakes)
