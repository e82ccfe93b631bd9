"""Query imports through Dagster: drains in one run, the open item that is tried again, windows of time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml
from dagster import DagsterInstance, RunRequest, SkipReason

from ingest_pipelines import ledger, pipeline
from ingest_pipelines.model import Item, Run
from ingest_pipelines.orchestration.assets.partitions import asset_key, partitions_name
from ingest_pipelines.orchestration.checks.anomaly_checks import Finding
from ingest_pipelines.orchestration.checks.asset_checks import findings
from ingest_pipelines.orchestration.io_managers.target import _loads
from ingest_pipelines.orchestration.monitoring.open_items import open_items
from ingest_pipelines.orchestration.monitoring.probes import look_at_sources, look_at_target
from ingest_pipelines.orchestration.runs.launch import run_import
from ingest_pipelines.orchestration.runs.run_context import RunContext
from ingest_pipelines.orchestration.schedules.cursor_looks import CursorLooks
from ingest_pipelines.orchestration.schedules.import_schedule import due_run_requests, import_schedule
from ingest_pipelines.orchestration.schedules.query_items import find_query_items
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines_tests.orchestration.conftest import Shop
from ingest_pipelines_tests.orchestration.ticks import schedule_tick
from ingest_pipelines_tests.servers import postgres
from ingest_pipelines_tests.servers.cut_proxy import CutProxy, Fault
from ingest_pipelines_tests.waiting import until

CUSTOMERS = "CREATE TABLE customers (id text, n int, tier text, changed_at timestamptz)"
TWENTY_FIVE = """
    INSERT INTO customers SELECT 'C' || n, n, 'Gold', timestamptz '2026-11-19 22:00Z' + n * interval '1 h'
    FROM generate_series(1, 25) n
