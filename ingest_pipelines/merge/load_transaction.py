"""The only writer of target data: one transaction per load, so that all of it is there or none of it is.

1. stage: a temporary table of this run, filled by binary COPY. No lock is held yet.
2. lock: the advisory lock of the target table, which keeps out other loads from here to the commit.
3. open: the load's row by its run key. A run whose load committed already does nothing.
4. alter: schema, tables, columns and indexes that the import needs and the target lacks.
5. match: which profile each row belongs to, where the key does not say it.
6. merge: changed profiles over, new ones in; then consent records, rows that waited, events and rejects.
7. close: counts (they must add up), mapping, cursor, item status.
8. commit. If its acknowledgement is lost: connect again and ask the ledger what is true.

`write_steps` has the statements of these steps. Other applications may write to the table at any time. Where one of
them adds a key between our look and our write, the load is rolled back and begins again, once, with other writers
locked out. Where the table refuses a row, it is rolled back and begins again, once, and searches for such rows
(`refused_rows`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from time import perf_counter
from typing import TYPE_CHECKING

import psycopg

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import CountsDisagree, ForgottenMeanwhile
from ingest_pipelines.merge.close_load import close, resolve_unknown_commit, skip
from ingest_pipelines.merge.copy import copy_rejects
from ingest_pipelines.merge.deletions import above_deletes, take_absent
from ingest_pipelines.merge.driver_errors import refuses_rows, translate
from ingest_pipelines.merge.faults import Fault, no_fault
from ingest_pipelines.merge.healing import find_waiting, heal
from ingest_pipelines.merge.load_state import LoadState
from ingest_pipelines.merge.mapping import check_mapping, new_columns
from ingest_pipelines.merge.names import HISTORY, SUBSCRIPTIONS, name_beside
from ingest_pipelines.merge.preconditions import failed_precondition, repeats_last, somebody_forgotten_since
from ingest_pipelines.merge.refused_rows import RefusedRows
from ingest_pipelines.merge.session import LOADS, prepare
from ingest_pipelines.merge.table_order import find_order
from ingest_pipelines.merge.target import (
    Target,
    force_index_lookups,
    lock_out_writers,
    lock_table,
    prepare_session,
    problem,
)
from ingest_pipelines.merge.write_steps import (
    Overtaken,
    alter_target,
    complete_merge,
    create_consents,
    match_profiles,
    merge_stage,
    prepare_merge,
    stage_rows,
    takes_a_key,
    write_consents,
    write_events,
)
from ingest_pipelines.model import LoadReport, Run, Validated

if TYPE_CHECKING:
    from ingest_pipelines.merge.early_load import EarlyLoad


def apply(
    validated: Validated, bound: BoundImport, target: Target, run: Run, now: datetime, *,
    early: EarlyLoad | None = None, fault: Fault = no_fault, confirm: Callable[[], None] = lambda: None,
) -> LoadReport:  # fmt: skip
    """The item merged, with rejects, load record, cursor and events, in one transaction; or nothing of it.

    A run whose load committed already gets that load's report. With `run.dry_run` everything happens but the commit.

    Args:
        early: a load that began while the rows were validated. `apply` takes its transaction over if it holds exactly
            these rows.
        fault: called at each of FAULT_POINTS.
        confirm: called before the commit; what it raises keeps the load from being committed.

    Raises:
        TargetUnavailable, TargetBusy: retryable; trying again is safe, whatever happened.
        ForgottenMeanwhile: the rows have to be validated again.
        StaleItem, ShrunkItem, RejectsAboveLimit, TargetRefused, LoadError: nothing was committed.
        ConfigError: the import's mapping is locked, and the YAML says something else.
    """
    begun = early.take(validated) if early is not None else None
    alone, refused = False, None
    while True:
        state, connection = begun or _begin(validated, bound, target, run, now)
        begun = None
        state.alone = alone
        if refused is not None:
            state.first_refusal, state.first_try_seconds = refused.state, refused.seconds
        try:
            return _attempt((state, connection), target, run, now, fault, confirm)
        except Overtaken:
            if alone:
                raise
            alone = True
        except RowsRefused as again:
            refused = again


def _begin(
    validated: Validated, bound: BoundImport, target: Target, run: Run, now: datetime
) -> tuple[LoadState, psycopg.Connection]:
    state = LoadState(validated, bound, run, now)
    try:
        return state, target.begin(bound.name, LOADS)
    except psycopg.Error as error:
        raise translate(error, state.where) from None


class RowsRefused(Exception):
    """The table refused a row of the load; nothing was committed.

    Attributes:
        state: the SQLSTATE.
        seconds: how long the load took until then.
    """

    def __init__(self, state: str, seconds: float) -> None:
        super().__init__(state)
        self.state, self.seconds = state, seconds


def _attempt(
    begun: tuple[LoadState, psycopg.Connection],
    target: Target,
    run: Run,
    now: datetime,
    fault: Fault,
    confirm: Callable[[], None],
) -> LoadReport:
    """The load, once.

    Raises:
        Overtaken: it has to begin again, with other writers locked out.
        RowsRefused: it has to begin again, and to search for the rows that the table refuses.
    """
    state, connection = begun
    state.run, state.now, state.began = run, now, perf_counter()
    written_tables = _written_tables(state.bound)
    try:
        fault("connected")
        report = _transaction(connection, state, target, fault)
        if run.dry_run:
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")  # as the commit would
            connection.rollback()
            return report
        confirm()
        start = perf_counter()
        try:
            connection.commit()
        except psycopg.OperationalError as error:
            return resolve_unknown_commit(target, state, error)
        state.seconds["commit"] = round(perf_counter() - start, 3)
        fault("committed")
        return report
    except CountsDisagree:
        if state.alone:
            raise
        raise Overtaken from None
    except psycopg.Error as error:
        with suppress(psycopg.Error):
            connection.rollback()
            prepare(connection, {})
            if not state.alone and takes_a_key(connection, state.bound, error):
                raise Overtaken from None
        if state.load and not state.first_refusal and refuses_rows(error):
            raise RowsRefused(error.sqlstate or "", perf_counter() - state.began) from None
        raise problem(connection, error, state.where, *written_tables) from None
    finally:
        connection.close()


def _written_tables(bound: BoundImport) -> tuple[str, list[str]]:
    """The schema and the tables that a load writes to."""
    schema, table = bound.database.schema_and_table
    return schema, [table, name_beside(bound.database, SUBSCRIPTIONS), name_beside(bound.database, HISTORY)]


def _transaction(connection: psycopg.Connection, state: LoadState, target: Target, fault: Fault) -> LoadReport:
    """Steps 1 to 7: everything but the commit."""
    validated, bound, item = state.validated, state.bound, state.validated.landing.item
    if state.early:  # it began with less patience for locks
        prepare_session(connection, target, bound.name, LOADS)
    settled = ledger.find_load(connection, item, state.run.id)
    if settled is not None and settled.status in {"committed", "skipped"}:
        return settled.report
    repeats = repeats_last(connection, validated.landing, bound, state.run)
    refusal = failed_precondition(connection, validated, bound, state.run)
    if repeats and refusal is not None:
        return skip(connection, state, repeats)
    state.refuse(refusal)
    state.refuse(state.above_limit())
    import_state = ledger.find_import(connection, bound.name)
    check_mapping(import_state, bound)
    state.new_columns = new_columns(import_state, validated, bound)

    with state.timed("copy"):
        stage_rows(connection, state, fault)
    fault("staged")
    with state.timed("lock"):
        lock_table(connection, *bound.database.schema_and_table)
        if state.alone:
            lock_out_writers(connection, *bound.database.schema_and_table)
    fault("locked")
    if somebody_forgotten_since(connection, validated, bound):
        raise ForgottenMeanwhile(
            f"{state.where}: a person was forgotten after its rows were validated",
            hint="nothing was merged; run it again",
        )
    state.refuse(failed_precondition(connection, validated, bound, state.run))
    ledger.register_items(connection, [item], state.now)
    opened = ledger.open_load(connection, state.new_load("running"))
    if opened is None:
        settled = ledger.find_load(connection, item, state.run.id)
        assert settled is not None
        return settled.report
    state.load = opened
    fault("opened")
    if state.early == "merged":
        force_index_lookups(connection, False)
    else:
        with state.timed("ddl"):
            shape = alter_target(connection, state)
            if state.run.dry_run:
                order = find_order(connection, bound)
                state.order_advice = order.advice if order is not None else ""
        fault("altered")
        with state.timed("match"):
            find_waiting(connection, state)
            heal(connection, state, merged=False)
            match_profiles(connection, state, shape)
        fault("matched")
        with state.timed("merge"):
            prepare_merge(connection, state)
            if state.first_refusal:
                create_consents(connection, state)
                RefusedRows(connection, state, shape, fault).merge()
            else:
                merge_stage(connection, state, shape)
    with state.timed("merge"):
        complete_merge(connection, state)
    fault("merged")
    with state.timed("subscriptions"):
        write_consents(connection, state)
    fault("consented")
    with state.timed("merge"):
        take_absent(connection, state)
    if bound.spec.lists_keys or bound.spec.snapshot:
        state.refuse(above_deletes(connection, state))
    with state.timed("merge"):
        heal(connection, state, merged=True)
    fault("healed")
    if repeats and state.changes_nothing:
        connection.rollback()
        prepare_session(connection, target, bound.name, LOADS)
        return skip(connection, state, repeats)
    if validated.rejects is not None:
        with state.timed("rejects"):
            copy_rejects(connection, validated.rejects, state.load)
    fault("rejected")
    with state.timed("events"):
        write_events(connection, state)
    fault("events written")
    counts = state.counts()
    fault("counted")
    report = close(connection, state, counts)
    fault("closed")
    return report
