"""The steps of a load that write: each executes its statements in the transaction of the caller.

`apply` calls them in order. An early load calls some of them for each sorted chunk, in the transaction that `apply`
takes over. `LoadState` keeps what they count.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.types.json import Jsonb

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.imports import Unmatched
from ingest_pipelines.errors import CountsDisagree, InternalError, TargetRefused
from ingest_pipelines.merge import events, kept_rows
from ingest_pipelines.merge.catalog import is_guarded, is_unique_index_of, read_shape, rows_written
from ingest_pipelines.merge.copy import copy_accepted, copy_unmatched, rows_of
from ingest_pipelines.merge.ddl import additions, fields_of
from ingest_pipelines.merge.deletions import delete_staged, prepare_deletions
from ingest_pipelines.merge.faults import Fault
from ingest_pipelines.merge.key_filter import ChunkRows
from ingest_pipelines.merge.load_state import LoadState
from ingest_pipelines.merge.mapping import check_types
from ingest_pipelines.merge.match import Matching
from ingest_pipelines.merge.match_modes import key_label
from ingest_pipelines.merge.names import SUBSCRIPTIONS, name_beside
from ingest_pipelines.merge.preflight import check_target
from ingest_pipelines.merge.shape import TableShape
from ingest_pipelines.merge.stage_rejects import RejectedByMatch, StageRejects
from ingest_pipelines.merge.statements import CREATE_UNMATCHED, LIST_UNMATCHED, SNAPSHOT, Merge
from ingest_pipelines.merge.subscriptions import COUNT_CONSENTED, CREATE_CONSENTS, Consent
from ingest_pipelines.merge.target import scalar

UNMATCHED_LISTED = 1_000
"""How many rows without a profile are listed in the ledger; all of them are counted."""

RETURNS_OLD = 180_000
"""From this server version on, MERGE can return what a profile was before."""


class Overtaken(Exception):
    """Another application wrote to the table between our look at it and our write; nothing was committed."""


def takes_a_key(connection: psycopg.Connection, bound: BoundImport, error: psycopg.Error) -> bool:
    """Whether the key's constraint is broken: the stage has no key twice, so another session brought the other row."""
    return isinstance(error, psycopg.errors.UniqueViolation) and is_unique_index_of(
        connection, *bound.database.schema_and_table, bound.database.key, error.diag.constraint_name or ""
    )


def stage_rows(connection: psycopg.Connection, state: LoadState, fault: Fault) -> None:
    """Copies all accepted rows into the stage, unless an early load has merged them.

    Raises:
        InternalError: fewer or more rows arrived than were accepted.
    """
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


def alter_target(connection: psycopg.Connection, state: LoadState) -> TableShape:
    """Adds the schema, tables, columns and indexes that the target lacks; returns its shape.

    Raises:
        LoadError: a field has another type than its first load gave it.
        TargetRefused: the table cannot take the import's rows.
    """
    bound = state.bound
    registered = ledger.registered_fields(connection, bound.database_name)
    check_types(registered, bound)
    shape = read_shape(connection, *bound.database.schema_and_table)
    check_target(connection, state.stage, shape)
    state.made_table = shape.oid is None
    statements = list(additions(state.stage, shape))
    for statement in statements:
        connection.execute(statement)
    state.ddl = tuple(statement.as_string(connection) for statement in statements)
    new_fields = [(name, field.type_name) for name, field in fields_of(bound).items() if name not in registered]
    if new_fields:
        ledger.register_fields(connection, bound.database_name, new_fields, bound.name, state.now)
    state.shape = read_shape(connection, *bound.database.schema_and_table) if statements else shape
    if bound.database.history:
        state.changed_at = ledger.target_time(connection)
    return state.shape


