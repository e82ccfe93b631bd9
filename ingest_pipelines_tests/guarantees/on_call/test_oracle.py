"""The oracle sees each kind of lie, and accepts the truth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ingest_pipelines_tests.guarantees.on_call.oracle import (
    OWN_ROWS,
    Delivery,
    Feed,
    Letter,
    Listed,
    Observed,
    Oracle,
    Record,
    Trouble,
)

START, NOW = 1_000.0, 2_000.0
FILES = ("Tills_1.csv", "Tills_2.csv", "Tills_3.csv", "Tills_4.csv")


@pytest.fixture
def oracle() -> Oracle:
    """Two files that are in the table, one that cannot be loaded, and one whose run a person has just ended."""
    oracle = Oracle({"tills": Feed("tills", "all", "till_sftp", "crm.customers")})
    for number, name in enumerate(FILES, 1):
        oracle.deliver(Delivery("tills", number, name, START))
    oracle.deliveries["tills"][2].quality = "refused"
    oracle.deliveries["tills"][3].ended_by_person = NOW - 60
    oracle.letters.append(Letter(START + 10, "oncall", "[prod] failed: tills: the header", "import tills"))
    oracle.troubles.append(Trouble("person", "a run is terminated", NOW - 60, frozenset({"tills"}), NOW - 60))
    return oracle


TRUTH = Observed(
    NOW,
    own_rows={"tills": {1: OWN_ROWS, 2: OWN_ROWS}},
    shared={"tills": {2}},
    status={"tills": "failed"},
    listed=[Listed("tills", "Tills_3.csv_ab", "refused"), Listed("tills", "Tills_4.csv_cd", "terminated")],
)
LISTED = list(TRUTH.listed)


def test_the_truth_is_accepted(oracle: Oracle) -> None:
    assert list(oracle.judge(TRUTH)) == []


@pytest.mark.parametrize(
    ("kind", "lie"),
    [
        ("lost", {"listed": LISTED[:1]}),
        ("lost", {"own_rows": {"tills": {2: OWN_ROWS}}}),
        ("stale entry", {"listed": [*LISTED, Listed("tills", "Tills_1.csv_ef", "queued")]}),
        ("twice", {"listed": [*LISTED, LISTED[0]]}),
        ("unknown", {"listed": [*LISTED, Listed("tills", "Tills_9.csv_ef", "failed")]}),
        ("state", {"listed": [LISTED[0], replace(LISTED[1], state="queued")]}),
        ("state", {"listed": [replace(LISTED[0], state="due"), LISTED[1]]}),
        ("bad rows", {"own_rows": {"tills": {1: OWN_ROWS, 2: OWN_ROWS, 3: OWN_ROWS}}}),
        ("half", {"own_rows": {"tills": {1: OWN_ROWS - 1, 2: OWN_ROWS}}}),
        ("last write", {"shared": {"tills": {1}}}),
        ("last write", {"shared": {"tills": {1, 2}}}),
        ("strange row", {"strange": ["tills:3:bad0"]}),
        ("silent", {"status": None}),
    ],
)
def test_a_lie_is_seen(oracle: Oracle, kind: str, lie: dict[str, Any]) -> None:
    assert kind in {finding.key[0] for finding in oracle.judge(replace(TRUTH, **lie))}


def test_a_source_that_hangs_in_silence_is_seen(oracle: Oracle) -> None:
    oracle.troubles.append(Trouble("source", "till_sftp hangs", NOW - 400, frozenset({"tills"})))
    oracle.deliver(Delivery("tills", 5, "Tills_5.csv", NOW - 390))
    oracle.letters.clear()
    assert {"source", "untold"} <= {finding.key[0] for finding in oracle.judge(TRUTH)}
    oracle.letters.append(Letter(NOW - 100, "oncall", "[prod] source: till_sftp does not answer", ""))
    assert {f.key[0] for f in oracle.judge(replace(TRUTH, troubled={"tills"}))} == set()


def test_broken_items_that_nobody_was_told_of_are_seen(oracle: Oracle) -> None:
    oracle.letters.clear()
    assert list(oracle.judge(TRUTH)) == []
    assert "untold" in {finding.key[0] for finding in oracle.judge(replace(TRUTH, at=NOW + 400))}


def test_what_stands_in_the_way_of_a_feed_is_no_time_to_find_its_files(oracle: Oracle) -> None:
    oracle.deliver(Delivery("tills", 5, "Tills_5.csv", NOW - 300))
    assert "lost" in {finding.key[0] for finding in oracle.judge(TRUTH)}
    oracle.troubles.append(Trouble("platform", "the daemon is killed", NOW - 310, end=NOW - 40))
    assert "lost" not in {finding.key[0] for finding in oracle.judge(TRUTH)}


def test_the_same_letter_twice_is_seen_unless_a_recovery_came_in_between(oracle: Oracle) -> None:
    letter = oracle.letters[0]
    oracle.letters += [Letter(START + 20, "oncall", "[prod] recovered: tills", "import tills"), letter]
    assert oracle.told_twice() == []
    oracle.letters.append(letter)
    assert oracle.told_twice() == [letter.subject]


def test_only_what_lasts_is_counted_and_once(oracle: Oracle) -> None:
    record = Record()
    lie = list(oracle.judge(replace(TRUTH, listed=LISTED[:1])))
    assert [record.note(lie, at) for at in (0.0, 119.0)] == [[], []]
    assert len(record.note(lie, 121.0)) == 1
    assert record.note(lie, 150.0) == []
    assert record.note([], 180.0) == record.note(lie, 181.0) == []
