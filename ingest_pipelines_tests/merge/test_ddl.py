"""A target grows to fit its imports, and a table that was there before keeps what it has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingest_pipelines.config.databases import Field
from ingest_pipelines.errors import LoadError
from ingest_pipelines.merge import Target, apply
from ingest_pipelines.merge.column_types import can_hold, column_type
from ingest_pipelines.merge.names import short_name
from ingest_pipelines.model import Counts
from ingest_pipelines_tests.merge.deliveries import CUSTOMERS, NOW, SENSOR, bound_import, delivery, item
from ingest_pipelines_tests.merge.targets import Rows


def field(kind: str, **rules: object) -> Field:
    return Field.model_validate({"type": kind, **rules})


@pytest.mark.parametrize(
    ("kind", "column", "holds"),
    [
        ("string", "text", True), ("string", "character varying", True), ("string", "character varying(10)", False),
        ("email", "citext", True), ("email", "integer", False),
        ("int", "bigint", True), ("int", "integer", False), ("int", "numeric", True), ("int", "text", False),
        ("decimal(12,2)", "numeric(12,2)", True), ("decimal(12,2)", "numeric", True),
        ("decimal(12,2)", "numeric(14,4)", True), ("decimal(12,2)", "numeric(12,4)", False),
        ("decimal(12,2)", "numeric(12,1)", False), ("decimal(12,2)", "double precision", False),
        ("float", "double precision", True), ("float", "real", False),
        ("datetime", "timestamp with time zone", True), ("datetime", "timestamp without time zone", False),
        ("datetime", "timestamp(3) with time zone", False),
        ("phones", "text[]", True), ("phones", "text", False), ("object", "jsonb", True), ("object", "json", False),
        ("ip", "inet", True), ("bool", "boolean", True), ("date", "date", True),
    ],
)  # fmt: skip
def test_a_column_takes_a_field_only_where_no_value_would_change(kind: str, column: str, holds: bool) -> None:
    assert can_hold(column, field(kind)) is holds


def test_a_length_fits_into_the_same_or_a_greater_one() -> None:
    name = field("string", max_length=10)
    assert column_type(name) == "character varying(10)"
    assert [can_hold(f"character varying({length})", name) for length in (9, 10, 11)] == [False, True, True]


@pytest.mark.parametrize(
    ("kind", "rules", "column", "holds"),
    [
        ("int", {"min": 0, "max": 32_767}, "smallint", True), ("int", {"min": 0, "max": 32_768}, "smallint", False),
        ("int", {"min": -(2**31), "max": 2**31 - 1}, "integer", True), ("int", {"max": 10}, "integer", False),
        ("int", {"min": 0, "max": 999}, "numeric(3,0)", True), ("int", {"min": 0, "max": 1000}, "numeric(5,2)", False),
        ("int", {}, "numeric(18,0)", False), ("int", {}, "numeric(19,0)", True),
        ("string", {}, "character varying(8000)", True), ("string", {"max_length": 3}, "character(3)", False),
        ("enum", {"options": ["ab", "cde"]}, "character varying(3)", True),
        ("enum", {"options": ["ab", "cde"]}, "character varying(2)", False),
        ("email", {}, "character varying(255)", True), ("email", {}, "character varying(100)", False),
        ("phone", {}, "character varying(16)", True), ("phone", {}, "character varying(15)", False),
        ("phones", {}, "character varying(16)[]", True), ("phones", {}, "character varying(9)[]", False),
    ],
)  # fmt: skip
def test_a_narrower_column_will_do_where_the_rules_keep_values_within_it(
    kind: str, rules: dict[str, Any], column: str, holds: bool
) -> None:
    assert can_hold(column, field(kind, **rules)) is holds


def test_names_that_are_too_long_stay_distinct() -> None:
    long = [short_name("a" * 60, end) for end in ("subscriptions", "key_seq")]
    assert all(len(name) == 63 for name in long)
    assert len(set(long)) == 2
    assert short_name("customers", "subscriptions") == "customers_subscriptions"


def test_a_table_that_was_there_gets_what_it_lacks_and_keeps_the_rest(
    target: Target, query: Rows, tmp_path: Path
) -> None:
    query(
        "CREATE SCHEMA crm;"
        "CREATE TABLE crm.customers (customer_id text PRIMARY KEY, tier text, note text DEFAULT 'mine');"
        "INSERT INTO crm.customers VALUES ('a', 'Old', 'kept')"
    )
    bound = bound_import()
    report = apply(delivery(tmp_path, bound, [("a", "Gold", 1), ("b", "New", 2)]), bound, target, SENSOR, NOW)
    assert report.counts == Counts(read=2, inserted=1, updated=1)
    assert all(statement.startswith('ALTER TABLE "crm"."customers" ADD COLUMN') for statement in report.ddl)
    assert query("SELECT customer_id, tier, points, note FROM crm.customers ORDER BY 1") == [
        ("a", "Gold", 1, "kept"), ("b", "New", 2, "mine")
    ]  # fmt: skip
    assert sorted(query("SELECT profile_id FROM crm.customers")) == [(1,), (2,)]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("customer_id text", "its column 'customer_id' is not unique"),
        ("customer_id text PRIMARY KEY, points text", "the column 'points' of crm.customers is text; the field is int"),
    ],
)
def test_a_table_that_does_not_fit_is_left_alone(
    target: Target, query: Rows, tmp_path: Path, columns: str, said: str
) -> None:
    query(f"CREATE SCHEMA crm; CREATE TABLE crm.customers ({columns})")
    before = query("SELECT column_name FROM information_schema.columns WHERE table_schema = 'crm' ORDER BY 1")
    bound = bound_import()
    with pytest.raises(LoadError, match=said) as refusal:
        apply(delivery(tmp_path, bound, [("a", "Gold", 1)]), bound, target, SENSOR, NOW)
    assert "crm" in refusal.value.hint
    assert query("SELECT column_name FROM information_schema.columns WHERE table_schema = 'crm' ORDER BY 1") == before


@pytest.mark.parametrize(("fillfactor", "in_place"), [(None, True), (70, True), (100, False)])
def test_an_update_finds_room_in_the_page_and_touches_no_index(
    target: Target, query: Rows, tmp_path: Path, fillfactor: int | None, in_place: bool
) -> None:
    database = {**CUSTOMERS} if fillfactor is None else {**CUSTOMERS, "fillfactor": fillfactor}
    bound = bound_import(database=database, events=False)
    rows = [(f"c{number:05d}", "Gold", number) for number in range(4_000)]
    apply(delivery(tmp_path, bound, rows), bound, target, SENSOR, NOW)
    index = query("SELECT pg_relation_size('crm.customers_pkey')")
    changed = [(key, tier, points + 1 if points % 20 == 0 else points) for key, tier, points in rows]
    second = delivery(tmp_path, bound, changed, of=item(2))
    assert apply(second, bound, target, replace(SENSOR, id="run-2"), NOW).counts.updated == 200
    query("SELECT pg_stat_force_next_flush()")
    [(updated, touching_no_index)] = query(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'crm.customers'::regclass"
    )
    assert updated == 200
    assert (touching_no_index == 200) is in_place
    assert (query("SELECT pg_relation_size('crm.customers_pkey')") == index) or not in_place


def test_generated_keys_start_above_those_that_are_there(target: Target, query: Rows, tmp_path: Path) -> None:
    query(
        "CREATE SCHEMA crm; CREATE TABLE crm.customers (customer_id text PRIMARY KEY);"
        "INSERT INTO crm.customers VALUES ('7'), ('41'), ('x')"
    )
    database = {**CUSTOMERS, "key_default": "sequence"}
    bound = bound_import(database=database, columns={"Mail": "email"}, match={"by": "email_profile"})
    apply(delivery(tmp_path, bound, [("ann@x.org",)]), bound, target, SENSOR, NOW)
    assert query("SELECT customer_id FROM crm.customers WHERE email = 'ann@x.org'") == [("42",)]


def test_a_partitioned_table_counts_what_reaches_its_parts(target: Target, query: Rows, tmp_path: Path) -> None:
    query(
        "CREATE SCHEMA crm; CREATE TABLE crm.customers (customer_id text PRIMARY KEY) PARTITION BY HASH (customer_id);"
        "CREATE TABLE crm.one PARTITION OF crm.customers FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE crm.two PARTITION OF crm.customers FOR VALUES WITH (MODULUS 2, REMAINDER 1)"
    )
    query(
        "CREATE SEQUENCE crm.n;ALTER TABLE crm.customers ADD COLUMN profile_id bigint NOT NULL DEFAULT nextval('crm.n')"
    )
    bound = bound_import(events=False)
    rows = [(f"c{number}", "Gold", number) for number in range(10)]
    assert apply(delivery(tmp_path, bound, rows), bound, target, SENSOR, NOW).counts == Counts(read=10, inserted=10)
    second = delivery(tmp_path, bound, [*rows[:6], ("c6", "New", 6), ("c7", "New", 7)], of=item(2))
    counts = apply(second, bound, target, replace(SENSOR, id="run-2"), NOW).counts
    assert counts == Counts(read=8, updated=2, unchanged=6)
