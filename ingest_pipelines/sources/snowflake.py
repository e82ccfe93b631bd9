"""Snowflake through its own connector: values bound on the server, results as the Arrow chunks it sends."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, suppress
from decimal import Decimal
from typing import Any

import pyarrow as pa

from ingest_pipelines.config.connections.snowflake import SnowflakeConnection
from ingest_pipelines.cursor.values import CursorValue, Moment, cursor_text
from ingest_pipelines.errors import ConfigError, SourceDenied
from ingest_pipelines.sources.base import Client
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
from ingest_pipelines.sources.http_headers import refuse_broken_headers
from ingest_pipelines.sources.query_text import Query
from ingest_pipelines.sources.sql import Session, SqlSource, decimals, driver

_SESSION = {
    "TIMEZONE": "UTC", "QUERY_TAG": "ingest pipelines", "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT": "ARROW",
    "CLIENT_TELEMETRY_ENABLED": False, "CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False,
}  # fmt: skip

_LOGIN = range(390100, 390500)

_TABLES = """
    SELECT table_schema, table_name FROM information_schema.tables
    WHERE table_schema <> 'INFORMATION_SCHEMA' ORDER BY table_schema, table_name
"""

CODES = codes_of({
    Meaning.GONE: {
        "604 630": Reason.CANCELLED, "625": Reason.DEADLOCK, "390112 390114 390115 390195": "the session has expired",
        "250001 250003 253012 290404 290500 290502 290503 290504": Reason.LOST,
    },
    Meaning.LOGIN: {
        "390100": Reason.CREDENTIALS,
        "390101 390102 390103 390104 390108 390110 390111 390120": "the account is locked or closed",
        "390144": "the key is not the user's", "390189 390201": "the role or the warehouse is not the user's",
        "390422 390432": "the account does not let this address in", "390146 390190 390191": Reason.CREDENTIALS,
        "606": "no warehouse is chosen, or it may not be used",
    },
    Meaning.PERMISSION: {"3001": Reason.PERMISSION},
    Meaning.NAME: {
        "2003 2043": "it does not exist, or the role may not read it", "904": Reason.NO_COLUMN,
    },
    Meaning.QUERY: {
        "1003": Reason.SYNTAX, "100035 100038 100039 100040 100046": Reason.CONVERSION,
        "100051": "the query divides by zero",
    },
})  # fmt: skip
"""By number, from the connector's `errorcode.py`."""

_LOGIN_ERROR = Code(Meaning.LOGIN, "the account does not let this user in")
"""Its numbers from 390100 to 390499 that no other line knows."""


class Snowflake(SqlSource[SnowflakeConnection]):
    """A Snowflake account to query. It has no read-only sessions: give the user a role that only reads."""

    def __init__(self, connection: SnowflakeConnection, client: Client | None = None) -> None:
        super().__init__(connection)
        self._client = client

    def address(self) -> tuple[str, int]:
        """Host and port of the account."""
        options = self._connection.options
        host = options.get("host") or f"{self._connection.account}.snowflakecomputing.com"
        return str(host), int(options.get("port") or 443)

    def uri(self) -> str:
        """`snowflake://account/database`."""
        return f"snowflake://{self._connection.account}/{self._connection.database or ''}"

    def connect(self) -> Session:
        """A login by password or key pair."""
        refuse_broken_headers()
        return _Session(self._connection, self.uri(), self._client)

    def judge(self, error: Exception, *, connecting: bool) -> DriverError | None:
        """By number. Without a known one, the connector's type tells the network from a refused query."""
        errors = driver("snowflake.connector", "snowflake").errors
        if not isinstance(error, errors.Error):
            return None
        number = getattr(error, "errno", None) or -1
        network = isinstance(error, errors.OperationalError | errors.InternalServerError | errors.HttpError)
        unknown = _LOGIN_ERROR if number in _LOGIN else BROKEN if network or connecting else REFUSED
        return DriverError(
            str(number) if number > 0 else type(error).__name__,
            meaning_of(CODES, number, unknown=unknown),
            str(getattr(error, "raw_msg", None) or ""),
        )

    def known_options(self) -> Collection[str]:
        """The connector's parameters; it ignores others."""
        return {*driver("snowflake.connector.connection", "snowflake").DEFAULT_CONFIGURATION, "insecure_mode"}


