"""An import with `after`: each materialization of an asset before it is answered by a run that begins later."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    DagsterRunStatus,
    Definitions,
    SensorResult,
    SkipReason,
    asset,
)

from ingest_pipelines import ledger
from ingest_pipelines.orchestration.schedules.cursor_looks import CursorLooks
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines.orchestration.sensors.upstream_sensor import upstream_sensor
from ingest_pipelines_tests.orchestration.conftest import Shop
from ingest_pipelines_tests.orchestration.ticks import sensor_tick
from ingest_pipelines_tests.servers.postgres import connection_to

MARTS = (("dbt", "mart_customers"), ("dbt", "mart_orders"))
SCORES = AssetKey(["customers", "scores"])
KINDS: dict[str, dict[str, Any]] = {
    "query": {"query": "SELECT who, n FROM marts"},
    "cursor": {
        "query": "SELECT who, n FROM marts WHERE n > {lastItem} ORDER BY n", "cursor": {"column": "n", "start": 0},
    },
    "window": {
        "query": "SELECT who, n FROM marts WHERE at >= {windowStart} AND at < {windowEnd}",
        "window": {"every": "hour", "start": "2026-01-01"},
    },
}  # fmt: skip


class Mart:
    """The import's sensor, with the cursor that the daemon would keep."""

    def __init__(self, shop: Shop, instance: DagsterInstance) -> None:
        self.shop, self.instance, self.cursor = shop, instance, None

    cursor: str | None

    def materialize(self, key: tuple[str, ...] = MARTS[0]) -> None:
        self.instance.report_runless_asset_event(AssetMaterialization(AssetKey(list(key))))

    def tick(self, *, is_saved: bool = True) -> list[Any]:
        """The runs that a tick requests; the daemon saves its cursor unless it dies before."""
        site = self.shop.site()
        bound = site.project.require("scores")
        result = sensor_tick(upstream_sensor(site, bound, Listings(), CursorLooks()), self.instance, self.cursor)
        if isinstance(result, SkipReason):
            return []
        assert isinstance(result, SensorResult)
        if is_saved:
            self.cursor = result.cursor
        return list(result.run_requests or ())

    def run(self, request: Any) -> bool:
        job = self.shop.definitions().resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            asset_selection=[SCORES], partition_key=request.partition_key, instance=self.instance,
            raise_on_error=False, tags=dict(request.tags),
        ).success  # fmt: skip


@pytest.fixture
def mart(shop: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Mart:
    monkeypatch.setenv("SHOP_PW", str(urlsplit(shop.database_url).password))
    shop.add_vendor(warehouse=connection_to(shop.database_url))
    with psycopg.connect(shop.database_url) as connection:
        connection.execute("CREATE TABLE marts (who text, n int, at timestamptz)")
        connection.execute("INSERT INTO marts VALUES ('S1', 1, now() - interval '1 hour')")
    write(shop)
    shop.now = datetime.now(UTC)
    return Mart(shop, instance)


def write(shop: Shop, kind: str = "query", **changes: Any) -> None:
    columns = {"who": "customer_id", "n": {"field": "points", "type": "int"}}
    source = {"connection": "warehouse", **KINDS[kind]}
    shop.write_import(
        "scores", **{"source": source, "columns": columns, "after": [list(key) for key in MARTS], **changes}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_materialization_is_answered_by_one_run_of_every_kind_of_query(mart: Mart, kind: str) -> None:
    write(mart.shop, kind)
    assert mart.tick() == []
    mart.materialize()
    [request] = mart.tick()
    assert mart.run(request)
    assert mart.shop.rows("SELECT status FROM ingest.loads")[-1] in [("committed",), ("skipped",)]
    assert mart.tick() == []


@pytest.mark.parametrize("key", MARTS)
def test_any_of_the_assets_starts_a_run(mart: Mart, key: tuple[str, ...]) -> None:
    mart.materialize(key)
    assert len(mart.tick()) == 1


def test_an_asset_that_was_materialized_before_the_import_came_is_read_at_once(mart: Mart) -> None:
    mart.materialize()
    assert len(mart.tick()) == 1


def test_what_is_materialized_while_a_run_is_in_progress_is_read_by_the_next_run(mart: Mart) -> None:
    job = mart.shop.definitions().resolve_implicit_global_asset_job_def()
    mart.instance.create_run_for_job(job, tags={"ingest/import": "scores"}, status=DagsterRunStatus.STARTED)
    mart.materialize()
    assert (mart.tick(), mart.tick()) == ([], [])
    mart.instance.report_run_canceled(mart.instance.get_runs()[0])
    assert len(mart.tick()) == 1


@pytest.mark.parametrize("status", ["draft", "paused"])
def test_what_is_materialized_while_the_import_does_not_run_by_itself_is_read_afterwards(
    mart: Mart, status: str
) -> None:
    write(mart.shop, status=status)
    mart.materialize()
    assert mart.tick() == []
    with mart.shop.site().target.session() as connection:
        ledger.set_import_status(connection, "scores", "customers", "active", mart.shop.now)
    assert len(mart.tick()) == 1


def test_a_tick_that_dies_before_its_cursor_is_saved_requests_the_same_item_again(mart: Mart) -> None:
    mart.materialize()
    [first] = mart.tick(is_saved=False)
    [second] = mart.tick()
    assert first.partition_key == second.partition_key
    assert mart.tick() == []


def test_a_run_that_failed_is_tried_again_with_its_item_at_the_next_materialization(mart: Mart) -> None:
    with psycopg.connect(mart.shop.database_url) as connection:
        connection.execute("ALTER TABLE marts RENAME TO gone")
    mart.materialize()
    [request] = mart.tick()
    assert not mart.run(request)
    assert mart.tick() == []
    with psycopg.connect(mart.shop.database_url) as connection:
        connection.execute("ALTER TABLE gone RENAME TO marts")
    mart.materialize()
    [again] = mart.tick()
    assert again.partition_key == request.partition_key
    assert again.run_key != request.run_key
    assert mart.run(again)


@pytest.mark.parametrize("cursor", [None, "", "{", "[]", '{"dbt/mart_customers": "x"}'])
def test_a_cursor_that_a_person_spoiled_costs_a_run_and_no_tick(mart: Mart, cursor: str | None) -> None:
    mart.materialize()
    mart.tick()
    mart.cursor = cursor
    assert len(mart.tick()) == 1
    assert json.loads(mart.cursor or "")


def test_lineage_begins_at_the_teams_own_asset_and_its_events_are_theirs(mart: Mart) -> None:
    write(mart.shop, source={"connection": "warehouse", **KINDS["query"], "asset_key": "dbt/mart_customers"})

    @asset(key=AssetKey(["dbt", "mart_customers"]))
    def mart_customers() -> None: ...

    definitions = Definitions.merge(mart.shop.definitions(), Definitions(assets=[mart_customers]))
    graph = definitions.resolve_asset_graph()
    assert graph.get(SCORES).parent_keys == {AssetKey(["dbt", "mart_customers"])}
    assert not [key for key in graph.get_all_asset_keys() if key.path[:2] == ["source", "warehouse"]]
    mart.materialize()
    [request] = mart.tick()
    assert mart.run(request)
    assert not mart.instance.fetch_observations(AssetKey(["dbt", "mart_customers"]), limit=1).records
