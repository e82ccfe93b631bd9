"""A load, whole or not at all: modes, counts, skips, order, rejects, retries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ingest_pipelines.errors import (
    ConfigError,
    CountsDisagree,
    LoadError,
    RejectsAboveLimit,
    ShrunkItem,
    StaleItem,
    TargetRefused,
)
from ingest_pipelines.merge import FAULT_POINTS, Target, apply, record_failure
from ingest_pipelines.model import Counts, Run
from ingest_pipelines_tests.merge.deliveries import NOW, SENSOR, Rejected, bound_import, delivery, item
from ingest_pipelines_tests.merge.targets import Rows

PROFILES = "SELECT customer_id, tier, points FROM crm.customers ORDER BY 1"


def person(number: int, **facts: object) -> Run:
    return replace(Run(id=f"run-{number}", by="ann@desk"), **facts)  # type: ignore[arg-type]


def test_a_first_load_creates_the_table_and_says_so(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import()
    report = apply(delivery(tmp_path, bound, [("a", "Gold", 1), ("b", None, None)]), bound, target, SENSOR, NOW)
    assert report.status == "committed"
    assert report.counts == Counts(read=2, inserted=2)
    assert [statement.split()[1] for statement in report.ddl] == ["SCHEMA", "TABLE"]
    assert query(PROFILES) == [("a", "Gold", 1), ("b", None, None)]
    assert query("SELECT status, read, inserted, ddl FROM ingest.loads") == [("committed", 2, 2, list(report.ddl))]
    assert query("SELECT status FROM ingest.items") == [("committed",)]


def test_only_what_changed_is_written(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import()
    apply(
        delivery(tmp_path, bound, [("a", "Gold", 1), ("b", "Gold", 2), ("c", "Gold", 3)]), bound, target, person(1), NOW
    )
    versions: dict[str, str] = dict(query("SELECT customer_id, xmin::text FROM crm.customers"))
    second = delivery(tmp_path, bound, [("a", "Gold", 1), ("b", None, 2), ("d", "New", 4)], of=item(2), chunks=2)
    report = apply(second, bound, target, person(2), NOW)
    assert report.counts == Counts(read=3, inserted=1, updated=1, unchanged=1)
    assert report.ddl == ()
    assert query(PROFILES) == [("a", "Gold", 1), ("b", None, 2), ("c", "Gold", 3), ("d", "New", 4)]
    assert [
        key for key, xmin in query("SELECT customer_id, xmin::text FROM crm.customers") if versions.get(key) == xmin
    ] == ["a", "c"]


def test_an_empty_value_can_be_told_to_leave_the_field_alone(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import(empty="keep")
    apply(delivery(tmp_path, bound, [("a", "Gold", 1)]), bound, target, person(1), NOW)
    report = apply(delivery(tmp_path, bound, [("a", None, 2)], of=item(2)), bound, target, person(2), NOW)
    assert report.counts == Counts(read=1, updated=1)
    assert query(PROFILES) == [("a", "Gold", 2)]


def test_add_only_leaves_existing_profiles_alone(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import(mode="add_only")
    apply(delivery(tmp_path, bound, [("a", "Gold", 1)]), bound, target, person(1), NOW)
    report = apply(
        delivery(tmp_path, bound, [("a", "No", 2), ("b", "New", 2)], of=item(2)), bound, target, person(2), NOW
    )
    assert report.counts == Counts(read=2, inserted=1, skipped=1)
    assert query(PROFILES) == [("a", "Gold", 1), ("b", "New", 2)]


def test_update_only_counts_and_lists_customers_it_does_not_know(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import()
    apply(delivery(tmp_path, bound, [("a", "Gold", 1), ("b", "Gold", 1)]), bound, target, person(1), NOW)
    bound = bound_import(mode="update_only")
    rows = [("a", "Silver", 1), ("b", "Gold", 1), ("x", "Gold", 9)]
    report = apply(delivery(tmp_path, bound, rows, of=item(2)), bound, target, person(2), NOW)
    assert report.counts == Counts(read=3, updated=1, unchanged=1, unmatched=1)
    assert query(PROFILES) == [("a", "Silver", 1), ("b", "Gold", 1)]
    assert query("SELECT line, key, field, code FROM ingest.rejects") == [(4, "x", "customer_id", "unmatched")]


def test_fields_of_other_imports_stay_as_they_are(target: Target, query: Rows, tmp_path: Path) -> None:
    loyalty = bound_import()
    mails = bound_import(
        "mails", columns={"CID": "customer_id", "Mail": "email", "Age": {"field": "age", "type": "int"}}
    )
    apply(delivery(tmp_path, loyalty, [("a", "Gold", 1)]), loyalty, target, SENSOR, NOW)
    report = apply(delivery(tmp_path, mails, [("a", "a@x.org", 40)]), mails, target, SENSOR, NOW)
    assert report.ddl == ('ALTER TABLE "crm"."customers" ADD COLUMN "age" bigint',)
    assert query("SELECT customer_id, tier, points, email, age FROM crm.customers") == [("a", "Gold", 1, "a@x.org", 40)]


def test_rejects_are_kept_with_the_rows_that_were_merged(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import(rejects={"max_rows": 1})
    validated = delivery(tmp_path, bound, [("a", "Gold", 1)], rejected=[Rejected(3, "b"), Rejected(3, "b", code="min")])
    report = apply(validated, bound, target, SENSOR, NOW)
    assert report.counts == Counts(read=2, inserted=1, rejected=1)
    assert query("SELECT load, line, key, field, code, row FROM ingest.rejects ORDER BY code") == [
        (report.load_id, 3, "b", "points", code, {"CID": "b", "Points": "1,5"}) for code in ("bad_int", "min")
    ]


def test_rejects_above_the_limit_merge_nothing_and_are_kept(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import()
    validated = delivery(tmp_path, bound, [("a", "Gold", 1)], rejected=[Rejected(3, "b")])
    with pytest.raises(RejectsAboveLimit) as refusal:
        apply(validated, bound, target, SENSOR, NOW)
    report = record_failure(refusal.value, validated, validated.landing.item, bound, target, SENSOR, NOW)
    assert (report.status, report.counts) == ("failed", Counts(read=2, rejected=1))
    assert query("SELECT to_regclass('crm.customers')") == [(None,)]
    assert query("SELECT load, line, code FROM ingest.rejects") == [(report.load_id, 3, "bad_int")]
    assert query("SELECT status FROM ingest.items") == [("failed",)]


def test_a_retry_of_a_run_whose_load_committed_does_nothing(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import()
    validated = delivery(tmp_path, bound, [("a", "Gold", 1)])
    first = apply(validated, bound, target, SENSOR, NOW)
    query("UPDATE crm.customers SET tier = 'Changed since'")
    again = apply(validated, bound, target, replace(SENSOR, attempt=2), NOW)
    assert (again.load_id, again.status, again.counts) == (first.load_id, "committed", first.counts)
    assert query(PROFILES) == [("a", "Changed since", 1)]
    report = record_failure(LoadError("lost"), validated, validated.landing.item, bound, target, SENSOR, NOW)
    assert (report.load_id, report.status) == (first.load_id, "committed")


def test_a_retry_after_a_failure_replaces_its_record(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import(rejects={"max_rows": 1})
    validated = delivery(tmp_path, bound, [("a", "Gold", 1)], rejected=[Rejected(3)])
    record_failure(LoadError("first try"), validated, validated.landing.item, bound, target, SENSOR, NOW)
    apply(validated, bound, target, replace(SENSOR, attempt=2), NOW)
    assert query("SELECT status, attempt, error FROM ingest.loads") == [("committed", 2, "")]
    assert query("SELECT count(*) FROM ingest.rejects") == [(1,)]


def test_the_same_bytes_again_are_skipped_unless_a_person_asks(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import()
    rows = [("a", "Gold", 1)]
    apply(delivery(tmp_path, bound, rows), bound, target, SENSOR, NOW)
    again = delivery(tmp_path, bound, rows, of=item(2))
    report = apply(again, bound, target, Run("run-2", by="sensor"), NOW)
    assert report.status == "skipped"
    assert "nothing new" in report.reason
    assert query("SELECT status FROM ingest.items ORDER BY key") == [("committed",), ("skipped",)]
    assert apply(again, bound, target, person(3), NOW).counts == Counts(read=1, unchanged=1)


def test_the_same_bytes_under_another_configuration_are_loaded(target: Target, tmp_path: Path) -> None:
    bound = bound_import()
    apply(delivery(tmp_path, bound, [("a", "Gold", 1)]), bound, target, SENSOR, NOW)
    changed = bound_import(empty="keep")
    assert (
        apply(
            delivery(tmp_path, changed, [("a", "Gold", 1)], of=item(2)), changed, target, Run("r", by="sensor"), NOW
        ).status
        == "committed"
    )


def test_an_older_item_never_overwrites_a_newer_one(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import()
    apply(delivery(tmp_path, bound, [("a", "New", 2)], of=item(2)), bound, target, person(1), NOW)
    old = delivery(tmp_path, bound, [("a", "Old", 1)], of=item(1))
    with pytest.raises(StaleItem, match="older than loyalty-2"):
        apply(old, bound, target, person(2), NOW)
    assert query(PROFILES) == [("a", "New", 2)]
    report = apply(old, bound, target, person(3, forced=True), NOW)
    assert report.counts == Counts(read=1, updated=1)
    assert query("SELECT forced FROM ingest.loads ORDER BY id") == [(False,), (True,)]
    with pytest.raises(StaleItem):
        apply(old, bound, target, person(4), NOW)


def test_an_item_that_shrank_is_held(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import()
    apply(delivery(tmp_path, bound, [(f"c{n}", "Gold", n) for n in range(10)]), bound, target, person(1), NOW)
    small = delivery(tmp_path, bound, [(f"c{n}", "Gold", 0) for n in range(4)], of=item(2))
    with pytest.raises(ShrunkItem, match="4 rows are less than 50 % of the 10 in the last item, loyalty-1"):
        apply(small, bound, target, person(2), NOW)
    assert apply(small, bound, target, person(3, forced=True), NOW).status == "committed"


def test_a_chunk_applies_only_where_the_cursor_stands(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import()
    drain = item(1, kind="cursor", modified_at=None, serial=None)
    apply(
        delivery(tmp_path, bound, [("a", "x", 1)], of=drain, cursor_to="10", cursor_committed="10"),
        bound,
        target,
        SENSOR,
        NOW,
    )
    chunk = replace(drain, cursor_from="10")
    apply(
        delivery(tmp_path, bound, [("b", "x", 1)], of=chunk, cursor_to="20", cursor_committed="20"),
        bound,
        target,
        SENSOR,
        NOW,
    )
    assert query("SELECT value FROM ingest.cursors") == [("20",)]
    with pytest.raises(StaleItem, match="moved the committed cursor"):
        apply(
            delivery(tmp_path, bound, [("c", "x", 1)], of=chunk, cursor_to="15", cursor_committed="15"),
            bound,
            target,
            person(7),
            NOW,
        )
    assert query("SELECT item, cursor_from, cursor_to, status FROM ingest.loads ORDER BY id") == [
        (drain.key, None, "10", "committed"), (drain.key, "10", "20", "committed")
    ]  # fmt: skip


def test_a_plan_reports_everything_and_leaves_nothing(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import()
    validated = delivery(tmp_path, bound, [("a", "Gold", 1)], rejected=[Rejected(3)])
    report = apply(validated, bound, target, replace(SENSOR, dry_run=True), NOW)
    assert report.dry_run
    assert report.load_id is None
    assert (report.status, report.counts) == ("failed", Counts(read=2, inserted=1, rejected=1))
    assert "1 of 2 rows were rejected" in report.reason
    assert len(report.ddl) == 2
    assert query("SELECT to_regclass('crm.customers'), (SELECT count(*) FROM ingest.loads)") == [(None, 0)]


def test_a_field_never_changes_its_type(target: Target, tmp_path: Path) -> None:
    first = bound_import("one", columns={"CID": "customer_id", "Age": {"field": "age", "type": "int"}})
    second = bound_import("two", columns={"CID": "customer_id", "Age": {"field": "age", "type": "float"}})
    apply(delivery(tmp_path, first, [("a", 1)]), first, target, SENSOR, NOW)
    with pytest.raises(LoadError, match="'age' was created as int by import one"):
        apply(delivery(tmp_path, second, [("a", 1.5)]), second, target, SENSOR, NOW)


def test_a_mapping_is_locked_by_its_first_committed_load(target: Target, tmp_path: Path) -> None:
    bound = bound_import()
    apply(delivery(tmp_path, bound, [("a", "Gold", 1)]), bound, target, SENSOR, NOW)
    changed = bound_import(columns={"CID": "customer_id", "Tier": "email", "New": "tier"})
    with pytest.raises(ConfigError) as refusal:
        apply(delivery(tmp_path, changed, [("a", "a@x.org", "t")], of=item(2)), changed, target, person(2), NOW)
    assert refusal.value.mistakes == (
        "imports/loyalty.yaml: columns.New: added since the first committed load",
        "imports/loyalty.yaml: columns.Points: removed; it filled 'points' (int)",
        "imports/loyalty.yaml: columns.Tier: it filled 'tier' (string), now 'email' (email)",
    )


def test_the_driver_never_shows_a_value(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import()
    apply(delivery(tmp_path, bound, [("a", "Gold", 1)]), bound, target, person(1), NOW)
    query("ALTER TABLE crm.customers ADD CONSTRAINT few CHECK (points < 100)")
    with pytest.raises(TargetRefused, match="few") as refusal:
        apply(delivery(tmp_path, bound, [("a", "SECRET", 101)], of=item(2)), bound, target, person(2), NOW)
    assert "SECRET" not in str(refusal.value)
    assert refusal.value.__suppress_context__
    assert query(PROFILES) == [("a", "Gold", 1)]


def test_a_load_whose_counts_do_not_add_up_is_rolled_back(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import()
    validated = replace(delivery(tmp_path, bound, [("a", "Gold", 1)]), read=2)
    with pytest.raises(CountsDisagree, match="do not add up"):
        apply(validated, bound, target, SENSOR, NOW)
    assert query("SELECT to_regclass('crm.customers'), (SELECT count(*) FROM ingest.loads)") == [(None, 0)]


@pytest.mark.parametrize("events", [True, False])
def test_rows_that_a_trigger_leaves_out_are_not_counted_as_anything(
    target: Target, query: Rows, tmp_path: Path, events: bool
) -> None:
    bound = bound_import(events=events)
    apply(delivery(tmp_path, bound, [("a", "Gold", 1), ("b", "Gold", 1)]), bound, target, SENSOR, NOW)
    query(
        "CREATE FUNCTION crm.few() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.tier := upper(NEW.tier); IF NEW.points < 9 THEN RETURN NEW; END IF; RETURN NULL; END $$;"
        "CREATE TRIGGER few BEFORE INSERT OR UPDATE ON crm.customers FOR EACH ROW EXECUTE FUNCTION crm.few()"
    )
    left_out = [("a", "Gold", 2), ("b", "Gold", 9), ("c", "Gold", 2), ("d", "Gold", 10)]
    with pytest.raises(TargetRefused, match=r"a trigger of crm.customers left out 2 of 4 rows") as refusal:
        apply(delivery(tmp_path, bound, left_out, of=item(2)), bound, target, person(2), NOW)
    assert not refusal.value.retryable
    assert query(PROFILES) == [("a", "Gold", 1), ("b", "Gold", 1)]
    taken = delivery(tmp_path, bound, [("a", "Gold", 2), ("c", "Gold", 2)], of=item(3))
    assert apply(taken, bound, target, person(3), NOW).counts == Counts(read=2, inserted=1, updated=1)
    assert query(PROFILES) == [("a", "GOLD", 2), ("b", "Gold", 1), ("c", "GOLD", 2)]


@pytest.mark.parametrize("events", [True, False])
@pytest.mark.parametrize("levels", [1, 2])
def test_rows_that_a_trigger_of_a_partition_leaves_out_are_not_counted_as_anything(
    target: Target, query: Rows, tmp_path: Path, events: bool, levels: int
) -> None:
    bound = bound_import(events=events)
    inner = " PARTITION BY HASH (customer_id); CREATE TABLE crm.inner PARTITION OF crm.part DEFAULT" * (levels - 1)
    query(
        "CREATE SCHEMA crm; CREATE TABLE crm.customers (customer_id text PRIMARY KEY,"
        " profile_id bigint NOT NULL DEFAULT 1 + random() * 1e15, tier text, points bigint)"
        " PARTITION BY HASH (customer_id);"
        "CREATE TABLE crm.part PARTITION OF crm.customers FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
        + inner.replace("BY HASH", "BY RANGE")
        + "; CREATE FUNCTION crm.few() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.points < 9 THEN RETURN NEW; END IF; RETURN NULL; END $$;"
        f"CREATE TRIGGER few BEFORE INSERT OR UPDATE ON crm.{'inner' if inner else 'part'} FOR EACH ROW"
        " EXECUTE FUNCTION crm.few()"
    )
    left_out = [("a", "Gold", 2), ("b", "Gold", 9)]
    with pytest.raises(TargetRefused, match=r"a trigger of crm.customers left out 1 of 2 rows"):
        apply(delivery(tmp_path, bound, left_out), bound, target, SENSOR, NOW)
    taken = delivery(tmp_path, bound, [("a", "Gold", 2)], of=item(2))
    assert apply(taken, bound, target, person(2), NOW).counts == Counts(read=1, inserted=1)


@pytest.mark.parametrize("point", ["locked", "altered", "matched"])
def test_a_trigger_that_comes_while_a_load_runs_takes_no_row_unseen(
    target: Target, query: Rows, tmp_path: Path, point: str
) -> None:
    bound = bound_import()
    apply(delivery(tmp_path, bound, [("a", "Gold", 1)]), bound, target, SENSOR, NOW)

    comes = iter(
        [
            "CREATE FUNCTION crm.none() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
            "CREATE TRIGGER none BEFORE INSERT OR UPDATE ON crm.customers FOR EACH ROW EXECUTE FUNCTION crm.none()"
        ]
    )

    def fault(reached: str) -> None:
        if reached == point and (statement := next(comes, None)):
            query(statement)

    with pytest.raises(TargetRefused, match=r"a trigger of crm.customers left out 2 of 2 rows"):
        apply(
            delivery(tmp_path, bound, [("a", "Gold", 2), ("b", "Gold", 2)], of=item(2)), bound, target, person(2), NOW,
            fault=fault,
        )  # fmt: skip
    assert query(PROFILES) == [("a", "Gold", 1)]


@pytest.mark.parametrize("events", [True, False])
def test_rows_that_a_trigger_adds_to_the_table_are_not_counted_as_the_load_s(
    target: Target, query: Rows, tmp_path: Path, events: bool
) -> None:
    bound = bound_import(events=events)
    apply(delivery(tmp_path, bound, [("a", "Gold", 1)]), bound, target, SENSOR, NOW)
    query(
        "CREATE FUNCTION crm.twin() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO crm.customers (customer_id) VALUES (NEW.customer_id || '-twin'); RETURN NULL; END $$;"
        "CREATE TRIGGER twin AFTER INSERT ON crm.customers FOR EACH ROW WHEN (pg_trigger_depth() = 0)"
        " EXECUTE FUNCTION crm.twin()"
    )
    report = apply(delivery(tmp_path, bound, [("b", "Gold", 1)], of=item(2)), bound, target, person(2), NOW)
    assert report.counts == Counts(read=1, inserted=1)
    assert query("SELECT customer_id FROM crm.customers ORDER BY 1") == [("a",), ("b",), ("b-twin",)]


def test_every_fault_point_is_passed_once_and_in_order(target: Target, tmp_path: Path) -> None:
    bound, passed = bound_import(), list[str]()
    apply(delivery(tmp_path, bound, [("a", "Gold", 1)]), bound, target, SENSOR, NOW, fault=passed.append)
    assert tuple(passed) == FAULT_POINTS
