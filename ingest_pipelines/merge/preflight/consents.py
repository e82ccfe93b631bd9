"""Checks of the table of consent records, which may be another application's table of the same name."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from ingest_pipelines.merge.column_types import conversion
from ingest_pipelines.merge.names import SUBSCRIPTIONS, name_beside, subscriptions_name
from ingest_pipelines.merge.preflight.obstacle import Obstacle, render, verbatim
from ingest_pipelines.merge.preflight.privileges import lacking_privileges
from ingest_pipelines.merge.preflight.table import ExistingTable
from ingest_pipelines.merge.shape import KINDS, TableShape
from ingest_pipelines.merge.stage import Stage

_SUBSCRIPTION_KEY = ("profile_id", "resource", "channel", "contact")
_SUBSCRIPTION_COLUMNS = {
    **dict.fromkeys(("resource", "channel", "contact", "status"), "text"),
    "profile_id": "bigint", "fields": "jsonb", "updated_at": "timestamp with time zone",
}  # fmt: skip

_KIND_TO_RENAME = {"v": sql.SQL("VIEW"), "m": sql.SQL("MATERIALIZED VIEW"), "f": sql.SQL("FOREIGN TABLE"),
            "S": sql.SQL("SEQUENCE"), "i": sql.SQL("INDEX"), "I": sql.SQL("INDEX"), "c": sql.SQL("TYPE")}  # fmt: skip


def consent_obstacles(stage: Stage, shape: TableShape) -> Iterator[Obstacle]:
    """Obstacles of an existing table of consent records."""
    database = stage.bound.database
    table = ExistingTable(subscriptions_name(database), f"{database.table}_{SUBSCRIPTIONS}", shape)
    if shape.kind in KINDS:
        yield Obstacle(
            f"{table.label}, where consent records belong, is {KINDS[shape.kind]}",
            (render("ALTER {} {} RENAME TO {}", _KIND_TO_RENAME[shape.kind], table.name, _new_name(stage)),)
            if shape.kind in _KIND_TO_RENAME
            else (),
        )
        return
    missing = [name for name in _SUBSCRIPTION_COLUMNS if name not in shape.columns]
    if missing:
        yield Obstacle(
            f"{table.label}, where consent records belong, has no column '{missing[0]}': it is another table",
            (table.alter("RENAME TO {}", _new_name(stage)),),
        )
        return
    yield from table.itself()
    for name, kind in _SUBSCRIPTION_COLUMNS.items():
        column = shape.columns[name]
        if column.type != kind and not (kind == "text" and column.type == "character varying"):
            wanted = verbatim(kind)
            using = conversion(sql.Identifier(name), column.type, wanted)
            yield Obstacle(
                f"the column '{name}' of {table.label} is {column.type} and must be {kind}",
                (table.alter("ALTER COLUMN {} TYPE {} USING {}", sql.Identifier(name), wanted, using),),
            )
        elif column.nondeterministic:
            yield Obstacle(
                f"the column '{name}' of {table.label} has a collation that takes different spellings for equal",
                (table.alter('ALTER COLUMN {} TYPE text COLLATE "default"', sql.Identifier(name)),),
            )
        yield from table.unwritable(name)
    if not shape.is_unique(*_SUBSCRIPTION_KEY):
        columns = sql.SQL(", ").join(map(sql.Identifier, _SUBSCRIPTION_KEY))
        yield Obstacle(
            f"{', '.join(_SUBSCRIPTION_KEY)} of {table.label} together are not unique",
            (render("CREATE UNIQUE INDEX ON {} ({})", table.name, columns),),
        )
    if stage.bound.spec.subscriptions:
        yield from table.unfilled(set(_SUBSCRIPTION_COLUMNS))
        if shape.unidentified:
            yield table.unidentified("the four columns of its key")
        yield from lacking_privileges(table, _SUBSCRIPTION_COLUMNS, ("SELECT", "INSERT", "UPDATE"))
    else:
        yield from lacking_privileges(table, _SUBSCRIPTION_KEY, ("SELECT",))


def _new_name(stage: Stage) -> sql.Identifier:
    return sql.Identifier(name_beside(stage.bound.database, SUBSCRIPTIONS, "old"))
