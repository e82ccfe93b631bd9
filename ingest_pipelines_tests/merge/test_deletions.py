"""Lists of customers to delete or to deactivate, and full files that no longer have a customer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import DeletesAboveLimit, TargetRefused
from ingest_pipelines.merge import Target, apply, record_failure
from ingest_pipelines.model import Counts, LoadReport, Run
from ingest_pipelines_tests.merge.deliveries import CUSTOMERS, NOW, Rejected, bound_import, delivery, item
from ingest_pipelines_tests.merge.targets import Rows

KEYS = "SELECT customer_id FROM crm.customers ORDER BY 1"
STATES = "SELECT customer_id, active FROM crm.customers ORDER BY 1"
EVENTS = "SELECT kind, key, fields FROM ingest.events WHERE kind <> 'profile.created' ORDER BY id"
CONSENT = {"resource": "newsletter", "channel": "email", "contact": "Contact", "status": "subscribed"}
ANY = {"max_percent": 100}
DATABASE = {**CUSTOMERS, "fields": {**CUSTOMERS["fields"], "active": {"type": "bool"}}}
INACTIVE = {"active": False}
ID = {"CID": "customer_id"}


def imported(**spec: Any) -> BoundImport:
    return bound_import(database=DATABASE, **spec)


def load(
    target: Target, tmp_path: Path, bound: BoundImport, rows: list[Any], number: int, run: Run | None = None,
    kind: Any = "file", rejected: Any = (), **at: Any,
) -> LoadReport:  # fmt: skip
    of = item(number, name=bound.name, kind=kind)
    validated = delivery(tmp_path, bound, rows, of=of, rejected=rejected)
    return apply(validated, bound, target, run or Run(f"run-{number}-{bound.name}", by="sensor"), NOW, **at)


@pytest.fixture
def filled(target: Target, tmp_path: Path) -> Target:
    """Ten customers, each with a consent."""
    bound = imported(name="customers", subscriptions=[CONSENT])
    load(target, tmp_path, bound, [(f"c{number}", "t", number, f"c{number}@x.com") for number in range(10)], 1)
    return target


def test_a_list_deletes_its_customers_with_their_consents(filled: Target, query: Rows, tmp_path: Path) -> None:
    bound = imported(name="leavers", mode="delete", columns=ID, deletes=ANY)
    report = load(filled, tmp_path, bound, [("c1",), ("c7",), ("nobody",)], 1)
    assert report.counts == Counts(read=3, deleted=2, unmatched=1)
    assert [key for (key,) in query(KEYS)] == ["c0", "c2", "c3", "c4", "c5", "c6", "c8", "c9"]
    assert query("SELECT contact FROM crm.customers_subscriptions WHERE contact ~ '^c[17]@'") == []
    assert query("SELECT count(*) FROM crm.customers_subscriptions") == [(8,)]
    assert query(EVENTS) == [("profile.deleted", "c1", []), ("profile.deleted", "c7", [])]
    assert query("SELECT line, key FROM ingest.rejects WHERE code = 'unmatched'") == [(4, "nobody")]
    assert query("SELECT read, deleted, unmatched, absent FROM ingest.loads WHERE import = 'leavers'") == [(3, 2, 1, 0)]
    again = load(filled, tmp_path, bound, [("c1",), ("c7",)], 2)
    assert again.counts == Counts(read=2, unmatched=2)


def test_a_list_deletes_by_another_match(filled: Target, query: Rows, tmp_path: Path) -> None:
    query("UPDATE crm.customers SET email = customer_id || '@x.com'")
    match = {"by": "field", "field": "email"}
    bound = imported(name="leavers", mode="delete", match=match, columns={"Mail": "email"}, deletes=ANY)
    report = load(filled, tmp_path, bound, [("c1@x.com",), ("C2@X.COM",), ("no@x.com",)], 1)
    assert report.counts == Counts(read=3, deleted=2, unmatched=1)


def test_a_list_deactivates_its_customers(filled: Target, query: Rows, tmp_path: Path) -> None:
    bound = imported(name="leavers", mode="deactivate", set=INACTIVE, columns=ID, deletes=ANY)
    report = load(filled, tmp_path, bound, [("c1", False), ("nobody", False)], 1)
    assert report.counts == Counts(read=2, updated=1, unmatched=1)
    assert [row for row in query(STATES) if row[1] is not None] == [("c1", False)]
    assert query(EVENTS) == [("profile.updated", "c1", ["active"])]
    again = load(filled, tmp_path, bound, [("c1", False), ("c2", False)], 2)
    assert again.counts == Counts(read=2, updated=1, unchanged=1)


@pytest.mark.parametrize("mode", ["delete", "deactivate"])
def test_more_than_the_table_may_lose_changes_nothing_unless_forced(
    filled: Target, query: Rows, tmp_path: Path, mode: str
) -> None:
    spec: dict[str, Any] = {"set": INACTIVE} if mode == "deactivate" else {}
    row: tuple[Any, ...] = (False,) if spec else ()
    bound = imported(name="leavers", mode=mode, columns=ID, deletes={"max_percent": 10}, **spec)
    load(filled, tmp_path, bound, [("c1", *row)], 1)
    before = query("SELECT * FROM crm.customers ORDER BY customer_id")
    rows = [("c2", *row), ("c3", *row)]
    validated = delivery(tmp_path, bound, rows, of=item(2, name="leavers"))
    run = Run("run-2", by="sensor")
    with pytest.raises(
        DeletesAboveLimit, match=r"2 of (9|10) profiles of crm.customers .*the import allows 10 %"
    ) as no:
        apply(validated, bound, filled, run, NOW)
    record_failure(no.value, validated, validated.landing.item, bound, filled, run, NOW)
    assert query("SELECT * FROM crm.customers ORDER BY customer_id") == before
    plan = apply(validated, bound, filled, replace(run, id="plan", dry_run=True), NOW)
    assert (plan.status, plan.counts.deleted + plan.counts.updated) == ("failed", 2)
    forced = apply(validated, bound, filled, replace(run, id="run-3", forced=True), NOW)
    assert forced.counts.deleted + forced.counts.updated == 2


def test_a_full_file_deletes_who_it_no_longer_has(filled: Target, query: Rows, tmp_path: Path) -> None:
    bound = imported(name="customers", subscriptions=[CONSENT], snapshot=True, deletes={"max_percent": 20})
    rows = [(f"c{number}", "t", number, None) for number in range(9)] + [("new", "t", 1, None)]
    report = load(filled, tmp_path, bound, rows, 2)
    assert (report.counts, report.absent) == (Counts(read=10, inserted=1, unchanged=9), 1)
    assert [key for (key,) in query(KEYS)] == [*(f"c{number}" for number in range(9)), "new"]
    assert query("SELECT count(*) FROM crm.customers_subscriptions") == [(9,)]
    assert query(EVENTS) == [("profile.deleted", "c9", [])]
    assert query("SELECT deleted, absent FROM ingest.loads ORDER BY id") == [(0, 0), (0, 1)]
    with pytest.raises(DeletesAboveLimit, match="3 of 10 profiles"):
        load(filled, tmp_path, bound, rows[:7], 3)
    assert len(query(KEYS)) == 10


def test_a_full_file_marks_who_it_no_longer_has(filled: Target, query: Rows, tmp_path: Path) -> None:
    bound = imported(name="customers", snapshot=True, set=INACTIVE, deletes=ANY)
    rows = [(f"c{number}", "t", number) for number in range(8)]
    report = load(filled, tmp_path, bound, rows, 2)
    assert (report.counts, report.absent) == (Counts(read=8, unchanged=8), 2)
    assert [row for row in query(STATES) if row[1] is not None] == [("c8", False), ("c9", False)]
    assert query(EVENTS) == [("profile.updated", "c8", ["active"]), ("profile.updated", "c9", ["active"])]
    again = load(filled, tmp_path, bound, rows, 3)
    assert (again.status, again.absent) == ("skipped", 0)


@pytest.mark.parametrize("kind", ["rejected rows", "a row that the table refuses", "a replay"])
def test_nobody_is_absent_from_a_file_that_may_have_them(
    filled: Target, query: Rows, tmp_path: Path, kind: str
) -> None:
    query("ALTER TABLE crm.customers ADD CONSTRAINT polite CHECK (tier <> 'rude')")
    bound = imported(name="customers", snapshot=True, deletes=ANY, rejects={"unlimited": True})
    rows = [(f"c{number}", "rude" if kind.startswith("a row") and number == 3 else "t", number) for number in range(5)]
    rejected = [Rejected(9)] if kind == "rejected rows" else []
    report = load(filled, tmp_path, bound, rows, 2, kind="replay" if kind == "a replay" else "file", rejected=rejected)
    assert report.absent == 0
    assert len(query(KEYS)) == 10
    assert any("profiles that the file has no longer" in said for said in report.warnings) is (kind != "a replay")


def test_a_row_older_than_its_profile_is_not_absent(filled: Target, query: Rows, tmp_path: Path) -> None:
    bound = imported(name="versions", snapshot=True, version="V", deletes=ANY)
    load(filled, tmp_path, bound, [(f"c{number}", "t", number, "5") for number in range(10)], 1)
    report = load(filled, tmp_path, bound, [(f"c{number}", "old", 0, "4") for number in range(9)], 2)
    assert (report.counts, report.absent) == (Counts(read=9, skipped=9), 1)
    assert len(query(KEYS)) == 9


def test_profiles_that_other_tables_need_are_rejected_and_the_others_deleted(
    filled: Target, query: Rows, tmp_path: Path
) -> None:
    query("CREATE TABLE crm.orders (customer text REFERENCES crm.customers (customer_id));"
          "INSERT INTO crm.orders VALUES ('c3')")  # fmt: skip
    bound = imported(name="leavers", mode="delete", columns=ID, deletes=ANY, rejects={"max_rows": 1})
    report = load(filled, tmp_path, bound, [("c2",), ("c3",), ("c4",), ("nobody",)], 1)
    assert report.counts == Counts(read=4, deleted=2, unmatched=1, rejected=1)
    [(line, reason)] = query("SELECT line, reason FROM ingest.rejects WHERE code = 'refused_by_table'")
    assert (line, reason.split(",")[0]) == (3, "foreign key violation (23503)")
    assert query("SELECT count(*) FROM ingest.events WHERE kind = 'profile.deleted'") == [(2,)]


def test_a_full_file_says_what_keeps_the_profiles_that_it_no_longer_has(
    filled: Target, query: Rows, tmp_path: Path
) -> None:
    query("CREATE TABLE crm.orders (customer text REFERENCES crm.customers (customer_id));"
          "INSERT INTO crm.orders VALUES ('c9')")  # fmt: skip
    rows = [(f"c{number}", "new", number) for number in range(8)]
    bound = imported(name="customers", snapshot=True, deletes=ANY, rejects={"unlimited": True})
    points: list[str] = []
    with pytest.raises(TargetRefused, match="no longer cannot be deleted: foreign key violation") as refused:
        load(filled, tmp_path, bound, rows, 2, fault=points.append)
    assert "mark them with set: instead" in refused.value.hint
    assert "search: begun" not in points, "no row of the file is looked for"
    assert query("SELECT count(*), count(*) FILTER (WHERE tier = 'new') FROM crm.customers") == [(10, 0)]


@pytest.mark.parametrize("kind", ["delete", "deactivate", "a full file deletes", "a full file marks"])
def test_a_large_list_and_a_large_full_file_are_guarded_by_the_table_as_it_was(
    filled: Target, query: Rows, tmp_path: Path, begin: Any, kind: str
) -> None:
    """Their rows are on the way while others are still validated."""
    rows: list[Any] = [("c1",), ("c7",), ("nobody",)]
    if kind.startswith("a full file"):
        spec: dict[str, Any] = {"snapshot": True, "columns": {**ID, "Tier": "tier"}}
        rows = [(f"c{number}", "t") for number in range(10) if number not in {1, 7}]
    else:
        spec = {"mode": kind, "columns": ID}
    spec |= {"set": INACTIVE} if kind in {"deactivate", "a full file marks"} else {}
    for number, limit in enumerate((10, 20), 1):
        bound = imported(name="large", deletes={"max_percent": limit}, shrink={"min_percent": 0}, **spec)
        given = [(*row, False) for row in rows] if kind == "deactivate" else rows
        validated = delivery(tmp_path, bound, given, of=item(number, name="large"), chunks=3)
        run = Run(f"large-{number}", by="sensor")
        early = begin(validated, bound, run, filled)
        if limit == 10:
            with pytest.raises(DeletesAboveLimit, match="2 of 10 profiles"):
                apply(validated, bound, filled, run, NOW, early=early)
            assert query("SELECT count(*), count(active) FROM crm.customers") == [(10, 0)]
        else:
            report = apply(validated, bound, filled, run, NOW, early=early)
            assert report.counts.balanced
            assert report.counts.deleted + report.counts.updated + report.absent == 2
    deletes = "set" not in spec
    assert query("SELECT count(*), count(active) FROM crm.customers") == [(8, 0) if deletes else (10, 2)]
    assert query("SELECT count(*) FROM crm.customers_subscriptions") == [(8 if deletes else 10,)]


@pytest.mark.parametrize("mode", ["delete", "deactivate"])
def test_the_chunks_of_a_drain_are_guarded_together(filled: Target, query: Rows, tmp_path: Path, mode: str) -> None:
    spec: dict[str, Any] = {"mode": mode, "columns": ID, "deletes": {"max_percent": 20}}
    bound = imported(name="leavers", **spec, **({"set": INACTIVE} if mode == "deactivate" else {}))
    run, of = Run("drain", by="schedule"), item(1, name="leavers", kind="cursor")
    for number in range(3):
        chunk = replace(of, cursor_from=str(number) if number else None)
        row = (f"c{number}", False) if mode == "deactivate" else (f"c{number}",)
        validated = delivery(tmp_path, bound, [row], of=chunk, cursor_to=str(number + 1))
        if number < 2:
            apply(validated, bound, filled, run, NOW)
            continue
        with pytest.raises(DeletesAboveLimit, match="3 of 10 profiles"):
            apply(validated, bound, filled, run, NOW)
    assert query("SELECT count(*), count(active) FROM crm.customers") == [(8, 0) if mode == "delete" else (10, 2)]


def test_a_trigger_that_keeps_a_profile_stops_the_load(filled: Target, query: Rows, tmp_path: Path) -> None:
    query("CREATE FUNCTION crm.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
          " CREATE TRIGGER keep BEFORE DELETE ON crm.customers FOR EACH ROW EXECUTE FUNCTION crm.keep()")  # fmt: skip
    bound = imported(name="leavers", mode="delete", columns=ID, deletes=ANY)
    with pytest.raises(TargetRefused, match="left out 1 of 1 rows"):
        load(filled, tmp_path, bound, [("c2",)], 1)
    assert len(query(KEYS)) == 10


def test_a_role_that_may_not_delete_is_told_the_grant(filled: Target, query: Rows, tmp_path: Path) -> None:
    user = f"loader_{filled.url.rpartition('_')[2][:12]}"
    query(f"CREATE ROLE {user}; GRANT ALL ON SCHEMA crm, ingest TO {user};"
          f" GRANT ALL ON ALL TABLES IN SCHEMA ingest TO {user};"
          f" GRANT ALL ON ALL SEQUENCES IN SCHEMA ingest TO {user};"
          f" GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA crm TO {user}")  # fmt: skip
    bound = imported(name="leavers", mode="delete", columns=ID, deletes=ANY)
    as_role = replace(filled, url=f"{filled.url}{'&' if '?' in filled.url else '?'}options=-crole%3D{user}")
    with pytest.raises(TargetRefused, match=f'GRANT DELETE ON "crm"."customers" TO "{user}"'):
        load(as_role, tmp_path, bound, [("c2",)], 1)
    with psycopg.connect(filled.url) as admin:
        admin.execute(f"DROP OWNED BY {user}; DROP ROLE {user}".encode())
