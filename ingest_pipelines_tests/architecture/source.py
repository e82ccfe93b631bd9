"""The package's own source, parsed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "ingest_pipelines"


@dataclass(frozen=True)
class Module:
    """One file; `name` is its path below the package, with slashes."""

    name: str
    text: str
    tree: ast.Module

    def strings(self, within: ast.AST | None = None) -> Iterator[tuple[int, str]]:
        """Every string literal that is not a docstring, with its line; of f-strings the literal parts."""
        for node in ast.walk(within or self.tree):
            if _is_string(node) and id(node) not in self._docstrings:
                assert isinstance(node, ast.Constant)
                yield node.lineno, str(node.value)

    @cached_property
    def _docstrings(self) -> frozenset[int]:
        """Identities of the nodes that are documentation."""
        statements = (node for node in ast.walk(self.tree) if isinstance(node, ast.Expr))
        return frozenset(id(statement.value) for statement in statements if _is_string(statement.value))

    def imports(self) -> Iterator[tuple[int, str]]:
        """Every name or module that the module imports, in full, with its line."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom):
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)

    @property
    def dotted(self) -> str:
        """The module's name in an import."""
        return "ingest_pipelines." + self.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def modules() -> tuple[Module, ...]:
    """All modules of the package."""
    files = sorted(PACKAGE.rglob("*.py"))
    return tuple(
        Module(str(file.relative_to(PACKAGE)), text := file.read_text(encoding="utf-8"), ast.parse(text))
        for file in files
    )


def _is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
