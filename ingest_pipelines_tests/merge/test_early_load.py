"""Rows that are loaded while others are validated become the same load, or none: the result never depends on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from ingest_pipelines.errors import StaleItem
from ingest_pipelines.merge import Target, apply, early_load, write_steps
from ingest_pipelines.merge.early_load import Destination, EarlyLoad
from ingest_pipelines.merge.faults import NEW_TABLE_FAULT_POINTS
from ingest_pipelines.merge.target import lock_table
from ingest_pipelines.model import Counts, Run, Validated
from ingest_pipelines_tests.merge.deliveries import NOW, SENSOR, Rejected, bound_import, delivery, item
from ingest_pipelines_tests.merge.targets import Rows

CUSTOMERS = "SELECT customer_id, tier, points FROM crm.customers ORDER BY customer_id"
OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
LOADERS = f"SELECT count(*) {OTHERS}"
LOCKS = """
    SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
    WHERE locktype = 'advisory' AND datname = current_database()
"""
OPENED = "early: opened"


def test_rows_loaded_early_are_merged_like_any_others(
    target: Target, query: Rows, tmp_path: Path, begin: Any, points: list[str]
) -> None:
    bound = bound_import(rejects={"unlimited": True})
    old = delivery(tmp_path, bound, [("C1", "Gold", 1), ("C2", None, 2), ("C3", "Silver", 3)], of=item(1))
    apply(old, bound, target, SENSOR, NOW)
    rows = [("C1", "Gold", 1), ("C2", "Gold", 2), ("C4", None, 4), ("C5", None, 5)]
    validated = delivery(tmp_path, bound, rows, of=item(2), chunks=2, rejected=[Rejected(9)])
    run = Run("run-2", by="sensor")
    report = apply(validated, bound, target, run, NOW, early=begin(validated, bound, run), fault=points.append)
    assert OPENED in points
    assert not {"copying", "altered", "matched"} & set(points)
    assert report.counts == Counts(read=5, inserted=2, updated=1, unchanged=1, rejected=1)
    assert query(CUSTOMERS) == [
        ("C1", "Gold", 1), ("C2", "Gold", 2), ("C3", "Silver", 3), ("C4", None, 4), ("C5", None, 5),
    ]  # fmt: skip
    told = (
        "SELECT e.key, e.fields FROM ingest.events e JOIN ingest.loads l ON l.id = e.load WHERE l.item = %s ORDER BY 1"
    )
    assert query(told, validated.landing.item.key) == [("C2", ["tier"]), ("C4", []), ("C5", [])]
    numbers = "SELECT count(*) FROM ingest.events e JOIN crm.customers c USING (profile_id) WHERE c.customer_id = e.key"
    assert query(numbers) == [(6,)]
    assert query(LOADERS) == [(0,)]


def test_the_first_load_of_a_table_creates_it_early(
    target: Target, query: Rows, tmp_path: Path, begin: Any, points: list[str]
) -> None:
    bound = bound_import()
    validated = delivery(tmp_path, bound, [("C1", "Gold", 1), ("C2", None, 2), ("C3", "Silver", 3)], chunks=3)
    load = begin(validated, bound)
    assert query("SELECT to_regclass('crm.customers')") == [(None,)]  # to everybody else
    report = apply(validated, bound, target, SENSOR, NOW, early=load)
    assert OPENED in points
    assert report.counts == Counts(read=3, inserted=3)
    assert any("CREATE TABLE" in statement for statement in report.ddl)
    assert query(CUSTOMERS) == [("C1", "Gold", 1), ("C2", None, 2), ("C3", "Silver", 3)]


KEYS = """
    SELECT conname::text, pg_get_constraintdef(c.oid), indisvalid, attnotnull
    FROM pg_constraint c JOIN pg_index x ON x.indexrelid = c.conindid
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND attname = 'customer_id'
    WHERE c.conrelid = 'crm.customers'::regclass AND contype = 'p'
