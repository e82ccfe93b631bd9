"""Items that do not overlap give the same table in any order; an older item, or row, never overwrites a newer one."""

from __future__ import annotations

from contextlib import suppress
from itertools import permutations
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_pipelines.errors import StaleItem
from ingest_pipelines.merge import Target, apply
from ingest_pipelines.model import Run
from ingest_pipelines_tests.guarantees.world import read_world
from ingest_pipelines_tests.merge.deliveries import NOW, bound_import, delivery, item

BOUND = bound_import(shrink={"min_percent": 0})
ORDERS = list(permutations(range(3)))


@pytest.mark.parametrize("order", ORDERS)
def test_items_that_do_not_overlap_give_one_table_in_any_order(
    target: Target, tmp_path: Path, order: tuple[int, ...]
) -> None:
    files = [[(f"{number}-{row}", "Gold", row) for row in range(3)] for number in range(3)]
    for number in order:
        run = Run(f"run-{number}", by="ann", forced=True)
        apply(delivery(tmp_path, BOUND, files[number], of=item(number)), BOUND, target, run, NOW)
    assert read_world(target.url).profiles == {key: (tier, points) for rows in files for key, tier, points in rows}


@pytest.mark.parametrize("order", ORDERS)
def test_an_older_item_never_overwrites_a_newer_one(target: Target, tmp_path: Path, order: tuple[int, ...]) -> None:
    newest, applied = -1, []
    for number in order:
        with suppress(StaleItem):
            validated = delivery(tmp_path, BOUND, [("shared", f"v{number}", number)], of=item(number))
            apply(validated, BOUND, target, Run(f"run-{number}", by="sensor"), NOW)
            applied.append(number)
        newest = max(newest, number)
        assert read_world(target.url).profiles == {"shared": (f"v{newest}", newest)}
    assert applied == sorted(applied), "only items that are newer than all before are applied"


VERSIONED = bound_import(version="Rev", shrink={"min_percent": 0})
HISTORIES = st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), min_size=1, max_size=4), max_size=6)
"""Files of (customer, version), in the order of their delivery."""


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HISTORIES)
def test_a_row_of_an_older_version_never_overwrites_a_newer_one(
    target: Target, tmp_path: Path, files: list[list[tuple[int, int]]]
) -> None:
    check_versions(target, tmp_path, files)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HISTORIES)
def test_of_any_history_of_files_the_newest_version_of_each_row_is_left(
    target: Target, tmp_path: Path, files: list[list[tuple[int, int]]]
) -> None:
    check_versions(target, tmp_path, files)


def check_versions(target: Target, folder: Path, files: list[list[tuple[int, int]]]) -> None:
    """After each file every customer has the newest version delivered so far; files come doubled and out of order."""
    history = uuid4().hex[:8]
    newest: dict[str, int] = {}
    for number, file in enumerate(files):
        rows: dict[str, tuple[Any, ...]] = {}
        for customer, version in file:
            rows[f"{history}-{customer}"] = (f"{history}-{customer}", f"v{version}", version, str(version))
        validated = delivery(folder, VERSIONED, list(rows.values()), of=item(20 - number))
        counts = apply(validated, VERSIONED, target, Run(f"{history}-{number}", by="ann"), NOW).counts
        older = sum(version < newest.get(key, 0) for key, _, version, _ in rows.values())
        assert counts.skipped == older
        for key, _, version, _ in rows.values():
            newest[key] = max(version, newest.get(key, 0))
        table = read_world(target.url).profiles
        assert {key: row for key, row in table.items() if key.startswith(history)} == {
            key: (f"v{version}", version) for key, version in newest.items()
        }
