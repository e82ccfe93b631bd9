"""What a merge takes for granted about a table that is there already, checked before the first row is written.

`ingest check --connect`, `ingest plan` and every load ask the same questions here and refuse with the same words: what
does not fit, and the statement that mends it. Whatever no question covers is left to Postgres, which refuses the load.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import LiteralString

import psycopg
from psycopg import sql

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.databases import Field
from ingest_pipelines.errors import TargetBusy, TargetRefused
from ingest_pipelines.merge.catalog import read_shape
from ingest_pipelines.merge.changes import Changes
from ingest_pipelines.merge.column_types import can_hold, column_type, conversion, type_of
from ingest_pipelines.merge.ddl import additions, fields_of, missing_columns, needs_subscriptions
from ingest_pipelines.merge.mapping import check_mapping, check_types
from ingest_pipelines.merge.match_modes import profile_lookups
from ingest_pipelines.merge.names import (
    KEY_SEQUENCE,
    PROFILE_ID,
    SUBSCRIPTIONS,
    key_sequence,
    name_beside,
    subscriptions_name,
    table_name,
)
from ingest_pipelines.merge.numbers import find_behind
from ingest_pipelines.merge.shape import KINDS, Column, TableShape
from ingest_pipelines.merge.stage import Stage
from ingest_pipelines.merge.target import Target, scalar

PARTITIONED_IDENTITY = 170_000
"""From this version on, a partitioned table may have an identity column."""

_PATIENCE_SECONDS = 1.0
"""How long the question before an item is read waits for a lock."""

_SUBSCRIPTION_KEY = ("profile_id", "resource", "channel", "contact")
_SUBSCRIPTION_COLUMNS = {
    **dict.fromkeys(("resource", "channel", "contact", "status"), "text"),
    "profile_id": "bigint", "fields": "jsonb", "updated_at": "timestamp with time zone",
}  # fmt: skip


@dataclass(frozen=True)
class Obstacle:
    """Something about a table that a load cannot live with.

    Attributes:
        what: one clause, without the import.
        mends: statements for the table's owner; none where another table has to be named.
        advice: what else helps, if anything.
    """

    what: str
    mends: tuple[str, ...] = ()
    advice: str = ""


def check_target(connection: psycopg.Connection, stage: Stage, shape: TableShape) -> None:
    """Passes where the target takes whatever the import may bring.

    Raises:
        TargetRefused: all that is wrong, each with the statement that mends it.
    """
    refusal = refusal_of(stage.bound, find_obstacles(connection, stage, shape))
    if refusal is not None:
        raise refusal


def find_obstacles(connection: psycopg.Connection, stage: Stage, shape: TableShape) -> list[Obstacle]:
    """What is wrong with the target table, and with the table of consent records where the import uses it."""
    found = list(_of_target(connection, stage, shape))
    database = stage.bound.database
    if not found and needs_subscriptions(stage) and name_beside(database, SUBSCRIPTIONS) in shape.relations:
        schema = database.schema_and_table[0]
        consents = read_shape(connection, schema, name_beside(database, SUBSCRIPTIONS))
        found += _of_subscriptions(stage, consents)
    return found or list(_of_privileges(stage, shape))


def refusal_of(bound: BoundImport, found: Iterable[Obstacle]) -> TargetRefused | None:
    """The obstacles as one error; None where there are none."""
    obstacles = list(found)
    if not obstacles:
        return None
    mends = [mend for obstacle in obstacles for mend in obstacle.mends]
    advice = [obstacle.advice for obstacle in obstacles if obstacle.advice]
    lines = ["; ".join(["nothing was merged", *dict.fromkeys(advice)])]
    if mends:
        lines[0] += "; its owner can mend it in Postgres with:"
        lines += [f"  {mend};" for mend in mends]
    what = [obstacle.what for obstacle in obstacles]
    said = what[0] if len(what) == 1 else "".join(f"\n  {each}" for each in what)
    return TargetRefused(f"import {bound.name}: {said}", hint="\n  ".join(lines))


def _of_target(connection: psycopg.Connection, stage: Stage, shape: TableShape) -> Iterator[Obstacle]:
    if shape.oid is None:
        return
    table = _Table(table_name(stage.bound.database), stage.bound.database.table, shape)
    if shape.kind in KINDS or not shape.uses_schema:
        yield from table.unusable()
        return
    yield from table.itself()
    yield from table.growing(missing_columns(stage, shape))
    changes = Changes(stage)
    yield from _of_key(connection, stage, table)
    yield from _of_profile_id(connection, stage, table)
    for name, field in _fields(stage.bound):
        if name in shape.columns and not can_hold(shape.columns[name].type, field):
            yield table.cannot_hold(name, field)
    written = [column.into for column in changes.written]
    if changes.adds:
        written.append(stage.bound.database.key)
        yield from table.unfilled({*written, PROFILE_ID})
    for name in dict.fromkeys(written):
        if name in shape.columns:
            yield from table.unwritable(name)
    if changes.updates and shape.unidentified:
        yield table.unidentified(stage.bound.database.key)


def _fields(bound: BoundImport) -> Iterator[tuple[str, Field]]:
    """Every field with its column's name: as the database has it, and as the import narrows or widens it."""
    yield from fields_of(bound).items()
    declared = bound.database.fields
    yield from (
        (mapped.name, mapped.field)
        for mapped in bound.fields
        if mapped.name in declared and mapped.field != declared[mapped.name]
    )


