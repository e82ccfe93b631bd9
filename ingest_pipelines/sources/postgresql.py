"""PostgreSQL: COPY (query) TO STDOUT, read as CSV. Every type arrives exactly as the server spells it.

About ADBC's CPU time, landing included, without its losses: infinity, numerics, ranges and types it does not know.
"""

from __future__ import annotations

import select
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
from psycopg import pq, sql
from psycopg.errors import error_from_result

from ingest_pipelines import postgres_login
from ingest_pipelines.config.connections.postgresql import PostgresqlConnection
from ingest_pipelines.cursor.column import spelling
from ingest_pipelines.cursor.values import CursorValue, Moment
from ingest_pipelines.errors import ConfigError, printable
from ingest_pipelines.sources.error_codes import (
    BROKEN,
    REFUSED,
    Code,
    DriverError,
    Meaning,
    Reason,
    codes_of,
    meaning_of,
)
from ingest_pipelines.sources.query_text import Query
from ingest_pipelines.sources.sql import HostSource, Session

_WANTED = {
    "TimeZone": "UTC", "DateStyle": "ISO", "IntervalStyle": "iso_8601", "bytea_output": "hex",
    "client_encoding": "UTF8", "extra_float_digits": "1", **postgres_login.SERVER_KEEPALIVES,
}  # fmt: skip
_SETTINGS = sql.SQL(
    "SELECT set_config(name, value, true) FROM (VALUES {}) AS wanted (name, value)"
    " WHERE current_setting(name, true) IS NOT NULL"
).format(sql.SQL(", ").join(sql.SQL("({}, {})").format(*setting) for setting in _WANTED.items()))
"""Time limits of the role or the database stay as they are: they protect a server that is not ours."""

_TYPED = {
    20: pa.int64(), 21: pa.int64(), 23: pa.int64(), 26: pa.int64(), 700: pa.float64(), 701: pa.float64(),
    16: pa.bool_(),
}  # fmt: skip
"""Types by oid whose every value Arrow's CSV reader takes exactly; all others stay text."""

_TIMESTAMPTZ = 1184

_SPELLED = {1700: spelling("number"), 1082: spelling("moment"), 1114: spelling("moment"), 1184: spelling("moment")}
"""Types by oid whose texts a cursor reads as numbers or moments."""

_BLOCK = 4 << 20

_TABLES = b"""
    SELECT quote_ident(nspname) || '.' || quote_ident(relname)
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'v', 'm', 'f', 'p') AND NOT relispartition AND nspname NOT LIKE 'pg\\_%'
      AND nspname <> 'information_schema' AND has_table_privilege(pg_class.oid, 'SELECT')
      AND has_schema_privilege(relnamespace, 'USAGE')
    ORDER BY 1
"""

CODES = codes_of({
    Meaning.GONE: {
        "08*": Reason.LOST, "08001": "the server cannot be reached", "53*": Reason.MEMORY, "53300": Reason.TOO_MANY,
        "57014": Reason.CANCELLED, "57P01 57P02 57P03": Reason.SHUTTING_DOWN,
        "57P05 25P03 25P04": "the session was idle too long",
        "57*": Reason.CANCELLED, "58*": "the server reports a failure of its operating system", "40*": Reason.DEADLOCK,
        "55P03 55006": Reason.DEADLOCK, "XX*": "the server reports an internal failure",
        "HV00N": "the server does not reach another server that the query reads",
    },
    Meaning.LOGIN: {
        "08004": "the server has no TLS, and `sslmode` demands it", "28*": "the server does not let this user in",
        "08U01": "the server's certificate is not what `sslmode` and `sslrootcert` demand",
        "28P01": Reason.CREDENTIALS, "3D*": Reason.NO_DATABASE, "57P04": Reason.NO_DATABASE,
    },
    Meaning.PERMISSION: {"42501": Reason.PERMISSION},
    Meaning.NAME: {
        "42P01": Reason.NO_TABLE, "42703": Reason.NO_COLUMN, "42883": Reason.NO_FUNCTION,
        "3F* 42*": "the query names what is not there",
        "42702": "a column's name fits more than one table", "42P10": Reason.NO_COLUMN,
    },
    Meaning.QUERY: {
        "22*": Reason.CONVERSION, "22012": "the query divides by zero", "21*": "a subquery returns more than one row",
        "25006": "the session is a read-only transaction, and the query writes", "42601 42602": Reason.SYNTAX,
        "42804 42846 42809 42803 42P18 42P20 42P21 42P22": "the query's types or clauses do not fit together",
        "53400": "the query needs more than a limit of the server allows", "54*": "the query is too large",
        "55*": "what the query reads is not ready to be read", "58P01": "a file of the server is missing",
        "XX001 XX002": "the server's data are damaged", "P0* 38* 39*": Reason.OWN, "0A*": "the server cannot do that",
    },
})  # fmt: skip
"""By SQLSTATE, from PostgreSQL's appendix of error codes."""


