"""Window items: every row of the source is in exactly one window, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from ingest_pipelines import pipeline
from ingest_pipelines.config import BoundImport
from ingest_pipelines.model import Item, ItemKey
from ingest_pipelines_tests.pipeline.conftest import Shop

LONDON = ZoneInfo("Europe/London")
QUERY = "SELECT id, points FROM customers WHERE changed_at >= {windowStart} AND changed_at < {windowEnd}"


def _window(start: datetime, end: datetime) -> Item:
    key = ItemKey(f"{start.astimezone(UTC):%Y-%m-%dT%H-%MZ}")
    return Item("tills", key, "window", uri="postgresql://shop", window_start=start, window_end=end)


def _rows(shop: Shop, bound: BoundImport, start: datetime, end: datetime) -> int:
    landing = pipeline.land(_window(start, end), bound, shop.workspace)
    assert landing.cursor_to is None
    assert landing.rows is not None
    return landing.rows


def _bound(shop: Shop, **window: Any) -> BoundImport:
    return shop.bound(query=QUERY, window={"every": "day", "start": "2026-01-01", **window})


def test_days_on_which_the_clocks_change_share_no_row_and_leave_none_out(shop: Shop) -> None:
    shop.source(
        "CREATE TABLE customers (id bigint, points int, changed_at timestamptz)",
        "INSERT INTO customers SELECT n, 1, timestamptz '2026-10-24 23:00Z' + n * interval '30 min'"
        " FROM generate_series(0, 97) n",
    )
    bound = _bound(shop, timezone="Europe/London")
    days = [datetime(2026, 10, day, tzinfo=LONDON) for day in (25, 26, 27)]
    assert [_rows(shop, bound, start, end) for start, end in pairwise(days)] == [50, 48]


def test_a_bound_belongs_to_the_window_that_it_starts(shop: Shop) -> None:
    shop.source(
        "CREATE TABLE customers (id bigint, points int, changed_at timestamptz)",
        "INSERT INTO customers VALUES (1, 1, '2026-01-02 00:00Z'), (2, 1, '2026-01-02 23:59:59.999999Z'),"
        " (3, 1, '2026-01-03 00:00Z')",
    )
    bound = _bound(shop)
    day = datetime(2026, 1, 2, tzinfo=UTC)
    assert _rows(shop, bound, day, day + timedelta(days=1)) == 2
    assert _rows(shop, bound, day + timedelta(days=1), day + timedelta(days=2)) == 1


def test_columns_of_local_time_are_compared_by_the_wall_clock_where_the_window_says_so(shop: Shop) -> None:
    shop.source(
        "CREATE TABLE customers (id bigint, points int, changed_at timestamp)",
        "INSERT INTO customers VALUES (1, 1, '2026-07-01 00:30'), (2, 1, '2026-07-01 23:30')",
    )
    day = datetime(2026, 7, 1, tzinfo=LONDON)
    following = datetime(2026, 7, 2, tzinfo=LONDON)
    assert _rows(shop, _bound(shop, timezone="Europe/London", wall_clock=True), day, following) == 2
    assert _rows(shop, _bound(shop, timezone="Europe/London"), day, following) == 1