"""
BY_NUMBER = {
    "query": "SELECT id, n, tier FROM customers WHERE n > {lastItem} ORDER BY n LIMIT 10",
    "cursor": {"column": "n", "start": 0},
}
EVERY_HOUR = {"every": "1h", "timezone": "UTC"}
BY_DAY = {
    "query": "SELECT id, n, tier FROM customers WHERE changed_at >= {windowStart} AND changed_at < {windowEnd}",
    "window": {"every": "day", "start": "2026-11-19", "timezone": "Europe/London"},
}


class Source:
    """A database of the vendor's, and the shop's import that reads it."""

    def __init__(self, url: str, shop: Shop) -> None:
        self.url, self.shop = url, shop

    def __call__(self, *statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def connect(self, **changes: Any) -> None:
        """The connection `shop_db`, with keys of its YAML changed."""
        path = self.shop.home / "connections.yaml"
        connections = yaml.safe_load(path.read_text())
        connections["connections"]["shop_db"] = postgres.connection_to(self.url) | {"retries": 0, **changes}
        path.write_text(yaml.safe_dump(connections))

    def read_by(self, source: dict[str, Any], **changes: Any) -> None:
        columns = {"id": "customer_id", "tier": "tier", "n": {"field": "points", "type": "int"}}
        self.shop.write_import(source={"connection": "shop_db", **source}, columns=columns, **changes)


@pytest.fixture
def source(shop: Shop, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    monkeypatch.setenv("SHOP_PW", str(urlsplit(postgres_url).password))
    with postgres.fresh_database(postgres_url) as url:
        source = Source(url, shop)
        source.connect()
        source(CUSTOMERS, TWENTY_FIVE)
        yield source


def test_a_dry_run_of_a_drain_reads_one_chunk_and_moves_no_cursor(
    shop: Shop, source: Source, instance: DagsterInstance
) -> None:
    source.read_by(BY_NUMBER)
    outcome = run_import(shop.site(), instance, "points", dry_run=True)
    assert outcome.report is not None
    assert (outcome.report.counts.read, outcome.report.counts.inserted, outcome.report.cursor_to) == (10, 10, "10")
    assert shop.rows("SELECT (SELECT count(*) FROM ingest.loads), (SELECT count(*) FROM ingest.cursors)") == [(0, 0)]
    assert instance.get_latest_materialization_event(asset_key(shop.bound())) is None


def test_a_window_that_a_person_loads_leaves_those_before_it_on_the_list(
    shop: Shop, source: Source, instance: DagsterInstance
) -> None:
    """Ticks count from the newest window of the ledger, and would pass over the days between the two."""
    query = "SELECT id, n, tier FROM customers WHERE changed_at >= {windowStart} AND changed_at < {windowEnd}"
    source.read_by(
        {"query": query, "window": {"every": "day", "start": "2026-11-01"}}, schedule={"every": "6h"}, status="active"
    )
    run_import(shop.site(), instance, "points", item_key="2026-11-14")
    run_import(shop.site(), instance, "points", item_key="2026-11-18")
    listed = {item.item for item in open_items(shop.site(), instance, shop.now)}
    assert listed == {f"2026-11-{day}" for day in (15, 16, 17, 19, 20, 21)}
    run_import(shop.site(), instance, "points", item_key="2026-11-03")
    assert {item.item for item in open_items(shop.site(), instance, shop.now)} == listed, "older than the newest"


def test_a_drain_is_one_run_with_a_load_per_chunk_told_as_one(
    shop: Shop, source: Source, instance: DagsterInstance
) -> None:
    source.read_by(BY_NUMBER)
    outcome = run_import(shop.site(), instance, "points")
    assert outcome.report is not None
    assert (outcome.report.counts.read, outcome.report.counts.inserted) == (25, 25)
    assert outcome.report.cursor_to == "25"
    assert shop.rows("SELECT cursor_to, read, status FROM ingest.loads ORDER BY id") == [
        ("10", 10, "committed"), ("20", 10, "committed"), ("25", 5, "committed"),
    ]  # fmt: skip
    event = instance.get_latest_materialization_event(asset_key(shop.bound()))
    assert event is not None
    assert event.asset_materialization is not None
    shown = event.asset_materialization.metadata
    assert (shown["chunks"].value, shown["read"].value, shown["cursor_to"].value) == (3, 25, "25")


def test_the_next_drain_is_named_after_the_committed_cursor(
    shop: Shop, source: Source, instance: DagsterInstance
) -> None:
    source.read_by(BY_NUMBER)
    first = run_import(shop.site(), instance, "points")
    assert str(first.item.key) == "2026-11-22T09-15-00Z_from_start"
    shop.now += timedelta(hours=6)
    source("INSERT INTO customers VALUES ('C26', 26, 'Gold', now())")
    second = run_import(shop.site(), instance, "points")
    assert str(second.item.key) == "2026-11-22T15-15-00Z_from_25"
    assert second.report is not None
    assert second.report.counts.read == 1


def test_a_failed_drain_is_tried_again_under_its_own_name_until_it_is_green(
    shop: Shop, source: Source, instance: DagsterInstance
) -> None:
    source.read_by(BY_NUMBER)
    source("UPDATE customers SET tier = repeat('x', 99) WHERE n = 15")
    failed = run_import(shop.site(), instance, "points")
    assert failed.error is not None
    assert shop.rows("SELECT cursor_from, status FROM ingest.loads ORDER BY id") == [
        (None, "committed"),
        ("10", "failed"),
    ]
    assert shop.rows("SELECT line, code FROM ingest.rejects") != []
    shop.now += timedelta(hours=6)
    source("UPDATE customers SET tier = 'Gold'")
    [request] = _tick(shop, instance)
    assert request.partition_key == str(failed.item.key)
    assert request.run_key != str(failed.item.key)
    again = run_import(shop.site(), instance, "points")
    assert again.item.key == failed.item.key
    assert again.report is not None
    assert (again.report.status, again.report.counts.read) == ("committed", 15)
    assert [item.status for item in _states(shop)] == ["committed"]


def test_a_first_chunk_that_another_run_has_committed_is_left_alone(
    shop: Shop, source: Source, instance: DagsterInstance
) -> None:
    source.read_by(BY_NUMBER)
    site, bound = shop.site(), shop.bound()
    [item] = find_query_items(site, bound).items
    stale = RunContext(site, bound, item, Run("first"))
    chunk = pipeline.next_chunk(item, bound, site.target, stale.run)
    validated = pipeline.validate(pipeline.land(chunk, bound, stale.workspace), bound, stale.workspace)
    pipeline.load(validated, bound, site.target, stale.run, site.clock())
    reports = list(_loads(RunContext(site, bound, item, Run("re-execution")), validated))
    assert [report.counts.read for report in reports] == [10, 5]
    assert shop.rows("SELECT count(*) FROM crm.customers") == [(25,)]


def test_a_query_without_a_cursor_is_a_new_item_per_tick(shop: Shop, source: Source, instance: DagsterInstance) -> None:
    source.read_by({"query": "SELECT id, n, tier FROM customers"})
    first = run_import(shop.site(), instance, "points")
    shop.now += timedelta(hours=6)
    second = run_import(shop.site(), instance, "points")
    assert [str(outcome.item.key) for outcome in (first, second)] == [
        "2026-11-22T09-15-00Z_query",
        "2026-11-22T15-15-00Z_query",
    ]
    assert second.report is not None
    assert second.report.counts.unchanged == 25


def test_a_tick_asks_for_every_window_that_ended_since_the_last(
    shop: Shop, source: Source, instance: DagsterInstance
) -> None:
    source.read_by(BY_DAY)
    assert [request.partition_key for request in _tick(shop, instance)] == ["2026-11-21"]
    assert _tick(shop, instance) == []
    shop.now += timedelta(days=3)
    assert [request.partition_key for request in _tick(shop, instance)] == ["2026-11-22", "2026-11-23", "2026-11-24"]


def test_any_window_can_be_run_from_the_ui_and_holds_exactly_its_rows(
    shop: Shop, source: Source, instance: DagsterInstance
) -> None:
    source.read_by(BY_DAY)
    key = "2026-11-20"
    result = (
        shop.definitions()
        .resolve_implicit_global_asset_job_def()
        .execute_in_process(asset_selection=[asset_key(shop.bound())], partition_key=key, instance=instance)
    )
    assert result.success
    assert shop.rows("SELECT min(points), max(points) FROM crm.customers") == [(2, 25)]
    [item] = _items(shop)
    assert (item.window_start, item.window_end) == (
        datetime(2026, 11, 20, tzinfo=UTC),
        datetime(2026, 11, 21, tzinfo=UTC),
    )


def test_an_older_window_is_read_again_after_a_newer_one(shop: Shop, source: Source, instance: DagsterInstance) -> None:
    source.read_by(BY_DAY)
    assert run_import(shop.site(), instance, "points", item_key="2026-11-20").error is None
    assert run_import(shop.site(), instance, "points", item_key="2026-11-19").error is None
    assert shop.rows("SELECT count(*) FROM crm.customers") == [(25,)]


def test_a_window_that_has_not_ended_is_not_read(shop: Shop, source: Source, instance: DagsterInstance) -> None:
    source.read_by(BY_DAY)
    with pytest.raises(Exception, match="no window 2026-11-22 has ended"):
        run_import(shop.site(), instance, "points", item_key="2026-11-22")


def test_a_tick_without_a_row_after_the_cursor_leaves_only_the_look(
    shop: Shop, source: Source, instance: DagsterInstance, kept_instance: DagsterInstance
) -> None:
    source.read_by(BY_NUMBER, schedule=EVERY_HOUR)
    assert run_import(shop.site(), instance, "points").error is None
    before = _traces(shop, kept_instance)
    looks = CursorLooks()
    for _ in range(2):
        shop.now += timedelta(hours=1)
        answer = _scheduled(shop, kept_instance, looks)
        assert isinstance(answer, SkipReason)
        assert answer.skip_message == "shop_db has no row after the cursor; nothing to load"
        assert _traces(shop, kept_instance) == before
        assert shop.rows("SELECT succeeded_at, trouble FROM ingest.source_checks") == [(shop.now, None)]
        shop.now += timedelta(minutes=30)
        assert open_items(shop.site(), kept_instance, shop.now) == [], "the list knows that the tick looked"
        shop.now -= timedelta(minutes=30)
    assert freshness(shop).passed
    shop.now += timedelta(hours=2)
    assert not freshness(shop).passed

    source("INSERT INTO customers VALUES ('C26', 26, 'Gold', now())")
    [request] = _requested(shop, kept_instance, looks)
    assert str(request.partition_key).endswith("_from_25")
    items = [("2026-11-22T09-15-00Z_from_start", "committed"), (request.partition_key, "new")]
    assert _traces(shop, kept_instance)[0] == items


@pytest.mark.parametrize(
    ("what", "statement"),
    [
        ("rows were lost", "DELETE FROM customers WHERE n > 20"),
        ("a row has no value", "INSERT INTO customers (id) VALUES ('C26')"),
        ("the query fails", "ALTER TABLE customers RENAME n TO number"),
        ("the table is gone", "DROP TABLE customers"),
    ],
)
def test_a_tick_that_finds_something_wrong_leaves_it_to_a_run_to_tell(
    what: str, statement: str, shop: Shop, source: Source, kept_instance: DagsterInstance
) -> None:
    source.read_by(BY_NUMBER, schedule=EVERY_HOUR)
    _commit(shop, "25")
    source(statement)
    looks = CursorLooks()
    [request] = _requested(shop, kept_instance, looks)
    shop.now += timedelta(hours=1)
    [again] = _requested(shop, kept_instance, looks)
    assert again.partition_key == request.partition_key, what


@pytest.mark.parametrize("statement", ["DROP TABLE customers", "ALTER TABLE customers DROP COLUMN tier"])
def test_a_query_that_its_server_refuses_is_the_items_trouble_and_not_its_connections(
    statement: str, shop: Shop, source: Source, instance: DagsterInstance
) -> None:
    source.read_by({"query": "SELECT id, n, tier FROM customers"})
    with shop.site().target.session() as connection:
        ledger.record_trouble(connection, "points", "shop_db", shop.now, "unreachable", step="connect", error="down")
    source(statement)
    outcome = run_import(shop.site(), instance, "points")
    assert outcome.error is not None
    site = shop.site()
    assert look_at_sources(site, look_at_target(site)).ok
    assert shop.rows("SELECT trouble FROM ingest.source_checks") == [(None,)]
    assert shop.rows("SELECT import, source_up FROM ingest.metrics") == [("points", True)]
    [item] = open_items(site, instance, shop.now)
    assert (item.state, item.by_source) == ("failed", False)


def test_a_load_that_failed_by_its_source_is_known_as_that_until_the_source_answers(
    shop: Shop, source: Source, instance: DagsterInstance
) -> None:
    parts = urlsplit(source.url)
    with CutProxy(str(parts.hostname), parts.port or 5432) as proxy:
        source.connect(host=proxy.host, port=proxy.port, timeout_seconds=1)
        source.read_by({"query": "SELECT id, n, tier FROM customers"})
        proxy.break_with(Fault(silent=True))
        assert run_import(shop.site(), instance, "points").error is not None
    [item] = open_items(shop.site(), instance, shop.now)
    assert (item.state, item.by_source) == ("failed", True)
    with shop.site().target.session() as connection:
        ledger.record_success(connection, "points", "shop_db", shop.now + timedelta(minutes=1))
    [item] = open_items(shop.site(), instance, shop.now)
    assert (item.state, item.by_source) == ("failed", False)


@pytest.mark.parametrize(("committed", "lag"), [(None, 0), ("25", 5)])
def test_a_first_drain_and_one_with_a_lag_need_a_run(
    committed: str | None, lag: int, shop: Shop, source: Source, kept_instance: DagsterInstance
) -> None:
    source("DELETE FROM customers")
    source.read_by({**BY_NUMBER, "cursor": {"column": "n", "start": 0, "lag": lag}}, schedule=EVERY_HOUR)
    if committed is not None:
        _commit(shop, committed)
    assert len(_requested(shop, kept_instance, CursorLooks())) == 1


def test_a_source_that_does_not_answer_is_waited_for_shortly_and_left_to_a_run(
    shop: Shop, source: Source, kept_instance: DagsterInstance
) -> None:
    parts = urlsplit(source.url)
    with CutProxy(str(parts.hostname), parts.port or 5432) as proxy:
        source.connect(host=proxy.host, port=proxy.port, timeout_seconds=1)
        source.read_by(BY_NUMBER, schedule=EVERY_HOUR)
        _commit(shop, "25")
        proxy.break_with(Fault(silent=True))
        began = time.monotonic()
        assert len(_requested(shop, kept_instance, CursorLooks())) == 1
        assert time.monotonic() - began < 10


def test_a_query_that_does_not_answer_gets_less_time_after_the_first_look_and_is_ended_on_the_server(
    shop: Shop, source: Source
) -> None:
    source.connect(query_timeout_seconds=2)
    source.read_by(BY_NUMBER, schedule=EVERY_HOUR)
    _commit(shop, "25")
    looks, bound = CursorLooks(), shop.bound()
    waited = []
    with psycopg.connect(source.url) as other:
        other.execute("LOCK TABLE customers")
        for _ in range(2):
            began = time.monotonic()
            assert not looks.find_nothing_new(shop.site(), bound)
            waited.append(time.monotonic() - began)
        assert waited[1] < 2 <= waited[0] < 10
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%tier%'"
        mine = "AND pid <> pg_backend_pid() AND state = 'active'"
        until(lambda: other.execute(f"{waiting} {mine}".encode()).fetchone() == (0,))
    assert looks.find_nothing_new(shop.site(), bound)


def test_an_empty_source_is_drained_once_and_then_only_looked_at(
    shop: Shop, source: Source, instance: DagsterInstance, kept_instance: DagsterInstance
) -> None:
    """A table that is filled next month would have an empty partition for each tick until then."""
    source("DELETE FROM customers")
    source.read_by(BY_NUMBER, schedule=EVERY_HOUR)
    assert len(_requested(shop, kept_instance, CursorLooks())) == 1, "the first drain shows that the import works"
    assert run_import(shop.site(), instance, "points").error is None
    before = _traces(shop, kept_instance)
    shop.now += timedelta(hours=1)
    assert isinstance(_scheduled(shop, kept_instance, CursorLooks()), SkipReason)
    assert _traces(shop, kept_instance) == before
    source("INSERT INTO customers VALUES ('C26', 26, 'Gold', now())")
    assert len(_requested(shop, kept_instance, CursorLooks())) == 1


def _commit(shop: Shop, value: str) -> None:
    """The committed value, as after a drain whose item is settled."""
    with shop.site().target.session() as connection:
        ledger.set_cursor(connection, "points", value, shop.now)


def _scheduled(shop: Shop, instance: DagsterInstance, looks: CursorLooks) -> list[RunRequest] | SkipReason:
    """A tick of the import's schedule, as Dagster evaluates it."""
    site = shop.site()
    tick = import_schedule(site, site.project.require("points"), Listings(), looks)
    answer = schedule_tick(tick, instance, shop.now)
    assert isinstance(answer, list | SkipReason)
    return answer


