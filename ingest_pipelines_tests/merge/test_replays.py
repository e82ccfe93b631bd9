"""A replay's load resolves the rejects of the rows that it takes: with them, or not at all, and each one once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ingest_pipelines import ledger
from ingest_pipelines.errors import RejectsAboveLimit, StaleItem
from ingest_pipelines.ledger import Correction
from ingest_pipelines.merge import FAULT_POINTS, Target, apply, record_failure
from ingest_pipelines.model import Item, Run
from ingest_pipelines_tests.merge.deliveries import NOW, Rejected, bound_import, delivery, item
from ingest_pipelines_tests.merge.targets import Rows

PROFILES = "SELECT customer_id, points FROM crm.customers ORDER BY 1"
OPEN = "SELECT load, line FROM ingest.rejects WHERE resolved_at IS NULL ORDER BY 1, 2"
BOUND = bound_import(rejects={"unlimited": True}, shrink={"min_percent": 0})


def person(number: int, **facts: object) -> Run:
    return replace(Run(id=f"run-{number}", by="ann@desk"), **facts)  # type: ignore[arg-type]


@pytest.fixture
def load(target: Target, tmp_path: Path) -> int:
    """A load that rejected three rows."""
    report = apply(
        delivery(tmp_path, BOUND, [("a", None, 1)], rejected=[Rejected(5), Rejected(6), Rejected(9)]),
        BOUND, target, person(1), NOW,
    )  # fmt: skip
    assert report.load_id is not None
    return report.load_id


def replay(target: Target, number: int, *corrections: Correction) -> Item:
    """A replay of which the ledger knows what its rows correct."""
    corrected = item(number, kind="replay")
    with target.session() as connection:
        ledger.add_corrections(connection, corrected, corrections)
    return corrected


def test_a_load_that_breaks_anywhere_leaves_its_rejects_open(
    target: Target, query: Rows, tmp_path: Path, load: int
) -> None:
    corrected = replay(target, 2, Correction(2, load, 5), Correction(3, load, 6), Correction(4, load, 9))
    rows = delivery(tmp_path, BOUND, [("b", None, 2), ("c", None, 3)], of=corrected, rejected=[Rejected(4)])
    for broken in FAULT_POINTS[:-1]:

        def fault(point: str, broken: str = broken) -> None:
            if point == broken:
                raise ConnectionError(broken)

        with pytest.raises(ConnectionError):
            apply(rows, BOUND, target, person(2), NOW, fault=fault)
        assert query(PROFILES) == [("a", 1)], broken
        assert query(OPEN) == [(load, 5), (load, 6), (load, 9)], broken
    for _ in range(2):
        again = apply(rows, BOUND, target, person(2), NOW).load_id
        assert query(PROFILES) == [("a", 1), ("b", 2), ("c", 3)]
        assert query(OPEN) == [(load, 9)], "what is still wrong is open where it was first, and nowhere else"
    detail = {"load": again, "rejects_of": load, "rows": 2}
    assert query("SELECT what, who, detail FROM ingest.audit") == [("replayed", "ann@desk", detail)]


def test_of_two_replays_that_share_a_reject_the_second_merges_nothing(
    target: Target, query: Rows, tmp_path: Path, load: int
) -> None:
    ours = replay(target, 2, Correction(2, load, 5), Correction(3, load, 6))
    theirs = replay(target, 3, Correction(2, load, 6), Correction(3, load, 9))
    apply(delivery(tmp_path, BOUND, [("b", None, 2), ("c", None, 3)], of=ours), BOUND, target, person(2), NOW)
    late = delivery(tmp_path, BOUND, [("c", None, 8), ("d", None, 9)], of=theirs)
    with pytest.raises(StaleItem, match="1 of its rows is resolved already, by another replay"):
        apply(late, BOUND, target, person(3), NOW)
    assert (query(PROFILES), query(OPEN)) == ([("a", 1), ("b", 2), ("c", 3)], [(load, 9)])
    apply(late, BOUND, target, person(3, forced=True), NOW)
    assert (query(PROFILES), query(OPEN)) == ([("a", 1), ("b", 2), ("c", 8), ("d", 9)], [])


def test_a_replay_of_rejects_of_two_loads_resolves_each_in_its_own(
    target: Target, query: Rows, tmp_path: Path, load: int
) -> None:
    second = apply(
        delivery(tmp_path, BOUND, [], of=item(2), rejected=[Rejected(5), Rejected(6)]), BOUND, target, person(2), NOW
    ).load_id
    assert second is not None
    corrected = replay(target, 3, Correction(2, load, 6), Correction(3, second, 5))
    apply(delivery(tmp_path, BOUND, [("b", None, 2), ("c", None, 3)], of=corrected), BOUND, target, person(3), NOW)
    assert query(OPEN) == [(load, 5), (load, 9), (second, 6)]


def test_a_replay_that_failed_opens_no_second_place_for_its_rejects(
    target: Target, query: Rows, tmp_path: Path, load: int
) -> None:
    corrected = replay(target, 2, Correction(2, load, 5), Correction(3, load, 6))
    bound = bound_import(shrink={"min_percent": 0})
    rows = delivery(tmp_path, bound, [("b", None, 2)], of=corrected, rejected=[Rejected(3)])
    with pytest.raises(RejectsAboveLimit) as refusal:
        apply(rows, bound, target, person(2), NOW)
    record_failure(refusal.value, rows, corrected, bound, target, person(2), NOW)
    assert (query(PROFILES), query(OPEN)) == ([("a", 1)], [(load, 5), (load, 6), (load, 9)])
