"""The only writer of target data: one transaction per load, so that all of it is there or none of it is.

1. stage: a run-private temporary table, filled by binary COPY. No lock is held yet.
2. lock: the target table's advisory lock, among loads, for the rest only.
3. open: the load's row by its run key. A run whose load committed already does nothing.
4. alter: schema, tables, columns and indexes that the import needs and the target lacks.
5. match: which profile each row belongs to, where that is not said by the key.
6. merge: changed profiles over, new ones in; then consent records, events and rejects.
7. close: counts (they must add up), mapping, cursor, item status.
8. commit. If its acknowledgement is lost: connect anew and ask the ledger what is true.

Other applications may write to the table at any time. Where one of them comes between our look and our write (it adds
a key that is new to us as well), all of it is rolled back and begins again, once, with other writers locked out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import psycopg
from psycopg.types.json import Jsonb

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import (
    CountsDisagree,
    InternalError,
    TargetRefused,
)
from ingest_pipelines.merge import events
from ingest_pipelines.merge.catalog import is_unique_index_of, read_shape, rows_written
from ingest_pipelines.merge.close_load import close, resolve_unknown_commit, skip
from ingest_pipelines.merge.copy import copy_accepted, copy_created, copy_profiles, copy_rejects, rows_of
from ingest_pipelines.merge.ddl import additions, fields_of
from ingest_pipelines.merge.faults import Fault, no_fault
from ingest_pipelines.merge.key_filter import take_numbers
from ingest_pipelines.merge.load_state import LoadState
from ingest_pipelines.merge.mapping import check_mapping, check_types
from ingest_pipelines.merge.match import Matching, RejectedByMatch
from ingest_pipelines.merge.match_modes import key_label
from ingest_pipelines.merge.names import SUBSCRIPTIONS, name_beside
from ingest_pipelines.merge.preconditions import failed_precondition, repeats_last, stale
from ingest_pipelines.merge.preflight import check_target, find_obstacles
from ingest_pipelines.merge.session import LOADS
from ingest_pipelines.merge.shape import TableShape
from ingest_pipelines.merge.statements import CREATE_UNMATCHED, LIST_UNMATCHED, Merge
from ingest_pipelines.merge.subscriptions import COUNT_CONSENTED, CREATE_CONSENTS, Consent
from ingest_pipelines.merge.target import (
    Target,
    force_index_lookups,
    lock_out_writers,
    lock_table,
    lock_table_at_once,
    prepare_session,
    problem,
    scalar,
)
from ingest_pipelines.model import LoadReport, Run, Validated

if TYPE_CHECKING:
    from ingest_pipelines.merge.early_load import EarlyLoad

UNMATCHED_LISTED = 1_000
"""How many rows without a profile are listed in the ledger; all of them are counted."""

RETURNS_OLD = 180_000
"""From this version on, MERGE tells what a profile was before."""


def apply(
    validated: Validated, bound: BoundImport, target: Target, run: Run, now: datetime, *,
    early: EarlyLoad | None = None, fault: Fault = no_fault,
) -> LoadReport:  # fmt: skip
    """The item merged, with rejects, load record, cursor and events, in one transaction; or nothing of it.

    A run whose load committed already gets that load's report. With `run.dry_run` everything happens but the commit.

    Args:
        early: a load that began while the rows were validated. `apply` takes its transaction over if it holds exactly
            these rows.
        fault: called at each of FAULT_POINTS.

    Raises:
        TargetUnavailable, TargetBusy: retryable; trying again is safe, whatever happened.
        StaleItem, ShrunkItem, RejectsAboveLimit, TargetRefused, LoadError: nothing was committed.
        ConfigError: the import's mapping is locked, and the YAML says something else.
    """
    begun = early.take(validated) if early is not None else None
    try:
        return _attempt(begun or _begin(validated, bound, target, run, now), target, run, now, fault)
    except _Overtaken:
        state, connection = _begin(validated, bound, target, run, now)
        state.alone = True
        return _attempt((state, connection), target, run, now, fault)


class _Overtaken(Exception):
    """Another application wrote to the table between our look at it and our write; nothing was committed."""


def _begin(
    validated: Validated, bound: BoundImport, target: Target, run: Run, now: datetime
) -> tuple[LoadState, psycopg.Connection]:
    return LoadState(validated, bound, run, now), target.connect()


def _attempt(
    begun: tuple[LoadState, psycopg.Connection], target: Target, run: Run, now: datetime, fault: Fault
) -> LoadReport:
    """The load, once.

    Raises:
        _Overtaken: it has to begin again, alone with the table.
    """
    state, connection = begun
    state.run, state.now, state.began = run, now, perf_counter()
    places = _places(state.bound)
    try:
        fault("connected")
        report = _transaction(connection, state, target, fault)
        if run.dry_run:
            connection.rollback()
            return report
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
        raise _Overtaken from None
    except psycopg.errors.UniqueViolation as error:
        if not state.alone and _takes_a_key(connection, state.bound, error):
            raise _Overtaken from None
        raise problem(connection, error, state.where, *places) from None
    except psycopg.Error as error:
        raise problem(connection, error, state.where, *places) from None
    finally:
        connection.close()


def _takes_a_key(connection: psycopg.Connection, bound: BoundImport, error: psycopg.Error) -> bool:
    """Whether it is the key's constraint that is broken: the stage has no key twice, so another session brought it."""
    with suppress(psycopg.Error):
        connection.rollback()
        return is_unique_index_of(
            connection, *bound.database.schema_and_table, bound.database.key, error.diag.constraint_name or ""
        )
    return False


