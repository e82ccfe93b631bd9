"""The outbox: events of the profiles that a load created and updated. Pure builders; `write_steps` executes them.

A million events as a million rows would cost half of the merge again. Profiles that changed in the same fields share
a row of `ingest.event_batches`, as arrays that Postgres must not compress (that alone would take three times as long);
the view `ingest.events` shows one event per profile.
"""

from __future__ import annotations

from psycopg import sql

from ingest_pipelines.ledger.events import BATCH
from ingest_pipelines.merge.changes import Changes

CHANNEL = "ingest_events"
"""Postgres channel that a committed load with events notifies: {"load", "import", "database", "created", "updated",
"deleted"}."""

OUTBOX_LOCK = 6_148_914_691_236_517_205
"""Advisory lock from the first event to the commit: events are numbered in the order of commits, across tables, so that
a reader who continues after the last number misses none."""

_TOGETHER = sql.Literal(BATCH)

_IMPORT = sql.SQL("(SELECT import FROM ingest.loads WHERE id = %(load)s)")


def write_events(changes: Changes) -> sql.Composed:
    """Events of profiles that the MERGE wrote; parameter `load`. A write that changed only a version makes no event."""
    changed = sql.SQL(" OR ").join(sql.SQL("{} <> 0").format(sql.Identifier(mask)) for mask in changes.masks)
    masks = sql.SQL(", ").join(sql.Identifier(mask) for mask in changes.masks)
    return sql.SQL(
        """
        INSERT INTO ingest.event_batches (load, import, kind, fields, profiles, keys)
        SELECT %(load)s, {of}, CASE WHEN created THEN 'profile.created' ELSE 'profile.updated' END,
               CASE WHEN created THEN '{{}}' ELSE {fields} END, array_agg(profile_id), array_agg(key::text)
        FROM ingest_written WHERE created OR {changed}
        GROUP BY created, profile_id / {together}, {masks}
        """
    ).format(of=_IMPORT, fields=changes.changed(), together=_TOGETHER, masks=masks, changed=changed)


def write_events_with_consents(changes: Changes) -> sql.Composed:
    """Events of profiles of which fields or consent records changed; parameter `load`.

    A profile has one event, whether its fields changed, its subscriptions or both. The event of a new profile includes
    its subscriptions.
    """
    return sql.SQL(
        """
        INSERT INTO ingest.event_batches (load, import, kind, fields, profiles, keys)
        SELECT %(load)s, {of}, CASE WHEN created THEN 'profile.created' ELSE 'profile.updated' END, fields,
               array_agg(profile_id), array_agg(key)
        FROM (
            SELECT COALESCE(w.created, false) AS created, profile_id, COALESCE(w.key::text, c.key) AS key,
                   CASE WHEN w.created THEN '{{}}' ELSE {fields} || COALESCE(c.fields, '{{}}') END AS fields
            FROM ingest_written w FULL JOIN (
                SELECT profile_id, key, array_agg(DISTINCT 'subscription:' || subscription) AS fields
                FROM ingest_consents GROUP BY profile_id, key
            ) c USING (profile_id)
        ) changed
        WHERE created OR fields <> '{{}}' GROUP BY created, fields, profile_id / {together}
        """
    ).format(of=_IMPORT, fields=changes.changed(), together=_TOGETHER)


CREATE_CREATED = sql.SQL(
    "CREATE TEMPORARY TABLE ingest_created (profiles bigint[], keys text[]) ON COMMIT DROP; "
    "ALTER TABLE ingest_created ALTER profiles SET STORAGE EXTERNAL, ALTER keys SET STORAGE EXTERNAL"
)
"""Profiles that were copied into the target, in the batches of their events, uncompressed."""

WRITE_CREATED_EVENTS = sql.SQL(
    "INSERT INTO ingest.event_batches (load, import, kind, fields, profiles, keys) "
    "SELECT %(load)s, {of}, 'profile.created', '{{}}', profiles, keys FROM ingest_created"
).format(of=_IMPORT)
"""Events of profiles that were copied; parameter `load`."""

WRITE_GONE_EVENTS = sql.SQL(
    """
    INSERT INTO ingest.event_batches (load, import, kind, fields, profiles, keys)
    SELECT %(load)s, {of}, CASE WHEN deleted THEN 'profile.deleted' ELSE 'profile.updated' END,
           CASE WHEN deleted THEN '{{}}' ELSE %(fields)s::text[] END, array_agg(profile_id), array_agg(key)
    FROM ingest_gone GROUP BY deleted, profile_id / {together}
    """
).format(of=_IMPORT, together=_TOGETHER)
"""Events of profiles that were deleted, or marked because a full file has them no longer.

Parameters: `load`, and the `fields` that were set.
"""

WRITE_HEALED_EVENTS = sql.SQL(
    """
    WITH written AS (
        INSERT INTO ingest.event_batches (load, import, kind, fields, profiles, keys)
        SELECT %(load)s, import, 'profile.updated', fields, array_agg(profile_id), array_agg(key)
        FROM ingest_healed WHERE import IS NOT NULL GROUP BY import, fields, profile_id / {}
        RETURNING import, cardinality(profiles) AS profiles
    )
    SELECT import, sum(profiles)::bigint FROM written GROUP BY import ORDER BY import
    """
).format(_TOGETHER)
"""Events of profiles to which rows that waited were applied; parameter `load`. Returns how many, by import."""
