"""The preflight: asks every check about an import's target, and refuses with all that does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import psycopg

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.databases import Field
from ingest_pipelines.errors import TargetBusy
from ingest_pipelines.merge.catalog import read_shape
from ingest_pipelines.merge.changes import Changes
from ingest_pipelines.merge.column_types import can_hold
from ingest_pipelines.merge.ddl import fields_of, missing_columns, needs_subscriptions
from ingest_pipelines.merge.mapping import check_mapping, check_types
from ingest_pipelines.merge.names import HISTORY, PROFILE_ID, SUBSCRIPTIONS, name_beside, table_name
from ingest_pipelines.merge.preflight.consents import consent_obstacles
from ingest_pipelines.merge.preflight.obstacle import Obstacle, refusal_of
from ingest_pipelines.merge.preflight.privileges import deletion_obstacles, history_obstacles, privilege_obstacles
from ingest_pipelines.merge.preflight.profile_id import profile_id_obstacles
from ingest_pipelines.merge.preflight.table import ExistingTable, key_obstacles
from ingest_pipelines.merge.shape import KINDS, TableShape
from ingest_pipelines.merge.stage import Stage
from ingest_pipelines.merge.target import Target, scalar

_PATIENCE_SECONDS = 1.0
"""How long the preflight waits for a lock before an item is read."""


def check_target(connection: psycopg.Connection, stage: Stage, shape: TableShape) -> None:
    """Passes if the target can take every row that the import may bring.

    Raises:
        TargetRefused: names every obstacle, with the statement that fixes it.
    """
    refusal = refusal_of(stage.bound, find_obstacles(connection, stage, shape))
    if refusal is not None:
        raise refusal


def find_obstacles(connection: psycopg.Connection, stage: Stage, shape: TableShape) -> list[Obstacle]:
    """The obstacles of the target table, and of those of consent records and old values if the import uses them."""
    obstacles = list(_table_obstacles(connection, stage, shape))
    database = stage.bound.database
    schema = database.schema_and_table[0]
    if not obstacles and needs_subscriptions(stage) and name_beside(database, SUBSCRIPTIONS) in shape.relations:
        consents = read_shape(connection, schema, name_beside(database, SUBSCRIPTIONS))
        obstacles += consent_obstacles(stage, consents)
    if not obstacles and database.history and name_beside(database, HISTORY) in shape.relations:
        obstacles += history_obstacles(stage, read_shape(connection, schema, name_beside(database, HISTORY)))
    if not obstacles and stage.deletes:
        beside = [name_beside(database, kind) for kind in (SUBSCRIPTIONS, HISTORY)]
        tables = [database.schema_and_table[1], *(name for name in beside if name in shape.relations)]
        shapes = {table: read_shape(connection, schema, table) for table in tables}
        obstacles += deletion_obstacles(stage, shapes)
    return obstacles or list(privilege_obstacles(stage, shape))


def _table_obstacles(connection: psycopg.Connection, stage: Stage, shape: TableShape) -> Iterator[Obstacle]:
    if shape.oid is None:
        return
    table = ExistingTable(table_name(stage.bound.database), stage.bound.database.table, shape)
    if shape.kind in KINDS or not shape.uses_schema:
        yield from table.unusable()
        return
    yield from table.itself()
    yield from table.growing(missing_columns(stage, shape))
    changes = Changes(stage)
    yield from key_obstacles(connection, stage, table)
    yield from profile_id_obstacles(connection, stage, table)
    for name, field in _fields(stage.bound):
        if name in stage.bound.retyped:  # the width that its rows had is no longer known: too long ones are rejected
            continue
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
    """Column names and fields: as the database declares them, and as the import narrows or widens them."""
    yield from fields_of(bound).items()
    declared = bound.database.fields
    yield from (
        (mapped.name, mapped.field)
        for mapped in bound.fields
        if mapped.name in declared and mapped.field != declared[mapped.name]
    )


def probe(target: Target, bound: BoundImport) -> None:
    """Makes the checks of a load of the import before there is an item; changes nothing.

    Raises:
        TargetRefused: the table cannot take the import's rows.
        LoadError: a field has another type than its first load gave it.
        ConfigError: the import's mapping is locked, and the YAML says something else.
        TargetUnavailable, TargetDenied: the target does not answer, or refuses the login.
    """
    with target.session(f"import {bound.name}") as connection:
        if scalar(connection, "SELECT to_regclass('ingest.imports') IS NOT NULL"):
            check_mapping(ledger.find_import(connection, bound.name), bound)
            check_types(ledger.registered_fields(connection, bound.database_name), bound)
        check_target(connection, Stage(bound), read_shape(connection, *bound.database.schema_and_table))


def refuse_early(target: Target, bound: BoundImport) -> None:
    """Makes the same checks before a run reads its item. Passes for a locked table: the load will wait for it.

    Raises:
        What `probe` raises.
    """
    with suppress(TargetBusy):
        probe(replace(target, lock_timeout_seconds=min(_PATIENCE_SECONDS, target.lock_timeout_seconds)), bound)