@dataclass(frozen=True)
class _Table:
    """An existing table, and the sentences about it."""

    name: sql.Identifier
    shown: str
    shape: TableShape

    def alter(self, action: LiteralString, *parts: sql.Composable) -> str:
        """ALTER TABLE."""
        return _text("ALTER TABLE {} " + action, self.name, *parts)

    def unusable(self) -> Iterator[Obstacle]:
        """What it is, where it is no table that rows can be merged into."""
        if self.shape.kind in KINDS:
            yield Obstacle(
                f"{self.shown} is {KINDS[self.shape.kind]}, and a load needs a table",
                advice="name the table behind it, or another one, in databases.yaml",
            )
        elif not self.shape.uses_schema:
            schema, role = sql.Identifier(self.name._obj[0]), sql.Identifier(self.shape.role)
            yield Obstacle(
                f"the role {self.shape.role} may not use the schema of {self.shown}",
                (_text("GRANT USAGE ON SCHEMA {} TO {}", schema, role),),
            )

    def itself(self) -> Iterator[Obstacle]:
        """What keeps rows of any kind from being merged, kept or seen."""
        parts = self.shape.kind == "p"
        for table in self.shape.unlogged:
            yield Obstacle(
                f"{f'{table}, a partition of {self.shown},' if parts else self.shown} is unlogged: a crash of the "
                "server empties it, whatever was committed",
                (_text("ALTER TABLE {} SET LOGGED", _verbatim(table)),),
            )
        for table in self.shape.foreign:
            yield Obstacle(
                f"{table}, a partition of {self.shown}, is a foreign table, and a load needs tables",
                (self.alter("DETACH PARTITION {}", _verbatim(table)),),
            )
        for child in self.shape.children:
            drop = _text("ALTER TABLE {} NO INHERIT {}", _verbatim(child), self.name)
            yield Obstacle(f"{child} inherits from {self.shown}: a key may be in both", (drop,))
        for rule in self.shape.rules:
            drop = _text("DROP RULE {} ON {}", sql.Identifier(rule), self.name)
            yield Obstacle(
                f"{self.shown} has the rule {rule}, and Postgres merges into no table with rules", (drop,),
                advice="a trigger can do the same",
            )  # fmt: skip
        if self.shape.hides_rows:
            yield self._row_security()

    def growing(self, missing: Collection[str]) -> Iterator[Obstacle]:
        """What keeps columns from being added to it, where some are missing."""
        listed = ", ".join(f"'{name}'" for name in missing)
        if missing and self.shape.typed:
            yield Obstacle(
                f"{self.shown} lacks {listed}, and has the columns of a type: none can be added to it",
                (self.alter("NOT OF"),),
            )
        if missing and self.shape.part_of:
            yield Obstacle(
                f"{self.shown} lacks {listed}, and is a partition: columns are only added to {self.shape.part_of}",
                advice=f"name {self.shape.part_of} in databases.yaml, or have its owner add the columns there",
            )

    def _row_security(self) -> Obstacle:
        role = sql.Identifier(self.shape.role)
        if self.shape.owned and self.shape.forced:
            mend = self.alter("NO FORCE ROW LEVEL SECURITY")
        elif self.shape.restricted:
            mend = _text("ALTER ROLE {} BYPASSRLS", role)
        else:
            mend = _text("CREATE POLICY ingest_loads ON {} TO {} USING (true)", self.name, role)
        return Obstacle(
            f"row security hides rows of {self.shown} from the role {self.shape.role}: known customers would be "
            "taken for unknown ones",
            (mend,),
        )

    def cannot_hold(self, name: str, field: Field) -> Obstacle:
        """A column that would refuse or change some values of a field."""
        found, wanted = self.shape.columns[name].type, column_type(field)
        column = sql.Identifier(name)
        advice = ""
        if wanted == "bigint" and found in {"smallint", "integer"}:
            advice = f"give the field the column's range with min and max in databases.yaml, or make it {wanted}"
        elif found.startswith("character varying("):
            advice = f"give the field max_length: {found.partition('(')[2].rstrip(')[]')}, or make the column wider"
        needed = wanted if wanted != found else f"{wanted} for every value that its rules accept"
        using = conversion(column, found, type_of(field))
        drop = "ALTER COLUMN {} DROP DEFAULT, " if self.shape.columns[name].has_default else ""
        mend = self.alter(
            f"{drop}ALTER COLUMN {{}} TYPE {{}} USING {{}}", *([column] if drop else []), column, type_of(field), using
        )
        return Obstacle(
            f"the column '{name}' of {self.shown} is {found}; the field is {field.type_name} and needs {needed}",
            (mend,),
            advice,
        )

    def unwritable(self, name: str) -> Iterator[Obstacle]:
        """A column whose values are Postgres's own affair."""
        column, found = sql.Identifier(name), self.shape.columns[name]
        if found.generated:
            mend = self.alter("ALTER COLUMN {} DROP EXPRESSION", column)
            if found.virtual:
                mend = self.alter("DROP COLUMN {}, ADD COLUMN {} {}", column, column, _verbatim(found.type))
            yield Obstacle(
                f"the column '{name}' of {self.shown} is generated, and cannot be written", (mend,),
                advice="take it out of the import's columns, or let imports fill it",
            )  # fmt: skip
        elif found.identity == "a":
            yield Obstacle(
                f"the column '{name}' of {self.shown} is GENERATED ALWAYS AS IDENTITY, and cannot be written",
                (self.alter("ALTER COLUMN {} SET GENERATED BY DEFAULT", column),),
            )

    def unfilled(self, written: set[str]) -> Iterator[Obstacle]:
        """Columns that a new row must have, and that nothing fills; a trigger may fill them, which nobody can know."""
        if self.shape.guarded:
            return
        for name, column in self.shape.columns.items():
            if column.not_null and not column.has_default and name not in written:
                yield Obstacle(
                    f"the column '{name}' of {self.shown} is NOT NULL, has no default, and no column of the import "
                    "fills it: no customer could be added",
                    self._fill(name, column),
                    advice="map a column to it, give it a default, or let it be empty",
                )

    def _fill(self, name: str, column: Column) -> tuple[str, ...]:
        quoted = sql.Identifier(name)
        if name not in self.shape.primary:
            return (self.alter("ALTER COLUMN {} DROP NOT NULL", quoted),)
        if column.type in {"smallint", "integer", "bigint"}:
            sequence = _text(
                "SELECT setval(pg_get_serial_sequence({}, {}), max({})) FROM {}",
                sql.Literal(self.name.as_string()), sql.Literal(name), quoted, self.name,
            )  # fmt: skip
            return (self.alter("ALTER COLUMN {} ADD GENERATED BY DEFAULT AS IDENTITY", quoted), sequence)
        if column.type in {"uuid", "text"}:
            made = sql.SQL("gen_random_uuid()" if column.type == "uuid" else "gen_random_uuid()::text")
            return (self.alter("ALTER COLUMN {} SET DEFAULT {}", quoted, made),)
        return ()

    def unidentified(self, key: str) -> Obstacle:
        """Updates are published, and subscribers could not tell which row they are of."""
        return Obstacle(
            f"{self.shown} is published and has no replica identity: Postgres refuses to update it",
            (self.alter("REPLICA IDENTITY FULL"),),
            advice=f"a primary key on '{key}' would do, too",
        )


