"""`ingest.loads`: one row per attempt to load an item, or per chunk of a drain.

Queries for an import's newest loads say `import = (SELECT %s)`, so that Postgres plans for one of usual size. With
`import = %s` it would look through the loads of all imports for one that has most of them, which is slow if the wanted
ones are old or few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Json, Jsonb

from ingest_pipelines.model import Counts, Item, ItemKey, LoadReport, LoadStatus, Run

_COLUMNS = sql.SQL(
    "id, import AS import_name, item, run_id, attempt, by, forced, fingerprint, content_sha256, status, read, inserted,"
    " updated, unchanged, unmatched, skipped, rejected, codes, cleaned, new_columns, ddl, warnings, seconds,"
    " cursor_from, cursor_to, started_at, finished_at, error, suppressed, deleted, absent, kept, healed"
)


@dataclass(frozen=True)
class Load:
    """A row of `ingest.loads`.

    Attributes:
        item: the item's key.
        fingerprint: of the mapping that the rows were validated with.
        codes: rejected rows per rule code.
        cleaned: field -> word of `clean`, or key such as `map` -> how many cells it changed.
        new_columns: columns that no committed item of the import had before, and that nothing reads.
        suppressed: those of the skipped rows that are of people who were forgotten.
        deleted: profiles that a list of keys deleted. absent: profiles that a full file had no longer.
        kept, healed: see LoadReport.
        error: why the load is not `committed`, else "".
    """

    id: int
    import_name: str
    item: ItemKey
    run_id: str
    attempt: int
    by: str
    forced: bool
    fingerprint: str
    content_sha256: str
    status: LoadStatus
    read: int
    inserted: int
    updated: int
    unchanged: int
    unmatched: int
    skipped: int
    rejected: int
    codes: Mapping[str, int]
    ddl: Sequence[str]
    warnings: Sequence[str]
    seconds: Mapping[str, float]
    cursor_from: str | None
    cursor_to: str | None
    started_at: datetime
    finished_at: datetime | None
    error: str
    cleaned: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    new_columns: Sequence[str] = ()
    suppressed: int = 0
    deleted: int = 0
    absent: int = 0
    kept: int = 0
    healed: int = 0

    @property
    def counts(self) -> Counts:
        """The outcome of the load's rows."""
        return Counts(
            self.read,
            self.inserted,
            self.updated,
            self.unchanged,
            self.unmatched,
            self.skipped,
            self.rejected,
            self.deleted,
        )

    @property
    def report(self) -> LoadReport:
        """The load as a report, without samples: the ledger does not keep them."""
        return LoadReport(
            import_name=self.import_name, item_key=self.item, load_id=self.id, status=self.status, counts=self.counts,
            reason=self.error, ddl=tuple(self.ddl), codes=self.codes, warnings=tuple(self.warnings),
            seconds=self.seconds, cursor_to=self.cursor_to, cleaned=self.cleaned, suppressed=self.suppressed,
            absent=self.absent,
            kept=self.kept, healed=self.healed,
        )  # fmt: skip


@dataclass(frozen=True)
class Delivery:
    """The counts of one committed item."""

    item: ItemKey
    run_id: str
    read: int
    rejected: int
    finished_at: datetime


@dataclass(frozen=True)
class NewLoad:
    """The values of a load's row when it is opened."""

    item: Item
    run: Run
    started_at: datetime
    status: LoadStatus = "running"
    content_sha256: str = ""
    fingerprint: str = ""
    cursor_to: str | None = None


@dataclass(frozen=True)
class LoadOutcome:
    """The values of a load's row when it is closed."""

    status: LoadStatus
    counts: Counts
    finished_at: datetime
    error: str = ""
    codes: Mapping[str, int] = field(default_factory=dict)
    ddl: Sequence[str] = ()
    warnings: Sequence[str] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    cleaned: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    new_columns: Sequence[str] = ()
    suppressed: int = 0
    absent: int = 0
    kept: int = 0
    healed: int = 0


@dataclass(frozen=True)
class CommittedItem:
    """A committed load and its item's place in order. Replays are left out: they only bring corrections."""

    load: int
    item: ItemKey
    content_sha256: str
    fingerprint: str
    read: int
    modified_at: datetime | None
    serial: int | None
    finished_at: datetime


