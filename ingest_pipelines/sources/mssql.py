"""SQL Server through Microsoft's own driver, which fetches Arrow batches itself."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from functools import cache
from typing import Any

import pyarrow as pa

from ingest_pipelines.config.connections.mssql import MssqlConnection
from ingest_pipelines.cursor.values import CursorValue, Moment, cursor_text
from ingest_pipelines.errors import ConfigError
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
from ingest_pipelines.sources.fetch_size import fetched
from ingest_pipelines.sources.query_text import Query
from ingest_pipelines.sources.sql import HostSource, Session, decimals, driver, driver_seconds, option_mistakes

_TABLES = """
    SELECT table_schema, table_name FROM information_schema.tables
    WHERE table_schema NOT IN ('sys', 'INFORMATION_SCHEMA') ORDER BY table_schema, table_name
"""

_STATEMENT = 3
"""ODBC's handle of a statement."""

_STATES = (
    "HY000", "HY008", "HYT00", "HYT01", "08001", "08002", "08003", "08004", "08007", "08S01", "22001", "22003", "22007",
    "22008", "22012", "22018", "25000", "28000", "40001", "40003", "42000", "42S02", "42S22",
)  # fmt: skip
"""SQLSTATEs that mean something to us; see `error_codes`."""

_KEYWORDS = (
    "ApplicationIntent", "Authentication", "Encrypt", "HostNameInCertificate", "IpAddressPreference", "KeepAlive",
    "KeepAliveInterval", "MultiSubnetFailover", "PacketSize", "ServerCertificate", "ServerSPN", "Trusted_Connection",
    "TrustServerCertificate",
)  # fmt: skip
"""Keywords of the driver's connection string that an option is likely to mean."""

_ROUNDED = 900
"""Nanoseconds that datetime2(7) has below the microsecond, which is all that the driver's Arrow keeps."""


class _Diagnostics(threading.local):
    """What the thread's last failed statement left: SQL Server's number of the error, 0 if there is none."""

    number = 0


_diagnostics = _Diagnostics()

CODES = codes_of({
    Meaning.GONE: {
        "08* HY000": Reason.LOST, "08001": "the server cannot be reached, or broke off the login",
        "HYT00 HYT01": "the server did not answer in time", "40*": Reason.DEADLOCK, "HY008": Reason.CANCELLED,
        "1204 1205 1222 3960": Reason.DEADLOCK, "701 802 8628 8645 8651 40549 40550 40551 40552 40553": Reason.MEMORY,
        "596 6005 617 601": Reason.SHUTTING_DOWN, "40143 40197 40501 40540 40613 42108 42109": Reason.SHUTTING_DOWN,
        "10928 10929 17197 49918 49919 49920": Reason.TOO_MANY,
    },
    Meaning.LOGIN: {
        "28* 18452 18456": Reason.CREDENTIALS, "08004 911 916 4060 4064": Reason.NO_DATABASE,
        "18470": "the account is disabled",
        "18486": "the account is locked", "18487 18488": "the password has expired",
        "40532 40615": "the server does not let this address in",
    },
    Meaning.PERMISSION: {"229 230 262 297 300 371": Reason.PERMISSION},
    Meaning.NAME: {
        "42S02 208 4701": Reason.NO_TABLE, "42S22 207 4104": Reason.NO_COLUMN, "195 2812 4121": Reason.NO_FUNCTION,
        "209": "a column's name fits more than one table",
    },
    Meaning.QUERY: {
        "102 105 156": Reason.SYNTAX, "22* 241 242 245 248 8114 8115": Reason.CONVERSION,
        "206 402 403 529": Reason.TYPES,
        "22012 8134": "the query divides by zero",
        "512": "a subquery returns more than one row", "25000 3906": "the database is read-only, and the query writes",
    },
})  # fmt: skip
"""By number, from `sys.messages` and Azure's list of transient errors, and by ODBC's SQLSTATE where the driver tells no
number: of logins and of connections."""

_LOGIN_ERROR = Code(
    Meaning.LOGIN,
    "the user may log in, and the database does not open: it does not exist, is closed to the user, or paused",
)
"""SQLSTATE 42000 of a login: numbers 4060 and 18470, and 40613 of a database that wakes up, all look alike then."""