def _places(bound: BoundImport) -> tuple[str, list[str]]:
    """The schema and the tables that a load writes to."""
    schema, table = bound.database.schema_and_table
    return schema, [table, name_beside(bound.database, SUBSCRIPTIONS)]


def open_early(connection: psycopg.Connection, state: LoadState, fault: Fault = no_fault) -> TableShape | None:
    """The target locked and ready to take rows while others are judged; None where they are only to be staged.

    It is not for loads that look at all rows before they merge the first, nor for a table that has triggers, or would
    have to be altered under other people's eyes, or that somebody else is loading.
    """
    bound, stage, landing = state.bound, state.stage, state.validated.landing
    connection.execute(stage.create())
    if not stage.merges_by_chunk:
        return None
    settled = ledger.find_load(connection, landing.item, state.run.id)
    if settled is not None:
        return None
    if stale(connection, landing.item, bound, state.run) is not None:
        return None
    check_mapping(ledger.find_import(connection, bound.name), bound)
    shape = read_shape(connection, *bound.database.schema_and_table)
    if shape.oid is not None and (shape.guarded or any(additions(stage, shape))):
        return None
    if find_obstacles(connection, stage, shape):
        return None
    if not lock_table_at_once(connection, *bound.database.schema_and_table):
        return None
    fault("early: opened")
    with state.timed("ddl"):
        shape = _alter(connection, state)
    _prepare(connection, state, Merge(stage))
    state.early = "merged"
    return shape


def _prepare(connection: psycopg.Connection, state: LoadState, merge: Merge) -> None:
    """Where the merge keeps what is asked for after it."""
    if state.keeps_written:
        connection.execute(merge.create_written())
        connection.execute(events.CREATE_CREATED)
    if state.bound.spec.mode == "update_only":
        connection.execute(CREATE_UNMATCHED)


def merge_chunks(
    connection: psycopg.Connection, state: LoadState, shape: TableShape, runs: Sequence[Path], fault: Fault = no_fault
) -> int:
    """Some runs of accepted rows, merged, or copied where their keys are new; how many rows they have.

    Should somebody else have added a new key meanwhile, this fails, and the load begins again.
    """
    new = staged = 0
    with state.timed("copy"):
        for run in runs:
            added, left = _copy_run(connection, state, run, partial(fault, "early: copying"))
            new, staged = new + added, staged + left
    fault("early: copied")
    state.copied += new
    state.inserted += new
    if staged:
        with state.timed("merge"):
            force_index_lookups(connection, staged < (shape.rows + state.inserted) / 2)
            _merge(connection, state, Merge(state.stage), shape)
            connection.execute(state.stage.clear())
    fault("early: merged")
    return new + staged


def _copy_run(
    connection: psycopg.Connection, state: LoadState, run: Path, copying: Callable[[], None]
) -> tuple[int, int]:
    """A run's new rows in the target, and its others in the stage: how many of each."""
    if state.key_filter is None:
        return 0, copy_accepted(connection, rows_of([run]), state.stage, copying)
    new, others = state.key_filter.split(run)
    copied = staged = 0
    if len(new):
        numbers = take_numbers(connection, state.key_filter, len(new))
        copied = copy_profiles(connection, new.numbered(numbers), state.stage, copying)
        if state.keeps_written:
            copy_created(connection, new.created(numbers, state.key_filter.column))
    if len(others):
        staged = copy_accepted(connection, others.batches(), state.stage, copying)
    return copied, staged


