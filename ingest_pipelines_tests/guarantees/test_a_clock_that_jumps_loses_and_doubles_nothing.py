"""This machine's clock jumps ahead and back, between loads and inside them: each item and each row is loaded once.

The servers have the true time. The clock is an argument of everything that goes by it, so no test waits for one.
`make on-call` lets the clock of a whole `ingest up` jump, by a library that is preloaded into its processes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import psycopg
import pytest
from dagster import AssetKey, DagsterInstance

from ingest_pipelines import ledger
from ingest_pipelines.actions import target as action_target
from ingest_pipelines.merge import Target
from ingest_pipelines.model import Item
from ingest_pipelines.orchestration.assets.partitions import partitions_name
from ingest_pipelines.orchestration.schedules.query_items import find_query_items
from ingest_pipelines.orchestration.sensors.file_items import find_file_items
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines_tests.guarantees.projects import new_project
from ingest_pipelines_tests.orchestration.conftest import HEADER, Shop, instance, write_windows
from ingest_pipelines_tests.orchestration.conftest import shop as files
from ingest_pipelines_tests.pipeline.conftest import Shop as Tills
from ingest_pipelines_tests.pipeline.conftest import shop

__all__ = ["files", "instance", "shop"]

AHEAD = [timedelta(days=days) for days in (0, 2, -1, 400, -400, 0)]
"""How far ahead of the true time the clock is, from load to load."""


def true_time(target: Target) -> datetime:
    """The time by the clock that nobody sets."""
    with psycopg.connect(target.url) as connection:
        return ledger.target_time(connection)


@pytest.mark.parametrize(
    ("kind", "value"), [("date", "current_date + 1"), ("timestamptz", "now() + interval '30 minutes'")],
    ids=["days", "moments"],
)  # fmt: skip
def test_a_cursor_passes_nothing_that_still_gets_rows(shop: Tills, kind: str, value: str) -> None:
    """Rows of a day and of a moment to come arrive after each drain, with the value that the last ones had."""
    shop.source(f"CREATE TABLE customers (id bigint, points int, at {kind})")
    query = "SELECT id, points, at FROM customers WHERE at > {lastItem} ORDER BY at LIMIT 50"
    bound = shop.bound(query=query, cursor={"column": "at", "start": "2026-01-01"})
    shop.source(f"CREATE TABLE fixed AS SELECT ({value})::{kind} AS at")
    for number, ahead in enumerate(AHEAD):
        shop.source(f"INSERT INTO customers SELECT {number}, {number}, at FROM fixed")
        list(shop.drain(bound, f"run-{number}", now=true_time(shop.target) + ahead))
        assert shop.profiles() == {str(key): key for key in range(number + 1)}
        cursor = shop.cursor()
        assert cursor is None or cursor < true_time(shop.target).isoformat()


def test_files_are_loaded_once_and_in_the_order_of_their_own_times(files: Shop, instance: DagsterInstance) -> None:
    """The clock jumps at each step of a load. None is stale, and none waits for the clock to come back."""
    source = {"connection": "uploads", "file": "points/Points", "settle": "1s", "pick": "all"}
    files.write_import(source=source)
    true, jumps = files.now, iter(AHEAD * 20)

    def jump(step: str) -> None:
        files.now = true + next(jumps)

    definitions = files.definitions(watch=jump)
    expected: dict[str, int] = {}
    for number in range(5):
        files.now = true
        files.deliver(f"Points_{number}.csv", f"{HEADER}\nC{number},Gold,{number},2024-05-01\nall,Gold,{number},\n",
                      age=timedelta(minutes=60 - number))  # fmt: skip
        expected |= {f"C{number}": number, "all": number}
        jump("between loads")
        item = _look(files, instance)
        assert files.run(instance, item, defs=definitions).success
        assert dict(files.rows("SELECT customer_id, points FROM crm.customers")) == expected
    loads = files.rows("SELECT item, status FROM ingest.loads ORDER BY id")
    assert [status for _, status in loads] == ["committed"] * 5
    assert len(set(loads)) == 5
    assert instance.get_materialized_partitions(AssetKey(["customers", "points"])) == {item for item, _ in loads}


def _look(files: Shop, instance: DagsterInstance) -> Item:
    """The last file, as a sensor finds it that looks twice: for a clock set back it is of the future."""
    site = files.site()
    bound = site.project.require("points")
    first = find_file_items(site, bound, Listings())
    if first.unsettled:
        files.now += timedelta(seconds=5)
        first = find_file_items(site, bound, Listings(), first_seen=first.unsettled)
        assert not first.unsettled
    item = first.items[-1]
    instance.add_dynamic_partitions(partitions_name(bound), [str(item.key)])
    return item


def test_each_reading_of_a_query_is_an_item_of_its_own_though_its_second_comes_again(files: Shop) -> None:
    """A key that was settled before would start no run."""
    files.add_vendor(crm={
        "type": "postgresql", "host": "127.0.0.1", "port": 1, "database": "crm", "username": "reader",
        "password": {"env": "HOME"},
    })  # fmt: skip
    source = {"connection": "crm", "query": "SELECT id AS cid, tier FROM members"}
    files.write_import(source=source, columns={"cid": "customer_id", "tier": "tier"})
    true, keys = files.now, []
    for ahead in [*AHEAD, *AHEAD]:
        files.now = true + ahead
        site = files.site()
        [item] = find_query_items(site, site.project.require("points")).items
        keys.append(item.key)
        with site.target.session() as connection:
            ledger.set_item_status(connection, item, "committed")
    assert len(set(keys)) == len(keys)


def test_each_window_is_asked_for_once_wherever_the_clock_was(files: Shop) -> None:
    """Those that a clock ahead asked for too early are refused until they end: see merge/test_window_end.py."""
    write_windows(files)
    true, asked = files.now, []
    for ahead in AHEAD:
        files.now = true + min(ahead, timedelta(days=3))
        site = files.site()
        asked += [item.key for item in find_query_items(site, site.project.require("points")).items]
    assert asked == [(true + timedelta(days=day)).date().isoformat() for day in range(-1, 3)]


def test_a_clock_that_is_ahead_deletes_nothing_early(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_project(postgres_url, tmp_path_factory.mktemp("purged")) as project:
        project.execute(
            "INSERT INTO ingest.items (import, key, kind, uri, path, fingerprint, created_at)"
            " VALUES ('people', 'i', 'file', '', '', '', now())",
            "INSERT INTO ingest.loads (import, item, run_id, attempt, by, status, started_at)"
            " VALUES ('people', 'i', 'r', 1, 'sensor', 'committed', now())",
            "INSERT INTO ingest.rejects (load, line, key, field, code, reason, row)"
            " SELECT id, 2, 'a', 'points', 'bad_int', '', '{}' FROM ingest.loads",
        )
        true: Callable[[], datetime] = action_target.now
        monkeypatch.setattr(action_target, "now", lambda: true() + timedelta(days=4000))
        assert project.terminal.ingest("purge", "--json").json[0]["rejects"] == 0
        assert project.rows("SELECT count(*) FROM ingest.rejects") == [(1,)]
