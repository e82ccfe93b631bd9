"""When schedules tick, and what a tick takes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dagster import DagsterInstance, RunRequest, SkipReason
from dagster._utils.schedules import schedule_execution_time_iterator

from ingest_pipelines.config.schedule import Schedule
from ingest_pipelines.orchestration.assets.partitions import partitions_name
from ingest_pipelines.orchestration.schedules.cron import crons_of, why_no_tick
from ingest_pipelines.orchestration.schedules.cursor_looks import CursorLooks
from ingest_pipelines.orchestration.schedules.import_schedule import import_schedule
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines_tests.orchestration.conftest import GOOD, NOW, Shop
from ingest_pipelines_tests.orchestration.ticks import schedule_tick

EVERY_6H = {"every": "6h", "start": "2026-11-22T06:30", "timezone": "Europe/London"}


@pytest.mark.parametrize(
    ("plan", "crons"),
    [
        ({"every": "5m"}, ["*/5 * * * *"]),
        ({"every": "5m", "start": "2026-11-22T06:07"}, ["2-59/5 * * * *"]),
        ({"every": "2h", "start": "2026-11-22T07:30"}, ["30 1-23/2 * * *"]),
        ({"every": "15m", "start": "2026-11-22T06:07"}, ["7,22,37,52 * * * *"]),
        ({"every": "1h"}, ["0 * * * *"]),
        ({"every": "6h"}, ["0 0,6,12,18 * * *"]),
        ({"every": "6h", "start": "2026-11-22T09:15"}, ["15 3,9,15,21 * * *"]),
        ({"every": "12h", "start": "2026-11-22T06:00"}, ["0 6,18 * * *"]),
        ({"every": "24h", "start": "2026-11-22T06:30"}, ["30 6 * * *"]),
        ({"every": "1d"}, ["0 0 * * *"]),
        ({"cron": "30 9 * * 1"}, ["30 9 * * 1"]),
        ({"at": ["18:30", "06:00"]}, ["0 6 * * *", "30 18 * * *"]),
        ({"at": ["06:00"], "dates": [date(2026, 12, 31), date(2026, 12, 24)]}, ["0 6 24 12 *", "0 6 31 12 *"]),
        ({"at": ["06:00"], "months": ["jul", "jan"], "weekdays": ["mon", "Friday"]}, ["0 6 * 1,7 mon,fri"]),
        ({"at": ["06:00"], "months": [2], "days": [1, "last"]}, ["0 6 1,L 2 *"]),
        ({"at": ["06:00"], "weekdays": ["2nd tue", "last fri"]}, ["0 6 * * 2#2", "0 6 * * L5"]),
        ({"at": ["06:00"], "weekdays": ["mon", "first sun"]}, ["0 6 * * mon", "0 6 * * 0#1"]),
    ],
)
def test_a_plan_ticks_by_the_wall_clock_counted_from_its_start(plan: dict[str, Any], crons: list[str]) -> None:
    assert crons_of(Schedule.model_validate(plan)) == crons


@pytest.mark.parametrize(
    ("plan", "ticks"),
    [
        ({"at": ["01:30"]}, ["03-28T01:30+00:00", "03-29T02:00+01:00", "03-30T01:30+01:00"]),
        (
            {"at": ["01:30", "02:00"]},
            ["03-28T01:30+00:00", "03-28T02:00+00:00", "03-29T02:00+01:00", "03-30T01:30+01:00"],
        ),
        ({"every": "6h"}, ["03-28T18:00+00:00", "03-29T00:00+00:00", "03-29T06:00+01:00", "03-29T12:00+01:00"]),
        ({"every": "1h"}, ["03-29T00:00+00:00", "03-29T02:00+01:00", "03-29T03:00+01:00"]),
        ({"at": ["01:30"], "weekdays": ["last sun"]}, ["03-29T02:00+01:00", "04-26T01:30+01:00"]),
        ({"at": ["01:30"], "days": ["last"]}, ["03-31T01:30+01:00", "04-30T01:30+01:00"]),
    ],
)
def test_when_the_clock_jumps_no_tick_is_lost(plan: dict[str, Any], ticks: list[str]) -> None:
    assert _ticks(plan, "2026-03-28T00:00:01", ticks) == ticks


@pytest.mark.parametrize(
    ("plan", "ticks"),
    [
        ({"at": ["01:30"]}, ["10-24T01:30+01:00", "10-25T01:30+00:00", "10-26T01:30+00:00"]),
        ({"every": "12h"}, ["10-24T12:00+01:00", "10-25T00:00+01:00", "10-25T12:00+00:00"]),
        ({"every": "1h"}, ["10-25T00:00+01:00", "10-25T01:00+01:00", "10-25T01:00+00:00", "10-25T02:00+00:00"]),
    ],
)
def test_when_the_clock_repeats_an_hour_no_tick_is_doubled(plan: dict[str, Any], ticks: list[str]) -> None:
    assert _ticks(plan, "2026-10-24T00:00:01", ticks) == ticks


def _ticks(plan: dict[str, Any], since: str, expected: list[str]) -> list[str]:
    """The plan's ticks in London, from the first expected one on."""
    zone = ZoneInfo("Europe/London")
    start = max(datetime.fromisoformat(since).replace(tzinfo=zone), datetime.fromisoformat(f"2026-{expected[0]}"))
    crons = crons_of(Schedule.model_validate({**plan, "timezone": "Europe/London"}))
    moments = schedule_execution_time_iterator(start.timestamp(), crons, "Europe/London", ascending=True)
    return [next(moments).isoformat(timespec="minutes")[5:] for _ in expected]


