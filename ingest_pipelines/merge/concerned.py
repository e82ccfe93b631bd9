"""The objects that a target's error is about, by their names in the catalog, and the privileges that a role lacks.

No text of the error is used. A trigger may claim any name (`RAISE ... USING CONSTRAINT = NEW.email`), so a name is
printed only if the catalog has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import Error
from psycopg.errors import CheckViolation

from ingest_pipelines.errors import printable


def concerned(connection: psycopg.Connection, error: Error) -> str:
    """The table, column, constraint and function that the error is about; "" if the catalog has none of them.

    Args:
        connection: outside of a failed transaction.
    """
    diag = error.diag
    named = (diag.schema_name, diag.table_name, diag.column_name, diag.datatype_name, diag.constraint_name)
    parts = [] if not any(named) else _relation(connection, error) + _domain(connection, error)
    if diag.context:
        parts += _function(connection, diag.context)
    return ", ".join(parts)


def _relation(connection: psycopg.Connection, error: Error) -> list[str]:
    diag = error.diag
    row = connection.execute(
        """
        SELECT n.nspname, c.relname,
               (SELECT attname FROM pg_attribute
                WHERE attrelid = c.oid AND attname = %(column)s AND attnum > 0 AND NOT attisdropped),
               COALESCE((SELECT conname FROM pg_constraint WHERE conrelid = c.oid AND conname = %(constraint)s LIMIT 1),
                        (SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
                         WHERE x.indrelid = c.oid AND i.relname = %(constraint)s)),
               CASE WHEN c.relkind = 'p' THEN 'no partition takes a row'
                    WHEN c.relispartition THEN 'a row belongs into another partition' END
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %(schema)s AND c.relname = %(table)s
        """,
        {
            "schema": diag.schema_name, "table": diag.table_name, "column": diag.column_name,
            "constraint": diag.constraint_name,
        },
    ).fetchone()  # fmt: skip
    if row is None:
        return []
    schema, table, column, constraint, misplaced = row
    named = [f"{what} {printable(name)}" for what, name in (("constraint", constraint), ("column", column)) if name]
    if misplaced and isinstance(error, CheckViolation) and not diag.constraint_name and not _of_a_function(error):
        named.append(misplaced)
    return [*named, f"table {printable(schema)}.{printable(table)}"]


def about_fields(connection: psycopg.Connection, error: Error) -> list[str]:
    """The columns that the error is about: its column, or those of its constraint, as the catalog has them."""
    diag = error.diag
    rows = connection.execute(
        """
        SELECT a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND (
            a.attname = %(column)s
            OR EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.conname = %(constraint)s
                       AND a.attnum = ANY(k.conkey))
            OR EXISTS (SELECT FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
                       WHERE x.indrelid = c.oid AND i.relname = %(constraint)s AND a.attnum = ANY(x.indkey)))
        ORDER BY a.attnum
        """,
        {
            "schema": diag.schema_name, "table": diag.table_name, "column": diag.column_name,
            "constraint": diag.constraint_name,
        },
    ).fetchall()  # fmt: skip
    return [name for (name,) in rows]


def _of_a_function(error: Error) -> bool:
    """Whether a function raised the error. A COPY has a context, too."""
    return not (error.diag.context or "COPY").startswith("COPY")


def _domain(connection: psycopg.Connection, error: Error) -> list[str]:
    diag = error.diag
    if not diag.datatype_name:
        return []
    row = connection.execute(
        """
        SELECT n.nspname, t.typname,
               (SELECT conname FROM pg_constraint WHERE contypid = t.oid AND conname = %(constraint)s LIMIT 1)
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE n.nspname = %(schema)s AND t.typname = %(type)s
        """,
        {"schema": diag.schema_name, "type": diag.datatype_name, "constraint": diag.constraint_name},
    ).fetchone()
    if row is None:
        return []
    schema, name, constraint = row
    return [
        *([f"constraint {printable(constraint)}"] if constraint else []),
        f"type {printable(schema)}.{printable(name)}",
    ]


def _function(connection: psycopg.Connection, context: str) -> list[str]:
    """The innermost function whose signature the context has; the context itself may hold values."""
    signatures = connection.execute(
        """
        SELECT p.oid::regprocedure::text
        FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE l.lanname NOT IN ('c', 'internal') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
        """
    ).fetchall()
    positions = {signature: context.find(signature) for (signature,) in signatures}
    named = [signature for signature, position in positions.items() if position >= 0]
    if not named:
        return []
    innermost = min(named, key=lambda signature: (positions[signature], -len(signature)))
    return [f"function {printable(innermost)}"]


def missing_grants(connection: psycopg.Connection, schema: str = "", tables: Sequence[str] = ()) -> str:
    """The statements that grant this role the privileges that a load needs; "" if it lacks none.

    Args:
        connection: outside of a failed transaction.
        schema, tables: the import's target table and those beside it; without them, of the ledger only.
    """
    rows = connection.execute(_MISSING, {"schema": schema, "tables": list(tables)}).fetchall()
    return "; ".join(statement for (statement,) in rows)


_MISSING = """
    WITH wanted AS (SELECT DISTINCT name FROM unnest(ARRAY['ingest', NULLIF(%(schema)s, '')]) name WHERE name <> ''),
         present AS (SELECT n.oid, n.nspname, n.nspname = 'ingest' AS ledger
                     FROM wanted JOIN pg_namespace n ON n.nspname = wanted.name),
         relations AS (
             SELECT c.oid, c.relname, c.relkind, n.nspname, n.ledger,
                    has_table_privilege(c.oid, 'SELECT') AS reads, has_table_privilege(c.oid, 'INSERT') AS inserts,
                    has_table_privilege(c.oid, 'UPDATE') OR c.relname = 'audit' AND ledger AS updates,
                    has_table_privilege(c.oid, 'DELETE') OR c.relname = 'audit' OR NOT ledger AS deletes
             FROM present n JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p')
             WHERE n.ledger AND c.relname <> 'alembic_version' OR NOT n.ledger AND c.relname = ANY(%(tables)s)),
         lacking (place, statement) AS (
             SELECT 1, format('GRANT CREATE ON DATABASE %%I TO %%I', current_database(), current_user)
             WHERE NOT has_database_privilege(current_database(), 'CREATE')
               AND EXISTS (SELECT FROM wanted WHERE name NOT IN (SELECT nspname FROM present))
             UNION ALL
             SELECT 2, format('GRANT TEMPORARY ON DATABASE %%I TO %%I', current_database(), current_user)
             WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')
             UNION ALL
             SELECT 3, format('GRANT USAGE ON SCHEMA %%I TO %%I', nspname, current_user)
             FROM present WHERE NOT has_schema_privilege(oid, 'USAGE')
             UNION ALL
             SELECT 4, format('GRANT CREATE ON SCHEMA %%I TO %%I', nspname, current_user)
             FROM present WHERE NOT has_schema_privilege(oid, 'CREATE') AND NOT EXISTS (
                 SELECT FROM pg_class c WHERE c.relnamespace = present.oid AND c.relname = CASE
                     WHEN ledger THEN 'alembic_version' ELSE (%(tables)s::text[])[1] END)
             UNION ALL
             SELECT 5, format('GRANT %%s ON TABLE %%I.%%I TO %%I',
                    concat_ws(', ', CASE WHEN NOT reads THEN 'SELECT' END, CASE WHEN NOT inserts THEN 'INSERT' END,
                              CASE WHEN NOT updates THEN 'UPDATE' END, CASE WHEN NOT deletes THEN 'DELETE' END),
                    nspname, relname, current_user)
             FROM relations WHERE NOT (reads AND inserts AND updates AND deletes)
             UNION ALL
             SELECT 6, format('GRANT USAGE ON SEQUENCE %%I.%%I TO %%I', n.nspname, s.relname, current_user)
             FROM relations r JOIN pg_depend d ON d.refobjid = r.oid AND d.classid = 'pg_class'::regclass
                  AND d.deptype = 'a'  -- a serial's; an identity's needs no privilege
             JOIN pg_class s ON s.oid = d.objid JOIN pg_namespace n ON n.oid = s.relnamespace
             WHERE CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE') ELSE false END)
    SELECT statement FROM lacking ORDER BY place, statement
"""