def _of_key(connection: psycopg.Connection, stage: Stage, table: _Table) -> Iterator[Obstacle]:
    database, shape = stage.bound.database, table.shape
    key, quoted, kind = database.key, sql.Identifier(database.key), type_of(database.fields[database.key])
    column = shape.columns.get(key)
    if column is None:
        yield Obstacle(
            f"{table.shown} exists, and has no column '{key}', which is the key",
            (table.alter("ADD COLUMN {} {} UNIQUE", quoted, kind),),
        )
        return
    if not shape.is_unique(key):
        yield Obstacle(
            f"the table {table.shown} exists, and its column '{key}' is not unique, by an index that is whole, valid "
            "and checked at once",
            (_text("CREATE UNIQUE INDEX ON {} ({})", table.name, quoted),),
        )
    if column.nondeterministic or column.type == "citext":
        why = "is citext" if column.type == "citext" else "has a collation that takes different spellings for equal"
        collate = sql.SQL("") if column.type == "citext" else sql.SQL(' COLLATE "default"')
        yield Obstacle(
            f"the key '{key}' of {table.shown} {why}: two customers of an item could be one of the table",
            (table.alter("ALTER COLUMN {} TYPE {}{}", quoted, kind, collate),),
        )
    if stage.matches and not column.not_null and _has_null(connection, table, key):
        yield Obstacle(
            f"{table.shown} has profiles whose key '{key}' is NULL: a row that matches one of them could not be merged",
            (_give_keys(table, column, quoted),),
        )


