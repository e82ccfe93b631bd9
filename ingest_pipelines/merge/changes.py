"""The changes of a load: rows that become profiles, and fields that change. Pure.

`t` is the target, `s` the stage. psycopg quotes every identifier; values are never part of a statement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from psycopg import sql

from ingest_pipelines.merge.match_modes import matched_contacts
from ingest_pipelines.merge.names import table_name
from ingest_pipelines.merge.stage import CONSENTED, Stage, StageColumn

BITS = 62
"""Fields whose changes one bigint can mark."""

PAIRS = 50
"""Pairs that one call of `jsonb_build_object` takes: a function of Postgres has at most 100 arguments."""

Side: TypeAlias = Callable[[StageColumn], sql.Composable]
"""A column before or after the load, as an expression."""

_UPDATE_MODES = {"add_and_update", "update_only", "deactivate"}


@dataclass(frozen=True)
class Changes:
    """The changes that the rows in the stage make, as expressions over `t` and `s`."""

    stage: Stage

    @cached_property
    def fields(self) -> tuple[StageColumn, ...]:
        """The fields that change in an existing profile: all but the key."""
        key = self.stage.bound.database.key
        return tuple(column for column in self.stage.fields if column.name != key)

    @cached_property
    def written(self) -> tuple[StageColumn, ...]:
        """The fields, and the version if it has a column of its own."""
        return (*self.fields, *([self.stage.version] if self.stage.version else []))

    @property
    def adds(self) -> bool:
        """Whether rows without a profile become profiles."""
        return self.stage.bound.spec.adds

    @property
    def updates(self) -> bool:
        """Whether rows change profiles that exist."""
        return self.stage.bound.spec.mode in _UPDATE_MODES and bool(self.written)

    @property
    def target(self) -> sql.Composed:
        """The target as `t`."""
        return sql.SQL("{} AS t").format(table_name(self.stage.bound.database))

    @property
    def on_key(self) -> sql.Composed:
        """Whether profile and row are the same customer."""
        return sql.SQL("t.{} = {}").format(sql.Identifier(self.stage.bound.database.key), self.stage.key)

    @property
    def differs(self) -> sql.Composed:
        """Whether the row would change the profile. Rows that would not are not written: no WAL, no event."""
        old = sql.SQL(", ").join(bytewise(column, sql.Identifier("t", column.into)) for column in self.written)
        new = sql.SQL(", ").join(self.after(column) for column in self.written)
        return sql.SQL("ROW({}) IS DISTINCT FROM ROW({})").format(old, new)

    @property
    def masks(self) -> Sequence[str]:
        """The columns of `ingest_written` that mark which fields change, BITS per column; at least one column."""
        return tuple(f"changed_{number}" for number in range(max(1, -(-len(self.fields) // BITS))))

    def changed(self) -> sql.Composable:
        """Names of the changed fields, from the masks."""
        names = [
            sql.SQL("CASE WHEN {} & {} <> 0 THEN {} END").format(
                sql.Identifier(self.masks[position // BITS]),
                sql.Literal(1 << position % BITS),
                sql.Literal(column.into),
            )
            for position, column in enumerate(self.fields)
        ]
        return sql.SQL("array_remove(ARRAY[{}]::text[], NULL)").format(sql.SQL(", ").join(names))

    def mask_columns(self, created: sql.Composable, old: Side, new: Side) -> sql.Composable:
        """The columns `masks`; a created profile has no changes."""
        masks = []
        for number, name in enumerate(self.masks):
            bits = [
                sql.SQL("CASE WHEN {} IS DISTINCT FROM {} THEN {} ELSE 0::bigint END").format(
                    bytewise(column, old(column)),
                    new(column),
                    sql.SQL("{}::bigint").format(sql.Literal(1 << position)),
                )
                for position, column in enumerate(self.fields[number * BITS : (number + 1) * BITS])
            ]
            changed = sql.SQL(" | ").join(bits) if bits else sql.SQL("0::bigint")
            masks.append(
                sql.SQL("CASE WHEN {} THEN 0 ELSE {} END AS {}").format(created, changed, sql.Identifier(name))
            )
        return sql.SQL(", ").join(masks)

    def old_values(self, old: Side, new: Side) -> sql.Composed:
        """The values before the load of the fields that change, as JSON."""
        pairs = [sql.SQL("{}, {}").format(sql.Literal(column.into), old(column)) for column in self.fields]
        every = sql.SQL(" || ").join(
            sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(pairs[start : start + PAIRS]))
            for start in range(0, len(pairs), PAIRS)
        )
        same = [
            sql.SQL("CASE WHEN {} IS NOT DISTINCT FROM {} THEN {} END").format(
                bytewise(column, old(column)), new(column), sql.Literal(column.into)
            )
            for column in self.fields
        ]
        if not pairs:
            return sql.SQL("'{{}}'::jsonb").format()
        return sql.SQL("({}) - array_remove(ARRAY[{}]::text[], NULL)").format(every, sql.SQL(", ").join(same))

    def after(self, column: StageColumn) -> sql.Composable:
        """The value after the load: the row's; or the profile's, if the row's is empty and must not clear it.

        A contact that rows are matched by is never cleared. It is not overwritten where the row was matched by a
        consent's contact: the profile may have another address, which the row does not speak of.
        """
        row, profile = column.value, sql.Identifier("t", column.into)
        bit = self._contacts.get(column.name)
        if bit is not None:
            return sql.SQL("CASE WHEN s.{} & {} <> 0 THEN COALESCE({}, {}) ELSE COALESCE({}, {}) END").format(
                sql.Identifier(CONSENTED), sql.Literal(bit), profile, row, row, profile
            )
        if self.keeps(column):
            return sql.SQL("COALESCE({}, {})").format(row, profile)
        return row

    def keeps(self, column: StageColumn) -> bool:
        """Whether an empty value leaves the profile's value as it is."""
        return self.stage.bound.spec.empty == "keep" or column.keep or column.name in self._contacts

    @cached_property
    def _contacts(self) -> dict[str, int]:
        return matched_contacts(self.stage)


def bytewise(column: StageColumn, value: sql.Composable) -> sql.Composable:
    """The value for comparison: another spelling is a change, even if the column's collation takes both for equal."""
    return sql.SQL('{} COLLATE "C"').format(value) if column.text else value
