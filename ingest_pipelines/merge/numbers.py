"""Checks that the sequence that numbers profiles is ahead of every number in use.

A sequence is not part of its table: it falls behind after logical replication, after a copy of the rows alone, and
after a TRUNCATE of another table that shares it. Its next numbers then belong to existing profiles, and the consents
and events of two customers become one customer's.
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
    """A sequence that is behind the numbers in use.

    Attributes:
        sequence: its name.
        highest: the highest number of a profile.
    """

    sequence: sql.Identifier
    highest: int


@dataclass(frozen=True)
class _Sequence:
    """A sequence, as the catalog describes it.

    Attributes:
        last: the last number given; None before the first, and where the role may not read it.
        readable, usable: the role may read it, or take numbers from it.
        at_least: the highest number in the statistics, or the number of profiles if that is greater.
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
    """The sequence of `profile_id`, if it will give a number that a profile has; else None.

    Reads the table only where that is cheap or the sequence is suspect: with an index on the column, without
    statistics, and where the statistics show higher numbers than the sequence will give next. Otherwise a sequence that
    fell behind after the last ANALYZE is not noticed.
    """
    numbering = _sequence_of(connection, shape)
    following = None if numbering is None else _following(connection, numbering)
    if numbering is None or following is None:
        return None
    if not (PROFILE_ID in shape.indexed or numbering.unknown or following <= numbering.at_least):
        return None
    highest = scalar(connection, sql.SQL("SELECT max({}) FROM {}").format(sql.Identifier(PROFILE_ID), table))
    if highest is None or following > highest:
        return None
    # Another application may have added profiles since the sequence was read: it is read again, behind the table.
    numbering = _sequence_of(connection, shape)
    following = None if numbering is None else _following(connection, numbering)
    if numbering is None or following is None or following > highest:
        return None
    return Behind(sql.Identifier(numbering.schema, numbering.name), highest)


def _sequence_of(connection: psycopg.Connection, shape: TableShape) -> _Sequence | None:
    with connection.cursor(row_factory=class_row(_Sequence)) as cursor:
        numbering = cursor.execute(_SEQUENCE, {"oid": shape.oid, "column": PROFILE_ID}).fetchone()
    return None if numbering is None or numbering.step < 1 else numbering


def _following(connection: psycopg.Connection, numbering: _Sequence) -> int | None:
    """The number that the sequence gives next; None: the role may not ask."""
    sequence = sql.Identifier(numbering.schema, numbering.name)
    if numbering.last is not None:
        return numbering.last + numbering.step
    following: int | None = None
    if numbering.readable:
        following = scalar(connection, sql.SQL("SELECT last_value FROM {}").format(sequence))
    elif numbering.usable:  # the number is lost, once: from now on there is a last one
        following = scalar(connection, "SELECT nextval(%s)", (sequence.as_string(),))
    return following


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
