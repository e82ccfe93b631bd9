"""What all query sources share: one bounded session, reconnecting before the first batch, cancelling after it."""

from __future__ import annotations

import json
import re
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from decimal import Decimal
from importlib import import_module
from inspect import signature
from types import ModuleType
from typing import ClassVar, Generic, Self, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from ingest_pipelines.config.connections.base import HostConnection, QueryConnection
from ingest_pipelines.config.nearest import nearest
from ingest_pipelines.cursor.values import CursorValue, Moment, cursor_text
from ingest_pipelines.errors import ConfigError, IngestError, MissingDriver, SourceDenied, SourceUnavailable, printable
from ingest_pipelines.sources.base import Step
from ingest_pipelines.sources.bounded import Pending, Worker
from ingest_pipelines.sources.cursor_query import no_value_query, rows_of_another_answer
from ingest_pipelines.sources.error_codes import BROKEN, REFUSED, DriverError
from ingest_pipelines.sources.network import (
    UNTRUSTED,
    UNTRUSTED_HINT,
    at_step,
    error_name,
    is_untrusted,
    raised_by_us,
    retried,
)
from ingest_pipelines.sources.query_text import Query, about_rows, read_query, table_query

BATCH_ROWS = 50_000

CANCEL_SECONDS = 5.0
"""How long we wait for a server to cancel a query."""

SILENT_LOGIN_HINT = "is the server up, and not overloaded? raise timeout_seconds if it is just slow"
SILENT_QUERY_HINT = "is the server up, and not overloaded? raise query_timeout_seconds if the query takes that long"

T = TypeVar("T")
C = TypeVar("C", bound=QueryConnection)
H = TypeVar("H", bound=HostConnection)