"""


@pytest.mark.parametrize("early", [True, False])
def test_a_new_table_has_its_key_whenever_its_index_was_built(
    target: Target, query: Rows, tmp_path: Path, begin: Any, points: list[str], early: bool
) -> None:
    bound = bound_import(shrink={"min_percent": 0})
    validated = delivery(tmp_path, bound, [("C2", "Gold", 1), ("C1", None, 2), ("C3", "Silver", 3)], chunks=3)
    apply(validated, bound, target, SENSOR, NOW, early=begin(validated, bound) if early else None)
    assert [point for point in points if "key" in point] == [*(NEW_TABLE_FAULT_POINTS if early else ())]
    assert query(KEYS) == [("customers_pkey", "PRIMARY KEY (customer_id)", True, True)]
    points.clear()
    again, run = delivery(tmp_path, bound, [("C4", None, 4)], of=item(2)), Run("run-2", by="sensor")
    apply(again, bound, target, run, NOW, early=begin(again, bound, run))
    assert "early: merged" in points
    assert not [point for point in points if "key" in point], "the key of a table that is there is left alone"


def test_of_a_table_that_was_empty_only_the_loads_own_profiles_are_told(
    target: Target, query: Rows, tmp_path: Path, begin: Any, points: list[str]
) -> None:
    bound = bound_import()
    first = delivery(tmp_path, bound, [("C1", "Gold", 1)], of=item(1))
    apply(first, bound, target, SENSOR, NOW)
    query("TRUNCATE crm.customers")
    query("TRUNCATE ingest.event_batches")
    validated = delivery(tmp_path, bound, [("C1", "Gold", 1), ("C2", None, 2)], of=item(2))
    run = Run("run-2", by="sensor")
    load = begin(validated, bound, run)
    query("INSERT INTO crm.customers (customer_id) VALUES ('theirs')")
    assert apply(validated, bound, target, run, NOW, early=load).counts == Counts(read=2, inserted=2)
    assert "early: merged" in points
    assert query("SELECT key, c.customer_id FROM ingest.events JOIN crm.customers c USING (profile_id) ORDER BY 1") == [
        ("C1", "C1"), ("C2", "C2"),
    ]  # fmt: skip


def test_a_profile_that_another_application_added_meanwhile_is_updated(
    target: Target, query: Rows, tmp_path: Path
) -> None:
    bound = bound_import()
    apply(delivery(tmp_path, bound, [("C1", "Gold", 1)], of=item(1)), bound, target, SENSOR, NOW)
    query("TRUNCATE crm.customers")
    validated = delivery(tmp_path, bound, [("C1", "Gold", 1), ("C2", None, 2)], of=item(2), chunks=2)
    run = Run("run-2", by="sensor")
    merged = Event()

    def note(point: str) -> None:
        if point == "early: merged":
            merged.set()

    load = EarlyLoad(validated.landing, bound, Destination(target, run, NOW), note)
    load.add(validated.accepted[0])
    assert merged.wait(30)
    query("INSERT INTO crm.customers (customer_id, tier) VALUES ('C2', 'Gold')")
    load.add(validated.accepted[1])
    assert apply(validated, bound, target, run, NOW, early=load).counts == Counts(read=2, inserted=1, updated=1)
    assert query(CUSTOMERS) == [("C1", "Gold", 1), ("C2", None, 2)]


def test_add_only_leaves_profiles_alone_early_too(
    target: Target, query: Rows, tmp_path: Path, begin: Any, points: list[str]
) -> None:
    bound = bound_import(mode="add_only")
    apply(delivery(tmp_path, bound, [("C1", "Gold", 1)], of=item(1)), bound, target, SENSOR, NOW)
    validated = delivery(tmp_path, bound, [("C1", "Silver", 2), ("C2", None, 2)], of=item(2))
    run = Run("run-2", by="sensor")
    report = apply(validated, bound, target, run, NOW, early=begin(validated, bound, run))
    assert OPENED in points
    assert report.counts == Counts(read=2, inserted=1, skipped=1)
    assert query(CUSTOMERS) == [("C1", "Gold", 1), ("C2", None, 2)]


def test_update_only_adds_nobody_early_either_and_lists_who_has_no_profile(
    target: Target, query: Rows, tmp_path: Path, begin: Any, points: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_steps, "UNMATCHED_LISTED", 3)
    monkeypatch.setattr(early_load, "CHUNKS_AT_ONCE", 1)
    bound = bound_import(mode="update_only", shrink={"min_percent": 0})
    known = [("C1", "Gold", 1), ("C2", "Gold", 2)]
    apply(delivery(tmp_path, bound_import(), known, of=item(1)), bound_import(), target, SENSOR, NOW)
    unknown = [(f"N{number}", None, number) for number in range(8)]
    validated = delivery(tmp_path, bound, [*unknown[:2], ("C2", "Silver", 2), *unknown[2:]], of=item(2), chunks=3)
    run = Run("run-2", by="sensor")
    report = apply(validated, bound, target, run, NOW, early=begin(validated, bound, run))
    assert points.count("early: merged") == 3
    assert report.counts == Counts(read=9, updated=1, unmatched=8)
    assert query(CUSTOMERS) == [("C1", "Gold", 1), ("C2", "Silver", 2)]
    listed = query("SELECT line, key, field, code FROM ingest.rejects ORDER BY line")
    assert listed == [(line, key, "customer_id", "unmatched") for line, key in [(2, "N0"), (3, "N1"), (5, "N2")]]


@pytest.mark.parametrize(
    "spec",
    [
        {"match": {"by": "field", "field": "email"}, "columns": {"CID": "customer_id", "Mail": "email"}},
        {"version": "Points"},
        {"subscriptions": [{"resource": "newsletter", "channel": "email", "contact": "Mail", "status": "subscribed"}]},
    ],
)
def test_loads_that_look_at_all_rows_first_only_stage_them_early(
    target: Target, query: Rows, tmp_path: Path, begin: Any, points: list[str], spec: dict[str, Any]
) -> None:
    bound = bound_import(**spec)
    values: dict[str, Any] = {"customer_id": "C1", "tier": "Gold", "points": 1, "email": "c1@example.com"}
    names = [*(mapped.name for mapped in bound.fields), *bound.extra_columns]
    validated = delivery(tmp_path, bound, [[values.get(name, "c1@example.com") for name in names]])
    load = begin(validated, bound)
    assert query(LOCKS) == [(0,)]
    report = apply(validated, bound, target, SENSOR, NOW, early=load, fault=points.append)
    assert OPENED not in points
    assert "copying" not in points
    assert report.counts.read == 1
    assert report.status == "committed"


def test_a_table_that_is_being_loaded_is_not_waited_for(
    target: Target, query: Rows, tmp_path: Path, begin: Any, points: list[str]
) -> None:
    bound = bound_import()
    validated = delivery(tmp_path, bound, [("C1", "Gold", 1)])
    with target.connect() as other:
        lock_table(other, "crm", "customers")
        load = begin(validated, bound)
        assert OPENED not in points
    assert apply(validated, bound, target, SENSOR, NOW, early=load).counts == Counts(read=1, inserted=1)
    assert query(CUSTOMERS) == [("C1", "Gold", 1)]


def test_a_table_is_not_altered_while_rows_are_validated(
    target: Target, query: Rows, tmp_path: Path, begin: Any, points: list[str]
) -> None:
    query("CREATE SCHEMA crm")
    query("CREATE TABLE crm.customers (customer_id varchar(64) PRIMARY KEY, tier text)")
    bound = bound_import()
    validated = delivery(tmp_path, bound, [("C1", "Gold", 1)])
    load = begin(validated, bound)
    assert OPENED not in points
    assert query("SELECT count(*) FROM crm.customers") == [(0,)]  # would wait for who alters it
    report = apply(validated, bound, target, SENSOR, NOW, early=load)
    assert any("points" in statement for statement in report.ddl)
    assert query(CUSTOMERS) == [("C1", "Gold", 1)]


def test_a_row_that_another_application_writes_is_waited_for_after_validation(
    target: Target, query: Rows, tmp_path: Path, begin: Any, points: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_load, "PATIENCE_SECONDS", 0.05)
    bound = bound_import()
    apply(delivery(tmp_path, bound, [("C1", "Gold", 1)], of=item(1)), bound, target, SENSOR, NOW)
    validated = delivery(tmp_path, bound, [("C1", "Silver", 2)], of=item(2))
    run = Run("run-2", by="sensor")
    with target.connect() as other:
        other.execute("UPDATE crm.customers SET points = 9")
        load = begin(validated, bound, run)
    assert "early: copied" in points
    assert "early: merged" not in points
    assert apply(validated, bound, target, run, NOW, early=load).counts == Counts(read=1, updated=1)
    assert query(CUSTOMERS) == [("C1", "Silver", 2)]


def test_rows_that_the_item_lost_after_they_were_merged_are_not_committed(
    target: Target, query: Rows, tmp_path: Path, begin: Any
) -> None:
    bound = bound_import(rejects={"unlimited": True})
    early_rows = delivery(tmp_path, bound, [("C1", "Gold", 1), ("C2", "Gold", 2), ("C3", "Silver", 3)])
    left = delivery(tmp_path, bound, [("C3", "Silver", 3)])
    validated = replace(left, read=3, rejected_rows=2)
    report = apply(validated, bound, target, SENSOR, NOW, early=begin(early_rows, bound))
    assert report.counts == Counts(read=3, inserted=1, rejected=2)
    assert query(CUSTOMERS) == [("C3", "Silver", 3)]
    assert query(LOADERS) == [(0,)]


def test_a_stale_item_is_not_begun(target: Target, query: Rows, tmp_path: Path, begin: Any, points: list[str]) -> None:
    bound = bound_import()
    apply(delivery(tmp_path, bound, [("C1", "Gold", 1)], of=item(2)), bound, target, SENSOR, NOW)
    validated = delivery(tmp_path, bound, [("C1", "Silver", 2)], of=item(1))
    run = Run("run-2", by="sensor")
    with pytest.raises(StaleItem):
        apply(validated, bound, target, run, NOW, early=begin(validated, bound, run))
    assert OPENED not in points
    assert query(CUSTOMERS) == [("C1", "Gold", 1)]
    assert query(LOADERS) == [(0,)]


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"dbname": "no_such_database"},
        {"port": "1"},
        {"sslmode": "require"},
        {"options": "-c no_such_setting=x"},
        {"keepalives_idle": "x"},
    ],
)
def test_a_load_that_could_not_begin_early_begins_later(
    target: Target, tmp_path: Path, begin: Any, elsewhere: dict[str, str]
) -> None:
    bound = bound_import()
    validated = delivery(tmp_path, bound, [("C1", "Gold", 1)])
    load = begin(validated, bound, to=Target(make_conninfo(target.url, **elsewhere)))
    assert apply(validated, bound, target, SENSOR, NOW, early=load).counts == Counts(read=1, inserted=1)


def test_a_load_whose_connection_broke_while_it_waited_begins_again(
    target: Target, query: Rows, tmp_path: Path, begin: Any, points: list[str]
) -> None:
    bound = bound_import()
    validated = delivery(tmp_path, bound, [("C1", "Gold", 1)])
    load = begin(validated, bound)
    assert OPENED in points
    query(f"SELECT pg_terminate_backend(pid) {OTHERS}")
    assert apply(validated, bound, target, SENSOR, NOW, early=load).counts == Counts(read=1, inserted=1)
    assert query(CUSTOMERS) == [("C1", "Gold", 1)]


def test_a_run_whose_load_committed_is_not_loaded_again(
    target: Target, query: Rows, tmp_path: Path, begin: Any, points: list[str]
) -> None:
    bound = bound_import()
    validated = delivery(tmp_path, bound, [("C1", "Gold", 1)])
    first = apply(validated, bound, target, SENSOR, NOW)
    query("UPDATE crm.customers SET points = 7")
    again = apply(validated, bound, target, SENSOR, NOW, early=begin(validated, bound))
    assert OPENED not in points
    assert again.load_id == first.load_id
    assert query(CUSTOMERS) == [("C1", "Gold", 7)]


def test_a_load_that_nobody_takes_leaves_nothing(
    target: Target, query: Rows, tmp_path: Path, begin: Any, points: list[str]
) -> None:
    load = begin(delivery(tmp_path, bound_import(), [("C1", "Gold", 1)]), bound_import())
    assert "early: merged" in points
    load.discard()
    assert query("SELECT to_regclass('crm.customers')") == [(None,)]
    assert query("SELECT count(*) FROM pg_class WHERE relname LIKE 'ingest_stage%%'") == [(0,)]
    assert query(LOADERS) == [(0,)]


def test_the_planner_is_left_as_it_was_for_the_rest_of_the_load(target: Target, tmp_path: Path, begin: Any) -> None:
    bound = bound_import(shrink={"min_percent": 0})
    apply(delivery(tmp_path, bound, [(f"C{n}", "Gold", n) for n in range(9)], of=item(1)), bound, target, SENSOR, NOW)
    validated = delivery(tmp_path, bound, [("C1", "Silver", 2)], of=item(2))
    found: list[str] = []
    run = Run("run-2", by="sensor")
    load = begin(validated, bound, run)
    taken = load.take(validated)
    assert taken is not None
    work, connection = taken

    class Taken:
        def take(self, validated: Validated) -> tuple[Any, psycopg.Connection]:
            return work, connection

    def look(point: str) -> None:
        if point == "merged":
            found.extend(
                str(connection.execute(f"SHOW {name}").fetchone()) for name in ("enable_seqscan", "enable_hashjoin")
            )

    apply(validated, bound, target, run, NOW, early=Taken(), fault=look)  # type: ignore[arg-type]  # the same load
    assert found == ["('on',)", "('on',)"]
