"""The outbox: which profiles a load created and updated, for whoever acts on that. Pure builders, run in `apply`.

A million events as a million rows would cost half of the merge again. Profiles that changed in the same fields share
a row of `ingest.event_batches`; the view `ingest.events` shows one event per profile.
"""

from __future__ import annotations

from psycopg import sql

from ingest_pipelines.ledger.events import BATCH
from ingest_pipelines.merge.changes import Changes

CHANNEL = "ingest_events"
"""Postgres channel that a committed load with events notifies: {"load", "import", "database", "created", "updated"}."""

OUTBOX_LOCK = 6_148_914_691_236_517_205
"""Advisory lock from the first event to the commit: events are numbered in the order of commits, whatever their tables,
so that a reader who remembers the last number misses none."""

_TOGETHER = sql.Literal(BATCH)


WRITTEN, TOLD = sql.Identifier("ingest_written"), sql.Identifier("ingest_told")
"""Temporary tables of a load: every profile that was written, or those profiles already grouped into batches."""

COUNT_TOLD = """
SELECT COALESCE(sum(cardinality(profiles)) FILTER (WHERE created), 0)::bigint,
       COALESCE(sum(cardinality(profiles)) FILTER (WHERE NOT created), 0)::bigint
FROM ingest_told
"""
"""How many profiles were created, and how many updated."""


def grouped(changes: Changes, written: sql.Composable) -> sql.Composed:
    """The profiles of `written` in batches of those that were created, or that changed in the same fields."""
    masks = _masks(changes)
    return sql.SQL(
        "SELECT created{masks}, array_agg(profile_id) AS profiles, array_agg(key::text) AS keys "
        "FROM {written} GROUP BY created, profile_id / {together}{masks}"
    ).format(masks=masks, written=written, together=_TOGETHER)


def write_events(changes: Changes, *, told: bool) -> sql.Composed:
    """Events of profiles that were written; parameter `load`. A write that only moved a version is no event.

    Args:
        told: they are grouped in `ingest_told`; else they stand one by one in `ingest_written`.
    """
    changed = sql.SQL("").join(sql.SQL(" OR {} <> 0").format(sql.Identifier(mask)) for mask in changes.masks)
    return sql.SQL(
        """
        INSERT INTO ingest.event_batches (load, kind, fields, profiles, keys)
        SELECT %(load)s, CASE WHEN created THEN 'profile.created' ELSE 'profile.updated' END,
               CASE WHEN created THEN '{{}}' ELSE {fields} END, profiles, keys
        FROM {batches} WHERE created{changed}
        """
    ).format(
        fields=changes.changed(), changed=changed,
        batches=TOLD if told else sql.SQL("({}) AS batches").format(grouped(changes, WRITTEN)),
    )  # fmt: skip


def _masks(changes: Changes) -> sql.Composed:
    return sql.SQL("").join(sql.SQL(", {}").format(sql.Identifier(mask)) for mask in changes.masks)


WRITE_CONSENT_EVENTS = sql.SQL(
    """
    INSERT INTO ingest.event_batches (load, kind, fields, profiles, keys)
    SELECT %(load)s, 'profile.updated', fields, array_agg(profile_id), array_agg(key)
    FROM (SELECT profile_id, key, array_agg(DISTINCT 'subscription:' || subscription) AS fields
          FROM ingest_consents c WHERE NOT EXISTS (
              SELECT FROM ingest_written w WHERE w.created AND w.profile_id = c.profile_id)
          GROUP BY profile_id, key) changed
    GROUP BY fields, profile_id / {}
    """
).format(_TOGETHER)
"""Events of profiles whose subscriptions changed; parameter `load`. Those of a new profile are part of its creation."""
