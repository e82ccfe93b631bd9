"""Oracle through python-oracledb's thin mode: Arrow batches with exact decimals.

What Arrow would round or strip is spelled by the server instead: NUMBER without a precision, time zones, documents.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import date
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from ingest_pipelines.config.connections.oracle import OracleConnection
from ingest_pipelines.cursor.column import spelling
from ingest_pipelines.cursor.values import CursorValue, Moment
from ingest_pipelines.sources.error_codes import BROKEN, REFUSED, DriverError, Meaning, Reason, codes_of, meaning_of
from ingest_pipelines.sources.fetch_size import fitting_rows
from ingest_pipelines.sources.query_text import Query
from ingest_pipelines.sources.sql import HostSource, Session, accepted, driver, driver_seconds

_SESSION = (
    "ALTER SESSION SET TIME_ZONE = 'UTC' NLS_NUMERIC_CHARACTERS = '.,' NLS_DATE_FORMAT = 'YYYY-MM-DD HH24:MI:SS'"
    " NLS_TIMESTAMP_FORMAT = 'YYYY-MM-DD HH24:MI:SS.FF9' NLS_SORT = BINARY NLS_COMP = BINARY"
)

_TABLES = """
    SELECT DISTINCT owner, table_name FROM all_tab_columns
    WHERE owner NOT IN (
        'SYS', 'SYSTEM', 'XDB', 'MDSYS', 'CTXSYS', 'OUTLN', 'DBSNMP', 'WMSYS', 'LBACSYS', 'GSMADMIN_INTERNAL'
    )