def _give_keys(table: _Table, column: Column, key: sql.Identifier) -> str:
    if column.type.startswith(("text", "character varying")):
        return _text("UPDATE {} SET {} = gen_random_uuid()::text WHERE {} IS NULL", table.name, key, key)
    return _text(
        "UPDATE {table} SET {key} = n.number FROM (SELECT ctid AS place, (SELECT COALESCE(max({key}), 0) FROM {table})"
        " + row_number() OVER () AS number FROM {table} WHERE {key} IS NULL) n WHERE {table}.ctid = n.place",
        table=table.name, key=key,
    )  # fmt: skip


def _of_profile_id(connection: psycopg.Connection, stage: Stage, table: _Table) -> Iterator[Obstacle]:
    """Every profile has a number of its own; a table that lacks the column gets it."""
    shape, quoted = table.shape, sql.Identifier(PROFILE_ID)
    column = shape.columns.get(PROFILE_ID)
    added = _numbered_parts(stage, table)
    if column is None:
        if added:
            yield Obstacle(
                f"{table.shown} is partitioned and lacks the column '{PROFILE_ID}', which this version of Postgres "
                "cannot number by itself",
                added,
            )
        return
    unique = bool(column.identity) or shape.is_unique(PROFILE_ID) or shape.kind == "p"
    wrong = ""
    if column.generated:
        wrong = "generated"
    elif column.type not in {"bigint", "integer"}:
        wrong = column.type
    elif column.has_default and not column.computes_default:
        wrong = "the same in every new profile"
    elif not unique and _repeats(connection, table, PROFILE_ID):
        wrong = "the same in several profiles"
    if wrong:
        yield Obstacle(
            f"the column '{PROFILE_ID}' of {table.shown} is {wrong}; a load keeps a number of each profile there",
            (table.alter("RENAME COLUMN {} TO {}", quoted, sql.Identifier(f"own_{PROFILE_ID}")), *added),
            advice="the load adds a column of that name",
        )
        return
    empty = not column.not_null and _has_null(connection, table, PROFILE_ID)
    if empty or not column.has_default:
        yield Obstacle(
            f"the column '{PROFILE_ID}' of {table.shown} is to number every profile, and "
            + ("some have no number" if empty else "has no default that would number new ones"),
            tuple(_numbering(stage, table, column)),
        )
    if not unique:
        yield Obstacle(
            f"the column '{PROFILE_ID}' of {table.shown} is to number every profile, and is not unique",
            (_text("CREATE UNIQUE INDEX ON {} ({})", table.name, quoted),),
        )
    if Changes(stage).adds and "SELECT" not in column.denied:
        behind = find_behind(connection, table.name, shape)
        if behind is not None:
            highest = sql.SQL("(SELECT max({}) FROM {})").format(quoted, table.name)
            yield Obstacle(
                f"the sequence {behind.sequence.as_string()} would give new customers the numbers of known ones: "
                f"'{PROFILE_ID}' of {table.shown} goes up to {behind.highest:,}",
                (_text("SELECT setval({}, {})", _named(behind.sequence), highest),),
            )


