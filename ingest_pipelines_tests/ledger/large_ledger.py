"""A ledger of years, filled set-wise: 200 imports of very different sizes, with every status that there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import psycopg

NOW = datetime(2026, 11, 22, 9, 15, tzinfo=UTC)

YEARS = timedelta(days=730)
"""The time over which the loads are spread."""

LARGE = ("items", "loads", "rejects", "event_batches", "corrections", "audit")
"""Tables that grow with every load; no statement may read one from end to end."""


@dataclass(frozen=True)
class Import:
    """One import of the ledger.

    Attributes:
        share: of all items, in percent.
        chunks: loads per item.
        rejecting: every n-th load has rejects; 0: none.
        replays: of its rejects, after all its other loads.
        ending: the status of its last items; a twentieth of them.
    """

    name: str
    kind: str
    share: float
    chunks: int = 1
    rejecting: int = 0
    replays: int = 0
    status: str = "committed"
    ending: str = "committed"


IMPORTS = (
    Import("daily", "file", 45, rejecting=40, ending="failed"),
    Import("clean", "file", 10),
    Import("once_rejected", "file", 10, rejecting=-1),
    Import("hourly", "window", 10, rejecting=100),
    Import("drained", "cursor", 3, chunks=5, rejecting=50),
    Import("quiet", "cursor", 4, status="skipped"),
    Import("queried", "query", 2, rejecting=10, ending="refused"),
    Import("replayed", "file", 5, rejecting=20, replays=200),
    Import("down", "file", 1, status="failed", ending="failed"),
    *(Import(f"small_{number}", "file", 10 / 191, rejecting=7) for number in range(191)),
)
"""One has nearly half of all items, most have a thousandth of that. Without rejects: `clean`, `quiet`, `down`;
`once_rejected` has them in its first load only."""


def fill(connection: psycopg.Connection, *, loads: int, rejects: int) -> None:
    """Fills an empty ledger with about as many loads and rejects, and analyzes it."""
    _imports(connection, loads)
    for statement in (_ITEMS, _LOADS, _REPLAYS, _REPLAY_LOADS, _ITEM_STATUS):
        connection.execute(statement, {"now": NOW, "years": YEARS})
    connection.execute(_REJECTS, {"rejects": rejects})
    for statement in (_COUNT_REJECTS, _CORRECTIONS, _RESOLVED, _EVENTS, _CURSORS, _REGISTERED):
        connection.execute(statement)
    connection.execute(_AUDIT, {"entries": loads // 4, "now": NOW, "years": YEARS})
    connection.execute(_WAITING, {"rows": loads, "now": NOW})
    connection.commit()
    connection.execute(
        "ANALYZE ingest.items, ingest.loads, ingest.rejects, ingest.event_batches, ingest.corrections, ingest.audit,"
        " ingest.unmatched"
    )
    connection.commit()


def _imports(connection: psycopg.Connection, loads: int) -> None:
    connection.execute(
        """
        CREATE TEMPORARY TABLE of (name text, kind text, items int, chunks int, rejecting int, replays int, status text,
                                   ending text) ON COMMIT DROP
        """
    )
    total = sum(each.share * each.chunks for each in IMPORTS)
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO of VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    each.name, each.kind, max(4, round(loads * each.share / total)), each.chunks, each.rejecting,
                    min(each.replays, loads // 200), each.status, each.ending,
                )
                for each in IMPORTS
            ],
        )  # fmt: skip


_ITEMS: LiteralString = """
INSERT INTO ingest.items (import, key, kind, uri, path, fingerprint, size, modified_at, serial, window_start,
                          window_end, status, created_at)
SELECT name, to_char(at, 'YYYY-MM-DD"T"HH24-MI-SS') || '_' || n, kind, 'sftp://vendor/' || name,
       CASE kind WHEN 'file' THEN 'in/' || name || '_' || n || '.csv' ELSE '' END, md5(name || n), 1000 + n,
       CASE kind WHEN 'file' THEN at END, CASE kind WHEN 'file' THEN n END,
       CASE kind WHEN 'window' THEN at END, CASE kind WHEN 'window' THEN at + interval '1 hour' END,
       CASE WHEN n > items - items / 20 THEN ending ELSE status END, at
FROM of, generate_series(1, items) n, LATERAL (SELECT %(now)s - %(years)s * (1 - n::float / items) AS at) moment
ORDER BY at
"""
"""Each import's items are spread evenly over the years, so that its rows lie between those of the others."""

_LOADS: LiteralString = """
INSERT INTO ingest.loads (import, item, run_id, by, fingerprint, content_sha256, status, read, inserted, cursor_from,
                          cursor_to, started_at, finished_at, error)
SELECT i.import, i.key, gen_random_uuid()::text, 'sensor', md5('f'), md5(i.key), i.status, 1000,
       CASE i.status WHEN 'committed' THEN 1000 ELSE 0 END, CASE WHEN chunks > 1 AND chunk > 1 THEN chunk::text END,
       CASE i.kind WHEN 'cursor' THEN (chunk + 1)::text END, i.created_at + chunk * interval '1 second',
       i.created_at + chunk * interval '1 second' + interval '30 seconds',
       CASE i.status WHEN 'committed' THEN '' ELSE 'the source did not answer' END
FROM ingest.items i JOIN of ON of.name = i.import, generate_series(1, chunks) chunk
ORDER BY i.created_at, chunk
"""

