"""Rows that are certainly new are copied, all others merged; what became of each row is the same either way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.config import BoundImport
from ingest_pipelines.merge import Target, apply, early_load, key_filter, write_steps
from ingest_pipelines.merge.copy import copy_accepted
from ingest_pipelines.merge.key_filter import KeyFilter, bits_for
from ingest_pipelines.merge.load_state import LoadState
from ingest_pipelines.model import Counts, LoadReport, Run, Validated
from ingest_pipelines_tests.merge.deliveries import CUSTOMERS, NOW, SENSOR, bound_import, delivery, item
from ingest_pipelines_tests.merge.targets import Rows

AGAIN = Run("run-2", by="sensor")
PROFILES = "SELECT customer_id, tier, points FROM crm.customers ORDER BY points, 1"
TOLD = """
    SELECT e.key, e.kind, e.fields FROM ingest.events e JOIN crm.customers c USING (profile_id)
    JOIN ingest.loads l ON l.id = e.load WHERE l.run_id = 'run-2' AND c.customer_id = e.key ORDER BY 1
"""


@given(known=st.lists(st.text(), max_size=50), others=st.lists(st.text(), max_size=50), rows=st.integers(0, 100))
def test_no_known_key_is_taken_for_a_new_one(known: list[str], others: list[str], rows: int) -> None:
    keys = KeyFilter("k", "", bits_for(rows))
    keys.add(pl.Series(known, dtype=pl.String))
    asked = [*others, *known]
    taken = keys.new(pl.Series(asked, dtype=pl.String))
    assert not {key for key, new in zip(asked, taken, strict=True) if new} & set(known)


def test_few_new_keys_are_taken_for_known_ones() -> None:
    keys = KeyFilter("k", "", bits_for(100_000))
    keys.add(pl.int_range(100_000, eager=True))
    assert not keys.new(pl.int_range(100_000, eager=True).cast(pl.String)).any()
    new = keys.new(pl.int_range(100_000, 200_000, eager=True)).sum()
    assert new > 100_000 * (1 - 1 / key_filter.BITS_PER_KEY) * 0.99
    assert keys.bits.nbytes == 1 << 18


def test_of_an_empty_target_every_key_is_new() -> None:
    assert KeyFilter("k", "", np.zeros(0, np.uint8)).new(pl.Series(["a", "b"])).to_list() == [True, True]


@pytest.fixture
def load(target: Target, begin: Any) -> Any:
    """Loads validated rows early and then by `apply`; returns the report and the load's state."""

    def load(validated: Validated, bound: BoundImport) -> tuple[LoadReport, LoadState]:
        early, passed = begin(validated, bound, AGAIN), list[str]()
        report = apply(validated, bound, target, AGAIN, NOW, early=early, fault=passed.append)
        assert "altered" not in passed, "the load began again"
        return report, early.state

    return load


@pytest.mark.parametrize("pages_at_once", [1, 4_096])
def test_new_rows_are_copied_and_known_ones_merged(
    target: Target, query: Rows, tmp_path: Path, load: Any, monkeypatch: pytest.MonkeyPatch, pages_at_once: int
) -> None:
    monkeypatch.setattr(key_filter, "PAGES_AT_ONCE", pages_at_once)
    bound = bound_import(shrink={"min_percent": 0})
    old = [(f"C{n}", "Gold", n) for n in range(400)]
    apply(delivery(tmp_path, bound, old, of=item(1)), bound, target, SENSOR, NOW)
    query("ANALYZE crm.customers")
    rows = [(f"C{n}", "Gold" if n % 2 else "Silver", n) for n in range(300, 600)]
    validated = delivery(tmp_path, bound, rows, of=item(2), chunks=3)
    report, state = load(validated, bound)
    assert state.key_filter is not None
    assert 150 < state.copied <= 200  # of 200 that are new; the first run has none
    assert report.counts == Counts(read=300, inserted=200, updated=50, unchanged=50)
    assert query(PROFILES) == [*old[:300], *rows]
    assert query(TOLD) == sorted(
        [(f"C{n}", "profile.updated", ["tier"]) for n in range(300, 400, 2)]
        + [(f"C{n}", "profile.created", []) for n in range(400, 600)]
    )