class Session(ABC):
    """One login. One thread makes all calls but `cancel`. `SqlSource` translates the driver's exceptions."""

    @abstractmethod
    def run(self, query: Query, parameters: Mapping[str, CursorValue], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The result, at least one batch."""

    @abstractmethod
    def tables(self) -> Iterator[str]:
        """Qualified names of readable tables and views, sorted."""

    @abstractmethod
    def cancel(self) -> None:
        """Stops the query that runs on the server, if any. Another thread calls it than the one that waits.

        It is called again until that thread is free.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends the login, whatever state it is in."""


class SqlSource(ABC, Generic[C]):
    """A QuerySource on top of a driver's sessions."""

    probe_query: ClassVar[str] = "SELECT 1 AS one"

    def __init__(self, connection: C) -> None:
        self._connection = connection
        self._session: Session | None = None
        self._worker: Worker | None = None

    @property
    def dialect(self) -> str:
        """Sqlglot's name of the database's SQL."""
        return self._connection.dialect.name

    @abstractmethod
    def connect(self) -> Session:
        """A new login with a read-only session where the database has one."""

    @abstractmethod
    def judge(self, error: Exception, *, connecting: bool) -> DriverError | None:
        """What an exception of the driver means, by its type and codes; None for what only `translated` knows.

        Args:
            connecting: whether the login raised it.
        """

    @abstractmethod
    def known_options(self) -> Collection[str] | None:
        """Names of the driver's options; None where the driver itself names the one that it does not know."""

    @abstractmethod
    def address(self) -> tuple[str, int]:
        """Host and port, for the first steps of `probe`."""

    @abstractmethod
    def uri(self) -> str:
        """The database's address for people: no credentials."""

    def __enter__(self) -> Self:
        self._attempt(lambda session: None)
        return self

    def __exit__(self, *exception: object) -> None:
        self._drop()

    def tables(self) -> Iterator[str]:
        """Qualified names of readable tables and views."""
        seconds = self._connection.query_timeout_seconds
        with at_step("list"):
            yield from self._attempt(lambda session: self._call(lambda: list(session.tables()), seconds))

    def select(self, table: str, columns: Sequence[str], limit: int | None = None) -> str:
        """A query for the wanted columns of a table."""
        described = list(self.batches(table_query(table, (), self.dialect, limit=0), {}))
        names = described[0].schema.names
        exact, folded = set(names), {name.lower(): name for name in reversed(names)}
        wanted = [name if name in exact else folded.get(name.lower(), "") for name in columns]
        return table_query(table, list(dict.fromkeys(filter(None, wanted))), self.dialect, limit)

    def batches(
        self,
        query: str,
        parameters: Mapping[str, CursorValue],
        *,
        batch_rows: int = BATCH_ROWS,
        limit: int | None = None,
    ) -> Generator[pa.RecordBatch, None, None]:
        """The result's batches; see QuerySource."""
        checked = read_query(query, self.dialect)
        if limit is None:
            return self._batches(checked, parameters, batch_rows)
        return _first_rows(self._batches(checked, parameters, max(1, min(limit, batch_rows))), limit)

    def behind(self, query: str, column: str, initial: CursorValue, committed: CursorValue) -> bool:
        """Whether there are rows after the initial value, all of them with cursor values below the committed one."""
        checked = read_query(query, self.dialect)
        not_before = about_rows(checked, column, where=">=")
        if len(self._rows(not_before, {"lastItem": initial, "cursor": committed})):
            return False
        return len(self._rows(about_rows(checked, column), {"lastItem": initial})) > 0

    def largest(self, query: str, column: str, initial: CursorValue) -> pa.Array:
        """The largest cursor value in the source, as an array of one, or of none where it has no rows."""
        asked = about_rows(read_query(query, self.dialect), column, largest=True)
        return self._rows(asked, {"lastItem": initial}).drop_null()

    def comes_after(self, query: str, column: str, value: str, after: str) -> bool:
        """Whether a row with the value comes after the other one, as the database compares."""
        asked = about_rows(read_query(query, self.dialect), column, where="=")
        equal = self._rows(asked, {"lastItem": after, "cursor": value})
        return bool(pc.any(pc.equal(pc.cast(equal, pa.string()), value)).as_py())

    def lacks_values(self, query: str, column: str) -> bool:
        """Whether there are rows whose cursor is NULL."""
        asked = no_value_query(read_query(query, self.dialect), column)
        return asked is not None and len(self._rows(asked, {})) > 0

    def cannot_compare(self, query: str, column: str, value: CursorValue) -> bool:
        """Whether there are rows of which none comes after the value, and none up to it."""
        checked = read_query(query, self.dialect)
        up_to_it = rows_of_another_answer(checked, column, "<= {lastItem}")
        of_any_value = rows_of_another_answer(checked, column, "IS NOT NULL")
        if up_to_it is None or of_any_value is None or len(self._rows(up_to_it, {"lastItem": value})):
            return False
        return len(self._rows(of_any_value, {})) > 0

    def _rows(self, query: Query, parameters: Mapping[str, CursorValue]) -> pa.Array:
        """The one column of an answer."""
        return pa.concat_arrays([batch.column(0) for batch in self._batches(query, parameters, BATCH_ROWS)])

    def probe(self) -> Iterator[Step]:
        """Resolve, connect, login, query."""
        host, port = self.address()
        steps: tuple[tuple[str, Callable[[], object], str], ...] = (
            ("resolve", lambda: _resolve(host, port), "check the connection's host"),
            ("connect", lambda: self._reach(host, port), "check host, port, firewalls and allow lists"),
            ("login", self._open, "check username, password and database"),
            ("query", lambda: list(self.batches(self.probe_query, {})), "check the user's permissions"),
        )
        try:
            for name, take, hint in steps:
                try:
                    take()
                except IngestError as error:
                    yield Step(name, ok=False, detail=error.message, hint=error.hint or hint)
                    return
                except OSError as error:
                    detail = "the host name can't be resolved" if name == "resolve" else "no answer from host and port"
                    yield Step(name, ok=False, detail=f"{detail} ({error_name(error)})", hint=hint)
                    return
                yield Step(name, ok=True)
        finally:
            self._drop()

    def _batches(
        self, query: Query, parameters: Mapping[str, CursorValue], batch_rows: int
    ) -> Generator[pa.RecordBatch, None, None]:
        seconds = self._connection.query_timeout_seconds
        with at_step("read"):
            stream, batch = self._attempt(lambda session: self._begin(session, query, parameters, batch_rows))
        whole = False
        try:
            while batch is not None:
                following = self._submit(lambda: next(stream, None), query)
                yield batch
                with at_step("read"):
                    batch = following.wait(seconds, self.uri(), SILENT_QUERY_HINT)
            whole = True
        finally:
            if not whole:
                self._drop(cancel=True)

    def _begin(
        self, session: Session, query: Query, parameters: Mapping[str, CursorValue], batch_rows: int
    ) -> tuple[Iterator[pa.RecordBatch], pa.RecordBatch | None]:
        def begin() -> tuple[Iterator[pa.RecordBatch], pa.RecordBatch | None]:
            stream = session.run(query, parameters, batch_rows)
            return stream, next(stream, None)

        try:
            return self._call(begin, self._connection.query_timeout_seconds, query)
        except BaseException as error:
            self._drop(cancel=not isinstance(error, IngestError) or isinstance(error, SourceUnavailable))
            raise

    def _attempt(self, work: Callable[[Session], T]) -> T:
        """Does the work, on a new session each time that the source does not answer, as often as `retries` says.

        A query that was silent for all of its time is not sent again: that would keep its run waiting as long again.
        """

        def attempt() -> T:
            try:
                return work(self._session or self._open())
            except SourceUnavailable:
                self._drop()
                raise

        return retried(
            attempt, self._connection.retries, time.sleep, lambda error: error.step == "login" or not error.hung
        )

    def _open(self) -> Session:
        self._drop()
        self._check_options()
        self._worker = Worker(self._connection.type)
        with at_step("login"):
            self._session = self._call(self.connect, self._connection.timeout_seconds)
        return self._session

    def _check_options(self) -> None:
        """Raises ConfigError for a mistyped option: drivers would ignore it, or fail in their own words."""
        known = self.known_options()
        unknown = [name for name in self._connection.options if known is not None and name not in known]
        if unknown:
            raise option_mistakes(unknown, self._connection.type, known or ())

    def _call(self, work: Callable[[], T], seconds: float, query: Query | None = None) -> T:
        hint = SILENT_LOGIN_HINT if self._session is None else SILENT_QUERY_HINT
        return self._submit(work, query).wait(seconds, self.uri(), hint)

    def _submit(self, work: Callable[[], T], query: Query | None = None) -> Pending[T]:
        assert self._worker is not None
        connecting = self._session is None
        return self._worker.submit(lambda: self._translating(work, query, connecting=connecting))

    def _translating(self, work: Callable[[], T], query: Query | None, *, connecting: bool) -> T:
        """The work's result. The one place where a driver's exception becomes an IngestError."""
        try:
            return work()
        except IngestError:
            raise
        except Exception as error:
            raise self._translated(error, query, connecting=connecting) from None

    def _translated(self, error: Exception, query: Query | None, *, connecting: bool) -> Exception:
        """By the driver's codes, else by the exception's type. A bug of our own stays what it is."""
        if is_untrusted(error):
            return SourceDenied(f"{self.uri()}: {UNTRUSTED}", hint=UNTRUSTED_HINT)
        known = self.judge(error, connecting=connecting)
        if connecting and self._connection.options and _is_of_usage(error, known):
            names = ", ".join(map(printable, self._connection.options))
            return ConfigError(
                [f"options: the {self._connection.type} driver does not take the value of one of them: {names}"],
                hint="correct it in connections.yaml",
            )
        if known is not None:
            return known.as_ingest_error(self.uri(), query)
        if isinstance(error, OSError | EOFError):
            return DriverError(error_name(error), BROKEN).as_ingest_error(self.uri(), query)
        if isinstance(error, pa.ArrowException):
            return SourceDenied(
                f"{self.uri()}: a column holds a value that its type does not allow",
                hint="convert the column to text in the query",
            )
        if raised_by_us(error):
            return error
        return DriverError(type(error).__name__, BROKEN).as_ingest_error(self.uri(), query)

    def _drop(self, *, cancel: bool = False) -> None:
        """Closes the session; `cancel` cancels its query on the server first. Waits CANCEL_SECONDS at most for each."""
        session, worker = self._session, self._worker
        self._session = self._worker = None
        if worker is None:  # and so no session
            return
        if session is not None:
            if cancel:
                free, helper = worker.submit(lambda: None), Worker("cancel")
                with suppress(Exception):
                    helper.call(lambda: _cancel(session, free), CANCEL_SECONDS, "cancel")
                helper.stop()
            with suppress(Exception):
                worker.call(session.close, CANCEL_SECONDS, "close")
        worker.stop()

    def _reach(self, host: str, port: int) -> None:
        socket.create_connection((host, port), timeout=self._connection.timeout_seconds).close()


class HostSource(SqlSource[H]):
    """A QuerySource whose connection names a host and a port."""

    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self._connection.host, self._connection.port

    def uri(self) -> str:
        """`type://host:port/database`."""
        host, port = self.address()
        return f"{self._connection.type}://{host}:{port}/{self._connection.database}"


def decimals(value: Decimal) -> int:
    """Digits after the point, of a value that is bound with as many."""
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def naive_text(value: CursorValue) -> str:
    """The value as text that a database casts; moments in UTC, the session's zone, without saying so."""
    return value.naive().text(" ") if isinstance(value, Moment) else cursor_text(value)


def backticked(name: str) -> str:
    """The name as SQL takes it, in backticks where it needs them."""
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else "`" + name.replace("`", "``") + "`"


def driver_seconds(query_timeout_seconds: float) -> float:
    """The driver's own timeout: longer than ours, so that ours fires first and words the error.

    With equal timeouts, the one that fired first chose the message. The driver's ends the calls that we gave up.
    """
    return query_timeout_seconds + CANCEL_SECONDS


def driver(module: str, extra: str) -> ModuleType:
    """The driver's module.

    Raises:
        MissingDriver: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDriver(
            f"the driver for {extra} connections is not installed ({error.name or module})",
            hint=f"pip install 'ingest-pipelines[{extra}]'",
        ) from None


def _is_of_usage(error: Exception, known: DriverError | None) -> bool:
    """Whether the driver itself cannot go on with what it was given: no server said so, and no network failed."""
    if known is not None:
        return known.known is REFUSED and known.code == type(error).__name__
    usage = isinstance(error, TypeError | ValueError | AttributeError | AssertionError)
    of_an_answer = isinstance(error, UnicodeError | json.JSONDecodeError)  # one that broke off is no text any more
    return usage and not of_an_answer and not raised_by_us(error)


def option_mistakes(names: Iterable[str], kind: str, known: Collection[str]) -> ConfigError:
    """The error for options that a driver does not know; it names the nearest known one for each."""
    return ConfigError(
        [
            f"options: '{printable(name)}' is not an option of the {kind} driver; {nearest(name, known)}"
            for name in names
        ],
        hint="correct it in connections.yaml",
    )


def accepted(function: Callable[..., object]) -> list[str]:
    """Names of a function's arguments."""
    return [name for name in signature(function).parameters if name != "self"]


def _resolve(host: str, port: int) -> None:
    socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _cancel(session: Session, free: Pending[None]) -> None:
    """Cancels until the session's thread is free: servers ignore a cancel that comes before or between queries."""
    deadline, pause = time.monotonic() + CANCEL_SECONDS, 1 / 64
    session.cancel()
    while not free.over(pause) and time.monotonic() < deadline:
        pause = min(2 * pause, 1.0)
        session.cancel()


def _first_rows(batches: Generator[pa.RecordBatch, None, None], limit: int) -> Generator[pa.RecordBatch, None, None]:
    """So many rows. Closing the batches before their end cancels the query on the server."""
    left = limit
    with closing(batches):
        for number, batch in enumerate(batches):
            if number and not left:
                return
            yield batch.slice(0, left)
            left -= min(left, batch.num_rows)