@dataclass(frozen=True)
class ImportSummary:
    """An import's last load and last committed load, for `ingest status`. Replays are left out.

    Attributes:
        cleaned: of the last load; see Load.
    """

    import_name: str
    load: int
    item: ItemKey
    status: LoadStatus
    read: int
    inserted: int
    updated: int
    unchanged: int
    unmatched: int
    skipped: int
    rejected: int
    started_at: datetime
    finished_at: datetime | None
    error: str
    committed_at: datetime | None
    run_id: str = ""
    deleted: int = 0
    absent: int = 0
    cleaned: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def find_load(connection: psycopg.Connection, item: Item, run_id: str) -> Load | None:
    """The load with that run key: import, item, run and start of its cursor."""
    query = sql.SQL(
        "SELECT {} FROM ingest.loads WHERE import = %s AND item = %s AND run_id = %s"
        " AND cursor_from IS NOT DISTINCT FROM %s"
    ).format(_COLUMNS)
    with connection.cursor(row_factory=class_row(Load)) as cursor:
        return cursor.execute(query, (item.import_name, item.key, run_id, item.cursor_from)).fetchone()


def last_settled_load(connection: psycopg.Connection, item: Item) -> Load | None:
    """The item's last load that committed or found nothing new; None if the item is still to be loaded."""
    query = sql.SQL(
        "SELECT {} FROM ingest.loads WHERE import = %s AND item = %s AND status IN ('committed', 'skipped')"
        " ORDER BY id DESC LIMIT 1"
    ).format(_COLUMNS)
    with connection.cursor(row_factory=class_row(Load)) as cursor:
        return cursor.execute(query, (item.import_name, item.key)).fetchone()


def changed_by_item(connection: psycopg.Connection, item: Item) -> tuple[int, int]:
    """How many profiles the item's committed loads have deleted, and updated: the earlier chunks of a drain."""
    row = connection.execute(
        "SELECT COALESCE(sum(deleted), 0), COALESCE(sum(updated), 0) FROM ingest.loads"
        " WHERE import = %s AND item = %s AND status = 'committed'",
        (item.import_name, item.key),
    ).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def get_load(connection: psycopg.Connection, load: int) -> Load | None:
    """The load with that number."""
    query = sql.SQL("SELECT {} FROM ingest.loads WHERE id = %s").format(_COLUMNS)
    with connection.cursor(row_factory=class_row(Load)) as cursor:
        return cursor.execute(query, (load,)).fetchone()


def recent_loads(connection: psycopg.Connection, import_name: str, last: int = 10) -> list[Load]:
    """The import's last loads, newest first."""
    query = sql.SQL("SELECT {} FROM ingest.loads WHERE import = (SELECT %s) ORDER BY id DESC LIMIT %s").format(_COLUMNS)
    with connection.cursor(row_factory=class_row(Load)) as cursor:
        return cursor.execute(query, (import_name, last)).fetchall()


def loads_of_run(connection: psycopg.Connection, run_id: str) -> list[Load]:
    """The loads of one run, in order: one, or one per chunk of a drain."""
    query = sql.SQL("SELECT {} FROM ingest.loads WHERE run_id = %s ORDER BY id").format(_COLUMNS)
    with connection.cursor(row_factory=class_row(Load)) as cursor:
        return cursor.execute(query, (run_id,)).fetchall()


def last_change(
    connection: psycopg.Connection,
    imports: Sequence[str],
    *,
    after: int,
    until: datetime,
    since: datetime | None = None,
) -> Load | None:
    """The newest committed load of these imports that inserted or updated rows; None if there is none.

    Args:
        after: only loads with a higher number.
        until: only loads that had ended then.
        since: only loads that ended later.
    """
    query = sql.SQL(
        """
        SELECT l.* FROM unnest(%(imports)s::text[]) n(import) CROSS JOIN LATERAL (
            SELECT {} FROM ingest.loads d
            WHERE d.import = n.import AND d.status = 'committed' AND d.id > %(after)s
              AND (d.inserted > 0 OR d.updated > 0) AND d.finished_at <= %(until)s
              AND (%(since)s::timestamptz IS NULL OR d.finished_at > %(since)s)
            ORDER BY d.id DESC LIMIT 1
        ) l ORDER BY l.id DESC LIMIT 1
        """
    ).format(_COLUMNS)
    values = {"imports": list(imports), "after": after, "until": until, "since": since}
    with connection.cursor(row_factory=class_row(Load)) as cursor:
        return cursor.execute(query, values).fetchone()