def match_profiles(connection: psycopg.Connection, state: LoadState, shape: TableShape) -> None:
    """Finds the profile of every row in the stage; takes rejected, superseded and stale rows out.

    Raises:
        RejectedByMatch: more rows are rejected than the import allows.
    """
    if state.validated.accepted_rows < shape.rows:
        # A hash join would read the whole table for a small file, and undo the order of the stage for a large one.
        connection.execute("SET LOCAL enable_hashjoin = off")
    if state.stage.matches:
        rejects = StageRejects(connection, state.stage, state.load)
        state.matched = Matching(connection, state.stage, rejects).run()
        if (problem := state.above_limit()) is not None:
            state.refuse(RejectedByMatch(problem, state.matched, rejects.records()))
    prepare_deletions(connection, state)
    drop_stale = Merge(state.stage).drop_stale()
    if drop_stale is not None:
        state.stale = connection.execute(drop_stale).rowcount


def prepare_merge(connection: psycopg.Connection, state: LoadState) -> None:
    """Creates the temporary tables in which the merge keeps written and unmatched profiles for later steps."""
    if state.keeps_written or (state.changed_at and not _returns_old(connection)):
        connection.execute(Merge(state.stage).create_written())
        connection.execute(events.CREATE_CREATED)
    if not state.bound.spec.adds:
        connection.execute(CREATE_UNMATCHED)
    if state.bound.spec.unmatched is not None:
        connection.execute(kept_rows.CREATE_KEPT)


def _returns_old(connection: psycopg.Connection) -> bool:
    """Whether a MERGE can return values from before it."""
    return connection.info.server_version >= RETURNS_OLD


def merge_stage(connection: psycopg.Connection, state: LoadState, shape: TableShape) -> None:
    """Merges the rows in the stage into the target, and counts them.

    Raises:
        Overtaken: fewer rows were written than were to be, or another application added or deleted profiles of the
            rows meanwhile; the first try of a load begins again.
        TargetRefused: fewer were written, while other writers were locked out: a trigger left rows out.
        CountsDisagree: the server's counts contradict each other.
    """
    merge = Merge(state.stage, state.changed_at)
    unmatched = note_unmatched(connection, state)
    if state.bound.spec.mode == "delete":
        delete_profiles(connection, state)
        return
    due = scalar(connection, merge.count_to_write()) if shape.guarded else 0
    _write(connection, state, merge, shape)
    require_same_unmatched(connection, state, unmatched)
    if state.inserted + state.updated < due:
        if not state.alone:
            raise Overtaken
        raise left_out(state, state.bound.database.table, due - state.inserted - state.updated, due)


def delete_profiles(connection: psycopg.Connection, state: LoadState) -> None:
    """Deletes the profiles of the rows in the stage, with their consents, and counts them.

    Raises:
        Overtaken, TargetRefused: as `merge_stage`.
    """
    due, deleted = delete_staged(connection, state)
    if deleted != due:
        if not state.alone:
            raise Overtaken
        raise left_out(state, state.bound.database.table, due - deleted, due)
    state.deleted += deleted


@dataclass(frozen=True)
class UnmatchedRows:
    """The rows in the stage that have no profile, at one moment.

    Attributes:
        rows: how many, and a sum over their lines: it differs between any two sets of rows that occur.
        snapshot: which transactions had committed.
    """

    rows: tuple[int, int]
    snapshot: str


def note_unmatched(connection: psycopg.Connection, state: LoadState) -> UnmatchedRows | None:
    """Counts the rows in the stage that have no profile, notes the first of them, and those that are to wait.

    Returns:
        What `require_same_unmatched` compares after the merge; None where nothing can have changed until then.
    """
    unmatched = None
    if not state.bound.spec.adds:
        merge = Merge(state.stage)
        found = connection.execute(merge.find_unmatched(), (UNMATCHED_LISTED,)).fetchone()
        assert found is not None
        unmatched = UnmatchedRows((int(found[0]), int(found[1])), found[2])
        state.unmatched += unmatched.rows[0]
    if state.bound.spec.unmatched is not None:
        most = state.bound.spec.unmatched.max_rows
        connection.execute(kept_rows.keep(Merge(state.stage)), {**_waiting_of(state), "most": most})
    return unmatched


