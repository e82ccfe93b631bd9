"""What Dagster+ refuses to a code location (`dagster_cloud.storage` of `dagster-cloud` 1.13), refused here too."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRun, SensorResult

from ingest_pipelines.orchestration.dagster_plus import is_dagster_plus
from ingest_pipelines.orchestration.runs.prune import KEPT_RUNS
from ingest_pipelines.orchestration.runs.signed_tags import RunOrigin, verified_origin
from ingest_pipelines.orchestration.sensors.file_sensor import file_sensor
from ingest_pipelines.orchestration.sensors.housekeeping import housekeeping_sensor
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines_tests.orchestration.conftest import GOOD, Shop
from ingest_pipelines_tests.orchestration.ticks import sensor_tick


class AgentInstance(DagsterInstance):
    """As `dagster_cloud.instance.DagsterCloudAgentInstance` is one."""


AgentInstance.__module__ = "dagster_cloud.instance"


@pytest.fixture
def plus(instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> DagsterInstance:
    """The instance, as a code location in Dagster+ sees it."""

    def no_values(*_: Any) -> Any:
        return NotImplementedError("KVS is not supported from the user cloud")  # returned, as it is there

    def no_deletion(*_: Any) -> None:
        raise Exception("Not allowed to delete runs from user cloud")

    assert not is_dagster_plus(instance)
    monkeypatch.setattr(instance, "__class__", AgentInstance)
    monkeypatch.setattr(instance.daemon_cursor_storage, "get_cursor_values", no_values)
    monkeypatch.setattr(instance.daemon_cursor_storage, "set_cursor_values", no_values)
    monkeypatch.setattr(instance.daemon_cursor_storage, "delete_run", no_deletion)
    return instance


def test_what_a_tick_requests_is_loaded_by_a_run(shop: Shop, plus: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    item = shop.arrive(plus)
    tick = sensor_tick(file_sensor(shop.site(), shop.bound(), Listings()), plus)
    assert isinstance(tick, SensorResult)
    [request] = tick.run_requests or []
    tags: dict[str, Any] = dict(request.tags)
    assert shop.run(plus, item, **tags).success
    assert shop.rows("SELECT item, by, status FROM ingest.loads") == [(item.key, "dagster", "committed")]
    assert tags["ingest/by"] == "sensor"


def test_no_tag_proves_anything(shop: Shop, plus: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    item = shop.arrive(plus)
    tags = {"ingest/by": "ceo", "ingest/seal": "0" * 64, "ingest/forced": "true"}
    run = DagsterRun(job_name="__ASSET_JOB", run_id="run", tags=tags)
    found = verified_origin(run, shop.bound(), str(item.key), shop.site(), plus)
    assert found == RunOrigin("dagster", item.key, forced=False, untrusted_tags=("ingest/forced",))


def test_housekeeping_leaves_old_runs_to_dagster_plus(shop: Shop, plus: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    tags: dict[str, Any] = {"ingest/dry_run": "true"}
    assert shop.run(plus, shop.arrive(plus), **tags).success
    runs = plus.get_runs_count()
    later = shop.now + KEPT_RUNS + timedelta(days=1)
    shop_site = shop.site()
    site = Site(shop_site.settings, shop_site.project, clock=lambda: later)
    sensor_tick(housekeeping_sensor(site, [shop.bound()], Listings()), plus)
    assert plus.get_runs_count() == runs > 0
