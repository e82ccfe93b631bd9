"""Preconditions of a load: the item is not stale and has not shrunk; and whether it repeats the item before it."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

import psycopg

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.cursor.bounds import moved_since, opened_at
from ingest_pipelines.errors import IngestError, ItemGone, ItemRefused, LoadError, ShrunkItem, StaleItem
from ingest_pipelines.model import Item, Landing, LoadStatus, Run, Validated, item_name

_WHOLE_DELIVERIES = {"file", "upload", "query"}
"""Kinds of items that hold the whole data, so that they can be compared with the item before."""

_DAEMONS = {"sensor", "schedule"}

_REFUSED = (ItemRefused, ItemGone, StaleItem)
"""Errors that refuse the item; all others fail the load."""


def verdict(error: IngestError) -> LoadStatus:
    """The status of a load that ends with this error: of a run, and of the plan of that run."""
    return "refused" if isinstance(error, _REFUSED) else "failed"


def fingerprint(bound: BoundImport) -> str:
    """A hash of all configuration on which a load's result depends."""
    spec = bound.spec.model_dump(
        mode="json",
        exclude={
            "description",
            "status",
            "owners",
            "labels",
            "renamed_from",
            "schedule",
            "sensor",
            "notify",
            "rejects",
            "deletes",
            "receipt",
            "unmatched",
        },
    )
    fields = {mapped.name: mapped.field.model_dump(mode="json") for mapped in bound.fields}
    text = json.dumps([spec, bound.database.table, bound.database.key, fields], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def repeats_last(connection: psycopg.Connection, landing: Landing, bound: BoundImport, run: Run) -> str:
    """A sentence that names the last load, if it committed the same bytes under the same configuration; else "".

    Such an item is merged nevertheless, because the table may have changed since: by another import, a replay or
    another application. If the merge changes nothing, the load is `skipped`. A run that a person started, or forced, is
    never skipped.
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
    """Why the item must not be merged unless forced: it is stale, it shrank, or its rejects are resolved. Else None."""
    item = validated.landing.item
    if run.forced:
        return None
    if item.kind == "cursor":
        return _cursor_moved(connection, item)
    if item.kind == "replay":
        return _corrected_meanwhile(connection, item)
    staleness = stale(connection, item, bound, run)
    if staleness is not None:
        return staleness
    last = ledger.last_committed(connection, bound.name)
    least = bound.spec.least_percent
    if item.kind in _WHOLE_DELIVERIES and last is not None and validated.read * 100 < last.read * least:
        rows = "1 row is" if validated.read == 1 else f"{validated.read:,} rows are"
        return ShrunkItem(
            f"import {bound.name}, item {item.key}: shrunk: {rows} less than {least:g} % of the {last.read:,} in the "
            f"last item, {item_name(last.item)}",
            hint="nothing was merged; if it is right: "
            f"ingest run {bound.name} --item {item.key} --force, or set shrink: {{min_percent: 0}}",
        )
    return None


def somebody_forgotten_since(connection: psycopg.Connection, validated: Validated, bound: BoundImport) -> bool:
    """Whether `ingest forget` erased somebody after the rows were validated. Exact under the table's lock."""
    return ledger.newest_suppressed(connection, bound.database.qualified_table) > validated.suppressed_until


def stale(connection: psycopg.Connection, item: Item, bound: BoundImport, run: Run) -> StaleItem | None:
    """The error if the item is older than the newest committed one of its import; None if it is not, or is forced."""
    if run.forced or bound.spec.version is not None or item.kind in {"cursor", "replay"}:
        return None
    newest = ledger.newest_committed(connection, bound.name)
    if newest is None or newest.item == item.key or _order(item) >= _order(newest):
        return None
    return StaleItem(
        f"import {bound.name}, item {item.key}: stale: it is older than {newest.item}, which load {newest.load} "
        "committed",
        hint=f"nothing was merged; to apply it anyway: ingest run {bound.name} --item {item.key} --force",
    )


def _order(item: Item | ledger.CommittedItem) -> tuple[float, int]:
    """What items of an import are ordered by: modified time, then serial. Without a time an item is never stale."""
    modified_at: datetime | None = item.modified_at
    return (modified_at.timestamp() if modified_at else float("inf"), -1 if item.serial is None else item.serial)


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
    """The error if another replay has resolved some of these rejects. Exact under the table's lock."""
    settled = ledger.count_settled(connection, item)
    if not settled:
        return None
    rows = "1 of its rows is" if settled == 1 else f"{settled:,} of its rows are"
    return StaleItem(
        f"import {item.import_name}, item {item.key}: stale: {rows} resolved already, by another replay",
        hint="nothing was merged; replay the export again: rows that are resolved are left out",
    )
