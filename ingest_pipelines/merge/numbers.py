"""Whether the sequence that numbers profiles is ahead of every number given.

A sequence is no part of its table: logical replication leaves it behind, and so do copies of the rows alone, and a
TRUNCATE of another table that shares it. Its next numbers are then those of known profiles, and consents and events of
two customers become one's.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from ingest_pipelines.merge.names import PROFILE_ID
from ingest_pipelines.merge.shape import TableShape
from ingest_pipelines.merge.target import scalar


@dataclass(frozen=True)
class Behind:
    """A sequence that will give numbers again.

    Attributes:
        sequence: its name.
        highest: the highest number of a profile.
    """

    sequence: sql.Identifier
    highest: int


@dataclass(frozen=True)
class _Sequence:
    """What the catalog says.

    Attributes:
        last: the number given last; None before the first, or where the role may not know.
        readable, usable: the role may read it, or take numbers from it.
        at_least: a number that some profile had when statistics were taken, or how many profiles there are.
        unknown: there are no statistics yet.
    """

    schema: str
    name: str
    step: int
    last: int | None
    readable: bool
    usable: bool
    at_least: int
    unknown: bool


def find_behind(connection: psycopg.Connection, table: sql.Identifier, shape: TableShape) -> Behind | None:
    """The sequence behind `profile_id`, if it will give the number of a known profile; None if it is well.

    Reads the table only where that is cheap or there is a suspicion: with an index on the column, without statistics,
    or where these show higher numbers than the sequence will give. Without any of them a sequence that is behind only
    by what was added since the last ANALYZE is not noticed.
    """
    with connection.cursor(row_factory=class_row(_Sequence)) as cursor:
        found = cursor.execute(_SEQUENCE, {"oid": shape.oid, "column": PROFILE_ID}).fetchone()
    if found is None or found.step < 1:
        return None
    sequence = sql.Identifier(found.schema, found.name)
    if found.last is not None:
        following = found.last + found.step
    elif found.readable:
        following = scalar(connection, sql.SQL("SELECT last_value FROM {}").format(sequence))
    elif found.usable:  # the number is lost, once: from now on there is a last one
        following = scalar(connection, "SELECT nextval(%s)", (sequence.as_string(),))
    else:
        return None
    if not (PROFILE_ID in shape.indexed or found.unknown or following <= found.at_least):
        return None
    highest = scalar(connection, sql.SQL("SELECT max({}) FROM {}").format(sql.Identifier(PROFILE_ID), table))
    if highest is None or following > highest:
        return None
    return Behind(sequence, highest)


_SEQUENCE = """
WITH numbers AS (
    SELECT d.objid AS oid FROM pg_attribute a JOIN pg_depend d
           ON d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.refclassid = 'pg_class'::regclass
    WHERE a.attrelid = %(oid)s AND a.attname = %(column)s AND d.classid = 'pg_class'::regclass AND d.deptype = 'i'
    UNION
    SELECT d.refobjid FROM pg_attribute a JOIN pg_attrdef e ON e.adrelid = a.attrelid AND e.adnum = a.attnum
           JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = e.oid
    WHERE a.attrelid = %(oid)s AND a.attname = %(column)s AND d.refclassid = 'pg_class'::regclass
    AND pg_get_expr(e.adbin, e.adrelid) ~ '^nextval\\(''.*''::regclass\\)$'
)
SELECT n.nspname::text AS schema, c.relname::text AS name, q.seqincrement AS step,
       CASE WHEN has_sequence_privilege(c.oid, 'USAGE, SELECT') THEN pg_sequence_last_value(c.oid) END AS last,
       has_sequence_privilege(c.oid, 'SELECT') AS readable, has_sequence_privilege(c.oid, 'USAGE, UPDATE') AS usable,
       (SELECT greatest(
            (SELECT max((p.histogram_bounds::text::bigint[])[array_length(p.histogram_bounds::text::bigint[], 1)])
             FROM pg_stats p JOIN pg_namespace m ON m.nspname = p.schemaname
             WHERE m.oid = t.relnamespace AND p.tablename = t.relname AND p.attname = %(column)s),
            (SELECT sum(greatest(k.reltuples, 0)) FROM pg_class k WHERE k.oid IN (
                SELECT t.oid UNION SELECT relid FROM pg_partition_tree(t.oid) WHERE isleaf)))::bigint
        FROM pg_class t WHERE t.oid = %(oid)s) AS at_least,
       (SELECT t.relkind = 'r' AND t.reltuples < 0 FROM pg_class t WHERE t.oid = %(oid)s) AS unknown
FROM numbers JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace
     JOIN pg_sequence q ON q.seqrelid = c.oid
"""