_NO_OPERATOR = "op_error"
"""Where the server raises 42883 for an operator; its code is that of functions, and its words are in any language."""


class Postgresql(HostSource[PostgresqlConnection]):
    """A PostgreSQL database to query."""

    def connect(self) -> Session:
        """A login whose transactions are read-only."""
        return _Session(self._connection)

    def judge(self, error: Exception, *, connecting: bool) -> DriverError | None:
        """By SQLSTATE. Without one it is libpq or psycopg that speaks: of the connection, or of how it was used."""
        if not isinstance(error, psycopg.Error):
            return None
        if error.sqlstate is None:
            usage = isinstance(error, psycopg.ProgrammingError | psycopg.DataError | psycopg.NotSupportedError)
            return DriverError(type(error).__name__, REFUSED if usage else BROKEN)
        known = meaning_of(CODES, state=error.sqlstate)
        if error.sqlstate == "42883" and error.diag.source_function == _NO_OPERATOR:
            known = Code(Meaning.QUERY, Reason.TYPES)
        return DriverError(error.sqlstate, known, error.diag.message_primary or "")

    def known_options(self) -> Collection[str]:
        """Libpq's parameters."""
        return {option.keyword.decode() for option in pq.Conninfo.get_defaults()}


class _Session(Session):
    def __init__(self, settings: PostgresqlConnection) -> None:
        self._cancelled = False
        seconds = settings.timeout_seconds
        arguments: dict[str, Any] = {
            "connect_timeout": max(2, round(seconds)), "tcp_user_timeout": round(seconds * 1000),
            "application_name": "ingest pipelines", **postgres_login.KEEPALIVES, **settings.options,
        }  # fmt: skip
        try:
            self._connection = postgres_login.connect(
                host=settings.host, port=settings.port, dbname=settings.database, user=settings.username,
                password=settings.password.reveal() if settings.password else None, **arguments,
            )  # fmt: skip
        except psycopg.ProgrammingError as error:
            if error.sqlstate is not None:  # the server's
                raise
            names = ", ".join(map(printable, settings.options))
            raise ConfigError(
                [f"options: libpq does not take the value of one of them: {names}"],
                hint="correct it in connections.yaml",
            ) from None
        self._connection.cursor_factory = psycopg.ClientCursor
        self._connection.read_only = True

    def run(self, query: Query, parameters: Mapping[str, CursorValue], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """COPY's rows, in blocks of about 4 MB, or `batch_rows` if that comes first."""
        text = query.with_markers(lambda name: f"%({name})s", lambda piece: piece.replace("%", "%%")).encode()
        bound = {name: _bound(value) for name, value in parameters.items()}
        with self._connection.transaction():
            self._connection.execute(_SETTINGS)
            columns = self._describe(text, bound)
            yield from _batches(columns, self._rows(text, bound, batch_rows))

    def tables(self) -> Iterator[str]:
        """Tables, views and foreign tables that the user may read."""
        with self._connection.transaction():
            yield from (name for (name,) in self._connection.execute(_TABLES))

    def cancel(self) -> None:
        """Asks the server to cancel; the query then ends with an error on its own thread."""
        self._cancelled = True
        self._connection.cancel_safe(timeout=3)

    def close(self) -> None:
        """The connection is closed."""
        self._connection.close()

    def _describe(self, text: bytes, bound: Mapping[str, object]) -> Sequence[psycopg.Column]:
        cursor = self._connection.execute(b"SELECT * FROM (" + text + b"\n) AS described LIMIT 0", bound)
        return cursor.description or ()

    def _rows(self, text: bytes, bound: Mapping[str, object], batch_rows: int) -> Iterator[bytes]:
        """CSV of whole rows. libpq hands over a row at a time; this loop is all that Python does about it."""
        connection = self._connection.pgconn
        with (
            self._connection.cursor() as cursor,
            cursor.copy(b"COPY (" + text + b"\n) TO STDOUT (FORMAT csv)", bound),
        ):
            rows: list[bytes] = []
            buffered_bytes = 0
            take = connection.get_copy_data
            while True:
                size, row = take(1)
                if size > 0:
                    rows.append(bytes(row))
                    buffered_bytes += size
                elif size == 0:
                    self._wait(connection)
                    continue
                if rows and (size < 0 or buffered_bytes >= _BLOCK or len(rows) >= batch_rows):
                    yield b"".join(rows)
                    rows, buffered_bytes = [], 0
                if size < 0:
                    break
            self._finish(connection)

    def _finish(self, connection: pq.abc.PGconn) -> None:
        """Reads COPY's own result, which says whether all rows were there.

        Where `get_result` has to wait, psycopg waits with Python's lock held: no other thread would go on, not even one
        with a time-out.
        """
        while True:
            while connection.is_busy():
                self._wait(connection)
            result = connection.get_result()
            if result is None:
                return
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise error_from_result(result)

    def _wait(self, connection: pq.abc.PGconn) -> None:
        """Takes in what the server sends next. A cancelled query whose server stays silent is left."""
        while not select.select([connection.socket], [], [], 1.0)[0]:
            if self._cancelled:
                raise psycopg.OperationalError("the query was cancelled, and the server does not answer")
        connection.consume_input()


def _batches(columns: Sequence[psycopg.Column], blocks: Iterator[bytes]) -> Iterator[pa.RecordBatch]:
    names = [str(number) for number in range(len(columns))]
    types = [_TYPED.get(column.type_code, pa.string()) for column in columns]
    schema = pa.schema(
        [
            pa.field(column.name, kind, metadata=_SPELLED.get(column.type_code))
            for column, kind in zip(columns, types, strict=True)
        ]
    )
    zoned = [number for number, column in enumerate(columns) if column.type_code == _TIMESTAMPTZ]
    convert = arrow_csv.ConvertOptions(
        column_types=dict(zip(names, types, strict=True)), null_values=[""], true_values=["t"], false_values=["f"],
        strings_can_be_null=True, quoted_strings_can_be_null=False,
    )  # fmt: skip
    parse = arrow_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
    empty = True
    for block in blocks:
        read = arrow_csv.ReadOptions(column_names=names, block_size=len(block) + 1, use_threads=False)
        table = arrow_csv.read_csv(pa.BufferReader(block), read, parse, convert).combine_chunks()
        arrays = [column.chunk(0) for column in table.columns]
        for number in zoned:
            arrays[number] = pc.replace_substring_regex(arrays[number], r"\+00$", "Z")
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        empty = False
    if empty:
        yield pa.RecordBatch.from_pylist([], schema)


def _bound(value: CursorValue) -> object:
    """What psycopg quotes as a literal of the right type; a text takes the type of what it is compared with."""
    return value.datetime if isinstance(value, Moment) else value
