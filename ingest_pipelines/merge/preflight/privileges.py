"""Checks of the session's role: the privileges that a load needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from psycopg import sql

from ingest_pipelines.merge.changes import Changes
from ingest_pipelines.merge.ddl import additions, needs_subscriptions
from ingest_pipelines.merge.match_modes import profile_lookups
from ingest_pipelines.merge.names import (
    HISTORY,
    KEY_SEQUENCE,
    PROFILE_ID,
    SUBSCRIPTIONS,
    history_name,
    key_sequence,
    name_beside,
    subscriptions_name,
    table_name,
)
from ingest_pipelines.merge.preflight.obstacle import Obstacle, render, verbatim
from ingest_pipelines.merge.preflight.table import ExistingTable
from ingest_pipelines.merge.shape import TableShape
from ingest_pipelines.merge.stage import Stage


def privilege_obstacles(stage: Stage, shape: TableShape) -> Iterator[Obstacle]:
    """Obstacles that the session's role lacks a privilege that the load needs."""
    database = stage.bound.database
    schema, role = sql.Identifier(database.schema_and_table[0]), sql.Identifier(shape.role)
    if not shape.creates_temporary:
        grant = render("GRANT TEMPORARY ON DATABASE {} TO {}", sql.Identifier(shape.database), role)
        yield Obstacle(
            f"the role {shape.role} may not make temporary tables, and a load stages its rows in one", (grant,)
        )
    if not shape.schema_exists:
        if not shape.creates_schemas:
            create = render("CREATE SCHEMA {} AUTHORIZATION {}", schema, role)
            yield Obstacle(
                f"there is no schema {database.schema_and_table[0]}, and the role {shape.role} may not create it",
                (create,),
            )
        return
    adds = [statement.as_string() for statement in additions(stage, shape)]
    if adds and not (shape.uses_schema and shape.creates_in_schema and (shape.oid is None or shape.owned)):
        if shape.oid is None:
            grant = render("GRANT USAGE, CREATE ON SCHEMA {} TO {}", schema, role)
            yield Obstacle(f"the role {shape.role} may not create {database.table} in its schema", (grant,))
            return
        yield Obstacle(
            f"{database.table} lacks what the import needs, and the role {shape.role} may not add it",
            (*adds, *_grants_on_new(stage, shape)),
        )
    if shape.oid is None:
        return
    table = ExistingTable(table_name(database), database.table, shape)
    changes = Changes(stage)
    written = {column.into for column in changes.written}
    matched = {name for lookup in profile_lookups(stage) for name in lookup.fields}
    yield from lacking_privileges(
        table, {database.key, PROFILE_ID, *written, *matched}, ("SELECT",),
        inserted={database.key, *written} if changes.adds else set(), updated=written if changes.updates else set(),
    )  # fmt: skip
    name = name_beside(database, KEY_SEQUENCE)
    sequences = {sequence for column in shape.columns.values() for sequence in column.sequences} if changes.adds else ()
    unusable: list[sql.Composable] = [verbatim(sequence) for sequence in sorted(sequences)]
    if database.key_default == "sequence" and name in shape.unusable_sequences:
        unusable.append(key_sequence(database))
    for sequence_name in unusable:
        grant = render("GRANT USAGE ON SEQUENCE {} TO {}", sequence_name, role)
        yield Obstacle(f"the role {shape.role} may not use the sequence {sequence_name.as_string()}", (grant,))
    caller_of = {
        function: f"the column '{name}'"
        for name, column in shape.columns.items() if column.generated or (changes.adds and name not in written)
        for function in column.functions
    }  # fmt: skip
    caller_of |= dict.fromkeys(shape.unusable_functions, "a check or an index")
    for function, caller in caller_of.items():
        yield Obstacle(
            f"the role {shape.role} may not execute {function}, which {caller} of {database.table} calls",
            (render("GRANT EXECUTE ON FUNCTION {} TO {}", verbatim(function), role),),
        )


def history_obstacles(stage: Stage, shape: TableShape) -> Iterator[Obstacle]:
    """The obstacle that the role may not keep old values."""
    database = stage.bound.database
    label = f"{database.schema_and_table[0]}.{name_beside(database, HISTORY)}"
    table = ExistingTable(history_name(database), label, shape)
    yield from lacking_privileges(table, shape.columns, ("SELECT", "INSERT"))


def deletion_obstacles(stage: Stage, shapes: Mapping[str, TableShape]) -> Iterator[Obstacle]:
    """Obstacles that the role may not delete from the tables."""
    for name, shape in shapes.items():
        if not shape.deletes:
            table = sql.Identifier(stage.bound.database.schema_and_table[0], name)
            label = f"{stage.bound.database.schema_and_table[0]}.{name}"
            grant = render("GRANT DELETE ON {} TO {}", table, sql.Identifier(shape.role))
            yield Obstacle(f"the role {shape.role} lacks DELETE on {label}", (grant,))


def _grants_on_new(stage: Stage, shape: TableShape) -> Iterator[str]:
    """Grants that the role needs if the owner creates its tables and sequences."""
    role, database = sql.Identifier(shape.role), stage.bound.database
    if needs_subscriptions(stage) and name_beside(database, SUBSCRIPTIONS) not in shape.relations:
        yield render("GRANT SELECT, INSERT, UPDATE ON {} TO {}", subscriptions_name(database), role)
    if database.history and name_beside(database, HISTORY) not in shape.relations:
        rights = "SELECT, INSERT, DELETE" if stage.deletes else "SELECT, INSERT"
        yield render("GRANT {} ON {} TO {}", verbatim(rights), history_name(database), role)
    if database.key_default == "sequence" and name_beside(database, KEY_SEQUENCE) not in shape.relations:
        yield render("GRANT USAGE ON SEQUENCE {} TO {}", key_sequence(database), role)


def lacking_privileges(
    table: ExistingTable, columns: Iterable[str], needed: tuple[str, ...], *,
    inserted: Iterable[str] = (), updated: Iterable[str] = (),
) -> Iterator[Obstacle]:  # fmt: skip
    """The obstacle that the role lacks privileges on columns, with one grant on the table."""
    wanted = {(privilege, name) for privilege in needed for name in columns}
    wanted |= {("INSERT", name) for name in inserted} | {("UPDATE", name) for name in updated}
    lacking = {
        privilege for privilege, name in wanted
        if name in table.shape.columns and privilege in table.shape.columns[name].denied
    }  # fmt: skip
    if not lacking:
        return
    listed = ", ".join(privilege for privilege in ("SELECT", "INSERT", "UPDATE") if privilege in lacking)
    grant = render(
        "GRANT {} ON {} TO {}", verbatim(listed), table.name, sql.Identifier(table.shape.role)
    )  # fmt: skip
    yield Obstacle(f"the role {table.shape.role} lacks {listed} on {table.label}", (grant,))
