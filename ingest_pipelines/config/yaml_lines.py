"""YAML with line numbers, read as YAML 1.2 reads it: `on`, `no` and `12:30` are text, `007` is not seven."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

Path = tuple[str | int, ...]

MAX_NODES = 100_000
"""Most nodes of one file with its aliases expanded: enough for any project, too few for an alias bomb."""

MAX_LETTERS = 1_000_000
"""Longest file. Parsing takes a kilobyte per node, and a node may be two letters long."""


class _Loader(yaml.CSafeLoader):
    """CSafeLoader with the YAML 1.2 core schema instead of YAML 1.1's surprises."""


_Loader.yaml_implicit_resolvers = {}
_TAG = "tag:yaml.org,2002:"
_READ_TAGS = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null", "map", "seq", "merge"))

_Loader.add_implicit_resolver(_TAG + "bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(_TAG + "null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(_TAG + "int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _TAG + "float",
    re.compile(r"^[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(_TAG + "merge", re.compile(r"^<<$"), ["<"])


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
    """A Document; syntax errors, tags, and repeated keys are `mistakes` as (line, message)."""
    if len(text) > MAX_LETTERS:
        return Document(None, {}, ((1, f"the file is longer than {MAX_LETTERS:,} characters"),))
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        return Document(None, {}, (_syntax(error, text),))
    if node is None:
        return Document(None, {})
    walk = _Walk({}, [])
    try:
        walk.visit(node, ())
    except RecursionError:
        return Document(None, {}, ((1, "not YAML: nested too deep"),))
    if walk.mistakes:
        return Document(None, walk.lines, tuple(walk.mistakes))
    try:
        return Document(loader.construct_document(node), walk.lines)
    except yaml.YAMLError as error:
        return Document(None, walk.lines, (_syntax(error, text),))
    except (ValueError, KeyError, OverflowError):
        return Document(None, walk.lines, ((1, "not YAML: a tag such as !!int stands before a value it cannot hold"),))


_WORDS = {
    "found undefined alias": "no anchor (&name) before this alias (*name) has its name",
    "but found another document": "a second document begins here (---); a file holds one",
    "found unknown escape character": "a backslash in double quotes begins an escape; use single quotes",
    "mapping values are not allowed in this context": "no key can stand here: keys of one mapping begin in the same"
    " column, and a text with a colon and a blank needs quotes",
    "did not find expected key": "a key belongs here: keys of one mapping begin in the same column, and nothing follows"
    " a closing quote or bracket",
    "did not find expected '-' indicator": "a `- ` belongs here: the entries of a list begin in the same column",
    "block sequence entries are not allowed in this context": "a list with `- ` begins on a line of its own",
    "did not find expected node content": "a value is missing here, or a bracket or comma is too much",
    "found character that cannot start any token": "no value begins with this character: put the text in quotes",
}
"""Libyaml's words -> ours, about the place that it names."""

_OPENED = {
    "found unexpected end of stream": "the quote that opens here never closes",
    "did not find expected ',' or '}'": "the { that opens here never closes, or an entry in it lacks its comma",
    "did not find expected ',' or ']'": "the [ that opens here never closes, or an entry in it lacks its comma",
}
"""Libyaml's words, about the place where it stops reading -> ours, about the one where it began."""

_CONFLICT = re.compile(r"^(?:<{7}|={7}|>{7})(?: |$)", re.MULTILINE)


def _syntax(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    conflict = _CONFLICT.search(text)
    if conflict is not None:
        return text.count("\n", 0, conflict.start()) + 1, f"not YAML: a merge left its mark here: {conflict[0].strip()}"
    if not isinstance(error, yaml.MarkedYAMLError):
        return 1, f"not YAML: {str(error).splitlines()[0]}"
    problem = error.problem or error.context or ""
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    before = text.splitlines()[line - 1 : line]
    if before and "\t" in before[0][: (mark.column if mark else 0) + 1]:
        return line, "not YAML: there is a tab; YAML indents with blanks"
    if problem in _OPENED and error.context_mark is not None:
        return error.context_mark.line + 1, f"not YAML: {_OPENED[problem]}"
    return line, f"not YAML: {_WORDS.get(problem, problem)}"


@dataclass
class _Walk:
    """One pass over the nodes: the line of every key, and mistakes of YAML itself."""

    lines: dict[Path, int]
    mistakes: list[tuple[int, str]]
    nodes: int = 0
    endless: bool = False

    def visit(self, node: yaml.Node, path: Path, inside: frozenset[int] = frozenset()) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES or id(node) in inside:
            if not self.endless:
                self.endless = True
                what = f"the file has more than {MAX_NODES:,} values, its aliases (*name) unfolded"
                if id(node) in inside:
                    what = "an alias (*name) unfolds without end"
                self.mistakes.append((node.start_mark.line + 1, what))
            return
        if node.tag not in _READ_TAGS:
            self.mistakes.append((node.start_mark.line + 1, f"{_dotted(path)}the tag {node.tag} is not read here"))
        inside |= {id(node)}
        if isinstance(node, yaml.MappingNode):
            self._mapping(node, path, inside)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self.lines[(*path, index)] = value.start_mark.line + 1
                self.visit(value, (*path, index), inside)

    def _mapping(self, node: yaml.MappingNode, path: Path, inside: frozenset[int]) -> None:
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.mistakes.append((line, f"{_dotted(path)}a key must be text"))
                continue
            name = key.value
            merge = key.tag == _TAG + "merge"
            if not merge:
                key.tag = _TAG + "str"  # a source column may be called 2024, true or null
            if name in seen and not merge:
                self.mistakes.append(
                    (line, f"{_dotted((*path, name))}the key stands here twice, first in line {seen[name]}")
                )
            seen.setdefault(name, line)
            self.lines[(*path, name)] = line
            self.visit(value, (*path, name), inside)


def _dotted(path: Path) -> str:
    return ".".join(map(str, path)) + ": " if path else ""
