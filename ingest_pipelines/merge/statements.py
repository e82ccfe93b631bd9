"""The statements of a load. Pure: they are built here and run in `apply`.

`t` is the target, `s` the stage. Every identifier is quoted by psycopg; values never stand in a statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from ingest_pipelines.config import BoundImport
from ingest_pipelines.merge.ddl import table_name, type_of
from ingest_pipelines.model import LINE, Mode

STAGE = sql.Identifier("pg_temp", "ingest_stage")
"""The run's own temporary table: no other session sees it, and the commit drops it."""

_INSERT_MODES = {"add_and_update", "add_only"}
_UPDATE_MODES = {"add_and_update", "update_only"}


@dataclass(frozen=True)
class StageColumn:
    """A column on its way from a spill file into the target.

    Attributes:
        frame: its name in the spill file.
        name: its name in the stage.
        type: its type in the stage, chosen so that binary COPY can carry it.
        cast: its type in the target where that differs: binary COPY knows no inet.
    """

    frame: str
    name: str
    type: sql.Composable
    cast: sql.Composable | None = None

    @property
    def value(self) -> sql.Composable:
        """The column in an expression over the stage `s`, in the target's type."""
        column = sql.SQL("s.{}").format(sql.Identifier(self.name))
        return column if self.cast is None else sql.SQL("{}::{}").format(column, self.cast)


def stage_columns(bound: BoundImport) -> tuple[StageColumn, ...]:
    """Line, mapped fields, then the import's extra columns as `_x0`, `_x1` ... (their names may be any text)."""
    columns = [StageColumn(LINE, LINE, sql.SQL("bigint"))]
    for mapped in bound.fields:
        inet = mapped.field.type == "ip"
        columns.append(
            StageColumn(
                mapped.name,
                mapped.name,
                sql.SQL("text") if inet else type_of(mapped.field),
                sql.SQL("inet") if inet else None,
            )
        )
    for position, name in enumerate(bound.extra_columns):
        columns.append(StageColumn(f"column:{name}", f"_x{position}", sql.SQL("text")))
    return tuple(columns)


def create_stage(columns: Sequence[StageColumn]) -> sql.Composed:
    """The run-private stage; it ends with the transaction."""
    listed = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(c.name), c.type) for c in columns)
    return sql.SQL("CREATE TEMPORARY TABLE ingest_stage ({}) ON COMMIT DROP").format(listed)


def copy_stage(columns: Sequence[StageColumn]) -> sql.Composed:
    """Binary COPY into the stage."""
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(STAGE, _names([c.name for c in columns]))


def analyze_stage(key: str) -> sql.Composed:
    """Tells the planner how many rows there are and how their keys are spread."""
    return sql.SQL("ANALYZE {} ({})").format(STAGE, sql.Identifier(key))


@dataclass(frozen=True)
class Merge:
    """What the MERGE of one load does.

    Attributes:
        fields: stage columns that reach the target, the key's included where it is mapped.
    """

    bound: BoundImport
    fields: tuple[StageColumn, ...]
    mode: Mode

    @property
    def updates(self) -> tuple[StageColumn, ...]:
        """What changes in a profile that exists: everything but the key."""
        return tuple(column for column in self.fields if column.name != self.bound.database.key)

    def on_key(self) -> sql.Composed:
        """Whether profile and row are the same customer."""
        key = sql.Identifier(self.bound.database.key)
        return sql.SQL("t.{} = s.{}").format(key, key)

    def new_value(self, column: StageColumn) -> sql.Composable:
        """The value after the load: the row's, or with `empty: keep` the profile's where the row has none."""
        if self.bound.spec.empty == "keep":
            return sql.SQL("COALESCE({}, t.{})").format(column.value, sql.Identifier(column.name))
        return column.value

    def changes(self) -> sql.Composable:
        """Whether the row would change the profile. Rows that would not are not written: no WAL, no event."""
        if not self.updates:
            return sql.SQL("false")
        old = sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(c.name)) for c in self.updates)
        new = sql.SQL(", ").join(self.new_value(c) for c in self.updates)
        return sql.SQL("ROW({}) IS DISTINCT FROM ROW({})").format(old, new)

    def statement(self) -> sql.Composed:
        """MERGE of the stage into the target: whole rows in, changed fields over, nothing else."""
        parts: list[sql.Composable] = [
            sql.SQL("MERGE INTO {} AS t USING {} AS s ON {}").format(
                table_name(self.bound.database), STAGE, self.on_key()
            )
        ]
        if self.mode in _UPDATE_MODES and self.updates:
            assignments = sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(c.name), self.new_value(c)) for c in self.updates
            )
            parts.append(sql.SQL("WHEN MATCHED AND {} THEN UPDATE SET {}").format(self.changes(), assignments))
        if self.mode in _INSERT_MODES:
            parts.append(
                sql.SQL("WHEN NOT MATCHED THEN INSERT ({}) VALUES ({})").format(
                    _names([c.name for c in self.fields]), sql.SQL(", ").join(c.value for c in self.fields)
                )
            )
        return sql.SQL(" ").join(parts)

    def unmatched(self) -> sql.Composed:
        """Lines and keys of rows without a profile, in line order; the caller limits."""
        return sql.SQL(
            "SELECT s.{}, s.{}::text FROM {} AS s WHERE NOT EXISTS (SELECT FROM {} AS t WHERE {}) ORDER BY 1 LIMIT %s"
        ).format(
            sql.Identifier(LINE), sql.Identifier(self.bound.database.key), STAGE,
            table_name(self.bound.database), self.on_key(),
        )  # fmt: skip

    def count_unmatched(self) -> sql.Composed:
        """How many rows have no profile."""
        return sql.SQL("SELECT count(*) FROM {} AS s WHERE NOT EXISTS (SELECT FROM {} AS t WHERE {})").format(
            STAGE, table_name(self.bound.database), self.on_key()
        )


def _names(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name in names)
