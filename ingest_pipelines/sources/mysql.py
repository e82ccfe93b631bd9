"""MySQL and MariaDB: PyMySQL logs in and sends the query; its rows become Arrow columns straight from the wire.

An eighth of the CPU that PyMySQL's own rows take, and twice connectorx's, which rounds decimals to ten places, breaks
on zero dates and prints values when it does: see docs/performance.md.
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import date
from typing import Any, ClassVar

import pyarrow as pa

from ingest_pipelines.config.connections import MysqlConnection
from ingest_pipelines.config.cursor_values import CursorValue, Moment
from ingest_pipelines.errors import IngestError, SourceDenied, SourceUnavailable
from ingest_pipelines.sources.mysql_rows import Column, arrays, split
from ingest_pipelines.sources.query_text import Query
from ingest_pipelines.sources.sql import HostSource, Session, backticked, driver, driver_seconds

_BLOCK = 4 << 20
_PIECE = 1 << 20
_PAUSE = 0.01
"""Seconds without data after which a smaller block is passed on: it may be all there is."""

_DENIED = {1044, 1045, 1049, 1130, 1142, 1143, 1227, 1251, 1370, 1698, 1820, 3118, 3159, 4151}
_SPEAKS_OF_NAMES = _DENIED | {1046, 1051, 1052, 1054, 1109, 1146, 1305, 1792}
"""Errors whose message names databases, tables, columns and users, but no value."""

_GONE = {
    1028, 1037, 1038, 1040, 1041, 1053, 1077, 1078, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1205, 1213,
    1317, 1927, 1969, 2002, 2003, 2005, 2006, 2013, 2014, 2055, 3024,
}  # fmt: skip
"""Errors that may go away by themselves: connection, resources, shutdown, locks, interruption."""

_TABLES = """
    SELECT table_schema, table_name FROM information_schema.tables
    WHERE table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys') ORDER BY 1, 2
"""


class Mysql(HostSource[MysqlConnection]):
    """A MySQL or MariaDB database to query."""

    dialect: ClassVar[str] = "mysql"

    def connect(self) -> Session:
        """A login whose transactions are read-only."""
        return _Session(self._connection, self.uri())


class _Session(Session):
    def __init__(self, settings: MysqlConnection, uri: str) -> None:
        self._driver = driver("pymysql", "mysql")
        self._uri = uri
        self._settings = settings
        self._connection = self._login(driver_seconds(settings.query_timeout_seconds))
        try:
            with self._connection.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION READ ONLY")
                cursor.execute("SET SESSION time_zone = '+00:00', net_write_timeout = 3600")
        except self._driver.err.Error as error:
            raise _translate(error, uri) from None

    def run(self, query: Query, parameters: Mapping[str, CursorValue], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The rows, in batches of about 4 MB, or `batch_rows` if that comes first."""
        text = query.with_markers(lambda name: _marker(name, parameters[name]), lambda piece: piece.replace("%", "%%"))
        bound = {name: _bound(value) for name, value in parameters.items()}
        try:
            with self._connection.cursor() as cursor:
                statement = cursor.mogrify(text, bound)
            self._connection.query(statement, unbuffered=True)
            yield from self._rows(batch_rows)
        except (self._driver.err.Error, OSError) as error:
            raise _translate(error, self._uri) from None
        except pa.ArrowInvalid:
            raise SourceDenied(
                f"{self._uri}: a column holds bytes that its type does not allow",
                hint="convert it in the query: CONVERT(column USING utf8mb4), or HEX(column)",
            ) from None
        except ValueError as error:
            raise SourceDenied(f"{self._uri}: {error}", hint="select fewer or shorter columns") from None

    def tables(self) -> Iterator[str]:
        """Tables and views that the user may see."""
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(_TABLES)
                found = cursor.fetchall()
        except (self._driver.err.Error, OSError) as error:
            raise _translate(error, self._uri) from None
        for schema, table in found:
            yield f"{backticked(schema)}.{backticked(table)}"

    def cancel(self) -> None:
        """Kills the query, over a login of its own."""
        with closing(self._login(3)) as other, other.cursor() as cursor:
            cursor.execute("KILL QUERY %s", (self._connection.thread_id(),))

    def close(self) -> None:
        """The connection is closed."""
        if self._connection.open:
            self._connection.close()

    def _login(self, read_timeout: float) -> Any:
        settings = self._settings
        arguments: dict[str, Any] = {
            "connect_timeout": max(1, round(settings.timeout_seconds)), "read_timeout": max(1, round(read_timeout)),
            "write_timeout": max(1, round(settings.timeout_seconds)), "charset": "utf8mb4",
            "program_name": "ingest pipelines", **settings.options,
        }  # fmt: skip
        try:
            return self._driver.connect(
                host=settings.host, port=settings.port, user=settings.username, database=settings.database,
                password=settings.password.reveal() if settings.password else "", autocommit=True, **arguments,
            )  # fmt: skip
        except (self._driver.err.Error, OSError) as error:
            raise _translate(error, self._uri) from None

    def _rows(self, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """What PyMySQL would read cell by cell, read in blocks; it gets its connection back at the result's end."""
        result = self._connection._result  # PyMySQL has no other way to raw rows
        columns = [Column(field.name, field.type_code, field.charsetnr, field.flags) for field in result.fields]
        schema = pa.schema([pa.field(column.name, column.type) for column in columns])
        result.unbuffered_active = False
        buffer, some = b"", False
        while True:
            buffer = self._more(buffer)
            packets = split(buffer)
            for first in range(0, len(packets.starts), batch_rows):
                part = packets.starts[first : first + batch_rows]
                yield pa.RecordBatch.from_arrays(arrays(buffer, part, columns), schema=schema)
                some = True
            if packets.end is not None:
                if buffer[packets.end] == 0xFF:
                    self._driver.err.raise_mysql_exception(buffer[packets.end :])
                break
            buffer = buffer[packets.used :]
        if not some:
            yield pa.RecordBatch.from_pylist([], schema)

    def _more(self, held: bytes) -> bytes:
        """What is held and what the server sends, until it is a block or the server pauses."""
        pieces, size = [held], len(held)
        while True:
            piece = self._connection._rfile.read1(_PIECE)
            if not piece:
                raise self._driver.err.OperationalError(2013, "the server closed the connection within a result")
            pieces.append(piece)
            size += len(piece)
            if size >= _BLOCK or not select.select([self._connection._sock], [], [], _PAUSE)[0]:
                return b"".join(pieces)


def _marker(name: str, value: CursorValue) -> str:
    if isinstance(value, Moment):
        return f"CAST(%({name})s AS DATETIME(6))"
    return f"CAST(%({name})s AS DATE)" if isinstance(value, date) else f"%({name})s"


def _bound(value: CursorValue) -> object:
    """What PyMySQL quotes: moments in UTC, the session's zone."""
    if isinstance(value, Moment):
        return value.naive().text(" ", digits=6)
    return value.isoformat() if isinstance(value, date) else value


def _translate(error: Exception, uri: str) -> IngestError:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    said = str(error.args[1]) if len(error.args) > 1 else type(error).__name__
    if isinstance(error, OSError) or code in _GONE or type(error).__name__ == "InterfaceError":
        return SourceUnavailable(f"{uri}: {said if code else 'the connection broke'}")
    if code not in _SPEAKS_OF_NAMES:
        said = f"{type(error).__name__} while the query ran"
    login = code in _DENIED
    return SourceDenied(
        f"{uri}: {said} ({code})",
        hint="check the connection's username, password and database, and the user's permissions"
        if login
        else "run the query in the database's own console to see more",
    )
