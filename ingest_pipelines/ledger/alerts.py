"""`ingest.alerts`: what is wrong, who was told and when; where each import's alerts go; which addresses fail."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

ALERTS_LOCK = 6_841_522_907_731_180_543
"""Advisory lock of a sender of alerts: one at a time per target."""


@dataclass(frozen=True)
class AlertRecord:
    """A row of `ingest.alerts`.

    Attributes:
        import_name: "" where the alert is not about one import.
        cause: what is wrong, where that is not an import: `connection vendor`, `databases.yaml`.
        closed: everyone who is to be told of its end knows.
        watched: the process of `ingest watch` found it, and only that one can say that it has ended.
        grouped: alerts of one group go into one message.
        broken: items that are broken now.
        items: keys of items that were broken at any time since the alert began.
        imports: imports that it concerns.
        told: per recipient: when it was told (`at`), of how many items (`items`), how often (`times`), and when it was
            told of the end (`ended`).
    """

    import_name: str
    kind: str
    cause: str
    since: datetime
    ended_at: datetime | None = None
    closed: bool = False
    watched: bool = False
    reason: str = ""
    words: str = ""
    item: str = ""
    next_step: str = ""
    run_id: str = ""
    grouped: str = ""
    broken: int = 0
    items: Sequence[str] = ()
    imports: Sequence[str] = ()
    told: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class AlertRoute:
    """Where the alerts of an import went when its YAML was read last, and the last load that was looked at.

    Attributes:
        import_name: "": the project as a whole.
        recipients: references to addresses, and kinds of alerts; never an address.
    """

    import_name: str
    seen_load: int
    recipients: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class AddressTrouble:
    """An address that did not accept its last message.

    Attributes:
        recipient: the name of the secret that holds the address.
    """

    recipient: str
    failing_since: datetime
    retry_at: datetime
    error: str


@dataclass(frozen=True)
class CommittedDelivery:
    """A committed load that no tick of the alerts has looked at."""

    import_name: str
    load: int
    item: str
    run_id: str
    read: int
    rejected: int
    new_columns: Sequence[str] = ()


def lock_alerts(connection: psycopg.Connection) -> bool:
    """Whether this transaction is the only sender of alerts until it ends; never waits."""
    row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (ALERTS_LOCK,)).fetchone()
    return bool(row and row[0])


def list_alerts(connection: psycopg.Connection, *, ended: bool = False) -> list[AlertRecord]:
    """Alerts that have not ended, the oldest first; with `ended` also those that have, until they are deleted."""
    with connection.cursor(row_factory=class_row(AlertRecord)) as cursor:
        return cursor.execute(
            """
            SELECT import AS import_name, kind, cause, since, ended_at, closed, watched, reason, words, item, next_step,
                   run_id, grouped, broken, items, imports, told
            FROM ingest.alerts WHERE %s OR ended_at IS NULL ORDER BY since, import, kind, cause
            """,
            (ended,),
        ).fetchall()


def save_alerts(connection: psycopg.Connection, alerts: Sequence[AlertRecord]) -> None:
    """Writes the alerts in place of those with the same import, kind and cause."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO ingest.alerts (import, kind, cause, since, ended_at, closed, watched, reason, words, item,
                                       next_step, run_id, grouped, broken, items, imports, told)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (import, kind, cause) DO UPDATE
            SET since = EXCLUDED.since, ended_at = EXCLUDED.ended_at, closed = EXCLUDED.closed,
                watched = EXCLUDED.watched, reason = EXCLUDED.reason, words = EXCLUDED.words, item = EXCLUDED.item,
                next_step = EXCLUDED.next_step, run_id = EXCLUDED.run_id, grouped = EXCLUDED.grouped,
                broken = EXCLUDED.broken,
                items = EXCLUDED.items, imports = EXCLUDED.imports, told = EXCLUDED.told
            """,
            [
                (
                    alert.import_name, alert.kind, alert.cause, alert.since, alert.ended_at, alert.closed,
                    alert.watched, alert.reason, alert.words, alert.item, alert.next_step, alert.run_id, alert.grouped,
                    alert.broken,
                    list(alert.items), list(alert.imports),
                    Jsonb({name: dict(told) for name, told in alert.told.items()}),
                )
                for alert in alerts
            ],
        )  # fmt: skip


def delete_alerts(connection: psycopg.Connection, places: Collection[tuple[str, str, str]]) -> None:
    """Deletes the alerts with these imports, kinds and causes."""
    with connection.cursor() as cursor:
        cursor.executemany("DELETE FROM ingest.alerts WHERE import = %s AND kind = %s AND cause = %s", list(places))


def list_alert_routes(connection: psycopg.Connection) -> dict[str, AlertRoute]:
    """Where alerts went when the YAML was read last, by import."""
    with connection.cursor(row_factory=class_row(AlertRoute)) as cursor:
        routes = cursor.execute(
            "SELECT import AS import_name, seen_load, recipients FROM ingest.alert_routes"
        ).fetchall()
    return {route.import_name: route for route in routes}


def save_alert_routes(connection: psycopg.Connection, routes: Iterable[AlertRoute]) -> None:
    """Writes the routes in place of those of the same imports."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO ingest.alert_routes (import, seen_load, recipients) VALUES (%s, %s, %s)
            ON CONFLICT (import) DO UPDATE SET seen_load = EXCLUDED.seen_load, recipients = EXCLUDED.recipients
            """,
            [
                (route.import_name, route.seen_load, Jsonb([dict(each) for each in route.recipients]))
                for route in routes
            ],
        )


def list_address_troubles(connection: psycopg.Connection) -> dict[str, AddressTrouble]:
    """Addresses that did not accept their last message, by recipient."""
    with connection.cursor(row_factory=class_row(AddressTrouble)) as cursor:
        troubles = cursor.execute(
            "SELECT recipient, failing_since, retry_at, error FROM ingest.alert_addresses"
        ).fetchall()
    return {trouble.recipient: trouble for trouble in troubles}


def set_address_trouble(
    connection: psycopg.Connection, recipient: str, error: str, now: datetime, retry_at: datetime
) -> None:
    """Notes why an address did not accept a message, and when to try again; "" as the error: it accepts again."""
    if not error:
        connection.execute("DELETE FROM ingest.alert_addresses WHERE recipient = %s", (recipient,))
        return
    connection.execute(
        """
        INSERT INTO ingest.alert_addresses (recipient, failing_since, retry_at, error) VALUES (%s, %s, %s, %s)
        ON CONFLICT (recipient) DO UPDATE SET retry_at = EXCLUDED.retry_at, error = EXCLUDED.error
        """,
        (recipient, now, retry_at, error),
    )


def committed_since(connection: psycopg.Connection, seen: Mapping[str, int]) -> list[CommittedDelivery]:
    """Loads of these imports that committed after the load with the given number, oldest first, without replays.

    The loads of one import get their numbers in the order in which they commit.
    """
    with connection.cursor(row_factory=class_row(CommittedDelivery)) as cursor:
        return cursor.execute(
            """
            SELECT l.import AS import_name, l.id AS load, l.item, l.run_id, l.read, l.rejected, l.new_columns
            FROM unnest(%s::text[], %s::bigint[]) AS s (import, seen)
            CROSS JOIN LATERAL (  -- OFFSET: a look-up per import, not a join with all loads
                SELECT * FROM ingest.loads d
                WHERE d.import = s.import AND d.status = 'committed' AND d.id > s.seen AND NOT EXISTS (
                    SELECT FROM ingest.items i WHERE i.import = d.import AND i.key = d.item AND i.kind = 'replay'
                    OFFSET 0)
                OFFSET 0
            ) l
            ORDER BY l.id
            """,
            (list(seen), list(seen.values())),
        ).fetchall()
