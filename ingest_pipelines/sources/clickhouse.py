"""ClickHouse over HTTP: Arrow as the server writes it; types that Arrow would garble come as the server's own text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, suppress
from decimal import Decimal
from typing import IO, Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from ingest_pipelines.config.connections.clickhouse import ClickhouseConnection
from ingest_pipelines.cursor.column import spelling
from ingest_pipelines.cursor.values import CursorValue, Moment
from ingest_pipelines.errors import SourceDenied
from ingest_pipelines.sources.error_codes import BROKEN, REFUSED, DriverError, Meaning, Reason, codes_of, meaning_of
from ingest_pipelines.sources.http_headers import refuse_broken_headers
from ingest_pipelines.sources.network import silence
from ingest_pipelines.sources.query_text import Query
from ingest_pipelines.sources.sql import HostSource, Session, accepted, decimals, driver, driver_seconds, naive_text

_EXACT = re.compile(
    r"U?Int(8|16|32|64)|Float(32|64)|Bool|String|Decimal\((\d|[12]\d|3[0-8]), \d+\)|Date|Date32|DateTime64\(.*\)"
)
"""Types that Arrow holds as they are."""

_NUMBERS = re.compile(r"U?Int(128|256)|Decimal\(\d+, \d+\)")
"""Types of numbers that come as text, which a cursor reads as numbers."""

_ENUM = re.compile(r"Enum(8|16)\(")

_WRAPPED = re.compile(r"(?:Nullable|LowCardinality)\((.*)\)")
_LIST = re.compile(r"Array\((.*)\)")
_NESTED = ("Array(", "Tuple(", "Map(", "Nested(")

_TABLES = """
    SELECT if(match(database, '^[A-Za-z_][A-Za-z0-9_]*$'), database, concat('`', database, '`'))
           || '.' || if(match(name, '^[A-Za-z_][A-Za-z0-9_]*$'), name, concat('`', name, '`')) AS name
    FROM system.tables
    WHERE NOT is_temporary AND database NOT IN ('system', 'information_schema', 'INFORMATION_SCHEMA') ORDER BY name
"""

CODES = codes_of({
    Meaning.GONE: {
        "3 24 32 209 210 279 425 999": Reason.LOST, "159 160 394 439 319": Reason.CANCELLED, "202 203": Reason.TOO_MANY,
        "173 241 243": Reason.MEMORY, "198": "the server does not find another server that the query reads",
        "242 473": Reason.DEADLOCK, "236": Reason.SHUTTING_DOWN,
    },
    Meaning.LOGIN: {
        "192 193 194 516": Reason.CREDENTIALS, "195 291": "the server does not let this address or user in",
    },
    Meaning.PERMISSION: {"497": Reason.PERMISSION},
    Meaning.NAME: {
        "81": Reason.UNKNOWN_DATABASE,
        "60": Reason.NO_TABLE, "16 47": Reason.NO_COLUMN, "46": Reason.NO_FUNCTION,
        "179 207": "a name stands for more than one thing",
        "36 42 44": "a function, a table or a column of the query does not fit",
    },
    Meaning.QUERY: {
        "62": Reason.SYNTAX, "164": "the session is read-only, and the query writes", "395": Reason.OWN,
        "43 386": Reason.TYPES,
        "153": Reason.CONVERSION,
        "6 27 41 53 69 70 72 349 407": Reason.CONVERSION,
    },
})  # fmt: skip
"""By number, from ClickHouse's `ErrorCodes.cpp`."""


class Clickhouse(HostSource[ClickhouseConnection]):
    """A ClickHouse server to query."""

    def connect(self) -> Session:
        """A client whose queries are read-only."""
        refuse_broken_headers()
        silence("clickhouse_connect")
        return _Session(self._connection, self.uri())

    def judge(self, error: Exception, *, connecting: bool) -> DriverError | None:
        """By number, from the answer's header. What has none is no answer of ClickHouse, or breaks off."""
        errors = driver("clickhouse_connect", "clickhouse").driver.exceptions
        if isinstance(error, driver("urllib3", "clickhouse").exceptions.HTTPError | pa.ArrowException):
            return DriverError(type(error).__name__, BROKEN)
        if not isinstance(error, errors.ClickHouseError):
            return None
        number = getattr(error, "code", None)
        if number is None:  # a ProgrammingError is the driver's own, about how it was used
            return DriverError(type(error).__name__, REFUSED if isinstance(error, errors.ProgrammingError) else BROKEN)
        return DriverError(f"code {number}", meaning_of(CODES, number), str(error))

    def known_options(self) -> Collection[str]:
        """What the driver's `get_client` and its HTTP client take."""
        module: Any = driver("clickhouse_connect", "clickhouse")
        client = driver("clickhouse_connect.driver.httpclient", "clickhouse").HttpClient
        return {*accepted(module.get_client), *accepted(client.__init__)} - {"kwargs", "generic_args"}


