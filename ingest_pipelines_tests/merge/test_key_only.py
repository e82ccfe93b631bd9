"""An import that maps nothing but the key registers customers, and changes nobody who is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ingest_pipelines.merge import Target, apply
from ingest_pipelines.model import Counts, Run
from ingest_pipelines_tests.merge.deliveries import CUSTOMERS, NOW, SENSOR, bound_import, delivery, item
from ingest_pipelines_tests.merge.targets import Rows

CONSENT = {"resource": "newsletter", "channel": "email", "contact": "Mail", "status": "subscribed"}
PHONE = {"resource": "newsletter", "channel": "sms", "contact": "Mail", "status": "subscribed"}
PUSH = {"resource": "offers", "channel": "push", "contact": "Mail", "status": "subscribed"}

EXTRAS: dict[str, dict[str, Any]] = {
    "nothing else": {},
    "a consent": {"subscriptions": [CONSENT]},
    "a version": {"version": "At"},
    "a match by a consent's address": {
        "subscriptions": [CONSENT], "match": {"by": "email_subscription", "column": "Mail"},
    },
    "a match by any address": {"subscriptions": [CONSENT], "match": {"by": "email", "column": "Mail"}},
    "a match by a consent's number": {
        "subscriptions": [PHONE], "match": {"by": "phone_subscription", "column": "Mail"},
    },
    "a match by any number": {"subscriptions": [PHONE], "match": {"by": "phone", "column": "Mail"}},
    "a match by a token": {"subscriptions": [PUSH], "match": {"by": "push", "column": "Mail"}},
    "a match by a channel": {"subscriptions": [PUSH], "match": {"by": "channel", "channel": "push", "column": "Mail"}},
}  # fmt: skip


CASES = [
    case
    for case in product(("add_and_update", "add_only", "update_only"), (True, False), ("clear", "keep"), EXTRAS)
    if not (case[0] == "update_only" and "subscriptions" not in EXTRAS[case[3]])  # refused: it would change nothing
]
"""All there are; every ninth of them is in the fast suite."""


@pytest.mark.parametrize(
    ("mode", "events", "keep", "extra"),
    [pytest.param(*case, marks=[pytest.mark.slow] if position % 9 else []) for position, case in enumerate(CASES)],
)
def test_a_key_alone_registers_customers_in_every_mode(
    target: Target, query: Rows, tmp_path: Path, mode: str, events: bool, keep: str, extra: str
) -> None:
    bound = bound_import(columns={"CID": "customer_id"}, mode=mode, events=events, empty=keep, **EXTRAS[extra])
    registers = bound_import(columns={"CID": "customer_id"}, subscriptions=EXTRAS[extra].get("subscriptions", ()))

    def rows(numbers: range, import_: Any) -> list[tuple[str, ...]]:
        cells = ("m{}",) * len(import_.extra_columns)
        return [(f"C{number}", *(cell.format(number) for cell in cells)) for number in numbers]

    if mode == "update_only":
        apply(delivery(tmp_path, registers, rows(range(3), registers)), registers, target, replace(SENSOR, id="r"), NOW)
    first = apply(delivery(tmp_path, bound, rows(range(3), bound), of=item(2)), bound, target, SENSOR, NOW).counts
    run = Run("run-2", by="ann")
    second = apply(delivery(tmp_path, bound, rows(range(5), bound), of=item(3)), bound, target, run, NOW).counts
    if mode == "update_only":
        assert (first, second) == (Counts(read=3, unchanged=3), Counts(read=5, unchanged=3, unmatched=2))
    else:
        known = {"skipped": 3} if mode == "add_only" else {"unchanged": 3}
        assert (first, second) == (Counts(read=3, inserted=3), Counts(read=5, inserted=2, **known))
    customers = [(f"C{number}",) for number in range(3 if mode == "update_only" else 5)]
    assert query("SELECT customer_id FROM crm.customers ORDER BY 1") == customers
    told = query(
        "SELECT e.kind, e.key, e.fields FROM ingest.events e JOIN crm.customers c USING (profile_id)"
        " WHERE c.customer_id = e.key ORDER BY 2"
    )
    assert told == [("profile.created", *customer, []) for customer in customers if events or mode == "update_only"]


@pytest.mark.parametrize("kind", ["string", "int"])
@pytest.mark.parametrize(("mode", "events"), [("add_and_update", True), ("add_and_update", False), ("add_only", True)])
def test_a_key_alone_is_loaded_while_rows_are_validated(
    target: Target, query: Rows, tmp_path: Path, begin: Any, points: list[str], mode: str, events: bool, kind: str
) -> None:
    database = {**CUSTOMERS, "fields": {"customer_id": {"type": kind}}}
    bound = bound_import(database=database, columns={"CID": "customer_id"}, mode=mode, events=events)
    keys: list[Any] = [number if kind == "int" else f"C{number}" for number in range(9)]
    for number, known in enumerate((0, 4, 8, 9), 1):
        run = Run(f"run-{number}", by="ann")
        validated = delivery(tmp_path, bound, [(key,) for key in keys[: known + 1]], of=item(number), chunks=2)
        report = apply(validated, bound, target, run, NOW, early=begin(validated, bound, run))
        earlier = (0, 1, 5, 9)[number - 1]
        left = {"skipped" if mode == "add_only" else "unchanged": earlier}
        assert report.counts == Counts(read=min(known + 1, 9), inserted=min(known + 1, 9) - earlier, **left)
    assert points.count("early: merged") >= 3
    assert query("SELECT customer_id FROM crm.customers ORDER BY 1") == [(key,) for key in keys]
    assert query("SELECT count(*) FROM ingest.events") == [(9 * events,)]
