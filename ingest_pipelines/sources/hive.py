"""HiveServer2: PyHive logs in and speaks Thrift; the columns it receives become Arrow without a detour over rows."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest_pipelines.config.connections.hive import HiveConnection
from ingest_pipelines.cursor.column import spelling
from ingest_pipelines.cursor.values import CursorValue, Moment
from ingest_pipelines.errors import ConfigError
from ingest_pipelines.sources.error_codes import BROKEN, REFUSED, DriverError, Meaning, Reason, codes_of, meaning_of
from ingest_pipelines.sources.fetch_size import fetched
from ingest_pipelines.sources.network import silence
from ingest_pipelines.sources.query_text import Query
from ingest_pipelines.sources.sql import HostSource, Session, accepted, backticked, decimals, driver, naive_text

_SETTINGS = (
    "SET spark.sql.session.timeZone=UTC",
    "SET hive.local.time.zone=UTC",
    "SET hive.resultset.use.unique.column.names=false",
)
"""Hive and Spark each know some of them."""

_TYPES = {
    0: pa.bool_(), 1: pa.int64(), 2: pa.int64(), 3: pa.int64(), 4: pa.int64(), 5: pa.float64(), 6: pa.float64(),
    9: pa.binary(),
}  # fmt: skip
"""Thrift's type ids that are not spelled as text."""

_SPELLED = {8: spelling("moment"), 15: spelling("number"), 17: spelling("moment"), 23: spelling("moment")}
"""Thrift's type ids whose texts a cursor reads as numbers or moments: timestamps, decimals, dates, local timestamps."""

_COLLATED = re.compile(r"(string|char|varchar)\b.* collate ", re.IGNORECASE)
"""How Spark names the type of a text that is compared by a collation."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.5

_SASL_BAD = re.compile(r"Bad status: 3 ")
"""How thrift_sasl begins when the server ended the login with SASL's status BAD."""

CODES = codes_of({
    Meaning.GONE: {
        "cancelled": Reason.CANCELLED, "handle": "the server no longer knows the session", "08*": Reason.LOST,
        "57014": Reason.CANCELLED,
        "HY008": Reason.CANCELLED, "transient": "the query failed while it ran, in a way that may go away",
    },
    Meaning.LOGIN: {"login": Reason.CREDENTIALS},
    Meaning.PERMISSION: {"42501": Reason.PERMISSION},
    Meaning.NAME: {
        "3D* 42704 10072": Reason.UNKNOWN_DATABASE,
        "42P01 42S02 10001": Reason.NO_TABLE, "42703 42S22 10002 10004": Reason.NO_COLUMN,
        "42883 10011": Reason.NO_FUNCTION,
        "42702": "a column's name fits more than one table",
    },
    Meaning.QUERY: {
        "42601": Reason.SYNTAX, "22*": Reason.CONVERSION, "22012": "the query divides by zero", "P0*": Reason.OWN,
    },
})  # fmt: skip
"""By Hive's number, from its `ErrorMsg.java`, and by SQLSTATE, which Spark gives and Hive leaves general.

Hive's numbers from 30000 to 39999 are its own "may be transient". It has no number of its own for a denied permission.
"""


class Hive(HostSource[HiveConnection]):
    """A HiveServer2 to query. It has no read-only sessions: give the user SELECT alone."""

    def connect(self) -> Session:
        """A login by SASL: LDAP where there is a password, else no check, unless `options` name another `auth`."""
        return _Session(self._connection)

    def judge(self, error: Exception, *, connecting: bool) -> DriverError | None:
        """By what stands in the server's answer: Hive's number, SQLSTATE, the state of the operation."""
        if isinstance(error, driver("thrift.Thrift", "hive").TException):
            denied = connecting and _SASL_BAD.match(str(error))
            return DriverError(type(error).__name__, CODES["login"] if denied else BROKEN)
        if not isinstance(error, driver("pyhive.exc", "hive").Error):
            return None
        answer = error.args[0] if error.args else None
        status = answer if getattr(answer, "operationState", None) is not None else getattr(answer, "status", None)
        if status is None:
            return DriverError(type(error).__name__, BROKEN if connecting else REFUSED)
        types = driver("TCLIService.ttypes", "hive")
        number, state = int(status.errorCode or 0), str(status.sqlState or "")
        if getattr(status, "operationState", None) in {
            types.TOperationState.CANCELED_STATE,
            types.TOperationState.CLOSED_STATE,
        }:
            return DriverError("CANCELED_STATE", CODES["cancelled"])
        if getattr(status, "statusCode", None) == types.TStatusCode.INVALID_HANDLE_STATUS:
            return DriverError("INVALID_HANDLE_STATUS", CODES["handle"])
        code = state or (str(number) if number else "ERROR_STATE")
        if 30_000 <= number < 40_000:
            return DriverError(code, CODES["transient"])
        return DriverError(code, meaning_of(CODES, number, state), str(status.errorMessage or ""))

    def known_options(self) -> Collection[str]:
        """What PyHive's connections take."""
        return accepted(driver("pyhive.hive", "hive").Connection.__init__)


