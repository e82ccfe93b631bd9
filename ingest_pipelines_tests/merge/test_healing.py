"""Rows without a profile wait, and are applied with the load that adds their customer, unless something newer came."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingest_pipelines import ledger
from ingest_pipelines.merge import Target, apply
from ingest_pipelines.merge.faults import no_fault
from ingest_pipelines.model import Counts, LoadReport, Run
from ingest_pipelines_tests.merge.deliveries import CUSTOMERS, NOW, bound_import, delivery, item
from ingest_pipelines_tests.merge.targets import Rows

WAITS = {"mode": "update_only", "unmatched": {"keep": "30d"}}
TIERS = {"CID": "customer_id", "Tier": "tier"}
KEYS = {"CID": "customer_id"}
EVENTS = "SELECT import, load, unnest(keys), kind, fields FROM ingest.event_batches ORDER BY id"

Deliver = Callable[..., LoadReport]


@pytest.fixture
def deliver(target: Target, tmp_path: Path, begin: Any) -> Deliver:
    """Loads rows as the next item of an import; `early`: merged while they are validated."""
    numbers: dict[str, int] = {}

    def load(
        name: str, rows: Any, *, early: bool = False, now: Any = NOW, dry_run: bool = False, by: str = "schedule",
        of: Any = None, fault: Any = no_fault, **spec: Any,
    ) -> LoadReport:  # fmt: skip
        numbers[name] = number = numbers.get(name, 0) + 1
        bound = bound_import(name, rejects={"unlimited": True}, shrink={"min_percent": 0}, **spec)
        validated = delivery(tmp_path, bound, rows, of=of or item(number, name=name))
        run = Run(f"{name}-{number}", by=by, dry_run=dry_run)
        begun = begin(validated, bound, run) if early else None
        return apply(validated, bound, target, run, now, early=begun, fault=fault)

    return load


@pytest.fixture
def customers(query: Rows) -> Callable[[], list[tuple[Any, ...]]]:
    """Key, tier and points of every profile."""
    return lambda: query(
        "SELECT c ->> 'customer_id', c ->> 'tier', (c ->> 'points')::int"
        " FROM (SELECT to_jsonb(t) c FROM crm.customers t) x ORDER BY 1"
    )


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("keeps_early", [False, True])
def test_a_row_that_came_too_early_is_applied_with_the_load_that_adds_its_customer(
    deliver: Deliver, customers: Any, query: Rows, early: bool, keeps_early: bool
) -> None:
    deliver("shop", [("a",)], columns=KEYS)
    kept = deliver("loyalty", [("a", "Gold", 1), ("b", "Silver", 2), ("c", None, 3)], early=keeps_early, **WAITS)
    assert kept.counts == Counts(read=3, updated=1, unmatched=2)
    assert (kept.kept, kept.healed, kept.warnings) == (2, 0, ())
    added = deliver("shop", [("a",), ("b",), ("d",)], early=early, columns=KEYS)
    assert added.counts == Counts(read=3, inserted=2, unchanged=1)
    assert (added.kept, added.healed) == (0, 1)
    assert customers() == [("a", "Gold", 1), ("b", "Silver", 2), ("d", None, None)]
    assert query("SELECT found_by, load FROM ingest.unmatched") == [(["c"], kept.load_id)]
    assert query("SELECT kept, healed FROM ingest.loads ORDER BY id") == [(0, 0), (2, 0), (0, 1)]
    told = [event for event in query(EVENTS) if event[2] == "b"]
    assert told == [
        ("shop", added.load_id, "b", "profile.created", []),
        ("loyalty", added.load_id, "b", "profile.updated", ["points", "tier"]),
    ]
    listed = query("SELECT key, resolved_at IS NULL FROM ingest.rejects WHERE code = 'unmatched' ORDER BY 1")
    assert listed == [("b", False), ("c", True)], "the list of unmatched rows says which still wait"


def test_what_the_adding_row_brings_is_newer(deliver: Deliver, customers: Any) -> None:
    deliver("loyalty", [(key, "Gold", 1) for key in "abc"], **WAITS)
    deliver("crm", [("a", "Bronze"), ("b", None)], columns=TIERS)
    assert customers() == [("a", "Bronze", 1), ("b", None, 1)], "an empty cell clears, also what waited"
    deliver("old_crm", [("c", None)], columns=TIERS, empty="keep")
    assert customers()[2] == ("c", "Gold", 1), "an empty cell that keeps does not"


def test_of_several_waiting_rows_the_later_one_wins_field_by_field(
    deliver: Deliver, customers: Any, query: Rows
) -> None:
    deliver("loyalty", [("a", "Gold", 1), ("b", "Gold", 1)], **WAITS)
    deliver("loyalty", [("a", "Silver", None), ("b", None, None)], **WAITS, empty="keep")
    deliver("tiers", [("b", "Iron")], columns=TIERS, **WAITS)
    assert query("SELECT import, found_by ->> 0, fields FROM ingest.unmatched ORDER BY id") == [
        ("loyalty", "a", {"points": 1}), ("loyalty", "b", {"tier": "Gold", "points": 1}),
        ("loyalty", "a", {"tier": "Silver"}), ("tiers", "b", {"tier": "Iron"}),
    ]  # fmt: skip
    assert deliver("shop", [("a",), ("b",)], columns=KEYS).healed == 4
    assert customers() == [("a", "Silver", 1), ("b", "Iron", 1)]
    deliver("loyalty", [("z", "Gold", 1)], **WAITS)
    deliver("loyalty", [("z", None, 2)], **WAITS)
    assert query("SELECT fields FROM ingest.unmatched") == [({"tier": None, "points": 2},)], "an empty value clears"


def test_a_version_decides_which_is_newer(deliver: Deliver, customers: Any, query: Rows) -> None:
    versioned = {**WAITS, "version": "Points"}
    deliver("loyalty", [(key, "Nine", 9, "9") for key in "abc"], **versioned)
    deliver("loyalty", [("a", "Ten", 10, "10"), ("b", "Eight", 8, "8")], of=item(0, name="loyalty"), **versioned)
    assert query("SELECT found_by ->> 0, version FROM ingest.unmatched ORDER BY 1") == [
        ("a", "10"), ("b", "9"), ("c", "9")
    ]  # fmt: skip
    added = deliver("shop", [("a", "Old", 8), ("b", "New", 12), ("c", "Same", None)])
    assert (added.healed, customers()) == (2, [("a", "Ten", 10), ("b", "New", 12), ("c", "Same", None)])
    assert added.warnings == ("1 rows that waited are older than their profiles by their version, and were dropped",)
    assert query("SELECT count(*) FROM ingest.unmatched") == [(0,)]


def test_a_customer_whom_another_application_adds_is_healed_by_the_next_load(
    deliver: Deliver, customers: Any, query: Rows
) -> None:
    deliver("shop", [("x",)], columns=KEYS)
    deliver("loyalty", [("a", "Gold", 1), ("b", "Gold", 1)], **WAITS)
    query("INSERT INTO crm.customers (customer_id, tier) VALUES ('a', 'Iron'), ('b', NULL)")
    report = deliver("loyalty", [("b", None, 5)], **WAITS)
    assert (report.counts, report.healed) == (Counts(read=1, updated=1), 2)
    assert customers() == [("a", "Iron", 1), ("b", None, 5), ("x", None, None)]


@pytest.mark.parametrize(
    ("match", "key_type"),
    [
        ("email", "string"),
        ("email_profile", "string"),
        ({"by": "field", "field": "phone"}, "string"),
        ("email_or_phone_profile", "string"),
        (None, "int"),
        (None, "email"),
    ],
)
def test_a_row_finds_its_customer_by_what_its_import_matches(
    deliver: Deliver, query: Rows, match: Any, key_type: str
) -> None:
    fields = {**CUSTOMERS["fields"], "customer_id": {"type": key_type}}
    database = {**CUSTOMERS, "fields": fields}
    key: Any = {"string": "k1", "int": 41, "email": "Ann@Example.com"}[key_type]
    adds = {"CID": "customer_id", "Mail": "email", "Phone": "phone"}
    columns = {"Mail": "email", "Phone": "phone", "Tier": "tier"}
    row: tuple[Any, ...] = ("ann@example.com", "+4930123456", "Gold")
    if match is None:
        columns, row = TIERS, ("ann@example.com" if key_type == "email" else key, "Gold")
    kept = deliver("loyalty", [row], columns=columns, match=match, database=database, **WAITS)
    assert (kept.counts.unmatched, kept.kept) == (1, 1)
    deliver("shop", [(key, None, None)], columns=adds, database=database)
    if match is not None:
        assert query("SELECT tier FROM crm.customers") == [(None,)], "not yet: the match field is empty"
        deliver("shop", [(key, "Ann@Example.com", "+4930123456")], columns=adds, database=database)
    assert query("SELECT tier FROM crm.customers") == [("Gold",)]
    assert query("SELECT count(*) FROM ingest.unmatched") == [(0,)]


def test_rows_of_one_new_customer_in_one_item_are_duplicates_as_if_the_profile_existed(
    deliver: Deliver, query: Rows
) -> None:
    rows = [("a@x.org", "Gold"), ("A@x.org", "Iron"), ("b@x.org", "Iron")]
    spec = {"columns": {"Mail": "email", "Tier": "tier"}, "match": "email_profile", **WAITS}
    report = deliver("loyalty", rows, **spec)
    assert report.counts == Counts(read=3, unmatched=1, rejected=2)
    report = deliver("last", rows, duplicates="last", **spec)
    assert report.counts == Counts(read=3, unmatched=2, skipped=1)
    assert query("SELECT fields ->> 'tier' FROM ingest.unmatched WHERE import = 'last' ORDER BY 1") == [
        ("Iron",), ("Iron",)
    ]  # fmt: skip


def test_only_so_many_customers_wait_and_the_load_says_so(deliver: Deliver, query: Rows) -> None:
    spec = {"mode": "update_only", "unmatched": {"keep": "30d", "max_rows": 2}}
    report = deliver("loyalty", [(key, "Gold", 1) for key in "abcd"], **spec)
    assert (report.counts.unmatched, report.kept) == (4, 2)
    assert report.warnings == (
        "2 of 4 unmatched rows do not wait for their profiles: rows of 2 customers wait already; raise "
        "unmatched.max_rows",
    )
    report = deliver("loyalty", [(key, "Iron", 2) for key in "cba"], **spec)
    assert (report.kept, len(report.warnings)) == (2, 1)
    assert query("SELECT found_by ->> 0, fields ->> 'tier' FROM ingest.unmatched ORDER BY 1") == [
        ("a", "Iron"), ("b", "Iron")
    ], "a customer who waits is brought up to date, also where no other has room"  # fmt: skip


def test_a_row_does_not_outlive_its_time(deliver: Deliver, customers: Any, query: Rows) -> None:
    deliver("loyalty", [("a", "Gold", 1), ("b", "Gold", 1)], **WAITS)
    late = NOW + timedelta(days=30, seconds=1)
    assert deliver("shop", [("a",)], columns=KEYS, now=late).healed == 0
    assert customers() == [("a", None, None)]
    deliver("loyalty", [("c", "Gold", 1)], now=late, **WAITS)
    assert query("SELECT found_by ->> 0 FROM ingest.unmatched") == [("c",)]


def test_what_the_table_refuses_goes_on_waiting_and_fails_no_load(
    deliver: Deliver, customers: Any, query: Rows
) -> None:
    deliver("shop", [("x",)], columns=KEYS)
    deliver("loyalty", [(f"c{number}", "Gold", number) for number in range(20)], **WAITS)
    query("ALTER TABLE crm.customers ADD CONSTRAINT few_points CHECK (points <> 13 AND points <> 4)")
    report = deliver("shop", [(f"c{number}",) for number in range(20)], columns=KEYS)
    assert (report.counts, report.healed) == (Counts(read=20, inserted=20), 18)
    assert report.warnings == (
        "2 rows that waited still wait: the table refuses them (constraint few_points, table crm.customers); correct "
        "the profiles, and the next load of the table applies them",
    )
    assert query("SELECT found_by ->> 0 FROM ingest.unmatched ORDER BY 1") == [("c13",), ("c4",)]
    query("ALTER TABLE crm.customers DROP CONSTRAINT few_points")
    assert deliver("shop", [("x",)], columns=KEYS).healed == 2
    assert ("c13", "Gold", 13) in customers()


def test_a_constraint_that_is_checked_at_the_commit_refuses_a_waiting_row_and_not_the_load(
    deliver: Deliver, customers: Any, query: Rows
) -> None:
    deliver("full", [("z", "Gold", 1)])
    query("ALTER TABLE crm.customers ADD CONSTRAINT one UNIQUE (tier) DEFERRABLE INITIALLY DEFERRED")
    deliver("loyalty", [("a", "Gold", 1), ("b", "Iron", 2)], **WAITS)
    query("INSERT INTO crm.customers (customer_id) VALUES ('b')")
    points: list[str] = []
    added = deliver("shop", [("a",), ("c",)], columns=KEYS, fault=points.append)
    assert "search: begun" not in points, "the load was not refused, and did not begin again"
    assert (added.counts, added.healed) == (Counts(read=2, inserted=2), 1)
    assert "the table refuses them (constraint one, table crm.customers)" in added.warnings[0]
    assert customers() == [("a", None, None), ("b", "Iron", 2), ("c", None, None), ("z", "Gold", 1)]
    query("UPDATE crm.customers SET tier = 'Tin' WHERE customer_id = 'z'")
    assert deliver("shop", [("d",)], columns=KEYS).healed == 1


@pytest.mark.parametrize("code", ["U0001", "no_data_found", "assert_failure", "unique_violation"])
def test_no_error_of_a_trigger_fails_a_load_because_of_a_waiting_row_and_none_tells_a_value(
    deliver: Deliver, customers: Any, query: Rows, code: str
) -> None:
    deliver("full", [("z", "Tin", 1)])
    query(
        "CREATE FUNCTION crm.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.tier = 'Gold' THEN"
        f" RAISE EXCEPTION 'no %%', NEW.tier USING ERRCODE = '{code}', CONSTRAINT = NEW.tier; END IF;"
        " RETURN NEW; END $$;"
        "CREATE TRIGGER no BEFORE UPDATE ON crm.customers FOR EACH ROW EXECUTE FUNCTION crm.no()"
    )
    deliver("loyalty", [("a", "Gold", 1), ("b", "Iron", 2)], **WAITS)
    added = deliver("shop", [("a",), ("b",)], columns=KEYS)
    assert (added.counts.inserted, added.healed) == (2, 1)
    assert "the table refuses them (" in added.warnings[0]
    assert "Gold" not in added.warnings[0]
    assert customers()[:2] == [("a", None, None), ("b", "Iron", 2)]


def test_a_row_that_a_trigger_leaves_out_goes_on_waiting(deliver: Deliver, customers: Any, query: Rows) -> None:
    deliver("full", [("z", "Gold", 1)])
    query(
        "CREATE FUNCTION crm.skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.tier = 'Gold' THEN RETURN NULL; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER skip BEFORE UPDATE ON crm.customers FOR EACH ROW EXECUTE FUNCTION crm.skip()"
    )
    deliver("loyalty", [("a", "Gold", 1), ("b", "Iron", 2)], **WAITS)
    added = deliver("shop", [("a",), ("b",)], columns=KEYS)
    assert (added.counts.inserted, added.healed) == (2, 1)
    assert "1 rows that waited still wait" in added.warnings[0]
    assert customers()[:2] == [("a", None, None), ("b", "Iron", 2)]
    assert query("SELECT found_by FROM ingest.unmatched") == [(["a"],)]
    assert [event[2:] for event in query(EVENTS) if event[3] == "profile.updated"] == [
        ("b", "profile.updated", ["points", "tier"])
    ]


def test_a_field_that_the_table_no_longer_has_is_left_out(deliver: Deliver, query: Rows) -> None:
    deliver("loyalty", [("a", "Gold", 1)], **WAITS)
    query("ALTER TABLE crm.customers DROP COLUMN points")
    only_key = {**CUSTOMERS, "fields": {"customer_id": CUSTOMERS["fields"]["customer_id"]}}
    assert deliver("shop", [("a",)], columns=KEYS, database=only_key).healed == 1
    assert query("SELECT tier FROM crm.customers") == [("Gold",)]


def test_a_plan_shows_what_would_wait_and_what_would_be_applied(deliver: Deliver, customers: Any, query: Rows) -> None:
    assert deliver("loyalty", [("a", "Gold", 1)], dry_run=True, **WAITS).kept == 1
    deliver("loyalty", [("a", "Gold", 1)], **WAITS)
    assert deliver("shop", [("a",)], columns=KEYS, dry_run=True).healed == 1
    assert customers() == []
    assert query("SELECT count(*) FROM ingest.unmatched") == [(1,)]


def test_the_same_bytes_again_are_nothing_new_while_their_rows_wait(deliver: Deliver, query: Rows) -> None:
    rows = [("a", "Gold", 1)]
    assert deliver("loyalty", rows, by="sensor", **WAITS).status == "committed"
    assert deliver("loyalty", rows, by="sensor", **WAITS).status == "skipped"
    query("DELETE FROM ingest.unmatched")
    assert deliver("loyalty", rows, by="sensor", **WAITS).kept == 1
    assert query("SELECT count(*) FROM ingest.unmatched") == [(1,)]


def test_an_import_without_events_of_its_own_heals_without_events(deliver: Deliver, query: Rows) -> None:
    deliver("quiet", [("a", "Gold", 1)], events=False, **WAITS)
    deliver("loud", [("b", "Gold", 1)], **WAITS)
    deliver("shop", [("a",), ("b",)], columns=KEYS, events=False)
    assert [(name, key, kind) for name, _, key, kind, _ in query(EVENTS)] == [("loud", "b", "profile.updated")]


def test_values_of_every_type_arrive_as_a_load_would_have_written_them(deliver: Deliver, query: Rows) -> None:
    types: dict[str, tuple[dict[str, Any], str]] = {
        "text": ({"type": "string"}, "'é\"\\ x'"), "whole": ({"type": "int"}, "9007199254740993"),
        "exact": ({"type": "decimal(38,10)"}, "1234567890123456789012345678.0123456789"),
        "real": ({"type": "float"}, "0.1"), "day": ({"type": "date"}, "'0044-03-15'"),
        "moment": ({"type": "datetime"}, "'2026-03-29 01:30:00.123456Z'"),
        "doc": ({"type": "object"}, "'{\"a\": null}'"),
        "numbers": ({"type": "phones"}, "'{+4930123456,+4930123457}'"), "yes": ({"type": "bool"}, "true"),
        "address": ({"type": "ip"}, "'2001:db8::1'"),
    }  # fmt: skip
    database = {**CUSTOMERS, "fields": {"customer_id": {"type": "string"}, **{n: f for n, (f, _) in types.items()}}}
    columns = {"CID": "customer_id", **{name: name for name in types}}
    deliver("loyalty", [("known", *([None] * len(types)))], columns=columns, database=database)
    values = ", ".join(value for _, value in types.values())
    query(f"UPDATE crm.customers SET ({', '.join(types)}) = ROW({values})")
    query(
        "INSERT INTO ingest.unmatched (import, target, load, line, match, found_by, fields, kept_until)"
        " SELECT 'late', 'crm.customers', 1, 1, %s, '[\"new\"]', to_jsonb(c) - ARRAY['profile_id', 'customer_id'],"
        " now() + interval '1 year' FROM crm.customers c",
        '{"lookups": [{"fields": ["customer_id"], "channels": [], "folded": false}], "contacts": [], "version": null,'
        f' "events": true, "fields": {list(types)}}}'.replace("'", '"'),
    )
    deliver("shop", [("new",)], columns=KEYS, database=database)
    same = " AND ".join(f"a.{name}::text = b.{name}::text" for name in types)
    assert query(
        f"SELECT {same} FROM crm.customers a, crm.customers b WHERE a.customer_id = 'known' AND b.customer_id = 'new'"
    ) == [(True,)]


def test_a_renamed_import_takes_its_waiting_rows_along(target: Target, deliver: Deliver, query: Rows) -> None:
    deliver("loyalty", [("a", "Gold", 1)], **WAITS)
    with target.session() as connection:
        assert ledger.rename_import(connection, "loyalty", "points", "ann", NOW) == "renamed"
    deliver("points", [("a", "Iron", 2)], of=item(9, name="points"), **WAITS)
    assert query("SELECT import, fields ->> 'tier' FROM ingest.unmatched") == [("points", "Iron")]