def _numbered_parts(stage: Stage, table: _Table) -> tuple[str, ...]:
    """What adds the column to a partitioned table, where it cannot be an identity; else the load adds it."""
    if table.shape.kind != "p" or table.shape.version >= PARTITIONED_IDENTITY:
        return ()
    sequence = _number_sequence(stage)
    return (
        _text("CREATE SEQUENCE {}", sequence),
        _text("GRANT USAGE ON SEQUENCE {} TO {}", sequence, sql.Identifier(table.shape.role)),
        table.alter("ADD COLUMN {} bigint NOT NULL DEFAULT nextval({})", sql.Identifier(PROFILE_ID), _named(sequence)),
    )


def _numbering(stage: Stage, table: _Table, column: Column) -> Iterator[str]:
    """Statements that number all profiles, and those to come."""
    quoted = sql.Identifier(PROFILE_ID)
    if not column.has_default:
        sequence = _number_sequence(stage)
        yield _text("CREATE SEQUENCE {}", sequence)
        yield _text("SELECT setval({}, greatest(max({}), 0) + 1, false) FROM {}", _named(sequence), quoted, table.name)
        yield table.alter("ALTER COLUMN {} SET DEFAULT nextval({})", quoted, _named(sequence))
        yield _text("GRANT USAGE ON SEQUENCE {} TO {}", sequence, sql.Identifier(table.shape.role))
    if not column.not_null:
        yield _text("UPDATE {} SET {} = DEFAULT WHERE {} IS NULL", table.name, quoted, quoted)


def _number_sequence(stage: Stage) -> sql.Identifier:
    database = stage.bound.database
    return sql.Identifier(database.schema_and_table[0], name_beside(database, PROFILE_ID, "numbers"))


def _named(sequence: sql.Identifier) -> sql.Literal:
    return sql.Literal(sequence.as_string())


def _has_null(connection: psycopg.Connection, table: _Table, column: str) -> bool:
    """Whether some profile has no value there."""
    if table.shape.columns[column].denied:  # that is said by itself
        return False
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} IS NULL)").format(table.name, sql.Identifier(column))
    return bool(scalar(connection, query))


def _repeats(connection: psycopg.Connection, table: _Table, column: str) -> bool:
    """Whether two profiles have the same value there."""
    if table.shape.columns[column].denied:
        return False
    name = sql.Identifier(column)
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} IS NOT NULL GROUP BY {} HAVING count(*) > 1)")
    return bool(scalar(connection, query.format(table.name, name, name)))