def require_same_unmatched(connection: psycopg.Connection, state: LoadState, before: UnmatchedRows | None) -> None:
    """Passes if the rows without a profile are those of before the merge.

    Nothing is looked up where no transaction committed meanwhile: each change of the table would be one.

    Raises:
        Overtaken: another application added or deleted a profile meanwhile; its row would be in the wrong count.
    """
    if before is None or state.alone or scalar(connection, SNAPSHOT) == before.snapshot:
        return
    if connection.execute(Merge(state.stage).count_unmatched()).fetchone() != before.rows:
        raise Overtaken


def note_unknown(connection: psycopg.Connection, state: LoadState, rows: ChunkRows) -> None:
    """Counts rows that are not staged, because their keys are certainly not in the target; notes the first of them."""
    state.unmatched += len(rows)
    copy_unmatched(connection, rows.first(UNMATCHED_LISTED, state.bound.database.key))


def left_out(state: LoadState, table: str, rows: int, due: int) -> TargetRefused:
    """The error where a trigger left rows out, so that they would be in no count."""
    return TargetRefused(
        f"{state.where}: a trigger of {table} left out {rows:,} of {due:,} rows",
        hint="nothing was committed; a trigger that refuses a row has to raise an error, or the rule belongs into "
        "the import, where what breaks it becomes a reject",
    )


def _write(connection: psycopg.Connection, state: LoadState, merge: Merge, shape: TableShape) -> None:
    """Executes the MERGE and counts new and changed profiles."""
    assert shape.oid is not None
    if not (state.keeps_written or state.changed_at):
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
        returns_old = _returns_old(connection)
        only_past = returns_old and not state.keeps_written
        merging = merge.keep_past() if only_past else merge.keep_written(returns_old=returns_old)
        kept = connection.execute(merging, prepare=False).fetchone()
        assert kept is not None
        planned, inserted = int(kept[0]), int(kept[1])
        written = planned if returns_old else connection.execute(merge.statement(), prepare=False).rowcount
        updated = written - inserted
        if written != planned and not shape.guarded:
            raise CountsDisagree(
                f"{state.where}: {written} rows were merged, and {planned} were to be",
                hint="nothing was committed; do triggers of the table write to it?",
            )
    state.inserted += inserted
    state.updated += updated


def complete_merge(connection: psycopg.Connection, state: LoadState) -> None:
    """Adds the numbers of written profiles, and lists the first unmatched rows in the ledger.

    Raises:
        Overtaken: the table got a trigger after its shape was read, so rows that the trigger left out were not counted.
        TargetRefused: a trigger changed the key of new profiles.
    """
    assert state.shape.oid is not None
    if not state.shape.guarded and is_guarded(connection, state.shape.oid):
        raise Overtaken
    unnumbered = not _returns_old(connection) or bool(state.first_refusal)
    if (state.keeps_written or state.changed_at) and state.inserted > state.copied and unnumbered:
        numbered = connection.execute(Merge(state.stage).number_created()).rowcount
        if numbered != state.inserted - state.copied:
            raise TargetRefused(
                f"{state.where}: a trigger of {state.bound.database.table} gives new rows another key: "
                f"{state.inserted - state.copied - numbered} of {state.inserted} cannot be found by theirs",
                hint="nothing was committed; clean the key in the source, or leave it as it is in the trigger",
            )
    if state.unmatched:
        connection.execute(LIST_UNMATCHED, (state.load, key_label(state.stage), UNMATCHED_LISTED))
    if state.unmatched and state.bound.spec.unmatched is not None:
        _store_kept(connection, state, state.bound.spec.unmatched)


def _waiting_of(state: LoadState) -> dict[str, object]:
    """The import, and the target for whose profiles its rows wait."""
    return {"import": state.bound.name, "target": kept_rows.target_of(state.stage)}