def test_a_number_is_a_key_like_any_other(target: Target, query: Rows, tmp_path: Path, load: Any) -> None:
    fields = {**CUSTOMERS["fields"], "customer_id": {"type": "int"}}
    bound = bound_import(database={**CUSTOMERS, "fields": fields}, mode="add_only", shrink={"min_percent": 0})
    apply(delivery(tmp_path, bound, [(n, "Gold", n) for n in range(100)], of=item(1)), bound, target, SENSOR, NOW)
    query("ANALYZE crm.customers")
    rows = [(n, "Silver", n) for n in range(-50, 150)]
    report, state = load(delivery(tmp_path, bound, rows, of=item(2)), bound)
    assert state.copied > 50
    assert report.counts == Counts(read=200, inserted=100, skipped=100)
    assert query("SELECT tier, count(*) FROM crm.customers GROUP BY 1 ORDER BY 1") == [("Gold", 100), ("Silver", 100)]


def test_a_load_that_only_updates_counts_unknown_rows_without_staging_them(
    target: Target, query: Rows, tmp_path: Path, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_steps, "UNMATCHED_LISTED", 5)
    staged = list[int]()

    def copy_and_count(*given: Any) -> int:
        staged.append(copy_accepted(*given))
        return staged[-1]

    monkeypatch.setattr(early_load, "copy_accepted", copy_and_count)
    old = [(f"C{n}", "Gold", n) for n in range(400)]
    apply(delivery(tmp_path, bound_import(), old, of=item(1)), bound_import(), target, SENSOR, NOW)
    query("ANALYZE crm.customers")
    bound = bound_import(mode="update_only", shrink={"min_percent": 0})
    rows = [(f"C{n}", "Gold" if n % 2 else "Silver", n) for n in range(599, 299, -1)]
    report, state = load(delivery(tmp_path, bound, rows, of=item(2), chunks=3), bound)
    assert state.key_filter is not None
    assert report.counts == Counts(read=300, updated=50, unchanged=50, unmatched=200)
    assert 100 <= sum(staged) < 150  # of 300
    assert query(PROFILES) == [*old[:300], *sorted(rows[200:], key=lambda row: row[2])]
    assert query("SELECT line, key, field, code FROM ingest.rejects ORDER BY line") == [
        (line, f"C{601 - line}", "customer_id", "unmatched") for line in range(2, 7)
    ]


def test_rows_that_are_to_wait_for_their_profiles_are_all_staged(
    target: Target, query: Rows, tmp_path: Path, load: Any
) -> None:
    apply(delivery(tmp_path, bound_import(), [("C1", "Gold", 1)], of=item(1)), bound_import(), target, SENSOR, NOW)
    query("ANALYZE crm.customers")
    bound = bound_import(mode="update_only", unmatched={"keep": "30d"}, shrink={"min_percent": 0})
    report, state = load(delivery(tmp_path, bound, [("C1", "Silver", 1), ("C2", "Gold", 2)], of=item(2)), bound)
    assert state.key_filter is None
    assert (report.counts, report.kept) == (Counts(read=2, updated=1, unmatched=1), 1)


def test_equal_numbers_that_are_spelled_differently_are_the_same_key(
    target: Target, query: Rows, tmp_path: Path, load: Any
) -> None:
    query("CREATE SCHEMA crm")
    query("CREATE TABLE crm.customers (customer_id numeric PRIMARY KEY, tier text, points bigint)")
    query("ALTER TABLE crm.customers ADD profile_id bigint GENERATED BY DEFAULT AS IDENTITY")
    query("INSERT INTO crm.customers VALUES (1.0, 'Gold', 1)")
    query("ANALYZE crm.customers")
    fields = {name: CUSTOMERS["fields"][name] for name in ("tier", "points")}
    database = {**CUSTOMERS, "fields": {"customer_id": {"type": "int"}, **fields}, "resources": {}}
    bound = bound_import(database=database, mode="update_only")
    report, state = load(delivery(tmp_path, bound, [(1, "Silver", 1), (2, "Gold", 2)]), bound)
    assert state.key_filter is None
    assert report.counts == Counts(read=2, updated=1, unmatched=1)


