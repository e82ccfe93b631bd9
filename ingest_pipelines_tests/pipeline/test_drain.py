"""Cursor imports: chunk by chunk until the source has no more, each chunk whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.imports import RejectLimit
from ingest_pipelines.errors import ConfigError, CursorStuck, SourceDenied, SourceUnavailable
from ingest_pipelines_tests.pipeline.conftest import NOW, Shop
from ingest_pipelines_tests.servers.cut_proxy import CutProxy, Fault

BY_ID: dict[str, Any] = {
    "query": "SELECT id, points FROM customers WHERE id > {lastItem} ORDER BY id LIMIT 10",
    "cursor": {"column": "id", "start": 0},
}
BY_TIME: dict[str, Any] = {
    "query": "SELECT id, points, changed_at FROM customers WHERE changed_at > {lastItem} ORDER BY changed_at LIMIT 4",
    "cursor": {"column": "changed_at", "start": "2000-01-01"},
}
CUSTOMERS = "CREATE TABLE customers (id bigint, points int, changed_at timestamptz)"
TWENTY_FIVE = """
    INSERT INTO customers SELECT n, n * 2, timestamptz '2026-01-01' + n * interval '1 us' FROM generate_series(1, 25) n
"""


def test_a_drain_loads_chunk_after_chunk_until_one_is_empty(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE)
    reports = list(shop.drain(shop.bound(**BY_ID)))
    assert [(report.counts.read, report.cursor_to) for report in reports] == [(10, "10"), (10, "20"), (5, "25")]
    assert shop.query("SELECT cursor_from, cursor_to, read FROM ingest.loads ORDER BY id") == [
        (None, "10", 10), ("10", "20", 10), ("20", "25", 5)
    ]  # fmt: skip
    assert shop.cursor() == "25"
    assert shop.profiles() == {str(n): n * 2 for n in range(1, 26)}
    assert not any(path.is_file() for path in shop.workspace.spool.parent.rglob("*"))


def test_a_drain_that_finds_nothing_leaves_the_cursor_and_says_so(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE)
    bound = shop.bound(**BY_ID)
    list(shop.drain(bound))
    assert [report.counts.read for report in shop.drain(bound, "run-2")] == [0]
    assert shop.cursor() == "25"


def test_rows_that_come_behind_an_empty_chunk_are_for_the_next_run(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE)
    bound = shop.bound(**BY_ID)
    list(shop.drain(bound))
    list(shop.drain(bound, "run-2"))
    shop.source("INSERT INTO customers VALUES (26, 1)")
    assert [report.counts.read for report in shop.drain(bound, "run-2")] == [0]
    assert shop.cursor() == "25"
    assert [report.counts.inserted for report in shop.drain(bound, "run-3")] == [1]


def test_the_cursor_goes_on_past_rows_that_are_rejected(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE, "ALTER TABLE customers ALTER points TYPE text")
    shop.source("UPDATE customers SET points = 'many' WHERE id IN (10, 25)")
    bound = shop.bound(**BY_ID)
    tolerant = replace(bound, spec=bound.spec.model_copy(update={"rejects": RejectLimit(unlimited=True)}))
    reports = list(shop.drain(tolerant))
    assert [(r.counts.read, r.counts.rejected, r.cursor_to) for r in reports] == [
        (10, 1, "10"), (10, 0, "20"), (5, 1, "25")
    ]  # fmt: skip
    assert shop.profiles().keys() == {str(n) for n in range(1, 26)} - {"10", "25"}


@pytest.mark.parametrize(
    ("kind", "value", "start", "reached"),
    [
        ("numeric(38,10)", "9999999999999999999999999999 - 13 + n / 3.0", 0, "9999999999999999999999999990.3333333333"),
        ('text COLLATE "C"', "'k' || lpad(n::text, 4, '0')", "a", "k0013"),
        ("date", "date '2026-01-01' + n", "2026-01-01", "2026-01-14"),
        ("timestamp", "timestamp '2026-03-29 01:30' + n * interval '1 us'", "2026-01-01", "2026-03-29T01:30:00.000013"),
        ("timestamptz", "timestamptz '2026-03-29 01:30Z' + n * interval '1 us'", "2026-01-01",
         "2026-03-29T01:30:00.000013+00:00"),
    ],
)  # fmt: skip
def test_a_cursor_of_any_type_loses_no_digit(shop: Shop, kind: str, value: str, start: int | str, reached: str) -> None:
    shop.source(
        f"CREATE TABLE customers (id bigint, points int, at {kind})",
        f"INSERT INTO customers SELECT n, n, {value} FROM generate_series(1, 13) n",
    )
    query = "SELECT id, points, at FROM customers WHERE at > {lastItem} ORDER BY at LIMIT 5"
    bound = shop.bound(query=query, cursor={"column": "at", "start": start})
    reports = list(shop.drain(bound))
    assert sum(report.counts.inserted for report in reports) == len(shop.profiles()) == 13
    assert shop.cursor() == reached
    assert [
        report.counts.read
        for report in shop.drain(shop.bound(query=query, cursor={"column": "at", "start": start}), "run-2")
    ] == [0]


def test_with_drain_false_a_run_is_one_chunk(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE)
    bound = shop.bound(**BY_ID, drain=False)
    assert [r.cursor_to for run in ("a", "b") for r in shop.drain(bound, run)] == ["10", "20"]


def test_a_run_that_broke_off_goes_on_where_its_last_chunk_ended(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE)
    bound = shop.bound(**BY_ID)
    broken = shop.drain(bound)
    next(broken)
    broken.close()
    assert [report.cursor_to for report in shop.drain(bound)] == ["20", "25"]
    assert len(shop.profiles()) == 25


def test_rows_of_one_moment_that_a_limit_cuts_apart_are_all_read(shop: Shop) -> None:
    shop.source(
        CUSTOMERS,
        "INSERT INTO customers SELECT n, n, timestamptz '2026-01-01' + n / 3 * interval '1 us'"
        " FROM generate_series(1, 25) n",
    )
    reports = list(shop.drain(shop.bound(**BY_TIME)))
    assert sum(report.counts.read for report in reports) == 25
    assert len(shop.profiles()) == 25
    assert shop.cursor() == "2026-01-01T00:00:00.000008+00:00"


def test_more_rows_of_one_moment_than_the_limit_stop_the_drain(shop: Shop) -> None:
    shop.source(CUSTOMERS, "INSERT INTO customers SELECT n, n, '2026-01-01' FROM generate_series(1, 5) n")
    with pytest.raises(CursorStuck, match="all 4 rows share one value of 'changed_at'"):
        list(shop.drain(shop.bound(**BY_TIME)))


def test_a_late_row_within_the_lag_is_loaded_and_the_cursor_never_goes_back(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE, "DELETE FROM customers WHERE id IN (18, 3)")
    bound = shop.bound(**{**BY_ID, "cursor": {"column": "id", "start": 0, "lag": 12}})
    list(shop.drain(bound))
    shop.source("INSERT INTO customers VALUES (18, 1), (3, 1)")
    reports = list(shop.drain(bound, "run-2"))
    assert [(r.counts.read, r.cursor_to) for r in reports] == [(10, "22"), (3, "25")]
    assert shop.query("SELECT cursor_from, cursor_to FROM ingest.loads WHERE run_id = 'run-2' ORDER BY id") == [
        ("12", "22"), ("22", "25")
    ]  # fmt: skip
    assert shop.cursor() == "25"
    assert shop.profiles().keys() == {str(n) for n in range(1, 26)} - {"3"}


def test_a_row_that_becomes_visible_while_a_drain_runs_is_read_by_the_next_one(shop: Shop) -> None:
    shop.source(CUSTOMERS, "INSERT INTO customers SELECT n, n FROM generate_series(1, 25) n WHERE n <> 15")
    bound = shop.bound(**{**BY_ID, "cursor": {"column": "id", "start": 0, "lag": 12}})
    drain = shop.drain(bound)
    next(drain)
    next(drain)
    shop.source(
        "INSERT INTO customers SELECT n, n FROM generate_series(26, 60) n",
        "INSERT INTO customers VALUES (15, 15)",
    )
    list(drain)
    assert shop.profiles().keys() == {str(n) for n in range(1, 61)} - {"15"}
    assert shop.cursor() == "25"
    list(shop.drain(bound, "run-2"))
    assert "15" in shop.profiles()
    assert shop.cursor() == "60"


def test_a_lag_that_one_chunk_can_not_get_beyond_is_told(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE)
    lag = {"column": "id", "start": 0, "lag": 20}
    list(shop.drain(shop.bound(**{**BY_ID, "cursor": lag})))
    shop.source("INSERT INTO customers VALUES (26, 1)")
    with pytest.raises(CursorStuck, match="the lag holds more rows than one chunk"):
        list(shop.drain(shop.bound(**{**BY_ID, "cursor": lag}, drain=False), "run-2"))


def test_a_lag_of_time_is_taken_off_timestamps(shop: Shop) -> None:
    shop.source(
        CUSTOMERS,
        "INSERT INTO customers SELECT n, n, timestamptz '2026-01-01' + n * interval '1 min'"
        " FROM generate_series(1, 9) n",
    )
    bound = shop.bound(**{**BY_TIME, "cursor": {"column": "changed_at", "start": "2000-01-01", "lag": "10m"}})
    list(shop.drain(bound))
    shop.source("INSERT INTO customers VALUES (100, 1, '2026-01-01 00:01:30')")
    assert sum(report.counts.inserted for report in shop.drain(bound, "run-2")) == 1
    assert "100" in shop.profiles()


def test_a_value_in_the_future_is_loaded_and_never_becomes_the_cursor(shop: Shop) -> None:
    shop.source(CUSTOMERS, "INSERT INTO customers VALUES (1, 1, '2026-01-01'), (2, 2, '2026-11-22 12:00')")
    bound = shop.bound(**BY_TIME)
    list(shop.drain(bound))
    assert shop.profiles() == {"1": 1, "2": 2}
    assert shop.cursor() == "2026-01-01T00:00:00+00:00"
    later = list(shop.drain(bound, "run-2", now=NOW + timedelta(hours=3)))
    assert [report.counts.unchanged for report in later] == [1]
    assert shop.cursor() == "2026-11-22T12:00:00+00:00"


def test_more_rows_of_the_future_than_the_limit_are_all_loaded(shop: Shop) -> None:
    shop.source(
        CUSTOMERS,
        "INSERT INTO customers SELECT n, n, timestamptz '2999-01-01' + n * interval '1 h' FROM generate_series(1, 9) n",
    )
    bound = shop.bound(**BY_TIME)
    for run, outcome in (("run-1", "inserted"), ("run-2", "unchanged")):
        assert [getattr(report.counts, outcome) for report in shop.drain(bound, run)] == [4, 4, 1]
        assert shop.cursor() is None
    with pytest.raises(CursorStuck, match="the lag holds more rows than one chunk, or the future does"):
        list(shop.drain(shop.bound(**BY_TIME, drain=False), "run-3"))


def test_a_day_is_not_passed_before_it_is_over(shop: Shop) -> None:
    """NOW is in the morning of 2026-11-22."""
    shop.source(
        "CREATE TABLE customers (id bigint, points int, day date)",
        "INSERT INTO customers VALUES (1, 1, '2026-11-21'), (2, 2, '2026-11-22')",
    )
    query = "SELECT id, points, day FROM customers WHERE day > {lastItem} ORDER BY day LIMIT 4"
    bound = shop.bound(query=query, cursor={"column": "day", "start": "2026-01-01"})
    list(shop.drain(bound))
    assert shop.cursor() == "2026-11-21"
    shop.source("INSERT INTO customers VALUES (3, 3, '2026-11-22')")
    assert [report.counts.inserted for report in shop.drain(bound, "run-2")] == [1]
    list(shop.drain(bound, "run-3", now=NOW + timedelta(days=1)))
    assert shop.cursor() == "2026-11-22"


def test_rows_without_a_cursor_value_are_counted_and_refused(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE, "UPDATE customers SET changed_at = NULL WHERE id < 4")
    query = "SELECT id, points, changed_at FROM customers WHERE changed_at > {lastItem} OR changed_at IS NULL"
    with pytest.raises(CursorStuck, match="3 rows have no value in 'changed_at'"):
        list(shop.drain(shop.bound(**{**BY_TIME, "query": query})))


def test_a_query_that_does_not_use_the_cursor_stops_instead_of_looping(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE)
    query = "SELECT id, points FROM customers WHERE id > {lastItem} OR true ORDER BY id LIMIT 10"
    drain = shop.drain(shop.bound(**{**BY_ID, "query": query}))
    assert next(drain).cursor_to == "10"
    with pytest.raises(CursorStuck, match="do not grow"):
        next(drain)


def test_rows_of_the_cursor_itself_that_come_again_are_no_loop(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE)
    query = "SELECT id, points FROM customers WHERE id >= {lastItem} ORDER BY id LIMIT 20"
    bound = shop.bound(**{**BY_ID, "query": query})
    assert [report.cursor_to for report in shop.drain(bound)] == ["20", "25", None]
    assert [report.counts.unchanged for report in shop.drain(bound, "run-2")] == [1]
    assert shop.cursor() == "25"


def test_a_source_restored_from_a_backup_stops_loudly(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE)
    bound = shop.bound(**BY_ID)
    list(shop.drain(bound))
    shop.source("DELETE FROM customers WHERE id > 20")
    with pytest.raises(CursorStuck, match="restored from a backup"):
        list(shop.drain(bound, "run-2"))


def test_an_emptied_source_is_no_alarm(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE)
    bound = shop.bound(**BY_ID)
    list(shop.drain(bound))
    shop.source("TRUNCATE customers")
    assert [report.counts.read for report in shop.drain(bound, "run-2")] == [0]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELECT id, points FROM customers WHERE id > {lastItem} LIMIT 10", "ORDER BY id is missing"),
        ("SELECT id, points FROM customers WHERE id > {lastItem} ORDER BY id DESC LIMIT 10", "DESC"),
        ("SELECT id, points FROM customers WHERE id > {lastItem} ORDER BY id LIMIT 9 OFFSET 9", "OFFSET"),
        ("SELECT id, points FROM customers -- WHERE id > {lastItem}", "only in a comment"),
    ],
)
def test_a_query_whose_chunks_could_lose_rows_is_a_config_error(shop: Shop, query: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        list(shop.drain(shop.bound(**{**BY_ID, "query": query})))


def test_a_start_of_another_kind_than_the_column_is_told(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE)
    with pytest.raises(CursorStuck, match="'id' is int64, and its start says it holds text"):
        list(shop.drain(shop.bound(**{**BY_ID, "cursor": {"column": "id", "start": "0"}})))


def test_a_failed_chunk_names_itself_and_leaves_those_before(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE)
    drain = shop.drain(shop.bound(**BY_ID))
    next(drain)
    shop.source("DROP TABLE customers")
    with pytest.raises(SourceDenied, match="table or view does not exist: customers") as caught:
        next(drain)
    reached = caught.value.reached
    assert getattr(reached, "cursor_from", None) == "10"
    assert shop.cursor() == "10"


def test_two_drains_at_once_never_take_the_cursor_back(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE)
    bound = shop.bound(**BY_ID)
    slow = shop.drain(bound, "slow")
    next(slow)
    list(shop.drain(bound, "fast"))
    assert shop.cursor() == "25"
    assert [report.counts.unchanged for report in slow] == [10, 5]
    assert shop.cursor() == "25"


def test_a_person_can_set_the_cursor(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE)
    with shop.target.session() as connection:
        ledger.set_cursor(connection, "tills", "20", NOW)
    assert [report.counts.inserted for report in shop.drain(shop.bound(**BY_ID))] == [5]


def test_a_connection_that_drops_between_chunks_is_made_again(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE)
    with CutProxy(*_address(shop)) as proxy:
        drain = shop.drain(_through(proxy, shop.bound(**BY_ID), retries=3))
        next(drain)
        proxy.cut_all()
        proxy.break_with(Fault(refuse_first=2))
        assert [report.cursor_to for report in drain] == ["20", "25"]


def test_a_connection_that_drops_within_a_chunk_loses_that_chunk_alone(shop: Shop) -> None:
    shop.source(CUSTOMERS, TWENTY_FIVE)
    query = "SELECT id, points, repeat('x', 9000) AS wide FROM customers WHERE id > {lastItem} ORDER BY id LIMIT 10"
    with CutProxy(*_address(shop)) as proxy:
        bound = _through(proxy, shop.bound(**{**BY_ID, "query": query}), retries=0)
        drain = shop.drain(bound)
        next(drain)
        proxy.break_with(Fault(cut_after_received=50_000))
        with pytest.raises(SourceUnavailable):
            next(drain)
        assert shop.cursor() == "10"
        proxy.break_with(Fault())
        assert [report.cursor_to for report in shop.drain(bound)] == ["20", "25"]
    assert len(shop.profiles()) == 25


def _address(shop: Shop) -> tuple[str, int]:
    parts = urlsplit(shop.source_url)
    return str(parts.hostname), int(parts.port or 0)


def _through(proxy: CutProxy, bound: BoundImport, **changes: object) -> BoundImport:
    reached = {"host": proxy.host, "port": proxy.port, **changes}
    return replace(bound, connection=bound.connection.model_copy(update=reached))
