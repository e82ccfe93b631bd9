"""A `version` column puts rows in order one by one: older never overwrites newer, in whatever order they come."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from ingest_pipelines.merge import Target, apply
from ingest_pipelines.model import Counts, Run
from ingest_pipelines_tests.merge.deliveries import NOW, bound_import, delivery, item
from ingest_pipelines_tests.merge.targets import Rows


def test_an_older_row_is_skipped_and_counted(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import(version="Points")
    apply(
        delivery(tmp_path, bound, [("a", "New", 5, "5"), ("b", "New", 5, "5")], of=item(2)),
        bound,
        target,
        Run("1"),
        NOW,
    )
    rows = [("a", "Old", 4, "4"), ("b", "Newer", 6, "6"), ("c", "First", None, None)]
    report = apply(delivery(tmp_path, bound, rows, of=item(1)), bound, target, Run("2"), NOW)
    assert report.counts == Counts(read=3, inserted=1, updated=1, skipped=1)
    assert report.warnings == ("1 rows are older than their profiles, by Points, and were skipped",)
    assert query("SELECT customer_id, tier, points FROM crm.customers ORDER BY 1") == [
        ("a", "New", 5), ("b", "Newer", 6), ("c", "First", None)
    ]  # fmt: skip


def test_a_version_that_fills_no_field_is_kept_beside_them(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import(version="Rev")
    apply(delivery(tmp_path, bound, [("a", "Nine", 1, "9")]), bound, target, Run("1"), NOW)
    report = apply(delivery(tmp_path, bound, [("a", "Ten", 1, "10")], of=item(2)), bound, target, Run("2"), NOW)
    assert report.counts == Counts(read=1, updated=1)
    assert query("SELECT tier, _version_loyalty FROM crm.customers") == [("Ten", "10")]
    report = apply(delivery(tmp_path, bound, [("a", "Ten", 1, "12")], of=item(3)), bound, target, Run("3"), NOW)
    assert query("SELECT count(*) FROM ingest.events") == [(2,)], "a newer version of the same values is no event"
    report = apply(delivery(tmp_path, bound, [("a", "Eleven", 1, "11")], of=item(4)), bound, target, Run("4"), NOW)
    assert report.counts == Counts(read=1, skipped=1)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_any_order_of_delivery_gives_the_same_table(
    target: Target, query: Rows, tmp_path: Path, order: tuple[int, ...]
) -> None:
    files: list[list[tuple[Any, ...]]] = [
        [("a", "a1", 1, "2026-01-01T00:00:00Z"), ("b", "b1", 1, "2026-01-03T00:00:00Z")],
        [("a", "a2", 2, "2026-01-02T00:00:00Z"), ("b", "b2", 2, "2026-01-02T00:00:00Z")],
        [("b", "b3", 3, "2026-01-01T00:00:00Z"), ("c", "c3", 3, "2026-01-01T00:00:00Z")],
    ]
    bound = bound_import(version="At")
    for number in order:
        apply(delivery(tmp_path, bound, files[number], of=item(number)), bound, target, Run(str(number), by="ann"), NOW)
    assert query("SELECT customer_id, tier FROM crm.customers ORDER BY 1") == [("a", "a2"), ("b", "b1"), ("c", "c3")]
