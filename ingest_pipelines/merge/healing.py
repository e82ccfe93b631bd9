"""Applies rows that wait in `ingest.unmatched` to profiles that exist now, in the transaction of any load of the table.

A load looks twice: before it merges, for profiles that another application has added, and after it has merged, for its
own. What a profile has came later than the row that waited for it, so a row fills what is empty. It overwrites only
where its import has a `version` and the profile an older one; a row that is older than its profile is dropped. Of
several rows the later one wins, field by field.

What the table refuses stays where it is: no load fails because of a row that another import has kept. So deferred
constraints are checked here, and not at the commit; and a trigger that leaves a row out refuses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from ingest_pipelines.merge.changes import Changes
from ingest_pipelines.merge.concerned import concerned
from ingest_pipelines.merge.driver_errors import kind_of, refuses_rows
from ingest_pipelines.merge.kept_rows import target_of
from ingest_pipelines.merge.load_state import LoadState
from ingest_pipelines.merge.names import (
    CHANGED_AT,
    PROFILE_ID,
    SUBSCRIPTIONS,
    comma,
    history_name,
    name_beside,
    subscriptions_name,
)
from ingest_pipelines.merge.shape import TableShape
from ingest_pipelines.merge.statements import Merge
from ingest_pipelines.merge.target import scalar
from ingest_pipelines.merge.versions import is_older_text
from ingest_pipelines.merge.waiting_rows import WaitingRows

TRIES = 64
"""How often profiles are tried in smaller groups, until those that the table refuses are found. The rest wait."""


class _LeftOut(Exception):
    """A trigger left a row out, without an error."""


def find_waiting(connection: psycopg.Connection, state: LoadState) -> None:
    """Looks for rows that wait for profiles of the load's target; the lock on the table keeps others from adding any.

    A load of a table for which no row waits does nothing more than this look.
    """
    parameters = {"target": target_of(state.stage), "now": state.now}
    if connection.execute(_ANY, parameters).fetchone() is None:
        return
    state.waiting = tuple(WaitingRows(*row) for row in connection.execute(_WAITING, parameters))
    if state.waiting:
        connection.execute(_CREATE_HEALED)


_ANY = sql.SQL("SELECT 1 FROM ingest.unmatched WHERE target = %(target)s AND kept_until >= %(now)s LIMIT 1")

_WAITING = sql.SQL(
    "SELECT import, match FROM ingest.unmatched WHERE target = %(target)s AND kept_until >= %(now)s"
    " GROUP BY import, match ORDER BY import, match::text"
)

_CREATE_HEALED = sql.SQL(
    "CREATE TEMPORARY TABLE ingest_healed (import text, profile_id bigint, key text, fields text[]) ON COMMIT DROP"
)
"""Profiles that rows were applied to, with the import of the last row and the fields that changed: for the events."""


def heal(connection: psycopg.Connection, state: LoadState, *, merged: bool) -> None:
    """Applies the rows whose profiles exist now, and counts them.

    Args:
        merged: the load has merged. The profiles that are found now have a row in it, and the fields that this row
            wrote, or cleared, are left alone.
    """
    if not state.waiting or (merged and not (state.inserted or state.updated or state.consented)):
        return
    healing = Healing(Changes(state.stage), state.shape, state.waiting, merged, state.changed_at)
    parameters = {"target": target_of(state.stage), "now": state.now}
    connection.execute(healing.create_fields())
    connection.execute(_CREATE_FOUND)
    for query in healing.find():
        connection.execute(query, parameters)
    connection.execute(_DROP_AMBIGUOUS)
    profiles = scalar(connection, _NUMBER_PROFILES)
    if profiles:
        connection.execute("ANALYZE ingest_found")
        connection.execute(healing.mark_versions())
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")  # of the load's own rows first: this error is the load's
        _apply_in_groups(connection, state, healing, profiles)
        if not merged:
            connection.execute("SET CONSTRAINTS ALL DEFERRED")
    connection.execute("DROP TABLE ingest_found, ingest_fields")


def _apply_in_groups(connection: psycopg.Connection, state: LoadState, healing: Healing, profiles: int) -> None:
    """Applies the rows of all profiles, in halves where the table refuses one of them."""
    groups, tries = [(1, profiles)], 0
    while groups:
        group = groups.pop()
        first, last = group
        if tries < TRIES:
            tries += 1
            try:
                with connection.transaction():
                    healed, older = _apply(connection, state, healing, first, last)
                state.healed += healed
                state.outdated += older
                continue
            except (psycopg.Error, _LeftOut) as error:
                if isinstance(error, psycopg.Error) and not refuses_rows(error):
                    raise
                state.heal_problem = state.heal_problem or _reason(connection, error)
                if first < last:
                    middle = (first + last) // 2
                    groups += [(middle + 1, last), (first, middle)]
                    continue
        state.unhealed += scalar(connection, _COUNT_FOUND, group)


def _reason(connection: psycopg.Connection, error: psycopg.Error | _LeftOut) -> str:
    """Why the table refuses a row, in words without a value."""
    if isinstance(error, _LeftOut):
        return "a trigger leaves them out"
    return concerned(connection, error) or kind_of(error.sqlstate or "")


def _apply(
    connection: psycopg.Connection, state: LoadState, healing: Healing, first: int, last: int
) -> tuple[int, int]:
    """Applies the rows of some profiles, and takes them off the list.

    Returns:
        How many rows were applied, and how many were older than their profiles.
    """
    for statement in healing.plan(first, last):
        connection.execute(statement)
    if healing.fields:
        if healing.changed_at:
            connection.execute(healing.keep_old())
        if connection.execute(healing.update()).rowcount < scalar(connection, _COUNT_PLANNED):
            raise _LeftOut
    connection.execute(_NOTE_HEALED)
    connection.execute("DROP TABLE ingest_brought, ingest_planned")
    settled = connection.execute(_SETTLE, {"first": first, "last": last, "now": state.now}).fetchone()
    assert settled is not None
    return int(settled[0]), int(settled[1])


@dataclass(frozen=True)
class Healing:
    """The statements that apply waiting rows to the target of a load. Pure.

    `w` is a waiting row, `t` the target, `f` a row of `ingest_found`.
    """

    changes: Changes
    shape: TableShape
    waiting: tuple[WaitingRows, ...]
    merged: bool
    changed_at: datetime | None = None

    @property
    def fields(self) -> list[str]:
        """The fields that waiting rows may bring, as far as the table still has them."""
        named = {name for rows in self.waiting for name in rows.match["fields"]}
        return [name for name in sorted(named) if self._has(name)]

    def _has(self, name: str) -> bool:
        column = self.shape.columns.get(name)
        return column is not None and not column.generated and column.identity != "a"

    def create_fields(self) -> sql.Composed:
        """`ingest_fields`: a row type with the table's types, to turn values of waiting rows into."""
        looked_up = {
            name for rows in self.waiting for lookup in rows.match["lookups"] for name in lookup["fields"]
            if name in self.shape.columns
        }  # fmt: skip
        return sql.SQL("CREATE TEMPORARY TABLE ingest_fields ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
            comma(sorted({*self.fields, *looked_up, self.changes.stage.bound.database.key})), self.changes.target
        )

    def find(self) -> Iterator[sql.Composed]:
        """Statements that put the profiles of waiting rows into `ingest_found`; parameters `target`, `now`."""
        for rows in self.waiting:
            for position, lookup in enumerate(rows.match["lookups"]):
                for found in self._lookups(position, lookup):
                    yield sql.SQL(
                        "INSERT INTO ingest_found (id, profile_id, key) SELECT w.id, t.{}, t.{}::text"
                        " FROM ingest.unmatched w {}"
                        " WHERE w.target = %(target)s AND w.kept_until >= %(now)s AND w.import = {} AND w.match = {}"
                        " ON CONFLICT DO NOTHING"
                    ).format(
                        sql.Identifier(PROFILE_ID), self._key, found, sql.Literal(rows.import_name), _json(rows.match)
                    )

    @property
    def _key(self) -> sql.Identifier:
        return sql.Identifier(self.changes.stage.bound.database.key)

    def _lookups(self, position: int, lookup: Mapping[str, Any]) -> Iterator[sql.Composed]:
        """The joins of `w` with the profiles that have its value."""
        value = sql.SQL("(w.found_by ->> {})").format(sql.Literal(position))
        for name in lookup["fields"]:
            if name not in self.shape.columns:
                continue
            column = sql.SQL("t.{}").format(sql.Identifier(name))
            if lookup["folded"]:
                yield sql.SQL("JOIN {} ON lower({}) = {}").format(self.changes.target, column, value)
            else:
                yield sql.SQL(
                    "CROSS JOIN LATERAL jsonb_populate_record(NULL::ingest_fields, jsonb_build_object({}::text,"
                    " w.found_by -> {})) r JOIN {} ON {} = r.{}"
                ).format(sql.Literal(name), sql.Literal(position), self.changes.target, column, sql.Identifier(name))
        if lookup["channels"] and name_beside(self.changes.stage.bound.database, SUBSCRIPTIONS) in self.shape.relations:
            yield sql.SQL("JOIN {} u ON u.channel = ANY({}) AND u.contact = {} JOIN {} ON t.{} = u.{}").format(
                subscriptions_name(self.changes.stage.bound.database), sql.Literal(lookup["channels"]), value,
                self.changes.target, sql.Identifier(PROFILE_ID), sql.Identifier(PROFILE_ID),
            )  # fmt: skip

    def mark_versions(self) -> sql.Composed:
        """Marks in `ingest_found` which rows are older than their profiles, and which of them are newer."""
        cases = []
        for rows in self.waiting:
            name = rows.match["version"]
            if name is not None and name in self.shape.columns:
                cases.append(
                    sql.SQL("WHEN w.import = {} AND w.match = {} THEN t.{}::text").format(
                        sql.Literal(rows.import_name), _json(rows.match), sql.Identifier(name)
                    )
                )
        version = sql.SQL("CASE {} END").format(sql.SQL(" ").join(cases)) if cases else sql.SQL("NULL::text")
        return sql.SQL(
            "UPDATE ingest_found f SET stale = {older}, decides = NOT {older} FROM ("
            "SELECT w.id, w.version, {version} AS old FROM ingest.unmatched w JOIN ingest_found g ON g.id = w.id"
            " JOIN {target} ON t.{profile} = g.profile_id) v WHERE v.id = f.id AND v.old IS NOT NULL"
        ).format(
            older=is_older_text(sql.SQL("v.version"), sql.SQL("v.old")), version=version, target=self.changes.target,
            profile=sql.Identifier(PROFILE_ID),
        )  # fmt: skip

    @property
    def written_by_load(self) -> list[str]:
        """The fields that every row of this load decides, also where it is empty."""
        if not self.merged:
            return []
        return [column.into for column in self.changes.written if not self.changes.keeps(column)]

    def plan(self, first: int, last: int) -> Iterator[sql.Composed]:
        """Statements that find out what the profiles with these places become."""
        yield _JOIN_ROWS.format(
            left_alone=sql.Literal(self.written_by_load), first=sql.Literal(first), last=sql.Literal(last)
        )
        yield self._plan()

    def _plan(self) -> sql.Composed:
        """`ingest_planned`: what each profile becomes, and which of its fields change."""
        columns, changed = [], []
        for number, name in enumerate(self.fields):
            old, new = sql.Identifier("t", name), self._new(name)
            columns.append(sql.SQL("{} AS {}").format(new, sql.Identifier(f"new_{number}")))
            changed.append(
                sql.SQL('CASE WHEN {}::text COLLATE "C" IS DISTINCT FROM {}::text COLLATE "C" THEN {} END').format(
                    old, new, sql.Literal(name)
                )
            )
        return sql.SQL(
            "CREATE TEMPORARY TABLE ingest_planned ON COMMIT DROP AS"
            " SELECT b.profile_id, b.key, b.events_of, {changed} AS changed, {columns} FROM ingest_brought b"
            " JOIN {target} ON t.{profile} = b.profile_id"
            " CROSS JOIN LATERAL jsonb_populate_record(NULL::ingest_fields, b.filled) filled"
            " CROSS JOIN LATERAL jsonb_populate_record(NULL::ingest_fields, b.decided) decided"
        ).format(
            changed=sql.SQL("array_remove(ARRAY[{}]::text[], NULL)").format(sql.SQL(", ").join(changed)),
            columns=sql.SQL(", ").join(columns) if columns else sql.SQL("NULL AS nothing"),
            target=self.changes.target, profile=sql.Identifier(PROFILE_ID),
        )  # fmt: skip

    def _new(self, name: str) -> sql.Composed:
        return sql.SQL("CASE WHEN b.decided ? {} THEN {} ELSE COALESCE({}, {}) END").format(
            sql.Literal(name), sql.Identifier("decided", name), sql.Identifier("t", name),
            sql.Identifier("filled", name),
        )  # fmt: skip

    @property
    def _since(self) -> sql.Composed:
        return Merge(self.changes.stage, self.changed_at).since

    def keep_old(self) -> sql.Composed:
        """Keeps the old values in the database's history."""
        return sql.SQL(
            "INSERT INTO {} (profile_id, valid_from, valid_to, old) SELECT p.profile_id, t.{}, {},"
            " (SELECT jsonb_object_agg(o.key, o.value) FROM jsonb_each(to_jsonb(t)) o WHERE o.key = ANY(p.changed))"
            " FROM ingest_planned p JOIN {} ON t.{} = p.profile_id WHERE p.changed <> '{{}}'"
        ).format(
            history_name(self.changes.stage.bound.database), sql.Identifier(CHANGED_AT), self._since,
            self.changes.target, sql.Identifier(PROFILE_ID),
        )  # fmt: skip

    def update(self) -> sql.Composed:
        """Writes the profiles that change."""
        assignments = sql.SQL(", ").join(
            sql.SQL("{} = p.{}").format(sql.Identifier(name), sql.Identifier(f"new_{number}"))
            for number, name in enumerate(self.fields)
        )
        if self.changed_at:
            assignments += sql.SQL(", {} = {}").format(sql.Identifier(CHANGED_AT), self._since)
        return sql.SQL(
            "UPDATE {} SET {} FROM ingest_planned p WHERE t.{} = p.profile_id AND p.changed <> '{{}}'"
        ).format(self.changes.target, assignments, sql.Identifier(PROFILE_ID))