def _store_kept(connection: psycopg.Connection, state: LoadState, unmatched: Unmatched) -> None:
    """Keeps the unmatched rows in the ledger until their profiles exist, or their time is over."""
    values = {
        **_waiting_of(state), "load": state.load, "now": state.now, "until": state.now + unmatched.keep,
        "match": kept_rows.match_of(Merge(state.stage)), "most": unmatched.max_rows,
    }  # fmt: skip
    connection.execute(kept_rows.END_EXPIRED, values)
    connection.execute(kept_rows.DROP_OLDER, values)
    stored = connection.execute(kept_rows.STORE, values).fetchone()
    assert stored is not None
    state.kept, state.kept_new, state.kept_all_it_may = int(stored[0]), int(stored[1]), bool(stored[2])
    connection.execute(kept_rows.DELETE_REPLACED, values)
    connection.execute(kept_rows.TRIM_REPLACED, values)


def write_consents(connection: psycopg.Connection, state: LoadState) -> None:
    """Adds and changes the import's consent records, and counts profiles of which only these changed.

    Raises:
        TargetRefused: a trigger left records out.
    """
    if not state.bound.spec.subscriptions:
        return
    if not state.first_refusal:  # else the search has written them, row by row
        create_consents(connection, state)
        upsert_consents(connection, state)
    state.consented = scalar(connection, COUNT_CONSENTED)


def create_consents(connection: psycopg.Connection, state: LoadState) -> None:
    """Creates the temporary table of profiles whose consents change."""
    if state.bound.spec.subscriptions:
        connection.execute(CREATE_CONSENTS)


def upsert_consents(connection: psycopg.Connection, state: LoadState) -> None:
    """Adds and changes the consent records of the rows in the stage.

    Raises:
        TargetRefused: a trigger left records out.
    """
    if not state.bound.spec.subscriptions:
        return
    merge = Merge(state.stage)
    schema, consents = state.bound.database.schema_and_table[0], name_beside(state.bound.database, SUBSCRIPTIONS)
    guarded = read_shape(connection, schema, consents).guarded
    for subscription in state.bound.spec.subscriptions:
        consent = Consent(merge, subscription)
        due = scalar(connection, consent.count_due()) if guarded else 0
        written = connection.execute(consent.upsert(), {"now": state.now}).rowcount
        if written < due:
            raise left_out(state, f"{schema}.{consents}", due - written, due)


def write_events(connection: psycopg.Connection, state: LoadState) -> None:
    """Writes an event of every created, updated, deleted or healed profile; the commit tells listeners."""
    changed = state.inserted or state.updated or state.consented or state.deleted or state.absent
    if state.bound.spec.events and changed:
        _write_own_events(connection, state)
    if state.healed:
        _write_events_of_healed(connection, state)


def _write_events_of_healed(connection: psycopg.Connection, state: LoadState) -> None:
    """Writes the events of rows that waited, in the name of the imports that kept them."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (events.OUTBOX_LOCK,))
    updated = connection.execute(events.WRITE_HEALED_EVENTS, {"load": state.load}).fetchall()
    for name, profiles in updated:
        _notify(connection, state, name, created=0, updated=profiles, deleted=0)


def _notify(connection: psycopg.Connection, state: LoadState, import_name: str, **profiles: int) -> None:
    notification = {
        "load": state.load, "import": import_name, "database": state.bound.database_name, **profiles,
    }  # fmt: skip
    connection.execute("SELECT pg_notify(%s, %s::jsonb::text)", (events.CHANNEL, Jsonb(notification)))


def _write_own_events(connection: psycopg.Connection, state: LoadState) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (events.OUTBOX_LOCK,))
    merge = Merge(state.stage)
    has_consents = bool(state.bound.spec.subscriptions)
    statement = events.write_events_with_consents(merge) if has_consents else events.write_events(merge)
    batches = connection.execute(statement, {"load": state.load}).rowcount
    if state.copied:
        batches += connection.execute(events.WRITE_CREATED_EVENTS, {"load": state.load}).rowcount
    if state.deleted or state.absent:
        fields = sorted(state.bound.spec.set)
        batches += connection.execute(events.WRITE_GONE_EVENTS, {"load": state.load, "fields": fields}).rowcount
    if batches:
        marked = state.absent if state.bound.spec.set else 0
        _notify(
            connection, state, state.bound.name, created=state.inserted,
            updated=state.updated + state.consented + marked, deleted=state.deleted + state.absent - marked,
        )  # fmt: skip
