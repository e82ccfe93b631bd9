"""Checks of an existing table: what it is, its columns, and its key."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from ingest_pipelines.config.databases import Field
from ingest_pipelines.merge.column_types import column_type, conversion, type_of
from ingest_pipelines.merge.preflight.obstacle import Obstacle, render, verbatim
from ingest_pipelines.merge.shape import KINDS, TableColumn, TableShape
from ingest_pipelines.merge.stage import Stage
from ingest_pipelines.merge.target import scalar


@dataclass(frozen=True)
class ExistingTable:
    """An existing table, and its obstacles."""

    name: sql.Identifier
    label: str
    shape: TableShape

    def alter(self, action: LiteralString, *parts: sql.Composable) -> str:
        """An ALTER TABLE statement."""
        return render("ALTER TABLE {} " + action, self.name, *parts)

    def unusable(self) -> Iterator[Obstacle]:
        """The obstacle that the relation is not a table, or is in a schema that the role may not use."""
        if self.shape.kind in KINDS:
            yield Obstacle(
                f"{self.label} is {KINDS[self.shape.kind]}, and a load needs a table",
                advice="name the table behind it, or another one, in databases.yaml",
            )
        elif not self.shape.uses_schema:
            schema, role = sql.Identifier(self.name._obj[0]), sql.Identifier(self.shape.role)
            yield Obstacle(
                f"the role {self.shape.role} may not use the schema of {self.label}",
                (render("GRANT USAGE ON SCHEMA {} TO {}", schema, role),),
            )

    def itself(self) -> Iterator[Obstacle]:
        """Obstacles to merging, keeping or seeing any row."""
        parts = self.shape.kind == "p"
        for table in self.shape.unlogged:
            yield Obstacle(
                f"{f'{table}, a partition of {self.label},' if parts else self.label} is unlogged: a crash of the "
                "server empties it, whatever was committed",
                (render("ALTER TABLE {} SET LOGGED", verbatim(table)),),
            )
        for table in self.shape.foreign:
            yield Obstacle(
                f"{table}, a partition of {self.label}, is a foreign table, and a load needs tables",
                (self.alter("DETACH PARTITION {}", verbatim(table)),),
            )
        for child in self.shape.children:
            drop = render("ALTER TABLE {} NO INHERIT {}", verbatim(child), self.name)
            yield Obstacle(f"{child} inherits from {self.label}: a key may be in both", (drop,))
        for rule in self.shape.rules:
            drop = render("DROP RULE {} ON {}", sql.Identifier(rule), self.name)
            yield Obstacle(
                f"{self.label} has the rule {rule}, and Postgres merges into no table with rules", (drop,),
                advice="a trigger can do the same",
            )  # fmt: skip
        if self.shape.hides_rows:
            yield self._row_security()

    def growing(self, missing: Collection[str]) -> Iterator[Obstacle]:
        """Obstacles to adding the missing columns."""
        listed = ", ".join(f"'{name}'" for name in missing)
        if missing and self.shape.typed:
            yield Obstacle(
                f"{self.label} lacks {listed}, and has the columns of a type: none can be added to it",
                (self.alter("NOT OF"),),
            )
        if missing and self.shape.part_of:
            yield Obstacle(
                f"{self.label} lacks {listed}, and is a partition: columns are only added to {self.shape.part_of}",
                advice=f"name {self.shape.part_of} in databases.yaml, or have its owner add the columns there",
            )

    def _row_security(self) -> Obstacle:
        role = sql.Identifier(self.shape.role)
        if self.shape.owned and self.shape.forced:
            fix = self.alter("NO FORCE ROW LEVEL SECURITY")
        elif self.shape.restricted:
            fix = render("ALTER ROLE {} BYPASSRLS", role)
        else:
            fix = render("CREATE POLICY ingest_loads ON {} TO {} USING (true)", self.name, role)
        return Obstacle(
            f"row security hides rows of {self.label} from the role {self.shape.role}: existing customers would "
            "be taken for new ones",
            (fix,),
        )

    def cannot_hold(self, name: str, field: Field) -> Obstacle:
        """The obstacle that a column would refuse or change some values of a field."""
        current, wanted = self.shape.columns[name].type, column_type(field)
        column = sql.Identifier(name)
        advice = ""
        if wanted == "bigint" and current in {"smallint", "integer"}:
            advice = f"give the field the column's range with min and max in databases.yaml, or make it {wanted}"
        elif current.startswith("character varying("):
            advice = f"give the field max_length: {current.partition('(')[2].rstrip(')[]')}, or make the column wider"
        needed = wanted if wanted != current else f"{wanted} for every value that its rules accept"
        using = conversion(column, current, type_of(field))
        drop = "ALTER COLUMN {} DROP DEFAULT, " if self.shape.columns[name].has_default else ""
        fix = self.alter(
            f"{drop}ALTER COLUMN {{}} TYPE {{}} USING {{}}", *([column] if drop else []), column, type_of(field), using
        )
        return Obstacle(
            f"the column '{name}' of {self.label} is {current}; the field is {field.type_name} and needs {needed}",
            (fix,),
            advice,
        )

    def unwritable(self, name: str) -> Iterator[Obstacle]:
        """The obstacle that a column cannot be written, because Postgres computes its values."""
        quoted, column = sql.Identifier(name), self.shape.columns[name]
        if column.generated:
            fix = self.alter("ALTER COLUMN {} DROP EXPRESSION", quoted)
            if column.virtual:
                fix = self.alter("DROP COLUMN {}, ADD COLUMN {} {}", quoted, quoted, verbatim(column.type))
            yield Obstacle(
                f"the column '{name}' of {self.label} is generated, and cannot be written", (fix,),
                advice="take it out of the import's columns, or let imports fill it",
            )  # fmt: skip
        elif column.identity == "a":
            yield Obstacle(
                f"the column '{name}' of {self.label} is GENERATED ALWAYS AS IDENTITY, and cannot be written",
                (self.alter("ALTER COLUMN {} SET GENERATED BY DEFAULT", quoted),),
            )

    def unfilled(self, written: set[str]) -> Iterator[Obstacle]:
        """Obstacles that NOT NULL columns get no value in new rows; none if triggers of the table may fill them."""
        if self.shape.guarded:
            return
        for name, column in self.shape.columns.items():
            if column.not_null and not column.has_default and name not in written:
                yield Obstacle(
                    f"the column '{name}' of {self.label} is NOT NULL, has no default, and no column of the import "
                    "fills it: no customer could be added",
                    self._fill(name, column),
                    advice="map a column to it, give it a default, or let it be empty",
                )

    def _fill(self, name: str, column: TableColumn) -> tuple[str, ...]:
        quoted = sql.Identifier(name)
        if name not in self.shape.primary:
            return (self.alter("ALTER COLUMN {} DROP NOT NULL", quoted),)
        if column.type in {"smallint", "integer", "bigint"}:
            sequence = render(
                "SELECT setval(pg_get_serial_sequence({}, {}), max({})) FROM {}",
                sql.Literal(self.name.as_string()), sql.Literal(name), quoted, self.name,
            )  # fmt: skip
            return (self.alter("ALTER COLUMN {} ADD GENERATED BY DEFAULT AS IDENTITY", quoted), sequence)
        if column.type in {"uuid", "text"}:
            default = sql.SQL("gen_random_uuid()" if column.type == "uuid" else "gen_random_uuid()::text")
            return (self.alter("ALTER COLUMN {} SET DEFAULT {}", quoted, default),)
        return ()

    def unidentified(self, key: str) -> Obstacle:
        """The obstacle that updates are published without a replica identity, so that Postgres refuses them."""
        return Obstacle(
            f"{self.label} is published and has no replica identity: Postgres refuses to update it",
            (self.alter("REPLICA IDENTITY FULL"),),
            advice=f"a primary key on '{key}' would do, too",
        )


def key_obstacles(connection: psycopg.Connection, stage: Stage, table: ExistingTable) -> Iterator[Obstacle]:
    """Obstacles that the key's column is missing, not unique, NULL in some rows, or compares spellings as equal."""
    database, shape = stage.bound.database, table.shape
    key, quoted, kind = database.key, sql.Identifier(database.key), type_of(database.fields[database.key])
    column = shape.columns.get(key)
    if column is None:
        yield Obstacle(
            f"{table.label} exists, and has no column '{key}', which is the key",
            (table.alter("ADD COLUMN {} {} UNIQUE", quoted, kind),),
        )
        return
    if not shape.is_unique(key):
        yield Obstacle(
            f"the table {table.label} exists, and its column '{key}' is not unique, by an index that is whole, valid "
            "and checked at once",
            (render("CREATE UNIQUE INDEX ON {} ({})", table.name, quoted),),
        )
    if column.nondeterministic or column.type == "citext":
        why = "is citext" if column.type == "citext" else "has a collation that takes different spellings for equal"
        collate = sql.SQL("") if column.type == "citext" else sql.SQL(' COLLATE "default"')
        yield Obstacle(
            f"the key '{key}' of {table.label} {why}: two customers of an item could be one of the table",
            (table.alter("ALTER COLUMN {} TYPE {}{}", quoted, kind, collate),),
        )
    if stage.matches and not column.not_null and has_null(connection, table, key):
        yield Obstacle(
            f"{table.label} has profiles whose key '{key}' is NULL: a row that matches one of them could not be merged",
            (_give_keys(table, column, quoted),),
        )


