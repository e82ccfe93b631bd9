"""Whether an item may be loaded at all: not stale, not shrunk; and whether it repeats the one before."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

import psycopg

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.cursor.bounds import moved_since, opened_at
from ingest_pipelines.errors import LoadError, ShrunkItem, StaleItem
from ingest_pipelines.model import Item, Landing, Run, Validated

_WHOLE_DELIVERIES = {"file", "upload", "query"}
"""Kinds of items that bring the data as a whole, so that "the same again" and "far less" mean something."""

_DAEMONS = {"sensor", "schedule"}


def fingerprint(bound: BoundImport) -> str:
    """A hash of everything in the configuration that a load's result depends on."""
    spec = bound.spec.model_dump(
        mode="json", exclude={"description", "status", "owners", "labels", "schedule", "sensor", "notify", "rejects"}
    )
    fields = {mapped.name: mapped.field.model_dump(mode="json") for mapped in bound.fields}
    text = json.dumps([spec, bound.database.table, bound.database.key, fields], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def repeats_last(connection: psycopg.Connection, landing: Landing, bound: BoundImport, run: Run) -> str:
    """Which load committed the same bytes last, under the same configuration, in words; "" where they are new.

    Such an item is merged all the same, because the table may have changed since: by another import, by a replay, by
    another application. Where the merge then changes nothing, there was nothing new, and the load is `skipped`.
    A person who runs an item again wants it to run; so does force.
    """
    if run.forced or run.by not in _DAEMONS or landing.item.kind not in _WHOLE_DELIVERIES or not landing.content_sha256:
        return ""
    last = ledger.last_committed(connection, bound.name)
    if last is None or (last.content_sha256, last.fingerprint) != (landing.content_sha256, fingerprint(bound)):
        return ""
    return f"nothing new: the bytes equal those of {last.item}, which load {last.load} committed"


def failed_precondition(
    connection: psycopg.Connection, validated: Validated, bound: BoundImport, run: Run
) -> LoadError | None:
    """Why the item must not be merged unless forced: it is stale, it shrank, or its rejects are resolved already."""
    item = validated.landing.item
    if run.forced:
        return None
    if item.kind == "cursor":
        return _cursor_moved(connection, item)
    if item.kind == "replay":
        return _corrected_meanwhile(connection, item)
    older = stale(connection, item, bound, run)
    if older is not None:
        return older
    last = ledger.last_committed(connection, bound.name)
    least = bound.spec.shrink.min_percent
    if item.kind in _WHOLE_DELIVERIES and last is not None and validated.read * 100 < last.read * least:
        return ShrunkItem(
            f"import {bound.name}, item {item.key}: shrunk: {validated.read:,} rows, and the last committed item "
            f"{last.item} had {last.read:,}; below {least:g} % an item is held",
            hint="nothing was merged; if it is right: "
            f"ingest run {bound.name} --item {item.key} --force, or set shrink: {{min_percent: 0}}",
        )
    return None


def stale(connection: psycopg.Connection, item: Item, bound: BoundImport, run: Run) -> StaleItem | None:
    """The item is older than the newest committed one of its import, and must not be merged unless forced."""
    if run.forced or bound.spec.version is not None or item.kind in {"cursor", "replay"}:
        return None
    newest = ledger.newest_committed(connection, bound.name)
    if newest is None or newest.item == item.key or _place(item) >= _place(newest):
        return None
    return StaleItem(
        f"import {bound.name}, item {item.key}: stale: it is older than {newest.item}, which load {newest.load} "
        "committed",
        hint=f"nothing was merged; to apply it anyway: ingest run {bound.name} --item {item.key} --force",
    )


def _place(item: Item | ledger.CommittedItem) -> tuple[float, int]:
    """The item's place in the order of its import: modified time, then serial. Without a time it is never stale."""
    moment: datetime | None = item.modified_at
    return (moment.timestamp() if moment else float("inf"), -1 if item.serial is None else item.serial)


def _cursor_moved(connection: psycopg.Connection, item: Item) -> LoadError | None:
    state = ledger.find_cursor(connection, item.import_name)
    committed = state.value if state else None
    if not moved_since(item, committed):
        return None
    return StaleItem(
        f"import {item.import_name}, item {item.key}: stale: it was opened at cursor {opened_at(item)}, "
        "and another load has moved the committed cursor since",
        hint=f"nothing was merged; see: ingest cursor show {item.import_name}",
    )


def _corrected_meanwhile(connection: psycopg.Connection, item: Item) -> StaleItem | None:
    """Each reject is corrected once. Under the table's lock this is exact: only loads of replays resolve rejects."""
    settled = ledger.count_settled(connection, item)
    if not settled:
        return None
    rows = "1 of its rows is" if settled == 1 else f"{settled:,} of its rows are"
    return StaleItem(
        f"import {item.import_name}, item {item.key}: stale: {rows} resolved already, by another replay",
        hint="nothing was merged; replay the export again: rows that are resolved are left out",
    )