def test_a_profile_that_moves_to_another_page_while_keys_are_read_is_not_missed(
    target: Target, query: Rows, tmp_path: Path, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_filter, "PAGES_AT_ONCE", 1)
    old = [(f"C{n}", "Gold", n) for n in range(400)]
    apply(delivery(tmp_path, bound_import(), old, of=item(1)), bound_import(), target, SENSOR, NOW)
    query("DELETE FROM crm.customers WHERE points BETWEEN 100 AND 139")  # room in the first page: keys are sorted
    with psycopg.connect(target.url, autocommit=True) as other:
        other.execute("VACUUM (ANALYZE) crm.customers")
    add, pages, moved = KeyFilter.add, list[int](), list[int]()

    def move_a_row_to_the_first_page(self: KeyFilter, keys: pl.Series) -> None:
        add(self, keys)
        pages.append(len(keys))
        for number in range(300, 350) if len(pages) == 1 else ():
            grow = f"UPDATE crm.customers SET tier = repeat('x', 1500) WHERE points = {number} RETURNING ctid::text"
            if query(grow)[0][0].startswith("(0,"):
                moved.append(number)
                return

    monkeypatch.setattr(KeyFilter, "add", move_a_row_to_the_first_page)
    bound = bound_import(mode="update_only", shrink={"min_percent": 0})
    report, _ = load(delivery(tmp_path, bound, [(f"C{n}", "Silver", n) for n in range(200, 500)], of=item(2)), bound)
    assert len(pages) > 1
    assert len(moved) == 1
    assert report.counts == Counts(read=300, updated=200, unmatched=100)


@pytest.mark.parametrize(("rows", "of_them_new"), [(300, 0), (20, 20)])
def test_the_keys_of_a_table_are_not_read_for_a_few_new_rows(
    target: Target, query: Rows, tmp_path: Path, load: Any, rows: int, of_them_new: int
) -> None:
    bound = bound_import(shrink={"min_percent": 0})
    apply(delivery(tmp_path, bound, [(f"C{n}", "Gold", n) for n in range(400)], of=item(1)), bound, target, SENSOR, NOW)
    query("ANALYZE crm.customers")
    first = 400 - rows + of_them_new
    file = [(f"C{n}", "Silver", n) for n in range(first, first + rows)]
    report, state = load(delivery(tmp_path, bound, file, of=item(2)), bound)
    assert state.key_filter is None
    assert report.counts == Counts(read=rows, inserted=of_them_new, updated=rows - of_them_new)


def test_a_known_key_that_was_not_recognized_makes_the_load_begin_again(
    target: Target, query: Rows, tmp_path: Path, begin: Any
) -> None:
    bound = bound_import(shrink={"min_percent": 0})
    apply(delivery(tmp_path, bound, [(f"C{n}", "Gold", n) for n in range(100)], of=item(1)), bound, target, SENSOR, NOW)
    query("INSERT INTO crm.customers (customer_id, tier, points) VALUES (E'split \x01 in two', 'Gold', 500)")
    query("ANALYZE crm.customers")
    rows = [("split \x01 in two", "Silver", 500), *((f"N{n}", "Silver", n) for n in range(200))]
    validated = delivery(tmp_path, bound, rows, of=item(2))
    report = apply(validated, bound, target, AGAIN, NOW, early=begin(validated, bound, AGAIN))
    assert report.counts == Counts(read=201, inserted=200, updated=1)
    assert query("SELECT count(*) FROM crm.customers WHERE tier = 'Silver'") == [(201,)]


@pytest.mark.parametrize("numbers", ["", "CREATE SEQUENCE crm.numbers OWNED BY crm.customers.profile_id"])
def test_a_table_that_numbers_its_profiles_itself_gets_its_rows_all_the_same(
    target: Target, query: Rows, tmp_path: Path, load: Any, numbers: str
) -> None:
    query("CREATE SCHEMA crm")
    query(
        "CREATE TABLE crm.customers (profile_id bigint UNIQUE DEFAULT (random() * 1e15)::bigint, customer_id "
        "varchar(64) PRIMARY KEY, tier text, points bigint, email text, phone text)"
    )
    if numbers:
        query(numbers)
    bound = bound_import()
    report, state = load(delivery(tmp_path, bound, [(f"C{n}", None, n) for n in range(9)]), bound)
    assert state.copied == 0
    assert report.counts == Counts(read=9, inserted=9)
    assert query(
        "SELECT count(*) FROM ingest.events JOIN crm.customers c USING (profile_id) WHERE c.customer_id = key"
    ) == [(9,)]
