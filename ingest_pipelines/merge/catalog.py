"""Reads the shape of a target table from Postgres's catalog."""

from __future__ import annotations

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from ingest_pipelines.merge.shape import TableColumn, TableShape
from ingest_pipelines.merge.target import scalar

COUNTED_BELOW = 1_000_000
"""Rows, estimated; to count so many takes a tenth of a second."""


def read_shape(connection: psycopg.Connection, schema: str, table: str) -> TableShape:
    """The table as this transaction and its role see it, by one query.

    The rows of a table that was never analyzed are estimated from its size, at 128 bytes each.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SHAPE, {"schema": schema, "table": table}).fetchone()
    assert row is not None
    return TableShape(
        **{
            **row,
            "rows": float(row["rows"] or 0),
            "columns": {
                name: TableColumn(**{**facts, **{part: tuple(facts[part]) for part in _LISTS_OF_A_COLUMN}})
                for name, facts in (row["columns"] or {}).items()
            },
            "unique": frozenset(frozenset(columns) for columns in row["unique"] or ()),
            **{name: frozenset(row[name] or ()) for name in _SETS},
            **{name: tuple(row[name] or ()) for name in _LISTS},
            "version": connection.info.server_version,
        }
    )


_SETS = ("primary", "indexed", "relations", "unusable_sequences")
_LISTS = ("children", "rules", "unlogged", "foreign", "unusable_functions")
_LISTS_OF_A_COLUMN = ("denied", "sequences", "functions")

_SHAPE = """
WITH wanted AS MATERIALIZED (
    SELECT c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relname = %(table)s
), space AS (
    SELECT oid FROM pg_namespace WHERE nspname = %(schema)s
), indexes AS MATERIALIZED (
    SELECT x.indisprimary, x.indisunique AND x.indimmediate AS distinct_rows,
           ARRAY(SELECT a.attname::text FROM unnest(x.indkey) WITH ORDINALITY k (attnum, position)
                 JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
                 WHERE k.position <= x.indnkeyatts ORDER BY k.position) AS columns
    FROM pg_index x JOIN wanted w ON w.oid = x.indrelid
    WHERE x.indisvalid AND x.indisready AND x.indpred IS NULL AND x.indexprs IS NULL
), policies AS MATERIALIZED (
    SELECT p.polpermissive, p.polcmd, COALESCE(pg_get_expr(p.polqual, p.polrelid), 'true') = 'true' AS shows,
           COALESCE(pg_get_expr(COALESCE(p.polwithcheck, p.polqual), p.polrelid), 'true') = 'true' AS takes
    FROM pg_policy p JOIN wanted w ON w.oid = p.polrelid
    WHERE 0 = ANY(p.polroles) OR EXISTS (SELECT FROM unnest(p.polroles) r WHERE r <> 0 AND pg_has_role(r, 'USAGE'))
), parts AS (
    SELECT oid AS relid FROM wanted WHERE relkind = 'r'
    UNION SELECT t.relid FROM wanted w, pg_partition_tree(w.oid) t WHERE w.relkind = 'p' AND t.isleaf
)
SELECT EXISTS (SELECT FROM space) AS schema_exists, current_user::text AS role, current_database()::text AS database,
       (SELECT oid::bigint FROM wanted) AS oid,
       COALESCE((SELECT relkind::text FROM wanted), 'r') AS kind,
       (SELECT array_agg(format('%%I.%%I', m.nspname, c.relname) ORDER BY 1) FROM parts JOIN pg_class c ON c.oid = relid
        JOIN pg_namespace m ON m.oid = c.relnamespace WHERE c.relpersistence = 'u') AS unlogged,
       (SELECT array_agg(format('%%I.%%I', m.nspname, c.relname) ORDER BY 1) FROM parts JOIN pg_class c ON c.oid = relid
        JOIN pg_namespace m ON m.oid = c.relnamespace WHERE c.relkind = 'f') AS foreign,
       COALESCE((SELECT reloftype <> 0 FROM wanted), false) AS typed,
       COALESCE((SELECT h.inhparent::regclass::text FROM wanted w JOIN pg_inherits h ON h.inhrelid = w.oid
                 WHERE w.relispartition), '') AS part_of,
       (SELECT CASE WHEN relkind NOT IN ('r', 'p', 'm') THEN 0
                    WHEN reltuples >= 0 THEN reltuples ELSE pg_relation_size(oid) / 128 END FROM wanted) AS rows,
       (SELECT jsonb_object_agg(a.attname, jsonb_build_object(
            'type', format_type(a.atttypid, a.atttypmod),
            'not_null', a.attnotnull OR t.typnotnull,
            'has_default', a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL,
            'computes_default', a.attidentity <> '' OR COALESCE(
                (SELECT pg_get_expr(e.adbin, e.adrelid) FROM pg_attrdef e
                 WHERE e.adrelid = w.oid AND e.adnum = a.attnum), t.typdefault) LIKE '%%(%%',
            'generated', a.attgenerated <> '', 'virtual', a.attgenerated = 'v', 'identity', a.attidentity::text,
            'nondeterministic', NOT COALESCE(l.collisdeterministic, true),
            'denied', ARRAY(SELECT p FROM unnest('{SELECT,INSERT,UPDATE}'::text[]) p
                            WHERE NOT has_column_privilege(w.oid, a.attnum, p)),
            'sequences', ARRAY(
                SELECT DISTINCT format('%%I.%%I', m.nspname, s.relname)
                FROM pg_attrdef e JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = e.oid
                     AND d.refclassid = 'pg_class'::regclass
                JOIN pg_class s ON s.oid = d.refobjid JOIN pg_namespace m ON m.oid = s.relnamespace
                WHERE e.adrelid = w.oid AND e.adnum = a.attnum
                AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE, UPDATE') END),
            'functions', ARRAY(
                SELECT DISTINCT d.refobjid::regprocedure::text
                FROM pg_attrdef e JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = e.oid
                     AND d.refclassid = 'pg_proc'::regclass
                WHERE e.adrelid = w.oid AND e.adnum = a.attnum
                AND NOT has_function_privilege(d.refobjid, 'EXECUTE'))))
        FROM wanted w JOIN pg_attribute a ON a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_collation l ON l.oid = a.attcollation
        WHERE w.relkind IN ('r', 'p', 'v', 'm', 'f')) AS columns,
       (SELECT columns FROM indexes WHERE indisprimary) AS primary,
       (SELECT jsonb_agg(columns) FROM indexes WHERE distinct_rows) AS unique,
       (SELECT array_agg(columns[1]) FROM indexes) AS indexed,
       EXISTS (SELECT FROM parts JOIN pg_trigger g ON g.tgrelid = parts.relid
               AND g.tgenabled <> 'D' AND g.tgtype & 3 = 3 AND g.tgtype & 20 <> 0) AS guarded,  -- BEFORE ROW
       (SELECT array_agg(format('%%I.%%I', m.nspname, c.relname) ORDER BY c.relname)
        FROM pg_inherits h JOIN wanted w ON w.oid = h.inhparent JOIN pg_class c ON c.oid = h.inhrelid
        JOIN pg_namespace m ON m.oid = c.relnamespace WHERE w.relkind = 'r') AS children,
       (SELECT array_agg(r.rulename::text ORDER BY 1) FROM pg_rewrite r JOIN wanted w ON w.oid = r.ev_class
        WHERE w.relkind IN ('r', 'p')) AS rules,
       COALESCE((SELECT row_security_active(oid) FROM wanted), false) AND (
            EXISTS (SELECT FROM policies WHERE NOT polpermissive)
            OR NOT EXISTS (SELECT FROM policies WHERE polpermissive AND polcmd IN ('*', 'r') AND shows)
            OR NOT EXISTS (SELECT FROM policies WHERE polpermissive AND polcmd IN ('*', 'a') AND takes)
            OR NOT EXISTS (SELECT FROM policies WHERE polpermissive AND polcmd IN ('*', 'w') AND shows AND takes)
       ) AS hides_rows,
       EXISTS (SELECT FROM policies WHERE NOT polpermissive) AS restricted,
       COALESCE((SELECT relforcerowsecurity FROM wanted), false) AS forced,
       EXISTS (SELECT FROM parts JOIN pg_class c ON c.oid = parts.relid
               WHERE NOT (c.relreplident = 'f' OR EXISTS (
                         SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisvalid
                         AND CASE c.relreplident WHEN 'd' THEN x.indisprimary WHEN 'i' THEN x.indisreplident END))
                 AND EXISTS (SELECT FROM pg_publication p WHERE p.pubupdate AND (
                         p.puballtables
                         OR EXISTS (SELECT FROM pg_publication_namespace s
                                    WHERE s.pnpubid = p.oid AND s.pnnspid = c.relnamespace)
                         OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid
                                    AND r.prrelid IN (SELECT c.oid UNION SELECT pg_partition_ancestors(c.oid)))))
       ) AS unidentified,
       COALESCE((SELECT pg_has_role(relowner, 'USAGE') FROM wanted), true) AS owned,
       COALESCE((SELECT has_table_privilege(oid, 'DELETE') FROM wanted), true) AS deletes,
       COALESCE((SELECT has_schema_privilege(oid, 'USAGE') FROM space), true) AS uses_schema,
       COALESCE((SELECT has_schema_privilege(oid, 'CREATE') FROM space), true) AS creates_in_schema,
       has_database_privilege(current_database(), 'CREATE') AS creates_schemas,
       has_database_privilege(current_database(), 'TEMPORARY') AS creates_temporary,
       (SELECT array_agg(DISTINCT d.refobjid::regprocedure::text) FROM parts JOIN pg_depend d ON
            d.classid = 'pg_constraint'::regclass AND d.objid IN (
                SELECT oid FROM pg_constraint WHERE conrelid = parts.relid AND contype = 'c')
            OR d.classid = 'pg_class'::regclass AND d.objid IN (
                SELECT indexrelid FROM pg_index WHERE indrelid = parts.relid)
        WHERE d.refclassid = 'pg_proc'::regclass
        AND NOT has_function_privilege(d.refobjid, 'EXECUTE')) AS unusable_functions,
       (SELECT array_agg(k.relname::text) FROM pg_class k JOIN space ON space.oid = k.relnamespace
        WHERE starts_with(k.relname::text, left(%(table)s, 50))) AS relations,
       (SELECT array_agg(k.relname::text) FROM pg_class k JOIN space ON space.oid = k.relnamespace
        WHERE starts_with(k.relname::text, left(%(table)s, 50))
        AND CASE WHEN k.relkind = 'S' THEN NOT has_sequence_privilege(k.oid, 'USAGE, UPDATE') END) AS unusable_sequences