def deliveries(connection: psycopg.Connection, import_name: str, last: int = 20) -> list[Delivery]:
    """The import's last committed items, newest first, without chunks and replays."""
    with connection.cursor(row_factory=class_row(Delivery)) as cursor:
        return cursor.execute(
            """
            SELECT l.item, l.run_id, l.read, l.rejected, l.finished_at
            FROM ingest.loads l JOIN ingest.items i ON i.import = l.import AND i.key = l.item
            WHERE l.import = (SELECT %s) AND l.status = 'committed' AND i.kind IN ('file', 'upload', 'query', 'window')
            ORDER BY l.id DESC LIMIT %s
            """,
            (import_name, last),
        ).fetchall()


def last_settled(connection: psycopg.Connection, import_name: str) -> datetime | None:
    """When the import's source last delivered: the end of its last load that committed or found nothing new.

    Replays are left out.
    """
    row = connection.execute(
        """
        SELECT max(l.finished_at) FROM unnest('{committed,skipped}'::text[]) settled
        CROSS JOIN LATERAL (
            SELECT d.finished_at FROM ingest.loads d
            WHERE d.import = (SELECT %s) AND d.status = settled AND NOT EXISTS (
                SELECT FROM ingest.items i WHERE i.import = d.import AND i.key = d.item AND i.kind = 'replay')
            ORDER BY d.id DESC LIMIT 1
        ) l
        """,
        (import_name,),
    ).fetchone()
    return row[0] if row else None


def last_committed(connection: psycopg.Connection, import_name: str) -> CommittedItem | None:
    """The item whose load committed last, even if it is not the newest item."""
    with connection.cursor(row_factory=class_row(CommittedItem)) as cursor:
        return cursor.execute(
            """
            SELECT l.id AS load, l.item, l.content_sha256, l.fingerprint, l.read, i.modified_at, i.serial, l.finished_at
            FROM ingest.loads l JOIN ingest.items i ON i.import = l.import AND i.key = l.item
            WHERE l.import = (SELECT %s) AND l.status = 'committed' AND i.kind <> 'replay'
            ORDER BY l.id DESC LIMIT 1
            """,
            (import_name,),
        ).fetchone()


def newest_committed(connection: psycopg.Connection, import_name: str) -> CommittedItem | None:
    """The newest committed item: by modified time, then serial.

    Forcing an older item does not change it.
    """
    with connection.cursor(row_factory=class_row(CommittedItem)) as cursor:
        return cursor.execute(
            """
            SELECT l.id AS load, i.key AS item, l.content_sha256, l.fingerprint, l.read, i.modified_at, i.serial,
                   l.finished_at
            FROM ingest.items i CROSS JOIN LATERAL (
                SELECT * FROM ingest.loads d
                WHERE d.import = i.import AND d.item = i.key AND d.status = 'committed' ORDER BY d.id DESC LIMIT 1
            ) l
            WHERE i.import = %s AND i.status = 'committed' AND i.modified_at IS NOT NULL AND i.kind <> 'replay'
            ORDER BY i.modified_at DESC, i.serial DESC NULLS LAST, l.id DESC LIMIT 1
            """,
            (import_name,),
        ).fetchone()


