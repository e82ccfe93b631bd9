"""Late, few, many, unclean: what makes a delivery worth a look, and what does not."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile
from typing import Any, Literal

import pytest
from dagster import AssetCheckEvaluation, AssetCheckSeverity, DagsterInstance

from ingest_pipelines.config.imports import Volume, Window
from ingest_pipelines.config.schedule import Schedule
from ingest_pipelines.ledger import Delivery, SourceCheck
from ingest_pipelines.model import ItemKey
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.orchestration.checks.anomaly_checks import (
    GRACE,
    last_delivery,
    lateness,
    longest_interval,
    longest_pause,
    reject_rate,
    volume,
)
from ingest_pipelines.orchestration.schedules.cron import crons_of
from ingest_pipelines.orchestration.schedules.ticks import ticks
from ingest_pipelines_tests.orchestration.conftest import HEADER, NOW, Shop, verdicts


def past(*rows: int, rejected: int = 0) -> list[Delivery]:
    return [Delivery(ItemKey(f"item-{n}"), "run", read, rejected, NOW) for n, read in enumerate(rows)]


@pytest.mark.parametrize(
    ("plan", "hours"),
    [
        ({"every": "6h"}, 6),
        ({"at": ["06:00", "18:00"]}, 12),
        ({"at": ["06:00"], "weekdays": ["mon", "fri"]}, 96),
        ({"at": ["06:00"], "days": [1, 15]}, 17 * 24),
        ({"cron": "0 6 * * mon-fri"}, 72),
    ],
)
def test_a_schedules_longest_pause_is_how_long_nothing_may_come(plan: dict[str, Any], hours: float) -> None:
    assert longest_interval(Schedule.model_validate(plan)) == timedelta(hours=hours)


PLANS: list[dict[str, Any]] = [
    {"every": "5m"}, {"every": "1h"}, {"every": "6h"}, {"every": "24h"}, {"at": ["06:00"]},
    {"at": ["06:00", "18:00"]}, {"at": ["06:00"], "weekdays": ["mon", "fri"]}, {"at": ["06:00"], "days": [1, 15]},
    {"cron": "30 6 * * mon-fri"}, {"cron": "0 4 1 * *"},
]  # fmt: skip
WINDOWS: tuple[Literal["hour", "day", "week", "month"], ...] = ("hour", "day", "week", "month")


def ends_of(window: str, since: datetime, until: datetime) -> Iterator[datetime]:
    """When the windows end, in UTC: at full hours, midnights, Mondays' midnights, the first of months."""
    moment = since
    while moment < until:
        if window == "hour" or (
            moment.hour == 0
            and (
                window == "day"
                or (window == "week" and moment.weekday() == 0)
                or (window == "month" and moment.day == 1)
            )
        ):
            yield moment
        moment += timedelta(hours=1)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("plan", PLANS, ids=[str(plan) for plan in PLANS])