class _Session(Session):
    def __init__(self, settings: ClickhouseConnection, uri: str) -> None:
        module = driver("clickhouse_connect", "clickhouse")
        self._errors: Any = module.driver.exceptions
        self._uri = uri
        self._query_id = ""
        arguments: dict[str, Any] = {
            "connect_timeout": max(1, round(settings.timeout_seconds)), "query_retries": 0, "compress": False,
            "send_receive_timeout": max(1, round(driver_seconds(settings.query_timeout_seconds))),
            "autogenerate_session_id": False, "client_name": "ingest pipelines", **settings.options,
        }  # fmt: skip
        self._client: Any = module.get_client(
            host=settings.host, port=settings.port, username=settings.username, database=settings.database,
            password=settings.password.reveal() if settings.password else "", **arguments,
        )  # fmt: skip
        readonly = self._client.server_settings.get("readonly")
        self._settings: dict[str, object] = {"cancel_http_readonly_queries_on_client_close": 1}
        if readonly is None or readonly.value == "0":
            self._settings["readonly"] = 2  # reads and settings only

    def run(self, query: Query, parameters: Mapping[str, CursorValue], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The server's own blocks, of at most `batch_rows`."""
        text = query.with_markers(lambda name: _marker(name, parameters[name]))
        bound = {name: naive_text(value) for name, value in parameters.items()} or None
        settings = {**self._settings, "max_block_size": batch_rows}
        try:
            described = self._client.query(f"DESCRIBE TABLE (\n{text}\n)", parameters=bound, settings=self._settings)
            kinds = {name: kind for name, kind, *_ in described.result_rows}
            spelled = {name: way for name, kind in kinds.items() if (way := _way(kind))}
            if spelled:
                replaced = ", ".join(f"{way}({_quoted(name)}) AS {_quoted(name)}" for name, way in spelled.items())
                text = "".join(("SELECT * REPLACE (", replaced, ") FROM (\n", text, "\n)"))
                # The order of the rows means something to the import, even if no outer query asks for it.
                settings["query_plan_remove_redundant_sorting"] = 0
            self._query_id = str(uuid4())
            body = self._client.raw_stream(
                text, parameters=bound, settings={**settings, "query_id": self._query_id}, fmt="ArrowStream"
            )
            with closing(body):
                yield from self._batches(body, kinds)
        finally:
            self._query_id = ""

    def _batches(self, body: IO[bytes], kinds: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
        bare = {name: _bare(kind) for name, kind in kinds.items()}
        with pa.ipc.open_stream(body) as stream:
            empty = True
            for batch in stream:
                yield _exact(batch, bare, self._uri)
                empty = False
            if empty:
                yield _exact(pa.RecordBatch.from_pylist([], stream.schema), bare, self._uri)

    def tables(self) -> Iterator[str]:
        """Tables and views that the user may see."""
        yield from (name for (name,) in self._client.query(_TABLES, settings=self._settings).result_rows)

    def cancel(self) -> None:
        """Asks the server to kill the query; closing the connection does the same where it is set up so."""
        if self._query_id:
            with suppress(self._errors.ClickHouseError):
                self._client.command("KILL QUERY WHERE query_id = {id:String} ASYNC", parameters={"id": self._query_id})

    def close(self) -> None:
        """Connections to the server are closed."""
        self._client.close()


def _bare(kind: str) -> str:
    """The type without Nullable and LowCardinality around it."""
    while match := _WRAPPED.fullmatch(kind):
        kind = match[1]
    return kind


def _way(kind: str) -> str:
    """The function that spells values of the type as text, or "" where Arrow holds them exactly."""
    bare = _bare(kind)
    if bare.startswith("DateTime(") or bare == "DateTime" or _EXACT.fullmatch(bare):
        return ""
    inner = bare
    while match := _LIST.fullmatch(inner):
        inner = _bare(match[1])
    if inner != bare and _EXACT.fullmatch(inner):
        return ""
    return "toJSONString" if bare.startswith(_NESTED) else "toString"


def _exact(batch: pa.RecordBatch, kinds: Mapping[str, str], uri: str) -> pa.RecordBatch:
    """The batch with DateTime as moments: the server writes them as numbers. Text is proven to be text."""
    arrays, fields = [], []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        is_moment = kinds[name] == "DateTime" or kinds[name].startswith("DateTime(")
        if is_moment and pa.types.is_integer(array.type):
            array = pc.cast(pc.cast(array, pa.int64()), pa.timestamp("s", "UTC"))  # noqa: PLW2901  # that column
        elif pa.types.is_string(array.type):
            try:
                array.validate(full=True)
            except pa.ArrowInvalid:
                raise SourceDenied(
                    f"{uri}: the column '{name}' holds bytes that are no text",
                    hint=f"convert it in the query: toValidUTF8({name}), or hex({name})",
                ) from None
        arrays.append(array)
        fields.append(pa.field(name, array.type, metadata=_spelling_of(kinds[name])))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _spelling_of(kind: str) -> dict[bytes, bytes] | None:
    return spelling("number" if _NUMBERS.fullmatch(kind) else "enum" if _ENUM.match(kind) else None)


_INTEGERS = {
    "Int64": range(-(2**63), 2**63), "UInt64": range(2**64), "Int128": range(-(2**127), 2**127),
    "UInt128": range(2**128), "Int256": range(-(2**255), 2**255), "UInt256": range(2**256),
}  # fmt: skip
"""Types of whole numbers, the smaller ones first: the server compares some of them only with their like."""


def _marker(name: str, value: CursorValue) -> str:
    if isinstance(value, str):
        kind = "String"
    elif isinstance(value, int):
        kind = next((kind for kind, values in _INTEGERS.items() if value in values), "Int256")
    elif isinstance(value, Decimal):
        digits = max(len(value.as_tuple().digits), decimals(value))
        kind = f"Decimal({18 if digits <= 18 else 38 if digits <= 38 else 76}, {decimals(value)})"
    elif isinstance(value, Moment):
        kind = "DateTime64(9, 'UTC')" if value.nanoseconds % 1_000 else "DateTime64(6, 'UTC')"
    else:
        kind = "Date32"
    return f"{{{name}:{kind}}}"


def _quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
