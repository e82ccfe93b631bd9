"""Unique values that move between profiles of one item: freed first, so that the final state counts. Pure builders.

Postgres checks a unique index after each row, not after the statement. So A could not take B's address while B, in the
same item, takes another one. Before such rows are merged, the values that they are about to change are set to NULL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from ingest_pipelines.merge.changes import Changes, bytewise
from ingest_pipelines.merge.shape import TableShape
from ingest_pipelines.merge.stage import StageColumn

FIND_INDEXES: LiteralString = """
    SELECT x.indexprs IS NULL AND x.indpred IS NULL AND NOT x.indisexclusion AS plain,
           ARRAY(SELECT DISTINCT a.attname::text FROM pg_attribute a
                 WHERE a.attrelid = x.indrelid AND (
                     a.attnum = ANY(x.indkey) OR EXISTS (
                         SELECT FROM pg_depend d
                         WHERE d.classid = 'pg_class'::regclass AND d.objid = x.indexrelid
                           AND d.refclassid = 'pg_class'::regclass AND d.refobjid = x.indrelid
                           AND d.refobjsubid = a.attnum))) AS columns
    FROM pg_index x
    WHERE (x.indisunique OR x.indisexclusion) AND NOT x.indisprimary AND x.indimmediate AND x.indislive
      AND NOT COALESCE((to_jsonb(x) ->> 'indnullsnotdistinct')::boolean, false)
      AND x.indrelid IN (SELECT %(oid)s::oid UNION SELECT relid FROM pg_partition_tree(%(oid)s::oid))
"""
"""The unique indexes and exclusion constraints of a table in which NULL is equal to nothing."""


@dataclass(frozen=True)
class UniqueIndex:
    """A unique index, or an exclusion constraint.

    Attributes:
        plain: equal columns are all it looks at: no expression, no condition.
        columns: every column it looks at.
    """

    plain: bool
    columns: Sequence[str]


@dataclass(frozen=True)
class VacatedValues:
    """The unique values that the rows in the stage may pass on to each other.

    Attributes:
        indexes: of the target table.
    """

    changes: Changes
    shape: TableShape
    indexes: Sequence[UniqueIndex]

    @property
    def columns(self) -> tuple[StageColumn, ...]:
        """The columns that can be vacated: unique, written by the import, and NULL is allowed in them."""
        unique = {name for index in self.indexes for name in index.columns}
        return tuple(
            column
            for column in (self.changes.fields if self.changes.updates else ())
            if column.into in unique and not self.shape.columns[column.into].not_null
        )

    def vacate(self) -> sql.Composed:
        """Sets the values to NULL that a row in the stage changes, where another row may want them."""
        wanted = {column.into: self._is_wanted(column) for column in self.columns}
        assignments = [
            sql.SQL("{name} = CASE WHEN {wanted} THEN NULL ELSE t.{name} END").format(
                name=sql.Identifier(name), wanted=condition
            )
            for name, condition in wanted.items()
        ]
        return sql.SQL("UPDATE {} SET {} FROM ingest_stage AS s WHERE {} AND ({})").format(
            self.changes.target, sql.SQL(", ").join(assignments), self.changes.on_key,
            sql.SQL(" OR ").join(wanted.values()),
        )  # fmt: skip

    def _is_wanted(self, column: StageColumn) -> sql.Composed:
        """Whether the row changes the profile's value, and another row brings that value, as far as an index shows."""
        old = sql.Identifier("t", column.into)
        changes = sql.SQL("({old} IS NOT NULL AND {before} IS DISTINCT FROM {after})").format(
            old=old, before=bytewise(column, old), after=self.changes.after(column)
        )
        about = [index for index in self.indexes if column.into in index.columns]
        if not all(index.plain for index in about):
            return changes
        brought = sql.SQL("EXISTS (SELECT FROM ingest_stage AS s WHERE {} = {})").format(column.value, old)
        return sql.SQL("({} AND {})").format(changes, brought)

    def links(self) -> Iterator[sql.Composed]:
        """Queries of (wanting, holding): the first row brings a value that the profile of the second one has.

        Parameter: the places of the rows in question.
        """
        for column in self.columns:
            place, key = sql.Identifier("_place"), self.changes.stage.key
            yield sql.SQL(
                "WITH held AS (SELECT s.{place} AS place, lower(t.{into}::text) AS value FROM ingest_waiting AS s"
                " JOIN {target} ON t.{own_key} = {key} WHERE s.{place} = ANY(%(places)s) AND t.{into} IS NOT NULL)"
                " SELECT s.{place}, held.place FROM ingest_waiting AS s JOIN held ON held.value = lower({value}::text)"
                " WHERE s.{place} = ANY(%(places)s) AND s.{place} <> held.place"
            ).format(
                place=place, into=sql.Identifier(column.into), target=self.changes.target,
                own_key=sql.Identifier(self.changes.stage.bound.database.key), key=key, value=column.value,
            )  # fmt: skip