def test_an_import_whose_every_window_is_loaded_at_its_tick_is_never_late(
    plan: dict[str, Any], window: Literal["hour", "day", "week", "month"]
) -> None:
    schedule, start = Schedule.model_validate(plan), datetime(2026, 1, 1, tzinfo=UTC)
    end = start + timedelta(days=130)
    if schedule.every is not None:
        moments = [start + n * schedule.every for n in range((end - start) // schedule.every)]
    else:
        moments = list(takewhile(lambda tick: tick < end, ticks(crons_of(schedule), "UTC", start)))
    ended = list(ends_of(window, start, end))
    deliveries: list[datetime] = []
    loaded = 0
    for tick in moments:
        due = bisect_right(ended, tick)
        if due > loaded:
            deliveries.append(tick)
            loaded = due
    gaps = [after - before for before, after in pairwise(deliveries)]
    pause = longest_pause(schedule, Window(every=window, start=start.date()))
    assert pause is not None
    assert max(gaps) <= pause <= 2 * max(gaps)
    assert all(lateness(before, pause * GRACE, after).passed for before, after in pairwise(deliveries))


def test_a_delivery_is_late_after_its_time_and_not_before() -> None:
    last, due = datetime(2026, 11, 22, 6, tzinfo=UTC), timedelta(hours=7.5)
    assert lateness(last, due, last + due).passed
    late = lateness(last, due, last + due + timedelta(seconds=1))
    assert not late.passed
    assert late.words == "the last delivery was at 2026-11-22 06:00 UTC; the next was due within 7.5 hours"


def test_an_import_that_never_had_a_delivery_is_not_late() -> None:
    assert lateness(None, timedelta(hours=1), NOW).passed


@pytest.mark.parametrize("settled", [None, NOW - timedelta(days=2), NOW])
def test_a_look_at_a_cursor_s_source_is_a_delivery_and_one_at_a_folder_is_none(
    settled: datetime | None, shop: Shop
) -> None:
    shop.add_vendor(shop_db={"type": "postgresql", "host": "db.example.com", "database": "shop", "username": "ingest"})
    query = "SELECT * FROM tills WHERE n > {lastItem} ORDER BY n LIMIT 10"
    shop.write_import("quiet", source={"connection": "shop_db", "query": query, "cursor": {"column": "n", "start": 0}})
    looked = NOW - timedelta(days=1)
    check = SourceCheck("any", "any", NOW, succeeded_at=looked)
    assert last_delivery(shop.bound("quiet"), settled, check) == max(looked, settled or looked)
    assert last_delivery(shop.bound("quiet"), settled, None) == settled
    assert last_delivery(shop.bound(), settled, check) == settled


@pytest.mark.parametrize(("rows", "usual"), [(50, True), (49, False), (200, True), (201, False), (0, False)])
def test_an_items_rows_are_usual_from_half_to_double_the_median(rows: int, usual: bool) -> None:
    assert volume(rows, past(90, 100, 5_000), Volume()).passed is usual


def test_with_fewer_than_three_deliveries_nothing_is_usual_yet() -> None:
    assert volume(1, past(100, 100), Volume()).passed
    assert reject_rate(100, 99, past(100, 100)).passed


@pytest.mark.parametrize(("rejected", "usual"), [(10, True), (50, True), (51, False)])
def test_rejects_are_usual_up_to_twice_their_share_and_a_percent(rejected: int, usual: bool) -> None:
    assert reject_rate(1_000, rejected, past(100, 100, 100, rejected=2)).passed is usual


def test_a_far_smaller_item_is_loaded_and_its_check_warns(shop: Shop, instance: DagsterInstance) -> None:
    shop.write_import(shrink={"min_percent": 0})
    for number, rows in enumerate((40, 44, 40, 10)):
        shop.deliver(f"Points_{number}.csv", _rows(rows), age=timedelta(minutes=10 - number))
        result = shop.run(instance, shop.arrive(instance))
        assert result.success
    check = verdicts(instance, result.run_id)["volume"]
    assert (check.passed, check.severity) == (False, AssetCheckSeverity.WARN)
    assert check.description == "10 rows; 40 are usual"


def test_a_column_that_the_vendor_adds_warns_once_and_is_not_loaded(shop: Shop, instance: DagsterInstance) -> None:
    headers = ("", ",Note", ",Note", "", ",Note", ",Note,Score,Note 2")
    new = [(), (), (), (), (), ("Note 2", "Score")]
    new[1] = ("Note",)
    for number, more in enumerate(headers):
        cells = "," * more.count(",")
        shop.deliver(
            f"Points_{number}.csv", f"{HEADER}{more}\nC{number},Gold,1,2024-05-01{cells}\n",
            age=timedelta(minutes=10 - number),
        )  # fmt: skip
        result = shop.run(instance, shop.arrive(instance))
        check = verdicts(instance, result.run_id)["columns"]
        assert (check.passed, check.severity) == (not new[number], AssetCheckSeverity.WARN)
        assert all(f"'{name}'" in str(check.description) for name in new[number])
    loads = shop.rows("SELECT new_columns, warnings FROM ingest.loads ORDER BY id")
    assert [tuple(sorted(columns)) for columns, _ in loads] == new
    assert [len(warnings) for _, warnings in loads] == [len(names) > 0 for names in new]
    assert loads[1][1] == [
        "a new column that is not loaded: 'Note'; map what you need in a new import, or run: ingest unlock points, "
        "and add it to columns"
    ]


def test_checks_run_by_hand_judge_the_last_item(shop: Shop, instance: DagsterInstance) -> None:
    shop.write_import(late_after="1h")
    shop.deliver("Points_1.csv", _rows(2))
    shop.run(instance, shop.arrive(instance))
    shop.now += timedelta(hours=2)
    found = _check_by_hand(shop, instance)
    assert {name for name, check in found.items() if not check.passed} == {"freshness"}
    assert {"keys", "types", "volume", "reject_rate", "columns"} <= set(found)


def _check_by_hand(shop: Shop, instance: DagsterInstance) -> dict[str, AssetCheckEvaluation]:
    """As the button `Execute all` of the Checks page does it."""
    graph = shop.definitions().resolve_asset_graph()
    keys = [check for check in graph.asset_check_keys if check.asset_key == asset_key(shop.bound())]
    job = shop.definitions().resolve_implicit_global_asset_job_def()
    subset = job.get_subset(asset_selection=set(), asset_check_selection=set(keys))
    result = subset.execute_in_process(instance=instance)
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def _rows(count: int) -> str:
    return "\n".join([HEADER, *(f"C{n},Gold,{n},2024-05-01" for n in range(count)), ""])