def _give_keys(table: ExistingTable, column: TableColumn, key: sql.Identifier) -> str:
    if column.type.startswith(("text", "character varying")):
        return render("UPDATE {} SET {} = gen_random_uuid()::text WHERE {} IS NULL", table.name, key, key)
    return render(
        "UPDATE {table} SET {key} = n.number FROM (SELECT ctid AS place, (SELECT COALESCE(max({key}), 0) FROM {table})"
        " + row_number() OVER () AS number FROM {table} WHERE {key} IS NULL) n WHERE {table}.ctid = n.place",
        table=table.name, key=key,
    )  # fmt: skip


def has_null(connection: psycopg.Connection, table: ExistingTable, column: str) -> bool:
    """Whether some profile has no value in the column."""
    if table.shape.columns[column].denied:  # an obstacle of its own
        return False
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} IS NULL)").format(table.name, sql.Identifier(column))
    return bool(scalar(connection, query))


def has_repeats(connection: psycopg.Connection, table: ExistingTable, column: str) -> bool:
    """Whether two profiles have the same value in the column."""
    if table.shape.columns[column].denied:
        return False
    name = sql.Identifier(column)
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} IS NOT NULL GROUP BY {} HAVING count(*) > 1)")
    return bool(scalar(connection, query.format(table.name, name, name)))
