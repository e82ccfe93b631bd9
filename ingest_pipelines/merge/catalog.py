"""What Postgres's catalog says of a target table."""

from __future__ import annotations

import psycopg

from ingest_pipelines.merge.ddl import TableShape


def read_shape(connection: psycopg.Connection, schema: str, table: str) -> TableShape:
    """The table's columns, indexes and size as this transaction sees them: one query."""
    found = connection.execute(
        """
        SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %(schema)s),
               c.oid, c.rows, c.columns, i.single, i.leading
        FROM (SELECT to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text)) AS oid) wanted
        LEFT JOIN LATERAL (
            SELECT r.oid::bigint AS oid, r.reltuples AS rows,
                   jsonb_object_agg(a.attname, format_type(a.atttypid, a.atttypmod)) AS columns
            FROM pg_class r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE r.oid = wanted.oid GROUP BY r.oid, r.reltuples
        ) c ON true
        LEFT JOIN LATERAL (
            SELECT array_agg(a.attname::text) FILTER (WHERE x.indisunique AND x.indnkeyatts = 1) AS single,
                   array_agg(a.attname::text) AS leading
            FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
            WHERE x.indrelid = wanted.oid AND x.indisvalid AND x.indpred IS NULL
        ) i ON true
        """,
        {"schema": schema, "table": table},
    ).fetchone()
    assert found is not None
    schema_exists, oid, rows, columns, single, leading = found
    return TableShape(
        schema_exists=bool(schema_exists), oid=None if oid is None else int(oid), columns=columns or {},
        unique=frozenset(single or ()), indexed=frozenset(leading or ()), rows=float(rows or 0),
    )  # fmt: skip