def summaries(connection: psycopg.Connection, imports: Sequence[str] | None = None) -> dict[str, ImportSummary]:
    """The summary of every import that had a load, by name, in one query. Replays are left out.

    Args:
        imports: only of these.
    """
    with connection.cursor(row_factory=class_row(ImportSummary)) as cursor:
        rows = cursor.execute(
            """
            WITH RECURSIVE known AS (  -- one look into the index per import, not per load
                SELECT CASE WHEN %(imports)s::text[] IS NULL THEN (SELECT min(import) FROM ingest.loads) END AS import
                UNION ALL
                SELECT (SELECT min(d.import) FROM ingest.loads d WHERE d.import > known.import) FROM known
                WHERE known.import IS NOT NULL
            ), n AS (
                SELECT import FROM known UNION ALL SELECT unnest(%(imports)s::text[])
            )
            SELECT n.import AS import_name, l.id AS load, l.item, l.status, l.read, l.inserted, l.updated, l.unchanged,
                   l.unmatched, l.skipped, l.rejected, l.started_at, l.finished_at, l.error,
                   c.finished_at AS committed_at, l.run_id, l.cleaned, l.deleted, l.absent
            FROM n
            CROSS JOIN LATERAL (
                SELECT * FROM ingest.loads d
                WHERE d.import = n.import AND NOT EXISTS (
                    SELECT FROM ingest.items i WHERE i.import = d.import AND i.key = d.item AND i.kind = 'replay')
                ORDER BY d.id DESC LIMIT 1
            ) l
            LEFT JOIN LATERAL (
                SELECT d.finished_at FROM ingest.loads d
                WHERE d.import = n.import AND d.status = 'committed' AND NOT EXISTS (
                    SELECT FROM ingest.items i WHERE i.import = d.import AND i.key = d.item AND i.kind = 'replay')
                ORDER BY d.id DESC LIMIT 1
            ) c ON true
            """,
            {"imports": None if imports is None else list(imports)},
        ).fetchall()
    return {summary.import_name: summary for summary in rows}


def open_load(connection: psycopg.Connection, new: NewLoad) -> int | None:
    """Opens a new row under the load's run key and returns its number; None if that run's load has already committed.

    Replaces what an earlier attempt of the same run left (a failed load, its rejects), so that numbers grow in the
    order in which loads of one target table commit.
    """
    item, run = new.item, new.run
    connection.execute(
        """
        WITH earlier AS (
            DELETE FROM ingest.loads
            WHERE import = %s AND item = %s AND run_id = %s AND cursor_from IS NOT DISTINCT FROM %s
              AND status NOT IN ('committed', 'skipped')
            RETURNING id
        )
        DELETE FROM ingest.rejects WHERE load IN (SELECT id FROM earlier)
        """,
        (item.import_name, item.key, run.id, item.cursor_from),
    )
    opened = connection.execute(
        """
        INSERT INTO ingest.loads (import, item, run_id, attempt, by, forced, fingerprint, content_sha256, status,
                                  cursor_from, cursor_to, started_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT ON CONSTRAINT loads_run_key DO NOTHING
        RETURNING id
        """,
        (
            item.import_name, item.key, run.id, run.attempt, run.by, run.forced, new.fingerprint, new.content_sha256,
            new.status, item.cursor_from, new.cursor_to, new.started_at,
        ),
    ).fetchone()  # fmt: skip
    return int(opened[0]) if opened else None


def close_load(connection: psycopg.Connection, load: int, outcome: LoadOutcome) -> None:
    """Writes the outcome into the load's row."""
    counts = outcome.counts
    connection.execute(
        """
        UPDATE ingest.loads SET status = %s, read = %s, inserted = %s, updated = %s, unchanged = %s, unmatched = %s,
               skipped = %s, rejected = %s, codes = %s, ddl = %s, warnings = %s, seconds = %s, cleaned = %s,
               new_columns = %s, finished_at = %s, error = %s, suppressed = %s, deleted = %s, absent = %s,
               kept = %s, healed = %s
        WHERE id = %s
        """,
        (
            outcome.status, counts.read, counts.inserted, counts.updated, counts.unchanged, counts.unmatched,
            counts.skipped, counts.rejected, Jsonb(dict(outcome.codes)), list(outcome.ddl), list(outcome.warnings),
            Jsonb(dict(outcome.seconds)), Json({name: dict(words) for name, words in outcome.cleaned.items()}),
            list(outcome.new_columns), outcome.finished_at, outcome.error, outcome.suppressed, counts.deleted,
            outcome.absent, outcome.kept, outcome.healed, load,
        ),
    )  # fmt: skip
