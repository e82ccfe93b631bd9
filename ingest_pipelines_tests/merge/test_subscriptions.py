"""Consent records follow the rows, and an opt-out stays one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingest_pipelines.merge import Target, apply
from ingest_pipelines.model import Counts, LoadReport, Run
from ingest_pipelines_tests.merge.deliveries import NOW, bound_import, delivery, item
from ingest_pipelines_tests.merge.targets import Rows

RECORDS = (
    "SELECT profile_id, resource, channel, contact, status, fields FROM crm.customers_subscriptions ORDER BY 1, 2, 3"
)
STATUSES = ("subscribed", "unconfirmed", "suspended", "unsubscribed", "complained", "hard_bounced", "invalid")


class Feed:
    """Loads of one import, one after the other."""

    def __init__(self, target: Target, folder: Path, subscription: dict[str, Any] | None = None, **spec: Any) -> None:
        told = {"resource": "newsletter", "channel": "email", "contact": "Mail", "status": "subscribed"}
        told |= subscription or {}
        told = {key: value for key, value in told.items() if value is not None}
        self.bound = bound_import(subscriptions=[told], columns={"CID": "customer_id", "Tier": "tier"}, **spec)
        self.target, self.folder, self.number = target, folder, 0

    def load(self, *rows: tuple[Any, ...]) -> LoadReport:
        self.number += 1
        run = Run(f"run-{self.number}", by="ann")
        validated = delivery(self.folder, self.bound, rows, of=item(self.number))
        return apply(validated, self.bound, self.target, run, NOW)


def test_every_row_with_a_contact_gets_a_record(target: Target, query: Rows, tmp_path: Path) -> None:
    feed = Feed(target, tmp_path)
    feed.load(("a", "Gold", " Ann@X.org"), ("b", "Gold", None), ("c", "Gold", " "))
    assert query(RECORDS) == [(1, "newsletter", "email", "ann@x.org", "subscribed", {})]


def test_a_status_changes_only_when_told(target: Target, query: Rows, tmp_path: Path) -> None:
    told = {"status": None, "status_column": "Status"}
    Feed(target, tmp_path, told).load(("a", "Gold", "a@x.org", "unconfirmed"))
    feed = Feed(target, tmp_path, told, shrink={"min_percent": 0})
    feed.number = 1
    assert feed.load(("a", "Gold", "a@x.org", "subscribed")).counts == Counts(read=1, unchanged=1)
    assert query("SELECT status FROM crm.customers_subscriptions") == [("unconfirmed",)]
    feed = Feed(target, tmp_path, {**told, "update_status": True})
    feed.number = 2
    assert feed.load(("a", "Gold", "a@x.org", "subscribed")).counts == Counts(read=1, updated=1)
    assert query("SELECT status FROM crm.customers_subscriptions") == [("subscribed",)]


@pytest.mark.parametrize("resubscribe", [False, True])
def test_an_opt_out_never_becomes_a_subscription_by_any_way(
    target: Target, query: Rows, tmp_path: Path, resubscribe: bool
) -> None:
    told = {"status": None, "status_column": "Status", "update_status": True, "resubscribe": resubscribe}
    feed = Feed(target, tmp_path, told)
    pairs = [(before, after) for before in STATUSES for after in STATUSES]
    feed.load(*((f"{before}-{after}", "Gold", "a@x.org", before) for before, after in pairs))
    feed.load(*((f"{before}-{after}", "Gold", "a@x.org", after) for before, after in pairs))
    found: dict[str, str] = dict(
        query("SELECT customer_id, status FROM crm.customers JOIN crm.customers_subscriptions USING (profile_id)")
    )
    out = {"unsubscribed", "complained", "hard_bounced"}
    for before, after in pairs:
        stays = before in out and after not in out and not resubscribe
        assert found[f"{before}-{after}"] == (before if stays else after)


def test_custom_fields_of_a_record_are_kept_or_cleared_like_fields(target: Target, query: Rows, tmp_path: Path) -> None:
    told = {"fields": {"Source": "source", "Lang": "language"}}
    feed = Feed(target, tmp_path, told)
    feed.load(("a", "Gold", "a@x.org", "web", "en"))
    report = feed.load(("a", "Gold", "a@x.org", None, "de"))
    assert report.counts == Counts(read=1, updated=1)
    assert query("SELECT fields FROM crm.customers_subscriptions") == [({"language": "de"},)]
    keep = Feed(target, tmp_path, told, empty="keep")
    keep.number = 2
    keep.load(("a", "Gold", "a@x.org", "shop", None))
    assert query("SELECT fields FROM crm.customers_subscriptions") == [({"language": "de", "source": "shop"},)]


def test_rows_that_are_not_merged_say_nothing_about_consent(target: Target, query: Rows, tmp_path: Path) -> None:
    add = Feed(target, tmp_path, mode="add_only")
    add.load(("a", "Gold", "a@x.org"))
    assert add.load(("a", "Gold", "other@x.org"), ("b", "Gold", "b@x.org")).counts == Counts(
        read=2, inserted=1, skipped=1
    )
    update = Feed(target, tmp_path, mode="update_only")
    update.number = 2
    assert update.load(("x", "Gold", "x@x.org"), ("b", "Gold", "b2@x.org")).counts == Counts(
        read=2, updated=1, unmatched=1
    )
    assert query("SELECT contact FROM crm.customers_subscriptions ORDER BY 1") == [
        ("a@x.org",),
        ("b2@x.org",),
        ("b@x.org",),
    ]


def test_a_repeated_record_is_not_written(target: Target, query: Rows, tmp_path: Path) -> None:
    feed = Feed(target, tmp_path)
    feed.load(("a", "Gold", "a@x.org"))
    before = query("SELECT xmin::text, updated_at FROM crm.customers_subscriptions")
    assert feed.load(("a", "Gold", "A@x.org")).counts == Counts(read=1, unchanged=1)
    assert query("SELECT xmin::text, updated_at FROM crm.customers_subscriptions") == before
