"""Records a load that did not commit, in a transaction of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import psycopg

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import IngestError, TargetDenied
from ingest_pipelines.merge.copy import copy_rejects
from ingest_pipelines.merge.preconditions import fingerprint, somebody_forgotten_since, verdict
from ingest_pipelines.merge.stage_rejects import SAMPLES, RejectedByMerge
from ingest_pipelines.merge.target import Target, lock_rejects
from ingest_pipelines.model import Counts, Item, ItemStatus, Landing, LoadReport, RejectSample, Run, Validated


def record_failure(
    error: IngestError,
    reached: Item | Landing | Validated | None,
    item: Item,
    bound: BoundImport,
    target: Target,
    run: Run,
    now: datetime,
) -> LoadReport:
    """Records the load as `failed` or `refused`, with its rejects.

    If this run's load of the item did commit (its acknowledgement was lost), the report is that of the committed load.

    Args:
        reached: how far the load came: its landing, or its validated rows with their rejects; in a drain at least the
            Item of the chunk that failed, so that it is not confused with one that committed.

    Raises:
        TargetUnavailable: the ledger does not answer either; nothing is recorded.
        TargetDenied: the target refused the login. It is not tried again, because the account may be locked.
    """
    if isinstance(error, TargetDenied):
        raise error
    validated = reached if isinstance(reached, Validated) else None
    landing = validated.landing if validated else reached if isinstance(reached, Landing) else None
    item = reached if isinstance(reached, Item) else landing.item if landing else item
    new = ledger.NewLoad(
        item=item, run=run, started_at=now, status=verdict(error),
        content_sha256=landing.content_sha256 if landing else "", fingerprint=fingerprint(bound),
        cursor_to=landing.cursor_to if landing else None,
    )  # fmt: skip
    with target.session(f"import {bound.name}, item {item.key}") as connection:
        return _record(connection, error, validated, bound, new, now)


def record_replaced(item: Item, reason: str, bound: BoundImport, target: Target, run: Run, now: datetime) -> LoadReport:
    """Records the item as `skipped`: its file is a newer item now, which the reason names. Safe to repeat.

    Raises:
        TargetUnavailable: the ledger does not answer; nothing is recorded.
    """
    new = ledger.NewLoad(item=item, run=run, started_at=now, status="skipped", fingerprint=fingerprint(bound))
    where = f"import {bound.name}, item {item.key}"
    with target.session(where) as connection:
        load = ledger.open_load(connection, new)
        if load is None:
            settled = ledger.find_load(connection, item, run.id)
            assert settled is not None
            return settled.report
        ledger.close_load(connection, load, ledger.LoadOutcome("skipped", Counts(), finished_at=now, error=reason))
        ledger.set_item_status(connection, item, "skipped")
    return LoadReport(bound.name, item.key, load, "skipped", Counts(), reason=reason)


def _record(
    connection: psycopg.Connection,
    error: IngestError,
    validated: Validated | None,
    bound: BoundImport,
    new: ledger.NewLoad,
    now: datetime,
) -> LoadReport:
    ledger.register_items(connection, [new.item], now)
    load = ledger.open_load(connection, new)
    if load is None:
        settled = ledger.find_load(connection, new.item, new.run.id)
        assert settled is not None
        return settled.report
    counts, codes, samples = Counts(), dict[str, int](), tuple[RejectSample, ...]()
    cleaned = validated.cleaned if validated is not None else {}
    if validated is not None:
        counts = Counts(read=validated.read, rejected=validated.rejected_rows)
        codes, samples = dict(validated.codes), validated.samples
        if validated.rejects is not None:
            copy_rejects(connection, validated.rejects, load)
        if isinstance(error, RejectedByMerge):
            matched = error.matched
            counts = replace(counts, rejected=counts.rejected + matched.rejected)
            codes |= {code: rows + codes.get(code, 0) for code, rows in matched.codes.items()}
            samples = (*samples, *matched.samples)[:SAMPLES]
            ledger.add_rejects(connection, load, error.records)
        lock_rejects(connection, *bound.database.schema_and_table, shared=True)
        if somebody_forgotten_since(connection, validated, bound):
            ledger.blank_rejects(connection, load)
            samples = ()
        if new.item.kind == "replay":
            ledger.close_rejected_again(connection, new.item, load, now)
    suppressed = validated.suppressed_rows if validated is not None else 0
    outcome = ledger.LoadOutcome(
        new.status, counts, finished_at=now, error=str(error), codes=codes, cleaned=cleaned, suppressed=suppressed
    )
    ledger.close_load(connection, load, outcome)
    status: ItemStatus = "refused" if new.status == "refused" else "failed"
    ledger.set_item_status(connection, new.item, status, retryable=error.retryable)
    return LoadReport(
        import_name=new.item.import_name, item_key=new.item.key, load_id=load, status=new.status, counts=counts,
        reason=str(error), codes=codes, samples=samples, cursor_to=new.cursor_to, cleaned=cleaned,
        suppressed=suppressed,
    )  # fmt: skip
