"""What Postgres's catalog says of a target table."""

from __future__ import annotations

import psycopg
from psycopg import sql

from ingest_pipelines.merge.ddl import TableShape
from ingest_pipelines.merge.target import scalar

COUNTED_BELOW = 1_000_000
"""Rows, about; a count of so many takes a tenth of a second."""


def read_shape(connection: psycopg.Connection, schema: str, table: str) -> TableShape:
    """The table's columns, indexes and size as this transaction sees them: one query.

    A table that was never analyzed does not know its rows; they are estimated from its size, at 128 bytes each.
    """
    found = connection.execute(
        """
        SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %(schema)s),
               c.oid, c.rows, c.columns, i.single, i.leading, r.names,
               EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = wanted.oid AND NOT g.tgisinternal
                       AND g.tgenabled <> 'D' AND g.tgtype & 3 = 3 AND g.tgtype & 20 <> 0)  -- BEFORE ROW
        FROM (SELECT to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text)) AS oid) wanted
        LEFT JOIN LATERAL (
            SELECT k.oid::bigint AS oid, jsonb_object_agg(a.attname, format_type(a.atttypid, a.atttypmod)) AS columns,
                   CASE WHEN k.reltuples >= 0 THEN k.reltuples ELSE pg_relation_size(k.oid) / 128 END AS rows
            FROM pg_class k JOIN pg_attribute a ON a.attrelid = k.oid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE k.oid = wanted.oid GROUP BY k.oid, k.reltuples
        ) c ON true
        LEFT JOIN LATERAL (
            SELECT array_agg(a.attname::text) FILTER (WHERE x.indisunique AND x.indnkeyatts = 1) AS single,
                   array_agg(a.attname::text) AS leading
            FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
            WHERE x.indrelid = wanted.oid AND x.indisvalid AND x.indpred IS NULL
        ) i ON true
        LEFT JOIN LATERAL (
            SELECT array_agg(k.relname::text) AS names FROM pg_class k JOIN pg_namespace n ON n.oid = k.relnamespace
            WHERE n.nspname = %(schema)s AND starts_with(k.relname::text, left(%(table)s, 50))
        ) r ON true
        """,
        {"schema": schema, "table": table},
    ).fetchone()
    assert found is not None
    schema_exists, oid, rows, columns, single, leading, names, guarded = found
    return TableShape(
        schema_exists=bool(schema_exists), oid=None if oid is None else int(oid), columns=columns or {},
        unique=frozenset(single or ()), indexed=frozenset(leading or ()), rows=float(rows or 0),
        relations=frozenset(names or ()), guarded=bool(guarded),
    )  # fmt: skip


def is_unique_index_of(connection: psycopg.Connection, schema: str, table: str, column: str, name: str) -> bool:
    """Whether the table, or one of its partitions, has a unique index of that name on that column alone."""
    query = """
        SELECT EXISTS (
            SELECT FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
            JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
            WHERE x.indisunique AND x.indnkeyatts = 1 AND i.relname = %(name)s AND a.attname = %(column)s
              AND x.indrelid IN (
                SELECT to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text)) UNION SELECT relid
                FROM pg_partition_tree(to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text)))))
    """
    return bool(scalar(connection, query, {"schema": schema, "table": table, "column": column, "name": name}))


def rows_written(connection: psycopg.Connection, oid: int) -> tuple[int, int]:
    """Rows inserted into and updated in the table, and its partitions, by this transaction so far."""
    found = connection.execute(
        """
        SELECT COALESCE(sum(pg_stat_get_xact_tuples_inserted(relid)), 0)::bigint,
               COALESCE(sum(pg_stat_get_xact_tuples_updated(relid)), 0)::bigint
        FROM (SELECT %(oid)s::oid AS relid UNION SELECT relid FROM pg_partition_tree(%(oid)s::oid::regclass)) parts
        """,
        {"oid": oid},
    ).fetchone()
    assert found is not None
    return int(found[0]), int(found[1])


def row_count(connection: psycopg.Connection, schema: str, table: str) -> int:
    """How many rows the table has: counted, or the planner's estimate where counting takes its time."""
    estimate = read_shape(connection, schema, table).rows
    if estimate >= COUNTED_BELOW:
        return round(estimate)
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table))
    return int(scalar(connection, query))
