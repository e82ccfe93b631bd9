"""Profiles that a load deletes or marks: those of a list of keys, and those that a full file has no longer.

Consents and old values go with their profile. The number of profiles is guarded: above the import's `deletes` nothing
is merged, unless the load is forced.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from ingest_pipelines import ledger
from ingest_pipelines.errors import DeletesAboveLimit, TargetRefused
from ingest_pipelines.merge.changes import Changes
from ingest_pipelines.merge.column_types import type_of
from ingest_pipelines.merge.concerned import concerned
from ingest_pipelines.merge.driver_errors import kind_of, refuses_rows
from ingest_pipelines.merge.load_state import LoadState
from ingest_pipelines.merge.names import (
    CHANGED_AT,
    HISTORY,
    PROFILE_ID,
    SUBSCRIPTIONS,
    history_name,
    name_beside,
    subscriptions_name,
)
from ingest_pipelines.merge.statements import Merge
from ingest_pipelines.merge.target import scalar

WHOLE_DELIVERIES = {"file", "upload", "query"}
"""Kinds of items that have every customer, if their import is a snapshot."""

CREATE_GONE = sql.SQL(
    "CREATE TEMPORARY TABLE ingest_gone (profile_id bigint, key text, deleted boolean) ON COMMIT DROP"
)
"""Profiles that were deleted, or marked because a full file has them no longer."""


def prepare_deletions(connection: psycopg.Connection, state: LoadState) -> None:
    """Counts the table's profiles before one is written; notes the customers of a full file. Else does nothing."""
    spec = state.bound.spec
    if not (spec.lists_keys or spec.snapshot):
        return
    changes = Changes(state.stage)
    state.profiles_before = scalar(connection, sql.SQL("SELECT count(*) FROM {}").format(changes.target))
    connection.execute(CREATE_GONE)
    if spec.snapshot:
        connection.execute(
            sql.SQL(
                "CREATE TEMPORARY TABLE ingest_present ON COMMIT DROP AS SELECT {} AS key FROM ingest_stage s"
            ).format(state.stage.key)
        )
        connection.execute("ANALYZE ingest_present")


def delete_staged(connection: psycopg.Connection, state: LoadState) -> tuple[int, int]:
    """Deletes the profiles of the rows in the stage, and what is theirs; returns how many were due, and deleted."""
    changes = Changes(state.stage)
    matched = sql.SQL("FROM ingest_stage AS s JOIN {} ON {}").format(changes.target, changes.on_key)
    due = scalar(connection, sql.SQL("SELECT count(*) {}").format(matched))
    deleted = _delete(connection, state, sql.SQL("USING ingest_stage AS s WHERE {}").format(changes.on_key))
    return int(due), deleted


def _delete(connection: psycopg.Connection, state: LoadState, which: sql.Composable) -> int:
    changes, database = Changes(state.stage), state.bound.database
    returned = sql.SQL("t.{}, t.{}::text, true").format(sql.Identifier(PROFILE_ID), sql.Identifier(database.key))
    deleted: int = connection.execute(
        sql.SQL(
            "WITH gone AS (DELETE FROM {} {} RETURNING {}) INSERT INTO ingest_gone SELECT * FROM gone"
        ).format(changes.target, which, returned)
    ).rowcount  # fmt: skip
    theirs = sql.SQL("DELETE FROM {} AS u USING ingest_gone AS g WHERE u.{} = g.profile_id AND g.deleted")
    for name, table in ((SUBSCRIPTIONS, subscriptions_name(database)), (HISTORY, history_name(database))):
        if deleted and name_beside(database, name) in state.shape.relations:
            connection.execute(theirs.format(table, sql.Identifier(PROFILE_ID)))
    return deleted


def take_absent(connection: psycopg.Connection, state: LoadState) -> None:
    """Deletes or marks the profiles that a full file has no longer.

    A row that was rejected may be of any customer, so with rejected rows nobody is taken for absent. A replay has only
    corrected rows.

    Raises:
        TargetRefused: a trigger left profiles out, or something refers to them.
    """
    spec = state.bound.spec
    if not spec.snapshot or state.validated.landing.item.kind not in WHOLE_DELIVERIES:
        return
    absent = _absent(state)
    due = scalar(connection, sql.SQL("SELECT count(*) FROM {} WHERE {}").format(Changes(state.stage).target, absent))
    if state.validated.rejected_rows + state.matched.rejected:
        state.kept_absent = int(due)
        return
    state.absent = _take(connection, state, absent)
    if state.absent < due:
        raise TargetRefused(
            f"{state.where}: a trigger of {state.bound.database.table} left out {due - state.absent:,} of {due:,} rows",
            hint="nothing was committed; a trigger that refuses a row has to raise an error",
        )


