"""What the SQL Server and Oracle stand-ins share: a DuckDB that is spoken to in another database's SQL.

No registry has a server of either. The stand-ins speak their wire protocols, so that the real drivers connect, log in,
bind, fetch and fail as they do in production. What they do not prove: the real servers' SQL, isolation and catalogs.
"""

from __future__ import annotations

import re
import socketserver
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any, TypeVar

import duckdb
import sqlglot
from sqlglot import exp

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """What a statement returned.

    Attributes:
        columns: names and DuckDB's types; none for a statement without rows.
        affected: rows written, where that is known.
    """

    columns: tuple[tuple[str, str], ...]
    affected: int
    cursor: duckdb.DuckDBPyConnection

    def rows(self, count: int) -> list[tuple[Any, ...]]:
        """The next rows, `count` at most."""
        return self.cursor.fetchmany(count)


@dataclass(frozen=True)
class Statement:
    """A statement in DuckDB's SQL.

    Attributes:
        parameters: their names, in small letters.
        reads: whether it returns rows.
    """

    sql: str
    parameters: tuple[str, ...]
    reads: bool


@lru_cache(maxsize=1000)
def translate(sql: str, dialect: str, adapt: Callable[[exp.Expr], None]) -> tuple[Statement, ...]:
    """Each statement of `sql`; `@name` and `:name` are parameters.

    Args:
        adapt: changes a parsed statement where the dialects differ and sqlglot does not know it.
    """
    statements = []
    for parsed in sqlglot.parse(sql, read=dialect):
        if parsed is None:
            continue
        adapt(parsed)
        for kind in parsed.find_all(exp.DataType):
            if kind.this in {exp.DataType.Type.BINARY, exp.DataType.Type.VARBINARY}:
                kind.set("expressions", [])  # DuckDB's have no length
        names = []
        for node in list(parsed.find_all(exp.Parameter, exp.Placeholder)):
            name = (node.this.name if isinstance(node, exp.Parameter) else str(node.this)).lower()
            node.replace(exp.Placeholder(this=name))
            names.append(name)
        reads = isinstance(parsed, exp.Query | exp.Describe | exp.Show)
        statements.append(Statement(parsed.sql(dialect="duckdb"), tuple(names), reads))
    return tuple(statements)


def run(cursor: duckdb.DuckDBPyConnection, statement: Statement, values: Mapping[str, Any]) -> Result:
    """The statement's result on DuckDB.

    Raises:
        duckdb.Error: as DuckDB says it; the fronts give it their own numbers.
    """
    cursor.execute(statement.sql, {name: values[name] for name in statement.parameters})
    described = tuple((str(column[0]), str(column[1])) for column in cursor.description or ())
    if statement.reads:
        return Result(described, 0, cursor)
    written = cursor.fetchone() if [name for name, _ in described] == ["Count"] else None
    return Result((), int(written[0]) if written else 0, cursor)


class Interrupted(Exception):
    """The client asked to stop, or went, while the work was under way."""


_running: dict[int, str] = {}
_numbers = count()
_workers = ThreadPoolExecutor(64)


def interruptible(cursor: duckdb.DuckDBPyConnection, sql: str, work: Callable[[], T], asked: Callable[[], bool]) -> T:
    """What the work returns; `RUNNING('mark')` counts it as long as it runs.

    Args:
        asked: whether the client asks to stop.

    Raises:
        Interrupted: it does; the work is no longer running.
        EOFError, OSError: it is gone; nor then.
    """
    number = next(_numbers)
    _running[number] = sql
    try:
        done = _workers.submit(work)
        try:
            while not wait([done], 0.01).done:
                if asked():
                    raise Interrupted
        except (Interrupted, EOFError, OSError):
            cursor.interrupt()
            wait([done])
            raise
        return done.result()
    finally:
        del _running[number]


def told(sql: str) -> str:
    """The statement with the number of running ones that contain a mark in place of `RUNNING('mark')`."""
    return re.sub(r"\bRUNNING\('(\w+)'\)", lambda found: str(_count(found[1])), sql)


def _count(mark: str) -> int:
    return sum(mark in sql for sql in list(_running.values()))


class Listener(socketserver.ThreadingTCPServer):
    """A thread per connection, on the loopback interface."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


def quoted(name: str) -> str:
    """An identifier of DuckDB."""
    return exp.to_identifier(name, quoted=True).sql(dialect="duckdb")
