"""The end of a load in the ledger: skipped, committed, or as the ledger says if the commit was not acknowledged."""

from __future__ import annotations

from time import sleep

import psycopg

from ingest_pipelines import ledger
from ingest_pipelines.errors import TargetUnavailable
from ingest_pipelines.merge.driver_errors import translate
from ingest_pipelines.merge.load_state import LoadState
from ingest_pipelines.merge.mapping import mapping_of
from ingest_pipelines.merge.preconditions import fingerprint
from ingest_pipelines.merge.target import Target, lock_table
from ingest_pipelines.model import Counts, LoadReport

RECONNECT_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Pauses before each attempt to ask the ledger about a commit that was not acknowledged."""


def skip(connection: psycopg.Connection, state: LoadState, reason: str) -> LoadReport:
    """Records the load as skipped, with the reason: there is nothing to do."""
    item, counts = state.validated.landing.item, Counts()
    ledger.register_items(connection, [item], state.now)
    load = ledger.open_load(connection, state.new_load("skipped"))
    if load is not None:
        ledger.close_load(connection, load, ledger.LoadOutcome("skipped", counts, state.now, error=reason))
        ledger.set_item_status(connection, item, "skipped")
    number = None if state.run.dry_run else load
    return LoadReport(state.bound.name, item.key, number, "skipped", counts, reason=reason, dry_run=state.run.dry_run)


def close(connection: psycopg.Connection, state: LoadState, counts: Counts) -> LoadReport:
    """Writes mapping, cursor, item status and load record, which commit with the load. A plan writes none of them."""
    bound, run, landing = state.bound, state.run, state.validated.landing
    item = landing.item
    if run.dry_run:
        return state.report(counts)
    ledger.lock_mapping(connection, bound.name, bound.database_name, fingerprint(bound), mapping_of(bound), state.now)
    if item.kind != "replay":
        ledger.add_columns(connection, bound.name, state.validated.columns)
    if item.kind == "cursor":
        ledger.set_cursor(connection, bound.name, landing.cursor_committed, state.now, load=state.load)
    if run.forced:
        detail = {"load": state.load, "run": run.id}
        ledger.record_audit(
            connection, run.by, "forced", state.now, import_name=bound.name, item=item.key, detail=detail
        )
    if item.kind == "replay":
        _settle_rejects(connection, state)
    ledger.set_item_status(connection, item, "committed")
    ledger.close_load(connection, state.load, state.outcome(counts))
    return state.report(counts)


def _settle_rejects(connection: psycopg.Connection, state: LoadState) -> None:
    """Marks the rejects whose rows this replay loaded as resolved; the others stay open where they were rejected."""
    item = state.validated.landing.item
    ledger.resolve_corrected(connection, item, state.load, state.now)
    ledger.close_rejected_again(connection, item, state.load, state.now)
    for rejected_by, rows in ledger.corrected_rows(connection, item, state.load).items():
        detail = {"load": state.load, "rejects_of": rejected_by, "rows": rows}
        ledger.record_audit(
            connection, state.run.by, "replayed", state.now, import_name=item.import_name, item=item.key, detail=detail
        )


def resolve_unknown_commit(target: Target, state: LoadState, error: psycopg.Error) -> LoadReport:
    """The report of a load whose commit was not acknowledged, as the ledger has it.

    The old session may still be committing, so this waits for its advisory lock before it asks the ledger.

    Raises:
        TargetUnavailable: the ledger does not answer; retryable, and safe to run again.
        IngestError: the load did not commit; the error of its commit.
    """
    for pause in RECONNECT_SECONDS:
        sleep(pause)
        try:
            with target.session(state.where) as connection:
                lock_table(connection, *state.bound.database.schema_and_table)
                settled = ledger.find_load(connection, state.validated.landing.item, state.run.id)
            break
        except TargetUnavailable:
            continue
    else:
        raise TargetUnavailable(
            f"{state.where}: the connection broke during the commit, and the target has not answered since",
            hint="the ledger knows whether it committed; run it again: it asks the ledger first, so that is safe",
        ) from None
    if settled is None or settled.status != "committed":
        raise translate(error, state.where) from None
    return settled.report