_REPLAYS: LiteralString = """
INSERT INTO ingest.items (import, key, kind, uri, path, fingerprint, size, modified_at, status, created_at)
SELECT name, to_char(at, 'YYYY-MM-DD"T"HH24-MI-SS') || '_fixed_' || n, 'replay', 'file:///fixed', '/fixed',
       md5('r' || n), 100, at, 'committed', at
FROM of, generate_series(1, replays) n, LATERAL (SELECT %(now)s + n * interval '1 second' AS at) moment
"""

_REPLAY_LOADS: LiteralString = """
INSERT INTO ingest.loads (import, item, run_id, by, status, read, updated, started_at, finished_at)
SELECT import, key, gen_random_uuid()::text, 'ann@desk', 'committed', 10, 10, created_at, created_at
FROM ingest.items WHERE kind = 'replay' ORDER BY created_at
"""

_ITEM_STATUS: LiteralString = """
UPDATE ingest.items SET status = 'new' WHERE (import, key) IN (
    SELECT DISTINCT ON (import) import, key FROM ingest.items WHERE import LIKE 'small%%'
    ORDER BY import, created_at DESC)
"""
"""The newest item of every small import waits for its load."""

_REJECTS: LiteralString = """
WITH rejecting AS (
    SELECT l.id, row_number() OVER (PARTITION BY l.import ORDER BY l.id) AS n, of.rejecting
    FROM ingest.loads l JOIN of ON of.name = l.import WHERE l.by = 'sensor' AND l.status <> 'skipped'
), chosen AS (
    SELECT id, row_number() OVER (ORDER BY id) AS place, count(*) OVER () AS loads FROM rejecting
    WHERE rejecting > 0 AND n %% rejecting = 0 OR rejecting = -1 AND n = 1
)
INSERT INTO ingest.rejects (load, line, key, field, code, reason, row)
SELECT id, line, 'C' || line, 'points', CASE WHEN line %% 10 = 0 THEN 'unmatched' ELSE 'bad_int' END,
       'not a whole number', json_build_object('CID', 'C' || line, 'Points', 'many')
FROM chosen, generate_series(1, CASE WHEN place = loads / 2 THEN %(rejects)s / 10
                                     ELSE 1 + %(rejects)s * 9 / 10 / loads END::int) line
"""
"""A tenth of them in one load, in its middle; the others evenly."""

_COUNT_REJECTS: LiteralString = """
UPDATE ingest.loads l SET rejected = r.rejected, unmatched = r.unmatched, codes = '{"bad_int": 1}'
FROM (SELECT load, count(*) FILTER (WHERE code <> 'unmatched') AS rejected,
             count(*) FILTER (WHERE code = 'unmatched') AS unmatched FROM ingest.rejects GROUP BY load) r
WHERE r.load = l.id
"""

_CORRECTIONS: LiteralString = """
INSERT INTO ingest.corrections (import, item, line, reject_load, reject_line)
SELECT i.import, i.key, line, l.id, line
FROM (SELECT import, key, row_number() OVER (PARTITION BY import ORDER BY created_at) AS n FROM ingest.items
      WHERE kind = 'replay') i
JOIN (SELECT id, import, row_number() OVER (PARTITION BY import ORDER BY id) AS n FROM ingest.loads
      WHERE rejected > 0) l USING (import, n), generate_series(1, 20) line
"""

_RESOLVED: LiteralString = """
UPDATE ingest.rejects r SET resolved_at = now() FROM ingest.corrections c
WHERE r.load = c.reject_load AND r.line = c.reject_line
"""

_EVENTS: LiteralString = """
INSERT INTO ingest.event_batches (load, import, kind, fields, profiles, keys)
SELECT id, import, kind, '{points}', '{1,2,3}', '{C1,C2,C3}'
FROM ingest.loads, unnest('{profile.created,profile.updated}'::text[]) kind WHERE status = 'committed' ORDER BY id
"""

_CURSORS: LiteralString = """
INSERT INTO ingest.cursors (import, value, load, updated_at) SELECT name, '5', 1, now() FROM of WHERE kind = 'cursor'
"""

_REGISTERED: LiteralString = """
INSERT INTO ingest.imports (name, database, fingerprint, mapping, status)
SELECT name, 'customers', 'f', '{}', 'active' FROM of
"""

_AUDIT: LiteralString = """
INSERT INTO ingest.audit (at, who, what, import, item)
SELECT %(now)s - %(years)s * (1 - n::float / %(entries)s), 'ann@desk', 'forced',
       CASE WHEN n %% 1000 = 0 THEN 'small_1' ELSE 'daily' END, 'an item'
FROM generate_series(1, %(entries)s) n
"""

_WAITING: LiteralString = """
INSERT INTO ingest.unmatched (import, target, load, line, match, found_by, fields, kept_until)
SELECT 'points_' || n %% 50, 'crm.customers_' || n %% 50, n, n, '{}', jsonb_build_array('C' || n), '{"points": 7}',
       %(now)s + interval '30 days'
FROM generate_series(1, %(rows)s) n
"""
"""Rows that wait for their customers: of fifty imports, each into a table of its own."""


def named(names: Sequence[str]) -> list[Import]:
    """The imports with these names."""
    return [each for each in IMPORTS if each.name in names]