def _requested(shop: Shop, instance: DagsterInstance, looks: CursorLooks) -> list[RunRequest]:
    answer = _scheduled(shop, instance, looks)
    assert isinstance(answer, list), answer
    return answer


def _traces(shop: Shop, instance: DagsterInstance) -> tuple[object, ...]:
    """All that a drain leaves: items, loads, partitions and runs."""
    return (
        shop.rows("SELECT key, status FROM ingest.items ORDER BY key"),
        shop.rows("SELECT id, status FROM ingest.loads ORDER BY id"),
        instance.get_dynamic_partitions(partitions_name(shop.bound())),
        [run.run_id for run in instance.get_runs()],
    )


def freshness(shop: Shop) -> Finding:
    with shop.site().target.session() as connection:
        return findings(connection, shop.bound(), [], shop.site())["freshness"]


def _tick(shop: Shop, instance: DagsterInstance) -> list[Any]:
    site = shop.site()
    found = due_run_requests(site, shop.bound(), Listings(), instance, by="schedule", tick=shop.now.isoformat())
    return [] if isinstance(found, SkipReason) else found


def _states(shop: Shop) -> list[ledger.ItemState]:
    with shop.site().target.session() as connection:
        return ledger.item_states(connection, "points")


def _items(shop: Shop) -> list[Item]:
    with shop.site().target.session() as connection:
        return ledger.list_items(connection, "points")