"""
"""All attributes of TableShape. A `%` of `format` is doubled for psycopg."""


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


def is_guarded(connection: psycopg.Connection, oid: int) -> bool:
    """`TableShape.guarded`, read after this transaction wrote to the table: its triggers can no longer change."""
    query = """
        SELECT EXISTS (SELECT FROM pg_trigger WHERE tgenabled <> 'D' AND tgtype & 3 = 3 AND tgtype & 20 <> 0
                       AND tgrelid IN (SELECT %(oid)s::oid UNION SELECT relid FROM pg_partition_tree(%(oid)s::oid)))
    """
    return bool(scalar(connection, query, {"oid": oid}))


def rows_written(connection: psycopg.Connection, oid: int) -> tuple[int, int]:
    """Rows inserted into and updated in the table, and its partitions, by this transaction so far."""
    row = connection.execute(
        """
        SELECT COALESCE(sum(pg_stat_get_xact_tuples_inserted(relid)), 0)::bigint,
               COALESCE(sum(pg_stat_get_xact_tuples_updated(relid)), 0)::bigint
        FROM (SELECT %(oid)s::oid AS relid UNION SELECT relid FROM pg_partition_tree(%(oid)s::oid::regclass)) parts
        """,
        {"oid": oid},
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def row_count(connection: psycopg.Connection, schema: str, table: str) -> int:
    """How many rows the table has: counted, or estimated by the planner if there are many."""
    estimate = read_shape(connection, schema, table).rows
    if estimate >= COUNTED_BELOW:
        return round(estimate)
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table))
    return int(scalar(connection, query))