def _json(value: Mapping[str, Any]) -> sql.Literal:
    return sql.Literal(Jsonb(value))


_CREATE_FOUND = sql.SQL(
    "CREATE TEMPORARY TABLE ingest_found (id bigint, profile_id bigint, key text, place bigint,"
    " stale boolean NOT NULL DEFAULT false, decides boolean NOT NULL DEFAULT false, PRIMARY KEY (id, profile_id))"
    " ON COMMIT DROP"
)
"""Waiting rows and the profiles that have their values; `place` numbers the profiles."""

_DROP_AMBIGUOUS = sql.SQL(
    "DELETE FROM ingest_found WHERE id IN (SELECT id FROM ingest_found GROUP BY id HAVING count(*) > 1)"
)
"""A row that several profiles have the value of goes on waiting."""

_NUMBER_PROFILES = sql.SQL(
    "WITH numbered AS (SELECT profile_id, row_number() OVER (ORDER BY profile_id) AS place"
    " FROM (SELECT DISTINCT profile_id FROM ingest_found) p),"
    " placed AS (UPDATE ingest_found f SET place = n.place FROM numbered n WHERE n.profile_id = f.profile_id)"
    " SELECT count(*) FROM numbered"
)

_COUNT_FOUND = sql.SQL("SELECT count(*) FROM ingest_found WHERE place BETWEEN %s AND %s")

