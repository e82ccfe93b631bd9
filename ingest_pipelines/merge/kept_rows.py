"""Rows without a profile that an import keeps (`unmatched`): they wait in `ingest.unmatched`. Pure builders.

A row waits with the values that its import finds profiles by, and with the fields that it would have written. Of a
customer's rows each field waits once: a later row of the import takes its fields out of the earlier ones.
`healing` applies them.
"""

from __future__ import annotations

from psycopg import sql
from psycopg.types.json import Jsonb

from ingest_pipelines.merge.changes import Changes
from ingest_pipelines.merge.match_modes import matched_contacts, profile_lookups
from ingest_pipelines.merge.stage import Stage, StageColumn
from ingest_pipelines.merge.versions import is_older_text, version_column_of
from ingest_pipelines.model import LINE

CREATE_KEPT = sql.SQL(
    "CREATE TEMPORARY TABLE ingest_kept (line bigint, found_by jsonb, version text, fields jsonb) ON COMMIT DROP"
)
"""The rows without a profile of one load, on their way into `ingest.unmatched`."""


def target_of(stage: Stage) -> str:
    """The name under which rows wait for profiles of the stage's target."""
    return ".".join(stage.bound.database.schema_and_table)


def match_of(changes: Changes) -> Jsonb:
    """What finds the profile of a row that waits, and which fields it may bring; its import's YAML may change."""
    stage, version = changes.stage, version_column_of(changes.stage)
    lookups = [
        {"fields": list(lookup.fields), "channels": list(lookup.channels), "folded": lookup.folded}
        for lookup in profile_lookups(stage)
    ] or [{"fields": [stage.bound.database.key], "channels": [], "folded": False}]
    return Jsonb(
        {
            "lookups": lookups,
            "fields": [column.into for column in changes.written],
            "contacts": sorted(matched_contacts(stage)),
            "version": None if version is None or version.name == stage.bound.database.key else version.into,
            "events": stage.bound.spec.events,
        }
    )


def keep(changes: Changes) -> sql.Composed:
    """Puts rows of the stage that have no profile into `ingest_kept`, those of customers who wait already first.

    Parameters: `import`, `target`, `most`. A row that would write nothing is not kept.
    """
    stage, version = changes.stage, version_column_of(changes.stage)
    values = [lookup.value for lookup in profile_lookups(stage)] or [stage.key]
    found_by = sql.SQL("jsonb_build_array({})").format(
        sql.SQL(", ").join(sql.SQL("to_jsonb({})").format(value) for value in values)
    )
    return sql.SQL(
        """
        INSERT INTO ingest_kept
        SELECT k.* FROM (
            SELECT s.{line} AS line, {found_by} AS found_by, {version} AS version, {fields} AS fields
            FROM ingest_stage AS s
            WHERE NOT EXISTS (SELECT FROM {target} WHERE {on_key}) AND num_nonnulls({values}) > 0
        ) k
        WHERE k.fields <> '{{}}'
        ORDER BY EXISTS (SELECT FROM ingest.unmatched w WHERE {same}) DESC, k.line
        LIMIT %(most)s + 1
        """
    ).format(
        line=sql.Identifier(LINE), found_by=found_by, fields=_fields(changes), target=changes.target,
        on_key=changes.on_key, values=sql.SQL(", ").join(values), same=_SAME,
        version=sql.SQL("NULL::text") if version is None else sql.SQL("{}::text").format(version.value),
    )  # fmt: skip


def _fields(changes: Changes) -> sql.Composed:
    """The row's fields as JSON, without those that it does not change: empty ones that must not clear."""
    columns = changes.written
    row = sql.SQL("(SELECT to_jsonb(f) FROM (SELECT {}) f)").format(
        sql.SQL(", ").join(sql.SQL("{} AS {}").format(column.value, sql.Identifier(column.into)) for column in columns)
    )
    keeping = [column for column in columns if changes.keeps(column)]
    if not keeping:
        return row
    return sql.SQL("{} - array_remove(ARRAY[{}]::text[], NULL)").format(
        row, sql.SQL(", ").join(_if_empty(column) for column in keeping)
    )


def _if_empty(column: StageColumn) -> sql.Composed:
    return sql.SQL("CASE WHEN {} IS NULL THEN {} END").format(column.value, sql.Literal(column.into))


_SAME = sql.SQL("w.import = %(import)s AND w.target = %(target)s AND w.found_by = k.found_by")

END_EXPIRED = sql.SQL("DELETE FROM ingest.unmatched WHERE import = %(import)s AND kept_until < %(now)s")
"""Deletes the import's rows whose time is over."""

DROP_OLDER = sql.SQL(
    "DELETE FROM ingest_kept k USING ingest.unmatched w WHERE {} AND w.version IS NOT NULL AND {}"
).format(_SAME, is_older_text(sql.SQL("k.version"), sql.SQL("w.version")))
"""Leaves out rows with an older version than one that waits for the same customer."""

STORE = sql.SQL(
    """
    WITH known AS MATERIALIZED (
        SELECT k.*, w.fields IS NOT NULL AS waits, COALESCE(w.fields || k.fields = w.fields, false) AS same
        FROM ingest_kept k LEFT JOIN LATERAL (
            SELECT jsonb_object_agg(e.key, e.value) AS fields
            FROM ingest.unmatched w CROSS JOIN LATERAL jsonb_each(w.fields) e WHERE {same}
        ) w ON true
    ), room AS MATERIALIZED (
        SELECT %(most)s - count(DISTINCT found_by) AS rows FROM ingest.unmatched
        WHERE import = %(import)s AND target = %(target)s
    ), stored AS (
        INSERT INTO ingest.unmatched (import, target, load, line, match, found_by, version, fields, kept_until)
        SELECT %(import)s, %(target)s, %(load)s, line, %(match)s, found_by, version, fields, %(until)s
        FROM (SELECT *, row_number() OVER (PARTITION BY waits ORDER BY line) AS place FROM known) p
        WHERE waits OR place <= (SELECT rows FROM room)
        RETURNING found_by
    )
    SELECT count(*), count(*) FILTER (WHERE NOT k.same), count(*) < (SELECT count(*) FROM known)
    FROM stored JOIN known k USING (found_by)
    """
).format(same=_SAME)
"""Moves `ingest_kept` into the ledger.

Returns how many rows wait there, how many of them bring something new, and whether there were more than may wait.

Parameters: `import`, `target`, `load`, `match`, `until`, `most`: so many customers may wait.
"""

_EARLIER = sql.SQL(
    "w.import = %(import)s AND w.target = %(target)s AND w.found_by = n.found_by AND w.load <> %(load)s"
    " AND n.import = w.import AND n.target = w.target AND n.load = %(load)s"
)

DELETE_REPLACED = sql.SQL(
    "DELETE FROM ingest.unmatched w USING ingest.unmatched n WHERE {}"
    " AND w.fields - ARRAY(SELECT jsonb_object_keys(n.fields)) = '{{}}'"
).format(_EARLIER)
"""Deletes rows all of whose fields a later row of the same customer brings."""

TRIM_REPLACED = sql.SQL(
    "UPDATE ingest.unmatched w SET fields = w.fields - ARRAY(SELECT jsonb_object_keys(n.fields))"
    " FROM ingest.unmatched n WHERE {} AND w.fields ?| ARRAY(SELECT jsonb_object_keys(n.fields))"
).format(_EARLIER)
"""Takes the fields that a later row brings out of the earlier rows of the same customer."""
