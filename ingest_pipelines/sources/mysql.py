"""MySQL and MariaDB: PyMySQL logs in and sends the query; its rows become Arrow columns straight from the wire.

An eighth of the CPU that PyMySQL's own rows take, and twice connectorx's, which rounds decimals to ten places, breaks
on zero dates and prints values when it does: see docs/performance.md.
"""

from __future__ import annotations

import select
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from datetime import date
from typing import Any

import pyarrow as pa

from ingest_pipelines.config.connections.mysql import MysqlConnection
from ingest_pipelines.cursor.values import CursorValue, Moment
from ingest_pipelines.errors import SourceDenied
from ingest_pipelines.sources.error_codes import BROKEN, DriverError, Meaning, Reason, codes_of, meaning_of
from ingest_pipelines.sources.mysql_rows import LargeRow, ResultColumn, arrays, split
from ingest_pipelines.sources.query_text import Query
from ingest_pipelines.sources.sql import HostSource, Session, accepted, backticked, driver, driver_seconds

_BLOCK = 4 << 20
_PIECE = 1 << 20
_PAUSE = 0.01
"""Seconds without data after which a smaller block is passed on: it may be all there is."""

_TABLES = """
    SELECT table_schema, table_name FROM information_schema.tables
    WHERE table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys') ORDER BY 1, 2
"""

CODES = codes_of({
    Meaning.GONE: {
        "1040 1203 1226 1637": Reason.TOO_MANY, "1053 1077 1078 1079 1080 3032": Reason.SHUTTING_DOWN,
        "1021 1037 1038 1041 1114 1135": Reason.MEMORY, "1205 1206 1213 1412 1615": Reason.DEADLOCK,
        "1028 1317 1927 1969 3024 3169": Reason.CANCELLED, "2003 2005 2002": "the server cannot be reached",
        "1042 1043 1152 1156 1157 1158 1159 1160 1161 1184 2006 2013 2014 2055 4031": Reason.LOST,
    },
    Meaning.LOGIN: {
        "1045 1698": Reason.CREDENTIALS, "1044": "Access denied to the database",
        "1130": "the server does not let this host in",
        "1129": "the server blocks this host after too many broken connections",
        "1251 2049 2059": "the server asks for a way to log in that the driver does not know",
        "1820 1862": "the password has expired", "3118 3955 4151": "the account is locked",
        "3159": "the server asks for TLS",
    },
    Meaning.PERMISSION: {"1142 1143 1227 1345 1370": Reason.PERMISSION},
    Meaning.NAME: {
        "1046": "no database is chosen", "1049": Reason.UNKNOWN_DATABASE,
        "1051 1109 1146": Reason.NO_TABLE, "1054": Reason.NO_COLUMN, "1305": Reason.NO_FUNCTION,
        "1052": "a column's name fits more than one table", "1356": "a view names what is not there",
    },
    Meaning.QUERY: {
        "1064 1149": Reason.SYNTAX, "1242": "a subquery returns more than one row", "1644": Reason.OWN,
        "1792": "the query writes, and the session is a READ ONLY transaction",
        "1292 1365 1366 1411 1690": Reason.CONVERSION,
    },
})  # fmt: skip
"""By number, from MySQL's appendix and MariaDB's reference; from 2000 to 2999 they are the driver's own."""


class Mysql(HostSource[MysqlConnection]):
    """A MySQL or MariaDB database to query."""

    def connect(self) -> Session:
        """A login whose transactions are read-only."""
        return _Session(self._connection, self.uri())

    def judge(self, error: Exception, *, connecting: bool) -> DriverError | None:
        """By number. Without one, PyMySQL says that the connection is not what it was."""
        if not isinstance(error, driver("pymysql", "mysql").err.Error):
            return None
        number, said = [*error.args, "", ""][:2]
        if not isinstance(number, int) or number == 0:
            return DriverError(type(error).__name__, BROKEN)
        return DriverError(str(number), meaning_of(CODES, number), str(said))

    def known_options(self) -> Collection[str]:
        """What PyMySQL's connections take, but for what the product itself depends on."""
        return set(accepted(driver("pymysql", "mysql").connections.Connection.__init__)) - _OWN_OPTIONS


_OWN_OPTIONS = {"autocommit", "cursorclass", "conv", "defer_connect"}
"""What decides how values are read, and when the session is there."""


class _Session(Session):
    def __init__(self, settings: MysqlConnection, uri: str) -> None:
        self._driver = driver("pymysql", "mysql")
        self._uri = uri
        self._settings = settings
        self._connection = self._login(driver_seconds(settings.query_timeout_seconds))
        with self._connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION READ ONLY")
            cursor.execute("SET SESSION time_zone = '+00:00', net_write_timeout = 3600")

    def run(self, query: Query, parameters: Mapping[str, CursorValue], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The rows, in batches of about 4 MB, or `batch_rows` if that comes first."""
        text = query.with_markers(lambda name: _marker(name, parameters[name]), lambda piece: piece.replace("%", "%%"))
        bound = {name: _bound(value) for name, value in parameters.items()}
        try:
            with self._connection.cursor() as cursor:
                statement = cursor.mogrify(text, bound)
            self._connection.query(statement, unbuffered=True)
            yield from self._rows(batch_rows)
        except pa.ArrowInvalid:
            raise SourceDenied(
                f"{self._uri}: a column holds bytes that its type does not allow",
                hint="convert it in the query: CONVERT(column USING utf8mb4), or HEX(column)",
            ) from None
        except LargeRow:
            raise SourceDenied(f"{self._uri}: a row of 16 MB or more", hint="select fewer or shorter columns") from None

    def tables(self) -> Iterator[str]:
        """Tables and views that the user may see."""
        with self._connection.cursor() as cursor:
            cursor.execute(_TABLES)
            rows = cursor.fetchall()
        for schema, table in rows:
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
        return self._driver.connect(
            host=settings.host, port=settings.port, user=settings.username, database=settings.database,
            password=settings.password.reveal() if settings.password else "", autocommit=True, **arguments,
        )  # fmt: skip

    def _rows(self, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """What PyMySQL would read cell by cell, read in blocks; it gets its connection back at the result's end."""
        result = self._connection._result  # PyMySQL has no other way to raw rows
        columns = [ResultColumn(field.name, field.type_code, field.charsetnr, field.flags) for field in result.fields]
        schema = pa.schema([pa.field(column.name, column.type, metadata=column.spells) for column in columns])
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

    def _more(self, buffered: bytes) -> bytes:
        """The buffered bytes and what the server sends next, until they fill a block or the server pauses."""
        pieces, size = [buffered], len(buffered)
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