def _take(connection: psycopg.Connection, state: LoadState, absent: sql.Composed) -> int:
    """Deletes or marks the profiles; returns how many."""
    try:
        with connection.transaction():
            if state.bound.spec.set:
                return _mark(connection, state, absent)
            return _delete(connection, state, sql.SQL("WHERE {}").format(absent))
    except psycopg.Error as error:
        if not refuses_rows(error):
            raise
        reason = ", ".join(part for part in (kind_of(error.sqlstate or ""), concerned(connection, error)) if part)
        verb, others = ("marked", "") if state.bound.spec.set else ("deleted", "; or mark them with set: instead")
        raise TargetRefused(
            f"{state.where}: profiles that the file has no longer cannot be {verb}: {reason}",
            hint=f"nothing was committed; change what keeps them in Postgres{others}",
        ) from None


def _absent(state: LoadState) -> sql.Composed:
    """Whether the profile `t` is absent from the file, and is not marked yet."""
    key = sql.Identifier(state.bound.database.key)
    absent = sql.SQL("NOT EXISTS (SELECT FROM ingest_present p WHERE p.key = t.{})").format(key)
    if not state.bound.spec.set:
        return absent
    old = sql.SQL(", ").join(sql.Identifier("t", name) for name in state.bound.spec.set)
    return sql.SQL("{} AND ROW({}) IS DISTINCT FROM ROW({})").format(absent, old, sql.SQL(", ").join(_values(state)))


def _values(state: LoadState) -> list[sql.Composed]:
    fields = state.bound.database.fields
    return [
        sql.SQL("{}::{}").format(sql.Literal(text), type_of(fields[name]))
        for name, text in state.bound.spec.set.items()
    ]


def _mark(connection: psycopg.Connection, state: LoadState, absent: sql.Composed) -> int:
    database = state.bound.database
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), value)
        for name, value in zip(state.bound.spec.set, _values(state), strict=True)
    )
    if state.changed_at is not None:
        merge = Merge(state.stage, state.changed_at)
        connection.execute(merge.keep_old(list(state.bound.spec.set), absent))
        assignments += sql.SQL(", {} = {}").format(sql.Identifier(CHANGED_AT), merge.since)
    return connection.execute(
        sql.SQL(
            "WITH gone AS (UPDATE {} SET {} WHERE {} RETURNING t.{}, t.{}::text, false)"
            " INSERT INTO ingest_gone SELECT * FROM gone"
        ).format(
            Changes(state.stage).target, assignments, absent, sql.Identifier(PROFILE_ID), sql.Identifier(database.key)
        )
    ).rowcount  # fmt: skip


def above_deletes(connection: psycopg.Connection, state: LoadState) -> DeletesAboveLimit | None:
    """The error where more profiles would be deleted or marked than the import allows; None if it is forced.

    The chunks of a drain count together: each is a load, and all of them are one delivery.
    """
    spec, delivered = state.bound.spec, state.validated.landing.item
    marks = spec.mode == "deactivate"
    profiles, before = state.deleted + state.absent + (state.updated if marks else 0), state.profiles_before
    if delivered.kind == "cursor":
        deleted, updated = ledger.changed_by_item(connection, delivered)
        profiles, before = profiles + (updated if marks else deleted), before + deleted
    if state.run.forced or spec.deletes.allows(profiles, before):
        return None
    share = profiles * 100 / before
    verb = "mark" if spec.set else "delete"
    return DeletesAboveLimit(
        f"{state.where}: it would {verb} {profiles:,} of {before:,} profiles of "
        f"{state.bound.database.table} ({share:.1f} %), and the import allows {spec.deletes.max_percent:g} %",
        hint=f"nothing was merged; if it is right: ingest run {state.bound.name} --item {delivered.key} --force, "
        "or set deletes: {max_percent: ...}",
    )
