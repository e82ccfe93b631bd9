"""What every query source keeps; one class of tests, run against every real server and stand-in.

A source's test module subclasses `QueryContract` and gives it a `warehouse`. What a server of the tests can't show is a
class of its own, which the source then does not inherit: no test passes without having tested anything.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar

import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from ingest_pipelines.config.connections import Connection
from ingest_pipelines.cursor.values import CursorValue, Moment
from ingest_pipelines.errors import ConfigError, IngestError, SourceDenied, SourceUnavailable
from ingest_pipelines.sources import open_query, sql
from ingest_pipelines_tests.servers.cut_proxy import CutProxy, Fault
from ingest_pipelines_tests.waiting import until

ROWS = 60_000
"""Rows of the contract's table `contract_rows`: id 1..ROWS, name 'name <id>'."""

ENDLESS = (
    "SELECT COUNT(*) AS MARK FROM contract_rows a CROSS JOIN contract_rows b CROSS JOIN contract_rows c"
    " WHERE SIN(a.id) + COS(b.id) + c.id = 0.5"
)
"""A slow query that most servers understand."""

HOSTILE = [
    "'; DROP TABLE contract_rows; --", "' OR '1'='1", "\\", "\\'", "a\\", "%s %(x)s {lastItem} ? :x $1 @p1", '"', "``",
    "]]", "$$", "/* */ --", "Zoë 日本 \N{GRINNING FACE}", "new\nline\ttab", "  padded  ", "null", "N'x'", "{}", "%",
]  # fmt: skip


class Warehouse(ABC):
    """A database that only this test uses, with the table `contract_rows` in it, and how to reach it.

    Args:
        keys: of the connection's YAML, without its password.
        password: the user's; fixture `warehouse` puts it where the connection reads it. None: the server asks for none.
    """

    one_row: ClassVar[str] = ""

    def __init__(self, address: tuple[str, int], password: str | None, **keys: object) -> None:
        self.address = address
        self.secrets = ("not-there-secret" if password is None else password,)
        secret = {} if password is None else {"password": {"env": "WAREHOUSE_PW"}}
        self._keys: dict[str, object] = {"timeout_seconds": 10, **secret, **keys}

    def connection(self, **changes: Any) -> Connection:
        """The connection, with keys of its YAML changed."""
        host, port = self.address
        keys = {"host": host, "port": port, **self._keys, **changes}
        return TypeAdapter[Connection](Connection).validate_python(keys)

    def numbers(self, most: int) -> str:
        """A query of the numbers from 1 on, as `id`."""
        return " UNION ALL ".join(f"SELECT {n} AS id {self.one_row}" for n in range(1, most + 1))

    @abstractmethod
    def running(self, mark: str) -> int:
        """How many queries whose text contains the mark the server is running now."""


