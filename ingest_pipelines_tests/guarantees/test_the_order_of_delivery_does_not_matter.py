"""Items that do not overlap give the same table in any order; an older item never overwrites a newer one."""

from __future__ import annotations

from contextlib import suppress
from itertools import permutations
from pathlib import Path

import pytest

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
