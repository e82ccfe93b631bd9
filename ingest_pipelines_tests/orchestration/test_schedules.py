"""When schedules tick, and what a tick takes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from dagster import DagsterInstance, RunRequest, SkipReason, build_schedule_context

from ingest_pipelines.config.imports import Schedule
from ingest_pipelines.orchestration.arrivals import Listings
from ingest_pipelines.orchestration.partitions import partitions_name
from ingest_pipelines.orchestration.plans import cron_of, outside
from ingest_pipelines.orchestration.schedules import import_schedule
from ingest_pipelines_tests.orchestration.conftest import GOOD, NOW, Shop

EVERY_6H = {"every": "6h", "start": "2026-11-22T06:30", "timezone": "Europe/London"}


@pytest.mark.parametrize(
    ("plan", "cron"),
    [
        ({"every": "5m"}, "0,5,10,15,20,25,30,35,40,45,50,55 * * * *"),
        ({"every": "15m", "start": "2026-11-22T06:07"}, "7,22,37,52 * * * *"),
        ({"every": "1h"}, f"0 {','.join(map(str, range(24)))} * * *"),
        ({"every": "6h"}, "0 0,6,12,18 * * *"),
        ({"every": "6h", "start": "2026-11-22T09:15"}, "15 3,9,15,21 * * *"),
        ({"every": "12h", "start": "2026-11-22T06:00"}, "0 6,18 * * *"),
        ({"every": "24h", "start": "2026-11-22T06:30"}, "30 6 * * *"),
        ({"every": "1d"}, "0 0 * * *"),
        ({"cron": "30 9 * * 1"}, "30 9 * * 1"),
    ],
)
def test_a_plan_ticks_by_the_wall_clock_counted_from_its_start(plan: dict[str, str], cron: str) -> None:
    assert cron_of(Schedule.model_validate(plan)) == cron


def test_a_plan_has_no_tick_before_its_start_nor_after_its_last_day() -> None:
    plan = Schedule.model_validate({**EVERY_6H, "until": date(2027, 6, 30)})
    assert "starts at 2026-11-22T06:30+00:00" in outside(plan, datetime(2026, 11, 22, 6, 29, tzinfo=UTC))
    assert not outside(plan, datetime(2026, 11, 22, 6, 30, tzinfo=UTC))
    assert not outside(plan, datetime(2027, 6, 30, 22, 59, tzinfo=UTC))  # 23:59 in London
    assert "ended on 2027-06-30" in outside(plan, datetime(2027, 6, 30, 23, 0, tzinfo=UTC))


def test_a_tick_takes_the_last_modified_file(shop: Shop, kept_instance: DagsterInstance) -> None:
    shop.deliver("Points_9.csv", GOOD, age=timedelta(hours=2))
    shop.deliver("Points_1.csv", GOOD, age=timedelta(hours=1))
    request = _tick(shop, kept_instance)
    assert isinstance(request, RunRequest)
    assert "Points_1.csv" in str(request.partition_key)
    assert request.run_key == request.partition_key
    assert request.tags["ingest/by"] == "schedule"
    assert kept_instance.get_dynamic_partitions(partitions_name(shop.bound())) == [request.partition_key]
    assert shop.rows("SELECT key FROM ingest.items") == [(request.partition_key,)]


def test_a_tick_with_nothing_new_says_so(shop: Shop, kept_instance: DagsterInstance) -> None:
    (shop.files / "points").mkdir()
    assert "no file points/Points at uploads yet" in _skipped(_tick(shop, kept_instance))
    shop.deliver("Points_1.csv", GOOD)
    shop.run(kept_instance, shop.arrive(kept_instance))
    assert "is known and committed" in _skipped(_tick(shop, kept_instance))


def test_a_tick_outside_the_plan_says_so(shop: Shop, kept_instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    assert "ended on 2026-11-01" in _skipped(_tick(shop, kept_instance, until=date(2026, 11, 1)))


def test_a_paused_import_has_no_ticks(shop: Shop, kept_instance: DagsterInstance) -> None:
    shop.write_import(status="paused")
    shop.deliver("Points_1.csv", GOOD)
    assert "ingest resume points" in _skipped(_tick(shop, kept_instance))


def _tick(shop: Shop, instance: DagsterInstance, **plan: object) -> RunRequest | SkipReason:
    site = shop.site()
    bound = site.project.require("points")
    schedule = Schedule.model_validate({**EVERY_6H, "start": "2026-01-01T00:00", **plan})
    object.__setattr__(bound, "spec", bound.spec.model_copy(update={"schedule": schedule}))
    answer = import_schedule(site, bound, Listings())(
        build_schedule_context(instance=instance, scheduled_execution_time=NOW)
    )
    assert isinstance(answer, RunRequest | SkipReason)
    return answer


def _skipped(answer: RunRequest | SkipReason) -> str:
    assert isinstance(answer, SkipReason)
    return str(answer.skip_message)