def _transaction(connection: psycopg.Connection, state: LoadState, target: Target, fault: Fault) -> LoadReport:
    validated, bound, item = state.validated, state.bound, state.validated.landing.item
    prepare_session(connection, target, bound.name, LOADS)
    settled = ledger.find_load(connection, item, state.run.id)
    if settled is not None and settled.status in {"committed", "skipped"}:
        return settled.report
    repeats = repeats_last(connection, validated.landing, bound, state.run)
    problem = failed_precondition(connection, validated, bound, state.run)
    if repeats and problem is not None:
        return skip(connection, state, repeats)
    state.refuse(problem)
    state.refuse(state.above_limit())
    check_mapping(ledger.find_import(connection, bound.name), bound)

    with state.timed("copy"):
        _stage(connection, state, fault)
    fault("staged")
    with state.timed("lock"):
        lock_table(connection, *bound.database.schema_and_table)
        if state.alone:
            lock_out_writers(connection, *bound.database.schema_and_table)
    fault("locked")
    state.refuse(failed_precondition(connection, validated, bound, state.run))
    ledger.register_items(connection, [item], state.now)
    opened = ledger.open_load(connection, state.new_load("running"))
    if opened is None:
        settled = ledger.find_load(connection, item, state.run.id)
        assert settled is not None
        return settled.report
    state.load = opened
    fault("opened")
    merge = Merge(state.stage)
    if state.early == "merged":
        force_index_lookups(connection, False)
    else:
        with state.timed("ddl"):
            shape = _alter(connection, state)
        fault("altered")
        with state.timed("match"):
            _match(connection, state, shape)
        fault("matched")
        with state.timed("merge"):
            _prepare(connection, state, merge)
            _merge(connection, state, merge, shape)
    with state.timed("merge"):
        _number_created(connection, state, merge)
        if state.unmatched:
            connection.execute(LIST_UNMATCHED, (state.load, key_label(state.stage), UNMATCHED_LISTED))
    fault("merged")
    with state.timed("subscriptions"):
        _consent(connection, state, merge)
    fault("consented")
    if repeats and state.changes_nothing:
        connection.rollback()
        prepare_session(connection, target, bound.name, LOADS)
        return skip(connection, state, repeats)
    if validated.rejects is not None:
        with state.timed("rejects"):
            copy_rejects(connection, validated.rejects, state.load)
    fault("rejected")
    with state.timed("events"):
        _tell(connection, state, merge)
    fault("told")
    counts = state.counts()
    fault("counted")
    report = close(connection, state, counts)
    fault("closed")
    return report


def _stage(connection: psycopg.Connection, state: LoadState, fault: Fault) -> None:
    if state.early == "merged":
        return
    if not state.early:
        connection.execute(state.stage.create())
        accepted = rows_of(state.validated.accepted)
        staged = copy_accepted(connection, accepted, state.stage, lambda: fault("copying"))
        if staged != state.validated.accepted_rows:
            raise InternalError(
                f"{state.where}: {state.validated.accepted_rows} rows were accepted, and {staged} reached the stage",
                hint="nothing was committed; run it again",
            )
    if not state.stage.matches:
        connection.execute(state.stage.analyze())


def _alter(connection: psycopg.Connection, state: LoadState) -> TableShape:
    bound = state.bound
    known = ledger.registered_fields(connection, bound.database_name)
    check_types(known, bound)
    shape = read_shape(connection, *bound.database.schema_and_table)
    check_target(connection, state.stage, shape)
    statements = list(additions(state.stage, shape))
    for statement in statements:
        connection.execute(statement)
    state.ddl = tuple(statement.as_string(connection) for statement in statements)
    fresh = [(name, field.type_name) for name, field in fields_of(bound).items() if name not in known]
    if fresh:
        ledger.register_fields(connection, bound.database_name, fresh, bound.name, state.now)
    return read_shape(connection, *bound.database.schema_and_table) if statements else shape


