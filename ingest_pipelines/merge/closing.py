"""How a load ends in the ledger: skipped, committed, or, where nobody answered its commit, as the ledger says."""

from __future__ import annotations

from time import sleep

import psycopg

from ingest_pipelines import ledger
from ingest_pipelines.errors import TargetUnavailable
from ingest_pipelines.merge.driver_errors import translate
from ingest_pipelines.merge.mapping import mapping_of
from ingest_pipelines.merge.order import fingerprint
from ingest_pipelines.merge.target import Target, lock_table
from ingest_pipelines.merge.work import Work
from ingest_pipelines.model import Counts, LoadReport

RECONNECT_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Pauses before each attempt to ask the ledger about a commit whose acknowledgement did not come."""


def skip(connection: psycopg.Connection, work: Work, reason: str) -> LoadReport:
    """Nothing is to be done, and the ledger says so."""
    item, counts = work.validated.landing.item, Counts()
    ledger.register_items(connection, [item], work.now)
    load = ledger.open_load(connection, work.new_load("skipped"))
    if load is not None:
        ledger.close_load(connection, load, ledger.Outcome("skipped", counts, work.now, error=reason))
        ledger.set_item_status(connection, item, "skipped")
    number = None if work.run.dry_run else load
    return LoadReport(work.bound.name, item.key, number, "skipped", counts, reason=reason, dry_run=work.run.dry_run)


def close(connection: psycopg.Connection, work: Work, counts: Counts) -> LoadReport:
    """The load's mapping, cursor, item and record, as they commit with it; a plan has none."""
    bound, run, landing = work.bound, work.run, work.validated.landing
    item = landing.item
    if run.dry_run:
        return work.report(counts)
    ledger.lock_mapping(connection, bound.name, bound.database_name, fingerprint(bound), mapping_of(bound), work.now)
    if item.kind == "cursor":
        ledger.set_cursor(connection, bound.name, landing.cursor_commit, work.now, load=work.load)
    if run.forced:
        detail = {"load": work.load, "run": run.id}
        ledger.record_audit(
            connection, run.by, "forced", work.now, import_name=bound.name, item=item.key, detail=detail
        )
    if item.kind == "replay":
        _settle_rejects(connection, work)
    ledger.set_item_status(connection, item, "committed")
    ledger.close_load(connection, work.load, work.outcome(counts))
    return work.report(counts)


def _settle_rejects(connection: psycopg.Connection, work: Work) -> None:
    """The rejects of the rows that this replay took are resolved; the others stay open where they were first."""
    item = work.validated.landing.item
    ledger.resolve_corrected(connection, item, work.load, work.now)
    ledger.close_rejected_again(connection, item, work.load, work.now)
    for rejected_by, rows in ledger.corrected_rows(connection, item, work.load).items():
        detail = {"load": work.load, "rejects_of": rejected_by, "rows": rows}
        ledger.record_audit(
            connection, work.run.by, "replayed", work.now, import_name=item.import_name, item=item.key, detail=detail
        )


def ask_the_ledger(target: Target, work: Work, error: psycopg.Error) -> LoadReport:
    """What is true after a commit whose acknowledgement did not come.

    The old session may still be committing: its advisory lock is waited for before the ledger is asked.
    """
    for pause in RECONNECT_SECONDS:
        sleep(pause)
        try:
            with target.session(work.where) as connection:
                lock_table(connection, *work.bound.database.schema_and_table)
                settled = ledger.find_load(connection, work.validated.landing.item, work.run.id)
            break
        except TargetUnavailable:
            continue
    else:
        raise TargetUnavailable(
            f"{work.where}: the connection broke while the commit was under way, and the target does not answer since",
            hint="whether it was committed is in the ledger; running it again asks the ledger first and is safe",
        ) from None
    if settled is None or settled.status != "committed":
        raise translate(error, work.where) from None
    return settled.report