class QueryContract:
    """Tests that a source of any database passes.

    Attributes:
        slow_query: a SELECT of the column MARK that runs for minutes unless somebody stops it.
        unreadable: a SELECT that fails while it runs because of the value `hunter2`.
        missing: what the server says of a missing table.
        cut_after: bytes of a session, log in included, that are far less than the contract's table.
    """

    slow_query: ClassVar[str]
    unreadable: ClassVar[str]
    missing: ClassVar[str] = "no_such_table"
    cut_after: ClassVar[int] = 400_000

    def test_all_rows_come_in_batches_that_add_up(self, warehouse: Warehouse) -> None:
        with open_query(warehouse.connection()) as source:
            batches = list(source.batches("SELECT id, name FROM contract_rows ORDER BY id", {}, batch_rows=10_000))
        rows = pa.Table.from_batches(batches)
        assert len(batches) > 1
        assert [int(n) for n in rows.column(0).to_pylist()] == list(range(1, ROWS + 1))
        assert rows.column(1)[-1].as_py() == f"name {ROWS}"

    def test_a_result_without_rows_still_has_its_columns(self, warehouse: Warehouse) -> None:
        with open_query(warehouse.connection()) as source:
            batches = list(source.batches("SELECT id, name FROM contract_rows WHERE id < 0", {}))
        assert [name.lower() for name in batches[0].schema.names] == ["id", "name"]
        assert sum(batch.num_rows for batch in batches) == 0

    def test_one_session_serves_one_query_after_the_other(self, warehouse: Warehouse) -> None:
        with open_query(warehouse.connection()) as source:
            counts = [self._count(source.batches("SELECT id FROM contract_rows WHERE id <= 3", {})) for _ in range(3)]
        assert counts == [3, 3, 3]

    def test_hostile_values_are_values(self, warehouse: Warehouse) -> None:
        query = f"SELECT {{lastItem}} AS v, '%{{x}}?' AS w {warehouse.one_row}"
        with open_query(warehouse.connection()) as source:
            for value in HOSTILE:
                rows = pa.Table.from_batches(list(source.batches(query, {"lastItem": value})))
                assert [row[name] for row in rows.to_pylist() for name in rows.column_names] == [value, "%{x}?"]

    @pytest.mark.parametrize(
        ("value", "ids"),
        [
            (ROWS - 2, [ROWS - 1, ROWS]),
            (-1, [1, 2, 3]),
            (2**53 + 1, []),
            (-(2**62), [1, 2, 3]),
            (Decimal("2.5"), [3, 4, 5]),
        ],
    )
    def test_numbers_are_bound_as_numbers(self, warehouse: Warehouse, value: CursorValue, ids: list[int]) -> None:
        query = "SELECT id FROM contract_rows WHERE id > {lastItem} ORDER BY id"
        with open_query(warehouse.connection()) as source:
            found = pa.Table.from_batches(list(source.batches(query, {"lastItem": value}, limit=3)))
        assert [int(n) for n in found.column(0).to_pylist()] == ids

    def test_moments_are_bound_to_the_microsecond(self, warehouse: Warehouse) -> None:
        query = "SELECT id FROM contract_moments WHERE seen_at > {lastItem} AND seen_at <= {windowEnd} ORDER BY id"
        bounds: list[tuple[CursorValue, CursorValue]] = [(_moment(1), _moment(3)), (date(2026, 3, 29), _moment(2))]
        with open_query(warehouse.connection()) as source:
            found = [
                [
                    int(n)
                    for batch in source.batches(query, {"lastItem": after, "windowEnd": end})
                    for n in batch.column(0).to_pylist()
                ]
                for after, end in bounds
            ]
        assert found == [[2, 3], [1, 2]]

    def test_a_sample_is_short(self, warehouse: Warehouse) -> None:
        with open_query(warehouse.connection()) as source:
            assert self._count(source.batches("SELECT * FROM contract_rows", {}, limit=7)) == 7
            assert self._count(source.batches("SELECT * FROM contract_rows WHERE id < 3", {}, limit=7)) == 2

    def test_a_table_is_read_by_its_mapped_columns_alone(self, warehouse: Warehouse) -> None:
        connection = warehouse.connection()
        with open_query(connection) as source:
            found = sorted({name for name in source.tables() if "contract_rows" in name.lower()})
            # Some servers list the tables of other tests' databases too.
            own = [str(getattr(connection, key, "")) for key in ("database", "username")]
            (table,) = [name for name in found if any(mark in name for mark in own)] or found
            query = source.select(table, ["NAME", "id", "no_such_column"])
            (batch,) = list(source.batches(query, {}, limit=1))
        assert [name.lower() for name in batch.schema.names] == ["name", "id"]

    def test_what_is_no_select_never_reaches_the_server(self, warehouse: Warehouse) -> None:
        with open_query(warehouse.connection()) as source:
            for query in (
                "DELETE FROM contract_rows",
                "SELECT 1; SELECT 2",
                "DROP TABLE contract_rows",
                "SELECT (",
                "",
            ):
                with pytest.raises(ConfigError):
                    list(source.batches(query, {}))
            assert self._count(source.batches("SELECT id FROM contract_rows WHERE id = 1", {})) == 1

    def test_a_missing_table_is_named(self, warehouse: Warehouse) -> None:
        with open_query(warehouse.connection()) as source, pytest.raises(SourceDenied, match=f"(?i){self.missing}"):
            list(source.batches("SELECT * FROM no_such_table", {}))

    def test_no_value_stands_in_an_error(self, warehouse: Warehouse) -> None:
        with open_query(warehouse.connection()) as source, pytest.raises(IngestError) as caught:
            list(source.batches(self.unreadable, {}))
        assert "hunter2" not in f"{caught.value}{caught.value.__cause__}"

    def test_whether_all_rows_lie_before_the_cursor(self, warehouse: Warehouse) -> None:
        query = "SELECT id FROM contract_rows WHERE id > {lastItem} ORDER BY id"
        with open_query(warehouse.connection()) as source:
            assert not source.behind(query, "id", 0, ROWS)
            assert source.behind(query, "id", 0, ROWS + 1)
            assert not source.behind(query, "id", ROWS, ROWS + 1)

    def test_no_secret_in_any_output(
        self, warehouse: Warehouse, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        caplog.set_level(logging.DEBUG)
        with open_query(warehouse.connection()) as source:
            said = [source.uri(), repr(source)]
            with pytest.raises(SourceDenied) as caught:
                list(source.batches("SELECT nope FROM contract_rows", {}))
            said.append(str(caught.value))
        output = capfd.readouterr()
        for secret in warehouse.secrets:
            assert all(secret not in text for text in (*said, caplog.text, output.out, output.err))

    def test_the_test_of_a_connection_goes_step_by_step(self, warehouse: Warehouse) -> None:
        steps = list(open_query(warehouse.connection()).probe())
        assert [(step.name, step.ok) for step in steps] == [
            ("resolve", True), ("connect", True), ("login", True), ("query", True)
        ]  # fmt: skip

    def test_the_test_of_a_connection_names_the_step_that_fails(self, warehouse: Warehouse) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            steps = list(open_query(warehouse.connection(**self._at("127.0.0.1", free.getsockname()[1]))).probe())
        assert [(step.name, step.ok) for step in steps] == [("resolve", True), ("connect", False)]
        assert steps[-1].hint

    def test_a_listener_that_says_nothing_is_left_in_time(self, warehouse: Warehouse) -> None:
        with silent_listener() as port:
            began = time.monotonic()
            connection = warehouse.connection(**self._at("127.0.0.1", port), timeout_seconds=1, retries=0)
            with pytest.raises(SourceUnavailable), open_query(connection):
                pass
        assert time.monotonic() - began < 8

    def test_a_refused_connection_is_tried_again(self, warehouse: Warehouse) -> None:
        with CutProxy(*warehouse.address) as proxy:
            proxy.break_with(Fault(refuse_first=2))
            connection = warehouse.connection(**self._at(proxy.host, proxy.port), retries=3)
            with open_query(connection) as source:
                assert self._count(source.batches("SELECT id FROM contract_rows WHERE id = 1", {})) == 1
            assert proxy.connections >= 3

    def test_a_connection_that_dropped_between_queries_is_made_again(self, warehouse: Warehouse) -> None:
        with CutProxy(*warehouse.address) as proxy:
            connection = warehouse.connection(**self._at(proxy.host, proxy.port), retries=2)
            with open_query(connection) as source:
                assert self._count(source.batches("SELECT id FROM contract_rows WHERE id = 1", {})) == 1
                proxy.cut_all()
                assert self._count(source.batches("SELECT id FROM contract_rows WHERE id = 1", {})) == 1

    def test_a_result_that_breaks_off_is_an_error_and_never_a_short_result(self, warehouse: Warehouse) -> None:
        with CutProxy(*warehouse.address) as proxy:
            connection = warehouse.connection(**self._at(proxy.host, proxy.port), retries=0)
            with open_query(connection) as source:
                self._count(source.batches("SELECT id FROM contract_rows WHERE id = 1", {}))
                proxy.cut_all()
                proxy.break_with(Fault(cut_after_received=self.cut_after))
                for _ in range(2):  # once because of the cut before, once within the result
                    with pytest.raises(SourceUnavailable):
                        self._count(source.batches("SELECT id, name FROM contract_rows", {}, batch_rows=1_000))

    def test_a_result_that_stalls_is_left_in_time(self, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sql, "CANCEL_SECONDS", 1.0)
        with CutProxy(*warehouse.address) as proxy:
            connection = warehouse.connection(
                **self._at(proxy.host, proxy.port), retries=0, query_timeout_seconds=1, timeout_seconds=5
            )
            with open_query(connection) as source:
                self._count(source.batches("SELECT id FROM contract_rows WHERE id = 1", {}))
                proxy.break_with(Fault(silent=True))
                began = time.monotonic()
                with pytest.raises(SourceUnavailable):
                    self._count(source.batches("SELECT id, name FROM contract_rows", {}))
            assert time.monotonic() - began < 10

    def test_who_stops_waiting_leaves_no_query_running(self, warehouse: Warehouse) -> None:
        mark = "marked_by_contract"
        with open_query(warehouse.connection(query_timeout_seconds=1, retries=0)) as source:
            with pytest.raises(SourceUnavailable, match="no answer within 1 s"):
                list(source.batches(self.slow_query.replace("MARK", mark), {}))
            until(lambda: warehouse.running(mark) == 0)

    def test_a_run_that_is_terminated_leaves_no_query_running(self, warehouse: Warehouse) -> None:
        """As Dagster ends a run: a signal, whose handler raises in the thread that waits."""
        mark, waiting = "marked_by_signal", threading.get_ident()

        def terminate() -> None:
            until(lambda: warehouse.running(mark) > 0)
            signal.pthread_kill(waiting, signal.SIGUSR1)

        before = signal.signal(signal.SIGUSR1, _terminated)
        terminator = threading.Thread(target=terminate, daemon=True)
        try:
            with open_query(warehouse.connection()) as source:
                terminator.start()
                with pytest.raises(Terminated):
                    list(source.batches(self.slow_query.replace("MARK", mark), {}))
                until(lambda: warehouse.running(mark) == 0)
        finally:
            terminator.join()
            signal.signal(signal.SIGUSR1, before)

    @staticmethod
    def _count(batches: Iterator[pa.RecordBatch]) -> int:
        return sum(batch.num_rows for batch in batches)

    def _at(self, host: str, port: int) -> dict[str, object]:
        """What is to be changed in the connection so that it leads there."""
        return {"host": host, "port": port}


class PasswordContract:
    """For servers that look at the password at all."""

    def test_a_wrong_password_is_denied_at_once(self, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WRONG_PW", "wrong-secret")
        began = time.monotonic()
        with pytest.raises(SourceDenied) as caught, open_query(warehouse.connection(password={"env": "WRONG_PW"})):
            pass
        assert time.monotonic() - began < 10
        assert "wrong-secret" not in str(caught.value)


class EarlyCancelContract:
    """For servers that heed a cancel at any time. Spark accepts one for a query that has just begun, and runs it on."""

    slow_query: ClassVar[str]

    @pytest.mark.parametrize("patience", [0.001, 0.004, 0.016, 0.064])
    def test_who_leaves_before_the_query_has_begun_leaves_none_behind(
        self, warehouse: Warehouse, patience: float
    ) -> None:
        """Some servers are asked for the columns first; some forget a cancel that comes before the query."""
        mark = f"left_after_{round(patience * 1000)}"
        connection, others = warehouse.connection(query_timeout_seconds=patience, retries=0), threading.enumerate()
        with open_query(connection) as source:
            with pytest.raises(SourceUnavailable, match="no answer within"):
                list(source.batches(self.slow_query.replace("MARK", mark), {}))
            mine = [thread for thread in threading.enumerate() if thread not in others]
            until(lambda: not any(thread.is_alive() for thread in mine if thread.name == connection.type))
            until(lambda: warehouse.running(mark) == 0)


class StreamContract(QueryContract):
    """For servers that send rows while the query runs. Others have ended it by then: there is nothing to stop."""

    def test_an_interrupted_reader_leaves_no_query_running(self, warehouse: Warehouse) -> None:
        with open_query(warehouse.connection()) as source:
            query = "SELECT a.id AS left_by_contract, b.name FROM contract_rows a CROSS JOIN contract_rows b"
            with closing(source.batches(query, {}, batch_rows=1_000)) as batches:
                assert next(batches).num_rows
            until(lambda: warehouse.running("left_by_contract") == 0)
            assert self._count(source.batches("SELECT id FROM contract_rows WHERE id = 1", {})) == 1


class Terminated(BaseException):
    """What the handler of a signal raises."""


def _terminated(number: int, frame: object) -> None:
    raise Terminated


def _moment(microsecond: int) -> Moment:
    return Moment.of(datetime(2026, 3, 29, 1, 30, 0, microsecond))


@contextmanager
def silent_listener() -> Iterator[int]:
    """A port that accepts connections and says nothing."""
    held: list[socket.socket] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def accept() -> None:
            try:
                while True:
                    held.append(listener.accept()[0])
            except OSError:
                return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for client in held:
        client.close()


class LegalSelectContract:
    """The vendor's legal SELECTs run on the server of the tests, which has a table `t (id, a, b, d)`.

    Attributes:
        selects: the statements.
    """

    selects: ClassVar[Sequence[str]]

    def test_every_legal_select_runs(self, warehouse: Warehouse) -> None:
        failed = {}
        with open_query(warehouse.connection()) as source:
            for query in self.selects:
                try:
                    list(source.batches(query, {}))
                except IngestError as error:
                    failed[query] = str(error)
        assert not failed, failed
