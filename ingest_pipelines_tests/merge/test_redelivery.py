"""After a delivery the table holds it, also where the same bytes came before and the table has changed since."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingest_pipelines.merge import Target, apply
from ingest_pipelines.model import Item, ItemKey, LoadReport, Run
from ingest_pipelines_tests.merge.deliveries import NOW, Rejected, bound_import, delivery, item
from ingest_pipelines_tests.merge.targets import Rows

ROWS = [("a", "Gold", 1), ("b", None, 2), ("new", "Gold", 3)]
CONSENT = {"resource": "newsletter", "channel": "email", "contact": "Mail", "status": "subscribed"}


class Feed:
    """Deliveries of one import, one after the other, each by a run of its own."""

    def __init__(self, target: Target, folder: Path, begin: Any, name: str = "loyalty", **spec: Any) -> None:
        self.target, self.folder, self.begin = target, folder, begin
        self.bound, self.number = bound_import(name, rejects={"unlimited": True}, **spec), 0

    def deliver(self, rows: Any, *, by: str = "sensor", early: bool = False, **facts: Any) -> LoadReport:
        self.number += 1
        of = facts.pop("of", None) or item(self.number, name=self.bound.name)
        validated = delivery(self.folder, self.bound, rows, of=of, rejected=[Rejected(9)])
        run = Run(f"{self.bound.name}-{self.number}", by=by)
        load = self.begin(validated, self.bound, run) if early else None
        return apply(validated, self.bound, self.target, run, NOW, early=load)


def _other_import(feed: Feed, query: Rows) -> None:
    Feed(feed.target, feed.folder, feed.begin, "second").deliver([("a", "Silver", 7), ("new", "Silver", None)])


def _replay(feed: Feed, query: Rows) -> None:
    feed.deliver([("a", "Silver", 7)], by="ann", of=Item("loyalty", ItemKey("replay-1"), "replay", uri="fix.csv"))


def _statement(statement: str) -> Callable[[Feed, Rows], None]:
    return lambda feed, query: (query(statement), None)[1]


MEANWHILE: dict[str, Callable[[Feed, Rows], None]] = {
    "another import wrote other values and registered a customer": _other_import,
    "a replay of this import wrote other values": _replay,
    "another application wrote other values": _statement("UPDATE crm.customers SET tier = 'Silver', points = NULL"),
    "another application registered a customer": _statement(
        "INSERT INTO crm.customers (customer_id) VALUES ('new') ON CONFLICT DO NOTHING"
    ),
    "a column was dropped": _statement("ALTER TABLE crm.customers DROP COLUMN tier"),
    "customers were deleted": _statement("DELETE FROM crm.customers WHERE customer_id = 'a'"),
    "nothing happened": _statement("SELECT 1"),
}


@pytest.mark.parametrize("early", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("mode", ["add_and_update", "update_only"])
def test_the_same_bytes_again_leave_the_table_as_they_say(
    target: Target, query: Rows, tmp_path: Path, begin: Any, mode: str, early: bool
) -> None:
    Feed(target, tmp_path, begin, "first").deliver([("a", "Old", 0), ("b", "Old", 0)])
    feed = Feed(target, tmp_path, begin, mode=mode)
    assert feed.deliver(ROWS).status == "committed"
    for name, change in MEANWHILE.items():
        change(feed, query)
        known = query("SELECT customer_id FROM crm.customers")
        before = query("SELECT to_jsonb(c) FROM crm.customers c ORDER BY customer_id")
        rejects = query("SELECT count(*) FROM ingest.rejects")
        report = feed.deliver(ROWS, early=early)
        held = query("SELECT customer_id, tier, points FROM crm.customers ORDER BY customer_id")
        assert held == [row for row in ROWS if mode == "add_and_update" or (row[0],) in known], name
        changed = query("SELECT to_jsonb(c) FROM crm.customers c ORDER BY customer_id") != before
        assert report.status == ("committed" if changed else "skipped"), name
        if not changed:
            assert report.reason.startswith("nothing new: the bytes equal those of loyalty-"), name
            assert query("SELECT count(*) FROM ingest.rejects") == rejects, name
    assert query("SELECT status FROM ingest.loads ORDER BY id DESC LIMIT 1") == [("skipped",)]


def test_the_same_bytes_again_bring_a_consent_back(target: Target, query: Rows, tmp_path: Path, begin: Any) -> None:
    feed = Feed(target, tmp_path, begin, columns={"CID": "customer_id"}, subscriptions=[CONSENT])
    rows = [("a", "a@x.org"), ("b", "b@x.org")]
    feed.deliver(rows)
    assert feed.deliver(rows).status == "skipped"
    query("DELETE FROM crm.customers_subscriptions WHERE contact = 'a@x.org'")
    report = feed.deliver(rows)
    assert (report.status, report.counts.updated) == ("committed", 1)
    assert query("SELECT contact FROM crm.customers_subscriptions ORDER BY 1") == [("a@x.org",), ("b@x.org",)]


def test_the_bytes_before_last_are_no_repetition(target: Target, query: Rows, tmp_path: Path, begin: Any) -> None:
    feed = Feed(target, tmp_path, begin)
    for points in (1, 2, 1):
        assert feed.deliver([("a", "Gold", points)]).status == "committed"
    assert query("SELECT points FROM crm.customers") == [(1,)]