def _of_subscriptions(stage: Stage, shape: TableShape) -> Iterator[Obstacle]:
    """What is wrong with the table of consent records: one that is there may be somebody else's."""
    database = stage.bound.database
    table = _Table(subscriptions_name(database), f"{database.table}_{SUBSCRIPTIONS}", shape)
    if shape.kind in KINDS:
        yield Obstacle(
            f"{table.shown}, where consent records belong, is {KINDS[shape.kind]}",
            (_text("ALTER {} {} RENAME TO {}", _RENAMED[shape.kind], table.name, _other(stage)),)
            if shape.kind in _RENAMED
            else (),
        )
        return
    missing = [name for name in _SUBSCRIPTION_COLUMNS if name not in shape.columns]
    if missing:
        yield Obstacle(
            f"{table.shown}, where consent records belong, has no column '{missing[0]}': it is another table",
            (table.alter("RENAME TO {}", _other(stage)),),
        )
        return
    yield from table.itself()
    for name, kind in _SUBSCRIPTION_COLUMNS.items():
        found = shape.columns[name]
        if found.type != kind and not (kind == "text" and found.type == "character varying"):
            wanted = _verbatim(kind)
            using = conversion(sql.Identifier(name), found.type, wanted)
            yield Obstacle(
                f"the column '{name}' of {table.shown} is {found.type} and must be {kind}",
                (table.alter("ALTER COLUMN {} TYPE {} USING {}", sql.Identifier(name), wanted, using),),
            )
        elif found.nondeterministic:
            yield Obstacle(
                f"the column '{name}' of {table.shown} has a collation that takes different spellings for equal",
                (table.alter('ALTER COLUMN {} TYPE text COLLATE "default"', sql.Identifier(name)),),
            )
        yield from table.unwritable(name)
    if not shape.is_unique(*_SUBSCRIPTION_KEY):
        columns = sql.SQL(", ").join(map(sql.Identifier, _SUBSCRIPTION_KEY))
        yield Obstacle(
            f"{', '.join(_SUBSCRIPTION_KEY)} of {table.shown} together are not unique",
            (_text("CREATE UNIQUE INDEX ON {} ({})", table.name, columns),),
        )
    if stage.bound.spec.subscriptions:
        yield from table.unfilled(set(_SUBSCRIPTION_COLUMNS))
        if shape.unidentified:
            yield table.unidentified("the four columns of its key")
        yield from _denied(table, _SUBSCRIPTION_COLUMNS, ("SELECT", "INSERT", "UPDATE"))
    else:
        yield from _denied(table, _SUBSCRIPTION_KEY, ("SELECT",))


_RENAMED = {"v": sql.SQL("VIEW"), "m": sql.SQL("MATERIALIZED VIEW"), "f": sql.SQL("FOREIGN TABLE"),
            "S": sql.SQL("SEQUENCE"), "i": sql.SQL("INDEX"), "I": sql.SQL("INDEX"), "c": sql.SQL("TYPE")}  # fmt: skip


def _other(stage: Stage) -> sql.Identifier:
    return sql.Identifier(name_beside(stage.bound.database, SUBSCRIPTIONS, "old"))


def _of_privileges(stage: Stage, shape: TableShape) -> Iterator[Obstacle]:
    """What the session's role may not do, and must."""
    database = stage.bound.database
    schema, role = sql.Identifier(database.schema_and_table[0]), sql.Identifier(shape.role)
    if not shape.creates_temporary:
        grant = _text("GRANT TEMPORARY ON DATABASE {} TO {}", sql.Identifier(shape.database), role)
        yield Obstacle(
            f"the role {shape.role} may not make temporary tables, and a load stages its rows in one", (grant,)
        )
    if not shape.schema_exists:
        if not shape.creates_schemas:
            create = _text("CREATE SCHEMA {} AUTHORIZATION {}", schema, role)
            yield Obstacle(
                f"there is no schema {database.schema_and_table[0]}, and the role {shape.role} may not create it",
                (create,),
            )
        return
    adds = [statement.as_string() for statement in additions(stage, shape)]
    if adds and not (shape.uses_schema and shape.creates_in_schema and (shape.oid is None or shape.owned)):
        if shape.oid is None:
            grant = _text("GRANT USAGE, CREATE ON SCHEMA {} TO {}", schema, role)
            yield Obstacle(f"the role {shape.role} may not create {database.table} in its schema", (grant,))
            return
        yield Obstacle(
            f"{database.table} lacks what the import needs, and the role {shape.role} may not add it",
            (*adds, *_grants_on_new(stage, shape)),
        )
    if shape.oid is None:
        return
    table = _Table(table_name(database), database.table, shape)
    changes = Changes(stage)
    written = {column.into for column in changes.written}
    matched = {name for lookup in profile_lookups(stage) for name in lookup.fields}
    yield from _denied(
        table, {database.key, PROFILE_ID, *written, *matched}, ("SELECT",),
        inserted={database.key, *written} if changes.adds else set(), updated=written if changes.updates else set(),
    )  # fmt: skip
    name = name_beside(database, KEY_SEQUENCE)
    sequences = {sequence for column in shape.columns.values() for sequence in column.sequences} if changes.adds else ()
    quoted: list[sql.Composable] = [_verbatim(sequence) for sequence in sorted(sequences)]
    if database.key_default == "sequence" and name in shape.unusable_sequences:
        quoted.append(key_sequence(database))
    for each in quoted:
        grant = _text("GRANT USAGE ON SEQUENCE {} TO {}", each, role)
        yield Obstacle(f"the role {shape.role} may not use the sequence {each.as_string()}", (grant,))
    called = {
        function: f"the column '{name}'"
        for name, column in shape.columns.items() if column.generated or (changes.adds and name not in written)
        for function in column.functions
    }  # fmt: skip
    called |= dict.fromkeys(shape.unusable_functions, "a check or an index")
    for function, of in called.items():
        yield Obstacle(
            f"the role {shape.role} may not execute {function}, which {of} of {database.table} calls",
            (_text("GRANT EXECUTE ON FUNCTION {} TO {}", _verbatim(function), role),),
        )