"""
"""Tables and views alike."""


_CODE = re.compile(r"^DPY-\d+", re.MULTILINE)

CODES = codes_of({
    Meaning.GONE: {
        "ORA-18 ORA-20 ORA-2391 ORA-12516 ORA-12519 ORA-12520": Reason.TOO_MANY,
        "ORA-28 ORA-31 ORA-1012 ORA-2396 ORA-2399 ORA-3113 ORA-3114 ORA-3135": Reason.LOST,
        "ORA-12170 ORA-12537 ORA-12541 ORA-12543 ORA-12545 ORA-12547 ORA-12571": "the server cannot be reached",
        "ORA-1033 ORA-1034 ORA-1035 ORA-1089 ORA-1090 ORA-1092 ORA-1109 ORA-1219 ORA-12528": Reason.SHUTTING_DOWN,
        "ORA-54 ORA-60 ORA-4068 ORA-8176 ORA-8177 ORA-30006": Reason.DEADLOCK,
        "ORA-1013 ORA-40 ORA-56720 ORA-12805": Reason.CANCELLED, "ORA-1652 ORA-4030 ORA-4031 ORA-4036": Reason.MEMORY,
        "ORA-1555": "the query ran longer than the server keeps old rows (undo retention)",
        "DPY-1001 DPY-4005 DPY-4011 DPY-4024 DPY-6000 DPY-6005": Reason.LOST,
    },
    Meaning.LOGIN: {
        "ORA-1005 ORA-1017": Reason.CREDENTIALS, "ORA-1045": "the user may not log in (CREATE SESSION)",
        "ORA-28000": "the account is locked", "ORA-28001": "the password has expired",
        "ORA-12505 ORA-12514 DPY-6001 DPY-6003": "the listener does not know the service",
    },
    Meaning.PERMISSION: {"ORA-1031 ORA-41900": Reason.PERMISSION},
    Meaning.NAME: {
        "ORA-942 ORA-980 ORA-4043": Reason.NO_TABLE, "ORA-904": Reason.NO_COLUMN, "ORA-1435": "user does not exist",
        "ORA-918": "a column's name fits more than one table", "ORA-2289": "sequence does not exist",
    },
    Meaning.QUERY: {
        "ORA-900 ORA-903 ORA-907 ORA-923 ORA-933 ORA-936": Reason.SYNTAX, "ORA-1456": "the query writes",
        "ORA-1722 ORA-1830 ORA-1841 ORA-1843 ORA-1858 ORA-1861 ORA-6502": Reason.CONVERSION,
        "ORA-932": Reason.TYPES,
        "ORA-1476": "the query divides by zero", "ORA-1427": "a subquery returns more than one row",
        "ORA-600 ORA-7445": "the server reports an internal error",
    },
})  # fmt: skip
"""By the codes of the server (ORA, from Oracle's message reference) and of the driver (DPY), without leading zeros."""


class Oracle(HostSource[OracleConnection]):
    """An Oracle database to query."""

    probe_query: ClassVar[str] = "SELECT 1 AS one FROM dual"

    def connect(self) -> Session:
        """A login whose queries run in read-only transactions."""
        return _Session(self._connection)

    def judge(self, error: Exception, *, connecting: bool) -> DriverError | None:
        """By the server's code (ORA-00942) or the driver's (DPY-4011)."""
        if not isinstance(error, driver("oracledb", "oracle").Error):
            return None
        details = error.args[0] if error.args else None
        number, said = int(getattr(details, "code", 0) or 0), str(getattr(details, "message", "") or "")
        if number:  # the server's; the text is the server's, too
            return DriverError(f"ORA-{number:05}", meaning_of(CODES, f"ORA-{number}"), said)
        codes = _CODE.findall(said)  # the driver's own text: its code, and below it what the code came from
        code = next((code for code in reversed(codes) if code in CODES), codes[0] if codes else type(error).__name__)
        return DriverError(code, meaning_of(CODES, code, unknown=BROKEN if connecting else REFUSED))

    def known_options(self) -> Collection[str]:
        """What the driver's `connect` takes."""
        return accepted(driver("oracledb", "oracle").connect)


class _Session(Session):
    def __init__(self, settings: OracleConnection) -> None:
        module: Any = driver("oracledb", "oracle")
        self._error = module.Error
        self._in_call = False
        arguments: dict[str, Any] = {
            "tcp_connect_timeout": settings.timeout_seconds, "retry_count": 0, "program": "ingest_pipelines",
            **settings.options,
        }  # fmt: skip
        self._connection = module.connect(
            user=settings.username, password=settings.password.reveal() if settings.password else "",
            host=settings.host, port=settings.port, service_name=settings.database, **arguments,
        )  # fmt: skip
        self._connection.call_timeout = round(driver_seconds(settings.query_timeout_seconds) * 1000)
        with self._connection.cursor() as cursor:
            cursor.execute(_SESSION)

    def run(self, query: Query, parameters: Mapping[str, CursorValue], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Batches of `batch_rows`, fetched as Arrow; of fewer where the columns may hold wide rows."""
        text = query.with_markers(lambda name: _marker(name, parameters[name]))
        bound = {name: _bound(value) for name, value in parameters.items()}
        self._in_call = True
        try:
            self._connection.rollback()
            with self._connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION READ ONLY")
                cursor.execute("".join(("SELECT * FROM (", text, "\n) WHERE 1 = 0")), bound)
                columns = [(column.name, column.type_code.name, column.precision) for column in cursor.description]
                rows = fitting_rows(batch_rows, sum(map(_widest, cursor.description)))
            numbers = {name for name, kind, precision in columns if kind == "DB_TYPE_NUMBER" and not precision}
            zoned = {name for name, kind, _ in columns if kind in _ZONED}
            frames = iter(
                self._connection.fetch_df_batches(spelled(text, columns), bound, size=rows, fetch_decimals=True)
            )
            while (frame := next(frames, None)) is not None:
                table = pa.table(frame)
                arrays = [
                    _in_utc(column) if name in zoned else column
                    for name, column in zip(table.column_names, table.columns, strict=True)
                ]
                self._in_call = False
                whole = [_whole(array) for array in arrays]
                fields = [
                    pa.field(name, array.type, metadata=spelling("number" if name in numbers else None))
                    for name, array in zip(table.column_names, whole, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(whole, schema=pa.schema(fields))
                self._in_call = True
            self._connection.rollback()
        finally:
            self._in_call = False

    def tables(self) -> Iterator[str]:
        """Tables and views that the user may read."""
        with self._connection.cursor() as cursor:
            cursor.execute(_TABLES)
            rows = cursor.fetchall()
        yield from sorted(f"{_quoted(owner)}.{_quoted(table)}" for owner, table in rows)

    def cancel(self) -> None:
        """Asks the server to break off the call. Between two calls there is nothing to break, and it would wait."""
        if self._in_call:
            with suppress(self._error):
                self._connection.cancel()

    def close(self) -> None:
        """The connection is closed."""
        with suppress(self._error, OSError):
            self._connection.close()


_UNLIMITED = {
    "DB_TYPE_CLOB", "DB_TYPE_NCLOB", "DB_TYPE_BLOB", "DB_TYPE_LONG", "DB_TYPE_LONG_NVARCHAR", "DB_TYPE_LONG_RAW",
    "DB_TYPE_JSON", "DB_TYPE_XMLTYPE",
}  # fmt: skip
_ASSUMED_BYTES = 512 << 10

_ZONED = {"DB_TYPE_TIMESTAMP_TZ", "DB_TYPE_TIMESTAMP_LTZ"}
_SPELLED = {
    "DB_TYPE_TIMESTAMP_TZ": "SYS_EXTRACT_UTC({})",
    "DB_TYPE_TIMESTAMP_LTZ": "SYS_EXTRACT_UTC({})",
    "DB_TYPE_JSON": "JSON_SERIALIZE({} RETURNING CLOB)",
    "DB_TYPE_XMLTYPE": "XMLSERIALIZE(CONTENT {} AS CLOB)",
    "DB_TYPE_INTERVAL_DS": "TO_CHAR({})",
    "DB_TYPE_INTERVAL_YM": "TO_CHAR({})",
    "DB_TYPE_ROWID": "ROWIDTOCHAR({})",
    "DB_TYPE_VECTOR": "FROM_VECTOR({} RETURNING CLOB)",
}
_NUMBER = "TO_CHAR({}, 'TM9')"
"""All digits of a NUMBER, which without a precision would become a double."""


def spelled(text: str, columns: list[tuple[str, str, int | None]]) -> str:
    """The query, with columns that Arrow would not hold exactly as the server's own text; unchanged if there are none.

    Args:
        columns: name, type and precision of the query's result.
    """
    forms = [
        _NUMBER if kind == "DB_TYPE_NUMBER" and not precision else _SPELLED.get(kind) for _, kind, precision in columns
    ]
    if not any(forms):
        return text
    selected = [
        _identifier(name) if form is None else form.replace("{}", _identifier(name)) + " AS " + _identifier(name)
        for (name, *_), form in zip(columns, forms, strict=True)
    ]
    return "".join(("SELECT ", ", ".join(selected), " FROM (\n", text, "\n)"))


def _in_utc(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_timestamp(column.type) or column.type.tz:
        return column
    return pc.assume_timezone(column, "UTC")


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """The column in one piece; numbers without decimals that fit are integers."""
    array = column.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    if pa.types.is_decimal(array.type) and array.type.scale == 0 and array.type.precision <= 18:
        return pc.cast(array, pa.int64())
    return array


def _marker(name: str, value: CursorValue) -> str:
    """Dates and times are bound as text in the session's own format, so that none loses a digit."""
    if isinstance(value, Moment):
        # A DATE column compared with a TIMESTAMP would not be looked up in its index.
        return f"CAST(:{name} AS {'TIMESTAMP(9)' if value.nanoseconds % 1_000_000_000 else 'DATE'})"
    return f"CAST(:{name} AS DATE)" if isinstance(value, date) else f":{name}"


def _bound(value: CursorValue) -> object:
    if isinstance(value, Moment):
        return value.naive().text(" ")
    return f"{value.isoformat()} 00:00:00" if isinstance(value, date) else value


def _identifier(name: str) -> str:
    return '"' + name.replace('"', "") + '"'


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Z][A-Z0-9_$#]*", name) else _identifier(name)


def _widest(column: Any) -> int:
    """Bytes of the column's widest value; of those without a limit half a megabyte is assumed."""
    return _ASSUMED_BYTES if column.type_code.name in _UNLIMITED else int(column.internal_size or 0)