def test_dates_are_those_of_their_year_only() -> None:
    plan = Schedule.model_validate({"at": ["06:00"], "dates": [date(2026, 12, 24), date(2027, 1, 2)]})
    assert not why_no_tick(plan, datetime(2026, 12, 24, 6, tzinfo=UTC))
    assert why_no_tick(plan, datetime(2026, 1, 2, 6, tzinfo=UTC)) == "2026-01-02 is none of the schedule's dates"
    assert why_no_tick(plan, datetime(2027, 12, 24, 6, tzinfo=UTC)) == "the schedule ended on 2027-01-02"


def test_a_plan_has_no_tick_before_its_start_nor_after_its_last_day() -> None:
    plan = Schedule.model_validate({**EVERY_6H, "until": date(2027, 6, 30)})
    assert "starts at 2026-11-22T06:30+00:00" in why_no_tick(plan, datetime(2026, 11, 22, 6, 29, tzinfo=UTC))
    assert not why_no_tick(plan, datetime(2026, 11, 22, 6, 30, tzinfo=UTC))
    assert not why_no_tick(plan, datetime(2027, 6, 30, 22, 59, tzinfo=UTC))  # 23:59 in London
    assert "ended on 2027-06-30" in why_no_tick(plan, datetime(2027, 6, 30, 23, 0, tzinfo=UTC))


def test_a_tick_takes_the_last_modified_file(shop: Shop, kept_instance: DagsterInstance) -> None:
    shop.deliver("Points_9.csv", GOOD, age=timedelta(hours=2))
    shop.deliver("Points_1.csv", GOOD, age=timedelta(hours=1))
    answer = _tick(shop, kept_instance)
    assert isinstance(answer, list)
    [request] = answer
    assert "Points_1.csv" in str(request.partition_key)
    assert request.run_key == f"points/{request.partition_key}"
    assert request.tags["ingest/by"] == "schedule"
    assert kept_instance.get_dynamic_partitions(partitions_name(shop.bound())) == [request.partition_key]
    assert shop.rows("SELECT key FROM ingest.items") == [(request.partition_key,)]


def test_a_tick_with_nothing_new_says_so(shop: Shop, kept_instance: DagsterInstance) -> None:
    (shop.files / "points").mkdir()
    assert "no file points/Points at uploads yet" in _skipped(_tick(shop, kept_instance))
    shop.deliver("Points-final.csv", GOOD)
    almost = "no file points/Points at uploads yet; one is called almost that: points/Points-final.csv"
    assert almost in _skipped(_tick(shop, kept_instance))
    shop.deliver("Points_1.csv", GOOD)
    shop.run(kept_instance, shop.arrive(kept_instance))
    assert "is committed" in _skipped(_tick(shop, kept_instance))


def test_a_tick_outside_the_plan_says_so(shop: Shop, kept_instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    assert "ended on 2026-11-01" in _skipped(_tick(shop, kept_instance, until=date(2026, 11, 1)))


def test_a_paused_import_has_no_ticks(shop: Shop, kept_instance: DagsterInstance) -> None:
    shop.write_import(status="paused")
    shop.deliver("Points_1.csv", GOOD)
    assert "ingest resume points" in _skipped(_tick(shop, kept_instance))


def test_a_tick_while_the_last_run_is_still_going_is_skipped_and_says_so(
    shop: Shop, kept_instance: DagsterInstance
) -> None:
    shop.deliver("Points_1.csv", GOOD)
    kept_instance.create_run_for_job(
        shop.definitions().resolve_implicit_global_asset_job_def(),
        tags={"ingest/import": "points"},
        status="STARTED",
    )
    assert "is still started" in _skipped(_tick(shop, kept_instance))


def _tick(shop: Shop, instance: DagsterInstance, **plan: object) -> list[RunRequest] | SkipReason:
    site = shop.site()
    bound = site.project.require("points")
    schedule = Schedule.model_validate({**EVERY_6H, "start": "2026-01-01T00:00", **plan})
    object.__setattr__(bound, "spec", bound.spec.model_copy(update={"schedule": schedule}))
    answer = schedule_tick(import_schedule(site, bound, Listings(), CursorLooks()), instance, NOW)
    assert isinstance(answer, list | SkipReason)
    return answer


def _skipped(answer: list[RunRequest] | SkipReason) -> str:
    assert isinstance(answer, SkipReason)
    return str(answer.skip_message)