def _grants_on_new(stage: Stage, shape: TableShape) -> Iterator[str]:
    """What the role needs besides, where the owner makes tables and sequences for it."""
    role, database = sql.Identifier(shape.role), stage.bound.database
    if needs_subscriptions(stage) and name_beside(database, SUBSCRIPTIONS) not in shape.relations:
        yield _text("GRANT SELECT, INSERT, UPDATE ON {} TO {}", subscriptions_name(database), role)
    if database.key_default == "sequence" and name_beside(database, KEY_SEQUENCE) not in shape.relations:
        yield _text("GRANT USAGE ON SEQUENCE {} TO {}", key_sequence(database), role)


def _denied(
    table: _Table, columns: Iterable[str], needed: tuple[str, ...], *,
    inserted: Iterable[str] = (), updated: Iterable[str] = (),
) -> Iterator[Obstacle]:  # fmt: skip
    """The privileges on columns that the role lacks, as one grant on the table."""
    wanted = {(privilege, name) for privilege in needed for name in columns}
    wanted |= {("INSERT", name) for name in inserted} | {("UPDATE", name) for name in updated}
    lacking = {
        privilege for privilege, name in wanted
        if name in table.shape.columns and privilege in table.shape.columns[name].denied
    }  # fmt: skip
    if not lacking:
        return
    listed = ", ".join(privilege for privilege in ("SELECT", "INSERT", "UPDATE") if privilege in lacking)
    grant = _text(
        "GRANT {} ON {} TO {}", _verbatim(listed), table.name, sql.Identifier(table.shape.role)
    )  # fmt: skip
    yield Obstacle(f"the role {table.shape.role} lacks {listed} on {table.shown}", (grant,))


def _text(statement: LiteralString, *parts: sql.Composable, **named: sql.Composable) -> str:
    return sql.SQL(statement).format(*parts, **named).as_string()


def _verbatim(text: str) -> sql.SQL:
    """Text that Postgres has quoted already, or that stands in this file."""
    return sql.SQL(text)


def probe(target: Target, bound: BoundImport) -> None:
    """Asks what a load of the import would ask, before there is an item; nothing is changed.

    Raises:
        TargetRefused: the table cannot take the import's rows.
        LoadError: a field has another type than its first load gave it.
        ConfigError: the import's mapping is locked, and the YAML says something else.
        TargetUnavailable, TargetDenied: no answer.
    """
    with target.session(f"import {bound.name}") as connection:
        if scalar(connection, "SELECT to_regclass('ingest.imports') IS NOT NULL"):
            check_mapping(ledger.find_import(connection, bound.name), bound)
            check_types(ledger.registered_fields(connection, bound.database_name), bound)
        check_target(connection, Stage(bound), read_shape(connection, *bound.database.schema_and_table))


def refuse_early(target: Target, bound: BoundImport) -> None:
    """The same before a run reads its item. A table that is locked right now is no obstacle: the load waits for it.

    Raises:
        What `probe` raises.
    """
    with suppress(TargetBusy):
        probe(replace(target, lock_timeout_seconds=min(_PATIENCE_SECONDS, target.lock_timeout_seconds)), bound)
