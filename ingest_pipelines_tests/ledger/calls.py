"""One call of every function of the ledger, as ticks, runs and commands make it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from inspect import isfunction
from typing import TypeAlias

import psycopg

from ingest_pipelines import ledger
from ingest_pipelines.ledger import traces
from ingest_pipelines.model import Counts, Item, ItemKey, Run
from ingest_pipelines.suppression import SuppressedEntry
from ingest_pipelines_tests.ledger.large_ledger import NOW

SHORT_AGO = NOW - timedelta(hours=1)

LONG_AGO = NOW - timedelta(days=729)
"""A purge by its schedule finds little to delete: what the last one left."""

PAST = ("daily", "clean", "once_rejected", "hourly", "drained", "quiet", "queried", "replayed", "down", "small_1")
"""Imports with a past of each kind; the functions are called for each of them."""


@dataclass(frozen=True)
class Case:
    """An import of the large ledger, its newest item, and a load of it.

    Attributes:
        load: its last one with rejects; the last one if it has none.
        replay: its newest replay; of another import if it has none.
    """

    import_name: str
    item: Item
    load: ledger.Load
    replay: Item

    @property
    def new_item(self) -> Item:
        """An item that the ledger does not have."""
        return replace(self.item, key=ItemKey("new"), path="in/new.csv")


def _folder(connection: psycopg.Connection, case: Case) -> list[Item]:
    """What a tick sees in a folder that nobody clears."""
    return ledger.list_items(connection, case.import_name, last=2_000)


Call: TypeAlias = Callable[[psycopg.Connection, Case], object]

COUNTS_EVERYTHING = {"list_metrics"}
"""Functions that read all there is, by design. The watcher calls them in a thread of its own, and rests in between."""

CALLS: Mapping[str, Call] = {
    "activities": lambda c, case: ledger.activities(c, PAST),
    "active_imports": lambda c, case: ledger.active_imports(c, [case.import_name]),
    "add_columns": lambda c, case: ledger.add_columns(c, case.import_name, ["id", "email", "new"]),
    "add_corrections": lambda c, case: ledger.add_corrections(
        c, case.new_item, [ledger.Correction(1, case.load.id, 1)]
    ),
    "add_rejects": lambda c, case: ledger.add_rejects(
        c, case.load.id, [ledger.NewReject(1, "C1", "points", "bad_int", "not a whole number", {"CID": "C1"})]
    ),
    "add_suppressed": lambda c, case: ledger.add_suppressed(
        c, "crm.new", b"p" * 16, [SuppressedEntry("key", 1, b"h" * 16)], NOW
    ),
    "all_fields": lambda c, case: ledger.all_fields(c),
    "blank_rejects": lambda c, case: ledger.blank_rejects(c, case.load.id),
    "close_load": lambda c, case: ledger.close_load(
        c, case.load.id, ledger.LoadOutcome("committed", Counts(1, 1), NOW)
    ),
    "close_rejected_again": lambda c, case: ledger.close_rejected_again(c, case.replay, case.load.id, NOW),
    "committed_since": lambda c, case: ledger.committed_since(
        c, {name: summary.load - 1 for name, summary in ledger.summaries(c).items()}
    ),
    "corrected_rows": lambda c, case: ledger.corrected_rows(c, case.replay, case.load.id),
    "count_open": lambda c, case: ledger.count_open(c, case.load.id),
    "count_settled": lambda c, case: ledger.count_settled(c, case.replay),
    "delete_alerts": lambda c, case: ledger.delete_alerts(c, [(case.import_name, "failed", "")]),
    "deliveries": lambda c, case: case.item.kind == "cursor" or ledger.deliveries(c, case.import_name),
    "failing_since": lambda c, case: ledger.failing_since(c, "vendor"),
    "find_cursor": lambda c, case: ledger.find_cursor(c, case.import_name),
    "find_import": lambda c, case: ledger.find_import(c, case.import_name),
    "find_item": lambda c, case: ledger.find_item(c, case.import_name, case.item.key),
    "find_item_state": lambda c, case: ledger.find_item_state(c, case.import_name, case.item.key),
    "changed_by_item": lambda c, case: ledger.changed_by_item(c, case.item),
    "find_load": lambda c, case: ledger.find_load(c, case.item, case.load.run_id),
    "find_suppressed": lambda c, case: ledger.find_suppressed(c, "crm.customers"),
    "get_load": lambda c, case: ledger.get_load(c, case.load.id),
    "is_renamed_since": lambda c, case: ledger.is_renamed_since(c, case.import_name, SHORT_AGO),
    "has_history": lambda c, case: ledger.has_history(c, case.import_name),
    "import_statuses": lambda c, case: ledger.import_statuses(c, [case.import_name, "never"]),
    "imports_with_waiting_items": lambda c, case: ledger.imports_with_waiting_items(c, [case.import_name, "never"]),
    "imports_since": lambda c, case: ledger.imports_since(c, case.load.id, 10**9),
    "imports_without_items": lambda c, case: ledger.imports_without_items(c, [case.import_name, "never"]),
    "item_states": lambda c, case: [
        ledger.item_states(c, case.import_name, [case.item.key, "no such item"]),
        ledger.item_states(c, case.import_name, [item.key for item in _folder(c, case)]),
    ],
    "kept_rows": lambda c, case: ledger.kept_rows(c, NOW),
    "last_change": lambda c, case: ledger.last_change(c, [case.import_name], after=0, until=NOW),
    "last_committed": lambda c, case: ledger.last_committed(c, case.import_name),
    "last_event": lambda c, case: ledger.last_event(c),
    "last_settled": lambda c, case: ledger.last_settled(c, case.import_name),
    "last_settled_load": lambda c, case: ledger.last_settled_load(c, case.item),
    "list_address_troubles": lambda c, case: ledger.list_address_troubles(c),
    "list_alert_routes": lambda c, case: ledger.list_alert_routes(c),
    "list_alerts": lambda c, case: ledger.list_alerts(c),
    "list_audit": lambda c, case: [
        ledger.list_audit(c),
        ledger.list_audit(c, since=SHORT_AGO),
        ledger.list_audit(c, import_name=case.import_name, since=SHORT_AGO),
        ledger.list_audit(c, import_name=case.import_name),
    ],
    "list_events": lambda c, case: [
        ledger.list_events(c),
        ledger.list_events(c, after=ledger.last_event(c) - 20_000),
        ledger.list_events(c, after=ledger.last_event(c) - 20_000, import_name=case.import_name),
        ledger.list_events(c, import_name=case.import_name),
    ],
    "list_imports": lambda c, case: ledger.list_imports(c),
    "list_items": lambda c, case: [
        ledger.list_items(c, case.import_name, last=10),
        ledger.list_items(c, case.import_name, status="new"),
        ledger.list_items(c, case.import_name, status="failed"),
        ledger.list_items(c, case.import_name, status="refused"),
    ],
    "list_metrics": lambda c, case: ledger.list_metrics(c),
    "list_open_item_counts": lambda c, case: ledger.list_open_item_counts(c),
    "list_rejects": lambda c, case: [
        ledger.list_rejects(c, case.import_name, limit=20, open_first=True),
        ledger.list_rejects(c, case.import_name, limit=20, code="unmatched", open_first=True),
        ledger.list_rejects(c, case.import_name, limit=20, code="min", open_first=True),
        ledger.list_rejects(c, case.import_name, limit=1, unresolved=True),
        ledger.list_rejects(c, case.import_name, load=case.load.id, limit=6),
    ],
    "list_source_checks": lambda c, case: ledger.list_source_checks(c),
    "loads_of_run": lambda c, case: ledger.loads_of_run(c, case.load.run_id),
    "lock_alerts": lambda c, case: ledger.lock_alerts(c),
    "lock_mapping": lambda c, case: ledger.lock_mapping(c, case.import_name, "customers", "f", {}, NOW),
    "newest_committed": lambda c, case: ledger.newest_committed(c, case.import_name),
    "newest_item": lambda c, case: ledger.newest_item(c, case.import_name, case.item.kind),
    "newest_of_path": lambda c, case: ledger.newest_of_path(c, replace(case.item, modified_at=LONG_AGO)),
    "newest_entries": lambda c, case: ledger.newest_entries(c),
    "newest_suppressed": lambda c, case: ledger.newest_suppressed(c, "crm.customers"),
    "newest_window_ends": lambda c, case: ledger.newest_window_ends(c, PAST),
    "open_load": lambda c, case: [
        ledger.open_load(c, ledger.NewLoad(case.new_item, Run("a run"), NOW)),
        ledger.open_load(c, ledger.NewLoad(case.item, Run(case.load.run_id), NOW)),
    ],
    "purge_events": lambda c, case: ledger.purge_events(c, LONG_AGO),
    "purge_rejects": lambda c, case: ledger.purge_rejects(c, LONG_AGO),
    "purge_unmatched": lambda c, case: ledger.purge_unmatched(c, LONG_AGO, "crm.customers"),
    "recent_bars": lambda c, case: ledger.recent_bars(c, PAST),
    "recent_loads": lambda c, case: ledger.recent_loads(c, case.import_name),
    "record_audit": lambda c, case: ledger.record_audit(c, "ann@desk", "paused", NOW, import_name=case.import_name),
    "record_open_items": lambda c, case: ledger.record_open_items(
        c, "machine", [ledger.OpenItemCount(case.import_name, "failed", 2, NOW)], NOW
    ),
    "record_unchanged_looks": lambda c, case: ledger.record_unchanged_looks(c, [case.import_name], "vendor", NOW),
    "record_success": lambda c, case: ledger.record_success(c, case.import_name, "vendor", NOW),
    "record_trouble": lambda c, case: ledger.record_trouble(
        c, case.import_name, "vendor", NOW, "hung", step="list", error="no answer"
    ),
    "register_fields": lambda c, case: ledger.register_fields(c, "crm", [("age", "int")], case.import_name, NOW),
    "register_items": lambda c, case: ledger.register_items(c, [*_folder(c, case), case.new_item], NOW),
    "registered_fields": lambda c, case: ledger.registered_fields(c, "customers"),
    "open_rejected_rows": lambda c, case: ledger.open_rejected_rows(c, case.load.id, range(2, 102)),
    "reject_page": lambda c, case: ledger.reject_page(c, case.load.id),
    "reject_codes": lambda c, case: ledger.reject_codes(c, case.load.id),
    "rejected_columns": lambda c, case: ledger.rejected_columns(c, case.load.id),
    "rejected_rows": lambda c, case: list(ledger.rejected_rows(c, case.import_name, case.load.id)),
    "remove_suppressed": lambda c, case: ledger.remove_suppressed(c, "crm.customers", [b"p" * 16]),
    "resolve_corrected": lambda c, case: ledger.resolve_corrected(c, case.replay, case.load.id, NOW),
    "row_states": lambda c, case: ledger.row_states(c, case.load.id),
    "save_alert_routes": lambda c, case: ledger.save_alert_routes(c, [ledger.AlertRoute(case.import_name, 1, ())]),
    "save_alerts": lambda c, case: ledger.save_alerts(c, [ledger.AlertRecord(case.import_name, "failed", "", NOW)]),
    "set_address_trouble": lambda c, case: ledger.set_address_trouble(c, "MAIL", "no answer", NOW, NOW),
    "set_cursor": lambda c, case: ledger.set_cursor(c, case.import_name, "9", NOW),
    "set_import_status": lambda c, case: ledger.set_import_status(c, case.import_name, "customers", "paused", NOW),
    "set_item_status": lambda c, case: ledger.set_item_status(c, case.item, "failed"),
    "settled_among": lambda c, case: ledger.settled_among(
        c, [(item.import_name, item.key) for item in ledger.unsettled_items(c)]
    ),
    "skip_item": lambda c, case: ledger.skip_item(c, case.item),
    "summaries": lambda c, case: [ledger.summaries(c), ledger.summaries(c, [case.import_name])],
    "suppressed_people": lambda c, case: ledger.suppressed_people(
        c, "crm.customers", [SuppressedEntry("key", 1, b"h" * 16)]
    ),
    "suppression_secret": lambda c, case: ledger.suppression_secret(c),
    "target_time": lambda c, case: ledger.target_time(c),
    "unlock_mapping": lambda c, case: ledger.unlock_mapping(c, case.import_name),
    "unsettled_items": lambda c, case: [ledger.unsettled_items(c), ledger.unsettled_items(c, case.import_name)],
    "unsettled_windows": lambda c, case: ledger.unsettled_windows(c, case.import_name),
    "waiting_before": lambda c, case: ledger.waiting_before(c, case.item),
    "waiting_items": lambda c, case: ledger.waiting_items(c),
}


def functions() -> set[str]:
    """The ledger's public functions.

    Left out: `migrate`, which asks for its revision only, `rename_import`, which moves every row of an import once, and
    what `ingest forget` looks everywhere with.
    """
    every = {name: getattr(ledger, name) for name in ledger.__all__}
    found = {name for name, each in every.items() if isfunction(each) and each.__module__ != traces.__name__}
    return found - {"migrate", "rename_import"}


def cases(connection: psycopg.Connection) -> Iterator[Case]:
    """The imports of PAST."""
    for name in PAST:
        item = next(item for item in ledger.list_items(connection, name) if item.kind != "replay")
        loads = ledger.recent_loads(connection, name, last=1_000)
        rejects = ledger.list_rejects(connection, name, limit=1)
        load = ledger.get_load(connection, rejects[0].load) if rejects else loads[0]
        [replay] = ledger.list_items(connection, "replayed", last=1)
        assert load is not None
        yield Case(name, item, load, replay)


@contextmanager
def undone(connection: psycopg.Connection) -> Iterator[None]:
    """What the block writes is rolled back, so that every call meets the same ledger."""
    with connection.transaction(force_rollback=True):
        yield