class _Session(Session):
    def __init__(self, settings: HiveConnection) -> None:
        self._hive: Any = driver("pyhive.hive", "hive")
        self._thrift: Any = driver("TCLIService.ttypes", "hive")
        self._broken: Any = driver("thrift.Thrift", "hive").TException
        logging.getLogger("pyhive.hive").setLevel(logging.WARNING)  # below that it logs rows
        silence("thrift")
        self._settings = settings
        self._handle: Any = None
        self._cancelled = False
        self._puts_in_quotes: bool | None = None
        self._connection = self._login()
        for setting in _SETTINGS:
            with suppress(self._hive.Error):
                self._execute(setting)

    def run(self, query: Query, parameters: Mapping[str, CursorValue], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Batches of at most `batch_rows`; fewer where rows are wide."""
        text = query.with_markers(lambda name: _marker(name, parameters[name]), lambda piece: piece.replace("%", "%%"))
        bound = {name: naive_text(value) for name, value in parameters.items()}
        statement = text % self._hive.HiveParamEscaper().escape_args(bound)
        try:
            self._handle = self._execute(statement)
            schema = pa.schema(self._columns(self._handle))
            collated: frozenset[int] | None = None
            for batch in fetched(partial(self._fetch, self._handle, schema), batch_rows):
                if collated is None and any(map(_in_quotes, batch.columns)):
                    collated = self._collated(statement)
                yield _without_quotes(batch, collated) if collated else batch
        finally:
            handle, self._handle = self._handle, None
            if handle is not None:
                with suppress(self._hive.Error, self._broken, OSError, EOFError):
                    self._client.CloseOperation(self._thrift.TCloseOperationReq(handle))

    def tables(self) -> Iterator[str]:
        """Tables and views of the connection's database."""
        database = self._settings.database
        handle = self._execute("SHOW TABLES IN `" + database.replace("`", "``") + "`")
        schema = pa.schema(self._columns(handle))
        name = 0 if len(schema) == 1 else 1
        names: list[str] = []
        while (batch := self._fetch(handle, schema, 10_000)).num_rows:
            names += batch.column(name).to_pylist()
        yield from sorted(f"{backticked(database)}.{backticked(table)}" for table in names)

    def cancel(self) -> None:
        """Cancels the operation over a login of its own: this one's socket is waiting."""
        self._cancelled = True
        handle = self._handle
        if handle is not None:
            with suppress(self._hive.Error, self._broken, OSError, EOFError):
                other = self._login()
                other.client.CancelOperation(self._thrift.TCancelOperationReq(handle))
                other.close()

    def close(self) -> None:
        """The session and the connection are closed."""
        with suppress(self._hive.Error, self._broken, OSError, EOFError):
            self._connection.close()

    @property
    def _client(self) -> Any:
        return self._connection.client

    def _login(self) -> Any:
        settings = self._settings
        password = settings.password.reveal() if settings.password else None
        options = {"auth": "LDAP" if password else "NONE", **settings.options}
        try:
            return self._hive.connect(
                host=settings.host, port=settings.port, username=settings.username, password=password,
                database=settings.database, **options,
            )  # fmt: skip
        except (ValueError, NotImplementedError):
            raise ConfigError(
                ["options: `auth`, `kerberos_service_name` and the password do not fit together"],
                hint="auth is NONE, NOSASL, LDAP, KERBEROS or CUSTOM; LDAP and CUSTOM take a password, the others none",
            ) from None

    def _execute(self, statement: str) -> Any:
        """The finished operation. The server works on it while we ask how far it is, so that it can be cancelled."""
        request = self._thrift.TExecuteStatementReq(self._connection.sessionHandle, statement, runAsync=True)
        response = self._client.ExecuteStatement(request)
        self._check(response)
        handle = self._handle = response.operationHandle
        states, pause = self._thrift.TOperationState, _FIRST_PAUSE
        while True:
            status = self._client.GetOperationStatus(self._thrift.TGetOperationStatusReq(handle))
            self._check(status)
            if status.operationState == states.FINISHED_STATE:
                return handle
            if self._cancelled:
                status.operationState = states.CANCELED_STATE
            if status.operationState in {
                states.CANCELED_STATE, states.CLOSED_STATE, states.ERROR_STATE, states.UKNOWN_STATE
            }:  # fmt: skip
                raise self._hive.OperationalError(status)
            time.sleep(pause)
            pause = min(1.25 * pause, _LONGEST_PAUSE)  # the end is seen a quarter of the query's time later, at most

    def _collated(self, statement: str) -> frozenset[int]:
        """Places of the result's texts with a collation of their own, which Spark 4 sends in quotes.

        Only its analysis of the query tells: in Thrift's types they are texts like others. Whether the server has
        collations, and sends such texts in quotes, is asked by an example.
        """
        main = self._handle
        try:
            if self._puts_in_quotes is None:
                self._puts_in_quotes = self._has_answer("SELECT 'a' COLLATE UTF8_LCASE AS a", '"a"')
            kinds = self._answer(f"DESCRIBE QUERY {statement}")[1] if self._puts_in_quotes else []
        finally:
            self._handle = main
        return frozenset(place for place, kind in enumerate(kinds) if _COLLATED.match(kind))

    def _has_answer(self, statement: str, text: str) -> bool:
        """Whether that is the answer; a server that does not know the question has another one."""
        try:
            return self._answer(statement) == [[text]]
        except self._hive.Error:
            if self._cancelled:
                raise
            return False

    def _answer(self, statement: str) -> list[list[Any]]:
        """The columns of a short answer."""
        handle = self._execute(statement)
        try:
            return [column.to_pylist() for column in self._fetch(handle, pa.schema(self._columns(handle)), 10_000)]
        finally:
            self._client.CloseOperation(self._thrift.TCloseOperationReq(handle))

    def _columns(self, handle: Any) -> list[pa.Field]:
        response = self._client.GetResultSetMetadata(self._thrift.TGetResultSetMetadataReq(handle))
        self._check(response)
        columns = []
        for column in response.schema.columns:
            entry = column.typeDesc.types[0].primitiveEntry
            kind = entry.type if entry else -1
            columns.append(pa.field(column.columnName, _TYPES.get(kind, pa.string()), metadata=_SPELLED.get(kind)))
        return columns

    def _fetch(self, handle: Any, schema: pa.Schema, rows: int) -> pa.RecordBatch:
        request = self._thrift.TFetchResultsReq(handle, self._thrift.TFetchOrientation.FETCH_NEXT, rows)
        response = self._client.FetchResults(request)
        self._check(response)
        received = response.results.columns or []
        if not received:
            return pa.RecordBatch.from_pylist([], schema)
        arrays = [_array(column, field.type) for column, field in zip(received, schema, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _check(self, response: Any) -> None:
        codes = self._thrift.TStatusCode
        if response.status.statusCode not in {codes.SUCCESS_STATUS, codes.SUCCESS_WITH_INFO_STATUS}:
            raise self._hive.OperationalError(response)


def _in_quotes(column: pa.Array) -> bool:
    """Whether the column has texts, of which the first one is in quotes."""
    if not pa.types.is_string(column.type) or column.null_count == len(column):
        return False
    first = str(column.drop_null()[0].as_py())
    return len(first) > 1 and first[0] == first[-1] == '"'


def _without_quotes(batch: pa.RecordBatch, places: frozenset[int]) -> pa.RecordBatch:
    """The batch's columns at these places without their first and last character, which the server has put there."""
    columns = [
        pc.utf8_slice_codeunits(column, 1, -1) if place in places else column
        for place, column in enumerate(batch.columns)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _array(column: Any, kind: pa.DataType) -> pa.Array:
    """A column as Thrift brings it: values with fillers where a bit says NULL."""
    thrift_column = next(part for part in vars(column).values() if part is not None)
    count = len(thrift_column.values)
    bits = np.frombuffer(thrift_column.nulls.ljust((count + 7) // 8, b"\0"), np.uint8)
    nulls = np.unpackbits(bits, bitorder="little", count=count).astype(bool)
    if kind == pa.binary():
        values = [value.encode() if isinstance(value, str) else value for value in thrift_column.values]
        return pa.array(values, kind, mask=nulls)
    return pa.array(thrift_column.values, kind, mask=nulls)


def _marker(name: str, value: CursorValue) -> str:
    """HiveServer2 has no bind variables: PyHive escapes a text, and the server casts it."""
    marker = f"%({name})s"
    if isinstance(value, str):
        return marker
    if isinstance(value, int):
        return f"CAST({marker} AS BIGINT)" if -(2**63) <= value < 2**63 else f"CAST({marker} AS DECIMAL(38, 0))"
    if isinstance(value, Decimal):
        return f"CAST({marker} AS DECIMAL(38, {min(37, decimals(value))}))"
    return f"CAST({marker} AS TIMESTAMP)" if isinstance(value, Moment) else f"CAST({marker} AS DATE)"
