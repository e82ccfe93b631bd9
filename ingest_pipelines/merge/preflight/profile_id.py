"""Checks of `profile_id`: every profile has a number of its own, and new profiles get new ones."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
from psycopg import sql

from ingest_pipelines.merge.changes import Changes
from ingest_pipelines.merge.names import PROFILE_ID, name_beside
from ingest_pipelines.merge.numbers import find_behind
from ingest_pipelines.merge.preflight.obstacle import Obstacle, render
from ingest_pipelines.merge.preflight.table import ExistingTable, has_null, has_repeats
from ingest_pipelines.merge.shape import TableColumn
from ingest_pipelines.merge.stage import Stage

PARTITIONED_IDENTITY = 170_000
"""From this server version on, a partitioned table may have an identity column."""


def profile_id_obstacles(connection: psycopg.Connection, stage: Stage, table: ExistingTable) -> Iterator[Obstacle]:
    """Obstacles that profiles have no numbers, share numbers, or that new profiles would get numbers in use."""
    shape, quoted = table.shape, sql.Identifier(PROFILE_ID)
    column = shape.columns.get(PROFILE_ID)
    added = _numbered_parts(stage, table)
    if column is None:
        if added:
            yield Obstacle(
                f"{table.label} is partitioned and lacks the column '{PROFILE_ID}', which this version of Postgres "
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
    elif not unique and has_repeats(connection, table, PROFILE_ID):
        wrong = "the same in several profiles"
    if wrong:
        yield Obstacle(
            f"the column '{PROFILE_ID}' of {table.label} is {wrong}; a load keeps a number of each profile there",
            (table.alter("RENAME COLUMN {} TO {}", quoted, sql.Identifier(f"own_{PROFILE_ID}")), *added),
            advice="the load adds a column of that name",
        )
        return
    empty = not column.not_null and has_null(connection, table, PROFILE_ID)
    if empty or not column.has_default:
        yield Obstacle(
            f"the column '{PROFILE_ID}' of {table.label} is to number every profile, and "
            + ("some have no number" if empty else "has no default that would number new ones"),
            tuple(_numbering(stage, table, column)),
        )
    if not unique:
        yield Obstacle(
            f"the column '{PROFILE_ID}' of {table.label} is to number every profile, and is not unique",
            (render("CREATE UNIQUE INDEX ON {} ({})", table.name, quoted),),
        )
    if Changes(stage).adds and "SELECT" not in column.denied:
        behind = find_behind(connection, table.name, shape)
        if behind is not None:
            highest = sql.SQL("(SELECT max({}) FROM {})").format(quoted, table.name)
            yield Obstacle(
                f"the sequence {behind.sequence.as_string()} would give new customers the numbers of existing ones: "
                f"'{PROFILE_ID}' of {table.label} goes up to {behind.highest:,}",
                (render("SELECT setval({}, {})", _name_literal(behind.sequence), highest),),
            )


def _numbered_parts(stage: Stage, table: ExistingTable) -> tuple[str, ...]:
    """Statements that add the column to a partitioned table that cannot have an identity; else the load adds it."""
    if table.shape.kind != "p" or table.shape.version >= PARTITIONED_IDENTITY:
        return ()
    sequence = _number_sequence(stage)
    return (
        render("CREATE SEQUENCE {}", sequence),
        render("GRANT USAGE ON SEQUENCE {} TO {}", sequence, sql.Identifier(table.shape.role)),
        table.alter(
            "ADD COLUMN {} bigint NOT NULL DEFAULT nextval({})", sql.Identifier(PROFILE_ID), _name_literal(sequence)
        ),
    )


def _numbering(stage: Stage, table: ExistingTable, column: TableColumn) -> Iterator[str]:
    """Statements that number all profiles, and new ones."""
    quoted = sql.Identifier(PROFILE_ID)
    if not column.has_default:
        sequence = _number_sequence(stage)
        yield render("CREATE SEQUENCE {}", sequence)
        yield render(
            "SELECT setval({}, greatest(max({}), 0) + 1, false) FROM {}", _name_literal(sequence), quoted, table.name
        )
        yield table.alter("ALTER COLUMN {} SET DEFAULT nextval({})", quoted, _name_literal(sequence))
        yield render("GRANT USAGE ON SEQUENCE {} TO {}", sequence, sql.Identifier(table.shape.role))
    if not column.not_null:
        yield render("UPDATE {} SET {} = DEFAULT WHERE {} IS NULL", table.name, quoted, quoted)


def _number_sequence(stage: Stage) -> sql.Identifier:
    database = stage.bound.database
    return sql.Identifier(database.schema_and_table[0], name_beside(database, PROFILE_ID, "numbers"))


def _name_literal(sequence: sql.Identifier) -> sql.Literal:
    return sql.Literal(sequence.as_string())
