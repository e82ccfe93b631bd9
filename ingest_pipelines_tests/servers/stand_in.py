"""What the SQL Server and Oracle stand-ins share: a DuckDB that is spoken to in another database's SQL.

No registry has a server of either. The stand-ins speak their wire protocols, so that the real drivers connect, log in,
bind, fetch and fail as they do in production. What they do not prove: the real servers' SQL, isolation and catalogs.
"""

from __future__ import annotations

import socketserver
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import sqlglot
from sqlglot import exp


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


def translate(sql: str, dialect: str, named: Mapping[str, Any], positional: Sequence[Any] = ()) -> Iterator[exp.Expr]:
    """Each statement of `sql`, with the values of its parameters in place of `@name`, `:name` and `:1`."""
    values = iter(positional)
    seen: dict[str, Any] = {}
    for statement in sqlglot.parse(sql, read=dialect):
        if statement is None:
            continue
        for node in list(statement.find_all(exp.Parameter, exp.Placeholder)):
            name = node.this.name if isinstance(node, exp.Parameter) else str(node.this)
            if name.lower() in named:
                node.replace(exp.convert(named[name.lower()]))
            elif positional:
                if name not in seen:
                    seen[name] = next(values)
                node.replace(exp.convert(seen[name]))
        yield statement


def run(cursor: duckdb.DuckDBPyConnection, statement: exp.Expr) -> Result:
    """The statement's result on DuckDB.

    Raises:
        duckdb.Error: as DuckDB says it; the fronts give it their own numbers.
    """
    cursor.execute(statement.sql(dialect="duckdb"))
    described = tuple((str(column[0]), str(column[1])) for column in cursor.description or ())
    if isinstance(statement, exp.Query | exp.Describe | exp.Show):
        return Result(described, 0, cursor)
    written = cursor.fetchone() if [name for name, _ in described] == ["Count"] else None
    return Result((), int(written[0]) if written else 0, cursor)


class Listener(socketserver.ThreadingTCPServer):
    """A thread per connection, on the loopback interface."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


def quoted(name: str) -> str:
    """An identifier of DuckDB."""
    return exp.to_identifier(name, quoted=True).sql(dialect="duckdb")
