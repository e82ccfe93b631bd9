"""The stage: a temporary table of one load, with the accepted rows on their way into the target. Pure.

The stage is `s` in all expressions. A column has its type in the target, except `inet`, which pgpq cannot encode.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from psycopg import sql

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.databases import Field
from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines.merge.column_types import type_of
from ingest_pipelines.merge.names import PROFILE_ID, comma, table_name, version_column
from ingest_pipelines.model import LINE

KEY = "_key"
"""Stage column with the key of a row's profile, if rows do not match by the plain key."""

PROFILE = "_profile"
"""Stage column with the number of the profile that such a row matched; NULL where it matched none."""

CONSENTED = "_consented"
"""Stage column with a bit per lookup: set if the row matched its profile by the contact of a consent."""


@dataclass(frozen=True)
class StageColumn:
    """A column on its way from a spill file into the target.

    Attributes:
        frame: its name in the spill file.
        name: its name in the stage.
        type: its type in the stage.
        cast: its type in the target where that differs.
        into: its name in the target.
        json: it arrives as JSON text.
        text: it has a collation, by which different spellings may be equal.
        keep: an empty value never clears the profile's value.
    """

    frame: str
    name: str
    type: sql.Composable
    cast: sql.Composable | None = None
    into: str = ""
    json: bool = False
    text: bool = False
    keep: bool = False

    @property
    def value(self) -> sql.Composable:
        """The column in an expression over the stage `s`, in the target's type."""
        column = sql.SQL("s.{}").format(sql.Identifier(self.name))
        return column if self.cast is None else sql.SQL("{}::{}").format(column, self.cast)


@dataclass(frozen=True)
class Stage:
    """The stage of one import."""

    bound: BoundImport

    @cached_property
    def fields(self) -> tuple[StageColumn, ...]:
        """The columns that fill fields: the mapped ones, then those that only the geo database fills.

        The latter never clear a profile's value: an unknown address does not mean that the customer's place is unknown.
        """
        mapped = [_column(field.name, field.field) for field in self.bound.fields]
        names = {column.name for column in mapped}
        geo = self.bound.spec.geo
        places = [] if geo is None else [name for name in (geo.country, geo.region, geo.city) if name is not None]
        fields = self.bound.database.fields
        return (*mapped, *(_column(name, fields[name], keep=True) for name in places if name not in names))

    @cached_property
    def extras(self) -> tuple[StageColumn, ...]:
        """Columns that fill no field, as `_x0`, `_x1` ...: their names in the source may be any text."""
        text = sql.SQL("text")
        return tuple(
            StageColumn(f"column:{name}", f"_x{position}", text)
            for position, name in enumerate(self.bound.extra_columns)
        )

    @property
    def copied(self) -> tuple[StageColumn, ...]:
        """The columns that are copied from the spill files, in order."""
        return (StageColumn(LINE, LINE, sql.SQL("bigint")), *self.fields, *self.extras)

    @cached_property
    def version(self) -> StageColumn | None:
        """The column that keeps a row's version, if the import's version fills no field."""
        column = self.bound.spec.version
        if column is None or any(mapped.column == column for mapped in self.bound.fields):
            return None
        return replace(self.unmapped(column), into=version_column(self.bound.name), keep=True)

    def unmapped(self, column: str) -> StageColumn:
        """The stage column of a source column that fills no field."""
        return self.extras[self.bound.extra_columns.index(column)]

    @property
    def matches(self) -> bool:
        """Whether rows find their profiles by something else than the plain key."""
        return (
            self.bound.match is not None
            or FIELD_TYPES[self.bound.database.fields[self.bound.database.key].type].ignores_case
        )

    @property
    def deletes(self) -> bool:
        """Whether loads delete profiles."""
        spec = self.bound.spec
        return spec.mode == "delete" or (spec.snapshot and not spec.set)

    @property
    def merges_by_chunk(self) -> bool:
        """Whether a sorted chunk can be merged without the rest of the item.

        Rows find their profiles by the plain key, none is older than its profile, none has a subscription, and no
        profile is deleted or marked: how many may be is a share of the table as it was.
        """
        spec = self.bound.spec
        takes_all = spec.version is not None or spec.subscriptions or spec.snapshot or spec.lists_keys
        return not (self.matches or takes_all)

    @property
    def key(self) -> sql.Identifier:
        """The stage column with the key of a row's profile."""
        return sql.Identifier("s", KEY if self.matches else self.bound.database.key)

    @property
    def maps_key(self) -> bool:
        """Whether the source brings the database's key."""
        return self.bound.key is not None

    @property
    def column_names(self) -> tuple[str, ...]:
        """All columns of the stage."""
        own = (KEY, PROFILE, CONSENTED) if self.matches else ()
        return (*(column.name for column in self.copied), *own)

    def create(self) -> sql.Composed:
        """CREATE TEMPORARY TABLE; the stage ends with the transaction."""
        columns = [sql.SQL("{} {}").format(sql.Identifier(column.name), column.type) for column in self.copied]
        if self.matches:
            key = self.bound.database.fields[self.bound.database.key]
            columns.append(sql.SQL("{} {}").format(sql.Identifier(KEY), type_of(key)))
            columns.append(sql.SQL("{} bigint").format(sql.Identifier(PROFILE)))
            columns.append(sql.SQL("{} integer").format(sql.Identifier(CONSENTED)))
        return sql.SQL("CREATE TEMPORARY TABLE ingest_stage ({}) ON COMMIT DROP").format(sql.SQL(", ").join(columns))

    def copy(self) -> sql.Composed:
        """Binary COPY into the stage."""
        return sql.SQL("COPY ingest_stage ({}) FROM STDIN (FORMAT binary)").format(
            comma(column.name for column in self.copied)
        )

    @property
    def copies_profiles(self) -> bool:
        """Whether rows with new keys can be copied straight into the target."""
        return self.merges_by_chunk and self.bound.spec.adds and all(column.cast is None for column in self.fields)

    @property
    def counts_unknown(self) -> bool:
        """Whether rows whose keys the target lacks are only counted, and the first of them listed."""
        spec = self.bound.spec
        return self.merges_by_chunk and not spec.adds and spec.unmatched is None

    @property
    def profiles(self) -> tuple[StageColumn, ...]:
        """The columns that are copied straight into the target, in order: PROFILE_ID and the fields."""
        return (StageColumn(PROFILE_ID, PROFILE_ID, sql.SQL("bigint"), into=PROFILE_ID), *self.fields)

    def copy_profiles(self) -> sql.Composed:
        """Binary COPY into the target."""
        return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
            table_name(self.bound.database), comma(column.into for column in self.profiles)
        )

    def clear(self) -> sql.SQL:
        """Empties the stage for the next chunk."""
        return sql.SQL("TRUNCATE ingest_stage")

    def analyze(self) -> sql.Composed:
        """Tells the planner how many rows there are and how their keys are spread."""
        return sql.SQL("ANALYZE ingest_stage ({})").format(
            sql.Identifier(KEY if self.matches else self.bound.database.key)
        )


def _column(name: str, field: Field, *, keep: bool = False) -> StageColumn:
    kind, record = type_of(field), FIELD_TYPES[field.type]
    if record.column == "inet":
        return StageColumn(name, name, sql.SQL("text"), cast=kind, into=name, keep=keep)
    return StageColumn(
        name, name, kind, into=name, json=record.is_document, text=record.column in {"text", "text[]"}, keep=keep
    )