def _match(connection: psycopg.Connection, state: LoadState, shape: TableShape) -> None:
    if state.validated.accepted_rows < shape.rows:
        # A hash join would read the whole table for a small file, and undo the order of the stage for a large one.
        connection.execute("SET LOCAL enable_hashjoin = off")
    if state.stage.matches:
        matching = Matching(connection, state.stage, state.load)
        state.matched = matching.run()
        if (problem := state.above_limit()) is not None:
            state.refuse(RejectedByMatch(problem, state.matched, matching.records()))
    stale = Merge(state.stage).drop_stale()
    if stale is not None:
        state.stale = connection.execute(stale).rowcount


def _merge(connection: psycopg.Connection, state: LoadState, merge: Merge, shape: TableShape) -> None:
    """What is in the stage, merged."""
    if state.bound.spec.mode == "update_only":
        state.unmatched += scalar(connection, merge.find_unmatched(), (UNMATCHED_LISTED,))
    due = scalar(connection, merge.count_to_write()) if shape.guarded else 0
    _write(connection, state, merge, shape)
    if state.inserted + state.updated < due:
        if not state.alone:
            raise _Overtaken
        left_out = due - state.inserted - state.updated
        raise TargetRefused(
            f"{state.where}: a trigger of {state.bound.database.table} left out {left_out} of {due} rows",
            hint="nothing was committed; a trigger that refuses a row has to raise an error, or the rule belongs into "
            "the import, where what breaks it becomes a reject",
        )


def _write(connection: psycopg.Connection, state: LoadState, merge: Merge, shape: TableShape) -> None:
    """Changed profiles over, new ones in, and both counted."""
    assert shape.oid is not None
    if not state.keeps_written:
        before = rows_written(connection, shape.oid)
        written = connection.execute(merge.statement(), prepare=False).rowcount
        after = rows_written(connection, shape.oid)
        inserted, updated = after[0] - before[0], after[1] - before[1]
        if inserted + updated != written:
            raise CountsDisagree(
                f"{state.where}: {written} rows were merged, and Postgres counted {inserted} inserts and "
                f"{updated} updates",
                hint="nothing was committed; do triggers of the table write to it, or is track_counts off?",
            )
    else:
        returns_old = connection.info.server_version >= RETURNS_OLD
        found = connection.execute(merge.keep_written(returns_old=returns_old), prepare=False).fetchone()
        assert found is not None
        planned, inserted = int(found[0]), int(found[1])
        written = planned if returns_old else connection.execute(merge.statement(), prepare=False).rowcount
        updated = written - inserted
        if written != planned and not shape.guarded:
            raise CountsDisagree(
                f"{state.where}: {written} rows were merged, and {planned} were to be",
                hint="nothing was committed; do triggers of the table write to it?",
            )
    state.inserted += inserted
    state.updated += updated


def _number_created(connection: psycopg.Connection, state: LoadState, merge: Merge) -> None:
    before_18 = connection.info.server_version < RETURNS_OLD
    if not (state.keeps_written and state.inserted > state.copied and before_18):
        return
    numbered = connection.execute(merge.number_created()).rowcount
    if numbered != state.inserted - state.copied:
        raise TargetRefused(
            f"{state.where}: a trigger of {state.bound.database.table} gives new rows another key: "
            f"{state.inserted - state.copied - numbered} of {state.inserted} cannot be found by theirs",
            hint="nothing was committed; clean the key in the source, or leave it as it is in the trigger",
        )


def _consent(connection: psycopg.Connection, state: LoadState, merge: Merge) -> None:
    if not state.bound.spec.subscriptions:
        return
    connection.execute(CREATE_CONSENTS)
    for subscription in state.bound.spec.subscriptions:
        connection.execute(Consent(merge, subscription).upsert(), {"now": state.now})
    state.consented = scalar(connection, COUNT_CONSENTED)


def _tell(connection: psycopg.Connection, state: LoadState, merge: Merge) -> None:
    if not state.bound.spec.events or not (state.inserted or state.updated or state.consented):
        return
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (events.OUTBOX_LOCK,))
    consents = bool(state.bound.spec.subscriptions)
    write = events.write_events_with_consents(merge) if consents else events.write_events(merge)
    batches = connection.execute(write, {"load": state.load}).rowcount
    if state.copied:
        batches += connection.execute(events.WRITE_CREATED_EVENTS, {"load": state.load}).rowcount
    if batches:
        news = {
            "load": state.load, "import": state.bound.name, "database": state.bound.database_name,
            "created": state.inserted, "updated": state.updated + state.consented,
        }  # fmt: skip
        connection.execute("SELECT pg_notify(%s, %s::jsonb::text)", (events.CHANNEL, Jsonb(news)))
