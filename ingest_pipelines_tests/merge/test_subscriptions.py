"""Consent records follow the rows, and an opt-out stays one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingest_pipelines.errors import TargetRefused
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


@pytest.mark.parametrize("partitioned", [False, True])
def test_records_that_a_trigger_leaves_out_fail_the_load(
    target: Target, query: Rows, tmp_path: Path, partitioned: bool
) -> None:
    query(
        "CREATE SCHEMA crm; CREATE TABLE crm.customers_subscriptions (profile_id bigint, resource text, channel text,"
        " contact text, status text NOT NULL, fields jsonb NOT NULL DEFAULT '{}', updated_at timestamptz NOT NULL,"
        " PRIMARY KEY (profile_id, resource, channel, contact))"
        + " PARTITION BY RANGE (profile_id); CREATE TABLE crm.part PARTITION OF crm.customers_subscriptions DEFAULT"
        * partitioned
        + "; CREATE FUNCTION crm.few() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.contact = 'b@x.org' THEN RETURN NULL; END IF; RETURN NEW; END $$;"
        f"CREATE TRIGGER few BEFORE INSERT OR UPDATE ON crm.{'part' if partitioned else 'customers_subscriptions'}"
        " FOR EACH ROW EXECUTE FUNCTION crm.few()"
    )
    feed = Feed(target, tmp_path)
    with pytest.raises(TargetRefused, match=r"a trigger of crm.customers_subscriptions left out 1 of 2 rows"):
        feed.load(("a", "Gold", "a@x.org"), ("b", "Gold", "b@x.org"))
    assert query("SELECT to_regclass('crm.customers')") == [(None,)]
    assert feed.load(("a", "Gold", "a@x.org"), ("c", "Gold", " ")).counts == Counts(read=2, inserted=2)
    assert feed.load(("a", "Gold", "a@x.org"), ("c", "Gold", "c@x.org")).counts == Counts(
        read=2, updated=1, unchanged=1
    )


def test_a_repeated_record_is_not_written(target: Target, query: Rows, tmp_path: Path) -> None:
    feed = Feed(target, tmp_path)
    feed.load(("a", "Gold", "a@x.org"))
    before = query("SELECT xmin::text, updated_at FROM crm.customers_subscriptions")
    assert feed.load(("a", "Gold", "A@x.org")).counts == Counts(read=1, unchanged=1)
    assert query("SELECT xmin::text, updated_at FROM crm.customers_subscriptions") == before