class Mssql(HostSource[MssqlConnection]):
    """A SQL Server database to query. It has no read-only sessions: give the user SELECT alone."""

    def connect(self) -> Session:
        """A login, encrypted unless `options` say otherwise."""
        return _Session(self._connection)

    def judge(self, error: Exception, *, connecting: bool) -> DriverError | None:
        """By number, which the driver has for statements only; else by SQLSTATE, which it tells in words of its own."""
        module: Any = driver("mssql_python", "mssql")
        if isinstance(error, RuntimeError):  # from the driver's C++, which found no diagnostics
            return DriverError(type(error).__name__, BROKEN)
        if not isinstance(error, module.exceptions.Exception):
            return None
        state = _states().get(str(getattr(error, "driver_error", "")), "")
        number, said = _diagnostics.number, str(getattr(error, "ddbc_error", ""))
        if connecting and state == "42000":
            return DriverError(state, _LOGIN_ERROR)
        unknown = BROKEN if connecting else REFUSED
        network = state.startswith(("08", "HYT"))  # its number is the system's errno then
        code = str(number) if number and not connecting and not network else state or type(error).__name__
        return DriverError(code, meaning_of(CODES, code, state, unknown=unknown), said)

    def known_options(self) -> None:
        """The driver tells which keyword of its connection string it does not know."""


class _Session(Session):
    def __init__(self, settings: MssqlConnection) -> None:
        module: Any = driver("mssql_python", "mssql")
        self._error = module.Error
        _note_numbers(module)
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
        except module.exceptions.ConnectionStringParseError as error:
            lowered = str(error).lower()
            unknown = [name for name in settings.options if f"'{name.lower()}'" in lowered]
            if unknown:
                raise option_mistakes(unknown, "mssql", _KEYWORDS) from None
            raise ConfigError(
                ["options: the SQL Server driver does not take one of them"],
                hint="write them as the driver's connection string does: Encrypt, TrustServerCertificate ...",
            ) from None

    def run(self, query: Query, parameters: Mapping[str, CursorValue], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Batches of at most `batch_rows`, fetched as Arrow; fewer where rows are wide."""
        values: list[str] = []

        def marker(name: str) -> str:
            values.append(_bound(parameters[name], after=name == "lastItem"))
            return _marker(parameters[name])

        text = query.with_markers(marker)
        _diagnostics.number = 0
        try:
            self._cursor = self._connection.cursor()
            self._cursor.execute(text, *([tuple(values)] if values else []))
            yield from fetched(self._cursor.arrow_batch, batch_rows)
        finally:
            cursor, self._cursor = self._cursor, None
            if cursor is not None:
                with suppress(self._error, RuntimeError):
                    cursor.close()

    def tables(self) -> Iterator[str]:
        """Tables and views of the database that the user may see."""
        with self._connection.cursor() as cursor:
            cursor.execute(_TABLES)
            rows = cursor.fetchall()
        for schema, table in rows:
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
        # Compared with an nvarchar, a varchar column follows other rules than where it is ordered by.
        return "CAST(? AS varchar(8000))" if value.isascii() and len(value) <= 8000 else "?"
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


@cache
def _states() -> dict[str, str]:
    """SQLSTATE by the words in which the driver tells it, which are its own and the same everywhere."""
    words_of = driver("mssql_python", "mssql").exceptions.sqlstate_to_exception
    return {str(words_of(state, "").driver_error): state for state in _STATES}


@cache
def _note_numbers(module: Any) -> None:
    """Makes the driver keep the number of each failed statement; by itself it drops it.

    SQLSTATE 42000 is all from a misspelled word to a denied permission and a database that is just moved.
    """
    bindings = module.helpers.ddbc_bindings
    check = bindings.DDBCSQLCheckError

    def noting(kind: int, handle: Any, result: int) -> Any:
        records = bindings.DDBCSQLGetAllDiagRecords(handle) if kind == _STATEMENT else []
        number = re.search(r"\((\d+)\)$", records[0][0]) if records else None
        _diagnostics.number = int(number[1]) if number else 0
        return check(kind, handle, result)

    bindings.DDBCSQLCheckError = noting
