"""The outbox tells of every profile that a committed load changed, and of no other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import psycopg

from ingest_pipelines import ledger
from ingest_pipelines.merge import Target, apply
from ingest_pipelines_tests.merge.deliveries import NOW, SENSOR, bound_import, delivery, item
from ingest_pipelines_tests.merge.targets import Rows

EVENTS = "SELECT load, kind, key, fields FROM ingest.events ORDER BY id"
CONSENT = [{"resource": "newsletter", "channel": "email", "contact": "Mail", "status": "subscribed"}]


def test_events_name_the_profile_and_the_changed_fields(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import()
    first = apply(delivery(tmp_path, bound, [("a", "Gold", 1), ("b", "Gold", 2)]), bound, target, SENSOR, NOW)
    rows = [("a", "Silver", 3), ("b", "Gold", None), ("c", "New", 1)]
    run = replace(SENSOR, id="run-2")
    second = apply(delivery(tmp_path, bound, rows, of=item(2)), bound, target, run, NOW)
    assert sorted(query(EVENTS)) == [
        (first.load_id, "profile.created", "a", []),
        (first.load_id, "profile.created", "b", []),
        (second.load_id, "profile.created", "c", []),
        (second.load_id, "profile.updated", "a", ["tier", "points"]),
        (second.load_id, "profile.updated", "b", ["points"]),
    ]
    with target.session() as connection:
        last = ledger.last_event(connection)
        told = ledger.list_events(connection)
        assert [event.key for event in ledger.list_events(connection, after=told[2].id)] == [e.key for e in told[3:]]
        assert told[-1].id == last
        assert ledger.purge_events(connection, NOW) == 0
    profiles: dict[int, str] = dict(query("SELECT profile_id, customer_id FROM crm.customers"))
    assert all(profiles[event.profile_id] == event.key for event in told)


def test_a_database_with_more_fields_than_a_mask_has_bits_names_them_all(
    target: Target, query: Rows, tmp_path: Path
) -> None:
    names = [f"f{number:02}" for number in range(130)]
    database = {
        "table": "wide", "key": "id", "max_fields_per_import": 200,
        "fields": {"id": {"type": "int"}} | {name: {"type": "int"} for name in names},
    }  # fmt: skip
    bound = bound_import("wide", database, columns={"id": "id"} | {name: name for name in names})
    apply(delivery(tmp_path, bound, [(1, *range(130))]), bound, target, SENSOR, NOW)
    changed = [value + (value % 7 == 0) for value in range(130)]
    run = replace(SENSOR, id="run-2")
    apply(delivery(tmp_path, bound, [(1, *changed)], of=item(2, name="wide")), bound, target, run, NOW)
    [(_, _, _, fields)] = query(f"{EVENTS} OFFSET 1")
    assert fields == names[::7]


def test_a_change_of_consent_is_an_event_of_its_profile(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import(columns={"CID": "customer_id", "Tier": "tier"}, subscriptions=CONSENT)
    apply(delivery(tmp_path, bound, [("a", "Gold", "a@x.org")]), bound, target, SENSOR, NOW)
    run = replace(SENSOR, id="run-2")
    apply(delivery(tmp_path, bound, [("a", "Gold", "new@x.org")], of=item(2)), bound, target, run, NOW)
    assert [event[1:] for event in query(EVENTS)] == [
        ("profile.created", "a", []), ("profile.updated", "a", ["subscription:newsletter.email"])
    ]  # fmt: skip


def test_a_profile_has_one_event_per_load_whatever_changed(target: Target, query: Rows, tmp_path: Path) -> None:
    both = [*CONSENT, {"resource": "offers", "channel": "email", "contact": "Mail", "status": "subscribed"}]
    bound = bound_import(columns={"CID": "customer_id", "Tier": "tier"}, subscriptions=both)
    first = [("both", "Old", "old@x.org"), ("field", "Old", "f@x.org"), ("consent", "Old", None), ("none", "Old", None)]
    apply(delivery(tmp_path, bound, first), bound, target, SENSOR, NOW)
    rows = [
        ("both", "New", "new@x.org"),
        ("field", "New", "f@x.org"),
        ("consent", "Old", "c@x.org"),
        ("none", "Old", None),
    ]
    rows += [("fresh", "New", "n@x.org")]
    run = replace(SENSOR, id="run-2")
    report = apply(delivery(tmp_path, bound, rows, of=item(2)), bound, target, run, NOW)
    told = query("SELECT kind, key, fields FROM ingest.events WHERE load = %s ORDER BY key", report.load_id)
    subscriptions = ["subscription:newsletter.email", "subscription:offers.email"]
    assert told == [
        ("profile.updated", "both", ["tier", *subscriptions]),
        ("profile.updated", "consent", subscriptions),
        ("profile.updated", "field", ["tier"]),
        ("profile.created", "fresh", []),
    ]
    assert len(told) == report.counts.inserted + report.counts.updated


def test_an_import_can_be_silent(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import(events=False)
    report = apply(delivery(tmp_path, bound, [("a", "Gold", 1)]), bound, target, SENSOR, NOW)
    assert report.counts.inserted == 1
    assert query(EVENTS) == []


def test_a_commit_notifies_once_and_a_rollback_never(target: Target, target_url: str, tmp_path: Path) -> None:
    bound = bound_import()
    validated = delivery(tmp_path, bound, [("a", "Gold", 1)])
    with psycopg.connect(target_url, autocommit=True) as listener:
        listener.execute("LISTEN ingest_events")
        apply(validated, bound, target, replace(SENSOR, dry_run=True), NOW)
        report = apply(validated, bound, target, SENSOR, NOW)
        [news] = list(listener.notifies(timeout=5, stop_after=1))
        assert json.loads(news.payload) == {
            "load": report.load_id, "import": "loyalty", "database": "customers", "created": 1, "updated": 0,
            "deleted": 0,
        }  # fmt: skip
        assert list(listener.notifies(timeout=0)) == []
