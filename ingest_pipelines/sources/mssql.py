"""SQL Server through Microsoft's own driver, which fetches Arrow batches itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any, ClassVar

import pyarrow as pa

from ingest_pipelines.config.connections import MssqlConnection
from ingest_pipelines.config.cursor_values import CursorValue, Moment, cursor_text
from ingest_pipelines.errors import ConfigError, IngestError, SourceDenied, SourceUnavailable
from ingest_pipelines.sources.query_text import Query
from ingest_pipelines.sources.sql import HostSource, Session, decimals, driver, driver_seconds

_LOGIN = ("login failed", "invalid authorization", "cannot open database", "not able to access the database")
_GONE = (
    "unable to establish connection", "communication link", "timeout", "timed out", "tcp provider", "ssl provider",
    "connection failure", "server is not responding", "deadlock", "operation canceled", "connection is broken",
    "operation was cancelled", "connection was not found", "connection not open", "general error",
)  # fmt: skip
"""What the driver says of errors that may go away by themselves."""

_SPEAKS_OF_NAMES = ("invalid object name", "invalid column name", "permission was denied", *_LOGIN)
"""Errors whose message names objects, columns and users, but no value."""

_TABLES = """
    SELECT table_schema, table_name FROM information_schema.tables
    WHERE table_schema NOT IN ('sys', 'INFORMATION_SCHEMA') ORDER BY table_schema, table_name
"""

_ROUNDED = 900
"""Nanoseconds that datetime2(7) has below the microsecond, which is all that the driver's Arrow keeps."""


class Mssql(HostSource[MssqlConnection]):
    """A SQL Server database to query. It has no read-only sessions: give the user SELECT alone."""

    dialect: ClassVar[str] = "tsql"

    def connect(self) -> Session:
        """A login, encrypted unless `options` say otherwise."""
        return _Session(self._connection, self.uri())


class _Session(Session):
    def __init__(self, settings: MssqlConnection, uri: str) -> None:
        module: Any = driver("mssql_python", "mssql")
        self._error = module.Error
        self._uri = uri
        self._cursor: Any = None
        keys = {
            "Server": f"{settings.host},{settings.port}", "Database": settings.database, "UID": settings.username,
            "PWD": settings.password.reveal() if settings.password else "", "ConnectRetryCount": "0",
            "ApplicationIntent": "ReadOnly",
            **{str(name): str(value) for name, value in settings.options.items()},
        }  # fmt: skip
        text = "".join(f"{name}={_braced(value)};" for name, value in keys.items())
        try:
            module.pooling(enabled=False)  # a pooled login would outlive its session
            self._connection = module.connect(text, autocommit=True, timeout=max(1, round(settings.timeout_seconds)))
            self._connection.timeout = max(1, round(driver_seconds(settings.query_timeout_seconds)))
        except module.exceptions.ConnectionStringParseError:
            raise ConfigError(
                ["options: the SQL Server driver does not take one of them"],
                hint="write them as the driver's connection string does: Encrypt, TrustServerCertificate ...",
            ) from None
        except (self._error, RuntimeError) as error:
            raise _translate(error, uri) from None

    def run(self, query: Query, parameters: Mapping[str, CursorValue], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Batches of `batch_rows`, fetched as Arrow."""
        values: list[str] = []

        def marker(name: str) -> str:
            values.append(_bound(parameters[name], after=name == "lastItem"))
            return _marker(parameters[name])

        text = query.with_markers(marker)
        try:
            self._cursor = self._connection.cursor()
            self._cursor.execute(text, *([tuple(values)] if values else []))
            some = False
            while (batch := self._cursor.arrow_batch(batch_rows)).num_rows or not some:
                yield batch
                some = True
        except (self._error, RuntimeError) as error:
            raise _translate(error, self._uri) from None
        finally:
            cursor, self._cursor = self._cursor, None
            if cursor is not None:
                with suppress(self._error, RuntimeError):
                    cursor.close()

    def tables(self) -> Iterator[str]:
        """Tables and views of the database that the user may see."""
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(_TABLES)
                found = cursor.fetchall()
        except (self._error, RuntimeError) as error:
            raise _translate(error, self._uri) from None
        for schema, table in found:
            yield f"{_quoted(schema)}.{_quoted(table)}"

    def cancel(self) -> None:
        """SQLCancel, which another thread may call."""
        cursor = self._cursor
        if cursor is not None and cursor.hstmt is not None:
            cursor.hstmt._cancel()

    def close(self) -> None:
        """The connection is closed."""
        with suppress(self._error, RuntimeError):
            self._connection.close()


def _braced(value: str) -> str:
    """A value of a connection string: nothing in it ends it."""
    return "{" + value.replace("}", "}}") + "}"


def _marker(value: CursorValue) -> str:
    if isinstance(value, str):
        return "?"
    if isinstance(value, int):
        return "CAST(? AS bigint)" if -(2**63) <= value < 2**63 else "CAST(? AS decimal(38, 0))"
    if isinstance(value, Decimal):
        return f"CAST(? AS decimal(38, {min(38, decimals(value))}))"
    return "CAST(? AS datetime2(7))" if isinstance(value, Moment) else "CAST(? AS date)"


def _bound(value: CursorValue, *, after: bool) -> str:
    """Moments are bound in UTC, to which datetimeoffset compares.

    A cursor that was read lost its tenth of a microsecond; bound from the end of its microsecond it finds no row again.
    """
    if isinstance(value, Moment):
        lost = _ROUNDED if after and value.nanoseconds % 1_000 == 0 else 0
        return Moment(value.nanoseconds + lost, zoned=False).text(" ", digits=7)
    return cursor_text(value)


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else "[" + name.replace("]", "]]") + "]"


def _translate(error: Exception, uri: str) -> IngestError:
    said = " ".join(str(getattr(error, "ddbc_error", "") or error).replace("[Microsoft]", "").split())
    said = said.replace("[SQL Server]", "").replace("[ODBC Driver 18 for SQL Server]", "")
    lowered = f"{getattr(error, 'driver_error', '')} {said}".lower()
    if any(words in lowered for words in _LOGIN):
        return SourceDenied(f"{uri}: {said}", hint="check the connection's username, password and database")
    if any(words in lowered for words in _GONE):
        return SourceUnavailable(f"{uri}: the server does not answer, or ended the query: {_kind(error)}")
    if not any(words in lowered for words in _SPEAKS_OF_NAMES):
        said = _kind(error)
    return SourceDenied(f"{uri}: {said}", hint="run the query in the database's own console to see more")


def _kind(error: Exception) -> str:
    """The driver's own name for the error, which holds nothing of the server's."""
    return str(getattr(error, "driver_error", "") or type(error).__name__)
