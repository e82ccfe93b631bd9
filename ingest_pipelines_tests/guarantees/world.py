"""What a target holds, read from Postgres and computed by a model of thirty lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import psycopg

from ingest_pipelines.model import Mode
from ingest_pipelines_tests.merge.deliveries import Rejected

Row = tuple[str, str | None, int | None, str | None]
"""customer_id, tier, points and the address to subscribe."""

FIELDS = ("points", "tier")
CONTACT = "Contact"
CONSENT = {"resource": "newsletter", "channel": "email", "contact": CONTACT, "status": "subscribed"}


@dataclass(frozen=True)
class World:
    """Everything that a load may change.

    Attributes:
        profiles: tier and points by customer.
        consents: (customer, address) of every subscription.
        loads: item, status and counts of every load, oldest first.
        rejects: (item, line) of every kept reject.
        events: (load's item, customer, changed fields) of every event; no fields: the profile was created.
        cursor: the committed cursor, or None.
        past: (customer, old values of the changed fields) of every change, where the database has a history.
    """

    profiles: dict[str, tuple[str | None, int | None]] = field(default_factory=dict)
    consents: frozenset[tuple[str, str]] = frozenset()
    loads: tuple[tuple[str, str, int, int, int, int, int, int, int], ...] = ()
    rejects: frozenset[tuple[str, int]] = frozenset()
    events: frozenset[tuple[str, str, tuple[str, ...]]] = frozenset()
    cursor: str | None = None
    past: tuple[tuple[str, tuple[tuple[str, str | int | None], ...]], ...] = ()

    def after(
        self, item: str, rows: Sequence[Row], rejected: Sequence[Rejected], *, mode: Mode = "add_and_update",
        keep: bool = False, cursor: str | None = None, history: bool = False,
    ) -> World:  # fmt: skip
        """The world once the item is committed: the specification, row by row."""
        profiles, consents, events = dict(self.profiles), set(self.consents), set(self.events)
        past = list(self.past)
        inserted = updated = unchanged = unmatched = skipped = 0
        for customer, tier, points, contact in rows:
            old = profiles.get(customer)
            if old is None and mode == "update_only":
                unmatched += 1
                continue
            if old is not None and mode == "add_only":
                skipped += 1
                continue
            new = (tier, points)
            if old is not None and keep:
                new = (old[0] if tier is None else tier, old[1] if points is None else points)
            changed = [] if old is None else [n for n, a, b in zip(FIELDS, old[::-1], new[::-1], strict=True) if a != b]
            consented = contact is not None and (customer, contact) not in consents
            inserted += old is None
            updated += old is not None and (bool(changed) or consented)
            unchanged += old is not None and not changed and not consented
            told = changed if old is None or not consented else sorted([*changed, "subscription:newsletter.email"])
            if old is None or told:
                events.add((item, customer, tuple(told)))
            if old is not None and changed and history:
                before = {"tier": old[0], "points": old[1]}
                past.append((customer, tuple((name, before[name]) for name in changed)))
            profiles[customer] = new
            if contact is not None:
                consents.add((customer, contact))
        count = len(rows) + len(rejected)
        load = (item, "committed", count, inserted, updated, unchanged, unmatched, skipped, len(rejected))
        return replace(
            self, profiles=profiles, consents=frozenset(consents), loads=(*self.loads, load), events=frozenset(events),
            rejects=self.rejects | {(item, reject.line) for reject in rejected}, cursor=cursor or self.cursor,
            past=tuple(sorted(past, key=repr)),
        )  # fmt: skip


def read_world(url: str) -> World:
    """What Postgres holds now, once every session of a dead loader is gone. Fails where one left something behind."""
    with psycopg.connect(url, autocommit=True) as connection:
        _wait_until_alone(connection)
        leftovers = connection.execute(
            "SELECT relname FROM pg_class WHERE relname LIKE 'ingest\\_stage%' "
            "UNION ALL SELECT locktype FROM pg_locks WHERE locktype = 'advisory' AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchall()
        assert leftovers == []
        loads = connection.execute(
            "SELECT item, status, read, inserted, updated, unchanged, unmatched, skipped, rejected "
            "FROM ingest.loads ORDER BY id"
        ).fetchall()
        unbalanced = connection.execute(
            "SELECT item FROM ingest.loads WHERE status = 'committed'"
            " AND read <> inserted + updated + unchanged + unmatched + skipped + rejected + deleted"
        ).fetchall()
        assert unbalanced == [], "counts do not add up"
        rejects = connection.execute(
            "SELECT l.item, r.line FROM ingest.rejects r JOIN ingest.loads l ON l.id = r.load "
            "WHERE r.code <> 'unmatched'"
        ).fetchall()
        cursor = connection.execute("SELECT value FROM ingest.cursors").fetchone()
        if connection.execute("SELECT to_regclass('crm.customers')").fetchone() == (None,):
            return World(loads=tuple(loads), rejects=frozenset(rejects), cursor=cursor[0] if cursor else None)
        # As JSON: a column that no import has filled yet is not there.
        profiles = connection.execute(
            "SELECT p ->> 'customer_id', p ->> 'tier', (p ->> 'points')::bigint "
            "FROM (SELECT to_jsonb(c) FROM crm.customers c) AS profiles (p)"
        ).fetchall()
        consents: list[tuple[str, str]] = []
        if connection.execute("SELECT to_regclass('crm.customers_subscriptions')").fetchone() != (None,):
            consents = connection.execute(
                "SELECT customer_id, contact FROM crm.customers_subscriptions JOIN crm.customers USING (profile_id)"
            ).fetchall()
        past: list[tuple[str, tuple[tuple[str, str | int | None], ...]]] = []
        if connection.execute("SELECT to_regclass('crm.customers_history')").fetchone() != (None,):
            kept = connection.execute(
                "SELECT customer_id, old FROM crm.customers_history JOIN crm.customers USING (profile_id)"
            )
            past = [(customer, tuple(sorted(old.items()))) for customer, old in kept]
        events = connection.execute(
            "SELECT l.item, e.key, e.fields FROM ingest.events e JOIN ingest.loads l ON l.id = e.load"
        ).fetchall()
        told = frozenset((item, customer, tuple(sorted(fields))) for item, customer, fields in events)
        assert len(events) == len(told), "an event was told twice"
        return World(
            {customer: (tier, points) for customer, tier, points in profiles}, frozenset(consents), tuple(loads),
            frozenset(rejects), told, cursor[0] if cursor else None, tuple(sorted(past, key=repr)),
        )  # fmt: skip


def _wait_until_alone(connection: psycopg.Connection) -> None:
    """Returns when no other session is in the database: a killed client's session ends a moment after it."""
    while connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND backend_type = 'client backend'"
    ).fetchone() != (0,):
        connection.execute("SELECT pg_sleep(0.005)")
