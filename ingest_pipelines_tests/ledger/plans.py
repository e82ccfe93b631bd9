"""Every statement that a session sends to a database, with its plan: Postgres's own auto_explain writes them down.

No statement is named here: whatever a function, a tick, a run or a command sends is in the server's log, from any
process and any driver.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

_SETTINGS: Mapping[LiteralString, LiteralString] = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",  # the statement's time is enough, and each node's would distort it
    "auto_explain.log_buffers": "on",
    "auto_explain.log_format": "json",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_parameter_max_length": "0",
    "jit": "off",
}

_PLAN = re.compile(r"duration: (?P<milliseconds>[\d.]+) ms  plan:\n(?P<plan>\t\{\n(?:\t.*\n)*?\t\})", re.MULTILINE)


@dataclass(frozen=True)
class Scan:
    """One node that reads a table, and was executed.

    Attributes:
        table: "" for the half of a bitmap scan that reads the index.
    """

    node: str
    table: str
    index: str = ""


@dataclass(frozen=True)
class Plan:
    """A statement as Postgres executed it.

    Attributes:
        rows: that the statement returned or wrote.
        pages: of 8 kB that it touched, cached or not.
        spilled: pages of temporary files that it wrote.
        nodes: of its plan, outermost first, in words.
    """

    statement: str
    milliseconds: float
    rows: int
    pages: int
    spilled: int
    scans: tuple[Scan, ...]
    nodes: tuple[str, ...]

    def sequential(self, tables: Sequence[str]) -> list[str]:
        """Those of the tables that it read from one end to the other."""
        return [scan.table for scan in self.scans if scan.node == "Seq Scan" and scan.table in tables]

    @property
    def words(self) -> str:
        """The plan on one line."""
        return " > ".join(self.nodes)


@dataclass
class Recorded:
    """The plans of a block; they are there once the block is left."""

    plans: list[Plan] = field(default_factory=list)


@dataclass(frozen=True)
class PlanLog:
    """A server's log, to which one database's sessions write every plan.

    Attributes:
        file: the server's log; no other database of the server may write plans.
    """

    file: Path

    @contextmanager
    def recorded(self) -> Iterator[Recorded]:
        """The plans of the statements that are executed in the block, by whatever session."""
        start = self.file.stat().st_size
        recorded = Recorded()
        yield recorded
        with self.file.open(encoding="utf-8", errors="replace") as log:
            log.seek(start)
            recorded.plans.extend(_plans(log.read()))


def write_plans(url: str, database: str) -> None:
    """Has every later session of the database write its plans to the server's log. The URL is a superuser's."""
    with psycopg.connect(url, autocommit=True) as connection:
        for name, value in _SETTINGS.items():
            statement = sql.SQL("ALTER DATABASE {} SET {} = {}")
            connection.execute(
                statement.format(sql.Identifier(database), sql.Identifier(*name.split(".")), sql.Literal(value))
            )


def _plans(text: str) -> Iterator[Plan]:
    for match in _PLAN.finditer(text):
        logged = json.loads(re.sub(r"^\t", "", match["plan"], flags=re.MULTILINE))
        root = logged["Plan"]
        yield Plan(
            statement=" ".join(logged["Query Text"].split()),
            milliseconds=float(match["milliseconds"]),
            rows=round(root["Actual Rows"] * root["Actual Loops"]),
            pages=root.get("Shared Hit Blocks", 0) + root.get("Shared Read Blocks", 0),
            spilled=root.get("Temp Written Blocks", 0),
            scans=tuple(_scans(root)),
            nodes=tuple(_nodes(root)),
        )


def _executed(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if node["Actual Loops"]:
        yield node
    for child in node.get("Plans", ()):
        yield from _executed(child)


def _scans(root: Mapping[str, Any]) -> Iterator[Scan]:
    for node in _executed(root):
        if "Scan" in node["Node Type"] and ("Relation Name" in node or "Index Name" in node):
            yield Scan(node["Node Type"], node.get("Relation Name", ""), node.get("Index Name", ""))


def _nodes(root: Mapping[str, Any]) -> Iterator[str]:
    for node in _executed(root):
        name = node["Operation"] if node["Node Type"] == "ModifyTable" else node["Node Type"]
        of = node.get("Index Name") or node.get("Relation Name") or node.get("CTE Name") or ""
        yield f"{name} {of}".strip()