class _Session(Session):
    def __init__(self, settings: SnowflakeConnection, uri: str, client: Client | None) -> None:
        connector: Any = driver("snowflake.connector", "snowflake")
        self._errors = connector.errors
        self._uri = uri
        self._cursor: Any = None
        self._text = ""
        opened = client or (lambda: closing(connector.connect(**connect_arguments(settings))))
        self._entered = opened()
        self._connection = self._entered.__enter__()

    def run(self, query: Query, parameters: Mapping[str, CursorValue], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The result's chunks, cut to at most `batch_rows`."""
        values: list[str] = []

        def marker(name: str) -> str:
            values.append(cursor_text(parameters[name]))
            return _marker(parameters[name])

        text = query.with_markers(marker)
        # A cursor must not lose a nanosecond; else the range of years matters more.
        micros = all(mark.name != "lastItem" for mark in query.marks)
        try:
            with self._connection.cursor() as cursor:
                self._cursor, self._text = cursor, text
                cursor.execute(text, values or None)
                yield from self._batches(cursor, batch_rows, micros=micros)
        finally:
            self._cursor = None

    def _batches(self, cursor: Any, batch_rows: int, *, micros: bool) -> Iterator[pa.RecordBatch]:
        schema: pa.Schema | None = None
        for table in cursor.fetch_arrow_batches(force_microsecond_precision=micros):
            schema = schema or table.schema
            try:
                alike = table if table.schema == schema else table.cast(schema)
            except pa.ArrowInvalid:
                raise SourceDenied(
                    f"{self._uri}: a timestamp lies outside the years 1677 to 2262 that nanoseconds reach",
                    hint="cut the column in the query: LEAST(column, '2262-01-01'::TIMESTAMP_NTZ)",
                ) from None
            yield from alike.to_batches(max_chunksize=batch_rows)
        if schema is None:
            empty = cursor.fetch_arrow_all(force_return_table=True, force_microsecond_precision=micros)
            yield pa.RecordBatch.from_pylist([], empty.schema)

    def tables(self) -> Iterator[str]:
        """Tables and views of the connection's database that the role may see."""
        with self._connection.cursor() as cursor:
            for schema, table in cursor.execute(_TABLES).fetchall():
                yield f"{_quoted(schema)}.{_quoted(table)}"

    def cancel(self) -> None:
        """Aborts the query; the connector's own way, which needs no query id yet."""
        cursor = self._cursor
        if cursor is not None:
            with suppress(self._errors.Error):
                self._connection._cancel_query(self._text, cursor._request_id)

    def close(self) -> None:
        """The session is closed."""
        try:
            self._entered.__exit__(None, None, None)
        finally:
            self._connection.close()


def connect_arguments(connection: SnowflakeConnection) -> dict[str, Any]:
    """What the connector's `connect` is called with. Holds the secrets.

    Raises:
        ConfigError: the private key is none, or its passphrase does not open it.
    """
    options = dict(connection.options)
    # No network_timeout: it is a timer on a thread of its own, which dies loudly where the network is dead. And no
    # detection of the platform, a statistic: each login would ask the metadata servers of three clouds, and wait.
    arguments: dict[str, Any] = {
        "account": connection.account, "user": connection.user, "role": connection.role, "paramstyle": "qmark",
        "warehouse": connection.warehouse, "database": connection.database, "schema": connection.schema_,
        "login_timeout": max(1, round(connection.timeout_seconds)), "application": "ingest_pipelines",
        "arrow_number_to_decimal": True, "platform_detection_timeout_seconds": 0.0,
        **_credentials(connection), **options,
        "session_parameters": {**_SESSION, **options.get("session_parameters", {})},
    }  # fmt: skip
    return {name: value for name, value in arguments.items() if value is not None}


def _credentials(settings: SnowflakeConnection) -> dict[str, object]:
    if settings.private_key is None:
        return {"password": settings.password.reveal() if settings.password else None}
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    passphrase = settings.passphrase.reveal().encode() if settings.passphrase else None
    try:
        key = load_pem_private_key(settings.private_key.reveal().encode(), passphrase)
    except (ValueError, TypeError):
        raise ConfigError(
            ["private_key: not a private key in PEM, or the passphrase does not open it"],
            hint="make one with: openssl genrsa 2048 | openssl pkcs8 -topk8 -inform PEM -out key.p8",
        ) from None
    return {"private_key": key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())}


def _marker(value: CursorValue) -> str:
    """Every value is bound as text and cast, so that none is rounded on its way."""
    if isinstance(value, str):
        return "?"
    if isinstance(value, int):
        return "CAST(? AS NUMBER(38, 0))"
    if isinstance(value, Decimal):
        return f"CAST(? AS NUMBER(38, {min(37, decimals(value))}))"
    if isinstance(value, Moment):
        return "CAST(? AS TIMESTAMP_TZ)" if value.zoned else "CAST(? AS TIMESTAMP_NTZ)"
    return "CAST(? AS DATE)"


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Z_][A-Z0-9_$]*", name) else '"' + name.replace('"', '""') + '"'