_JOIN_ROWS = sql.SQL(
    """
    CREATE TEMPORARY TABLE ingest_brought ON COMMIT DROP AS
    SELECT f.profile_id, f.key,
           COALESCE(jsonb_object_agg(e.key, e.value ORDER BY w.load, w.line) FILTER (
               WHERE NOT e.decides AND e.key <> ALL({left_alone}::text[])), '{{}}') AS filled,
           COALESCE(jsonb_object_agg(e.key, e.value ORDER BY w.load, w.line) FILTER (WHERE e.decides), '{{}}')
               AS decided,
           (array_agg(w.import ORDER BY w.load DESC, w.line DESC) FILTER (WHERE (w.match ->> 'events')::boolean))[1]
               AS events_of
    FROM ingest_found f JOIN ingest.unmatched w ON w.id = f.id
    CROSS JOIN LATERAL (SELECT p.key, p.value, f.decides AND NOT w.match -> 'contacts' ? p.key AS decides
                        FROM jsonb_each(w.fields) p) e
    WHERE f.place BETWEEN {first} AND {last} AND NOT f.stale
    GROUP BY f.profile_id, f.key
    """
)
"""`ingest_brought`: what all waiting rows of a profile bring: what they fill, and what they decide by their version."""

_NOTE_HEALED = sql.SQL(
    "INSERT INTO ingest_healed SELECT events_of, profile_id, key, changed FROM ingest_planned WHERE changed <> '{}'"
)

_COUNT_PLANNED = sql.SQL("SELECT count(*) FROM ingest_planned WHERE changed <> '{}'")

_SETTLE = sql.SQL(
    """
    WITH gone AS (
        DELETE FROM ingest.unmatched w USING ingest_found f
        WHERE f.id = w.id AND f.place BETWEEN %(first)s AND %(last)s RETURNING w.load, w.line, f.stale
    ), resolved AS (
        UPDATE ingest.rejects r SET resolved_at = %(now)s FROM gone
        WHERE r.load = gone.load AND r.line = gone.line AND r.code = 'unmatched' AND r.resolved_at IS NULL
    )
    SELECT count(*) FILTER (WHERE NOT stale), count(*) FILTER (WHERE stale) FROM gone
    """
)
"""Takes the group's rows off the list; returns how many were applied, and how many were older than their profiles."""
