"""PLACES: every table that may keep a person's key, how to find it there and how to erase it.

What keeps keys in a table of its own gets a line here: `ingest forget`, its plan and `ingest forget --proof` read it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from ingest_pipelines import ledger
from ingest_pipelines.config.identities import KEY_KIND
from ingest_pipelines.merge.catalog import read_shape
from ingest_pipelines.merge.forgetting.people import (
    People,
    has_consents,
    is_address,
    places_of_values,
    text_of,
)
from ingest_pipelines.merge.history import has_history
from ingest_pipelines.merge.names import (
    HISTORY,
    PROFILE_ID,
    SUBSCRIPTIONS,
    history_name,
    name_beside,
    subscriptions_name,
    table_name,
)
from ingest_pipelines.merge.target import scalar

Look = Callable[[psycopg.Connection, People], int]
"""How many rows of the people there are, or were."""


@dataclass(frozen=True)
class Place:
    """A table that may keep something of a person.

    Attributes:
        what: what a row of it is, for people: `profile`.
        table: its name, of the database's people.
        count: how many rows it has of them.
        erase: deletes these rows, or what is theirs in them; returns how many rows that were.
        guarded: it is the team's own table, whose triggers may leave a row in it without an error.
    """

    what: str
    table: Callable[[People], str]
    count: Look
    erase: Look
    guarded: bool = False


def _count_profiles(connection: psycopg.Connection, people: People) -> int:
    database = people.database
    shape = read_shape(connection, *database.schema_and_table)
    if shape.oid is None:
        return 0
    query = sql.SQL("SELECT count(*) FROM {} t WHERE {} = ANY(%(keys)s)").format(
        table_name(database), text_of(shape.columns, database.key)
    )
    keys = [*people.keys, *(profile.key for profile in people.profiles)]
    return int(scalar(connection, query, {"keys": keys}))


def _erase_profiles(connection: psycopg.Connection, people: People) -> int:
    if not people.profiles:
        return 0
    query = sql.SQL("DELETE FROM {} WHERE {} = ANY(%s)").format(table_name(people.database), sql.Identifier(PROFILE_ID))
    return connection.execute(query, (people.numbers,)).rowcount


def _consents(verb: sql.SQL) -> Look:
    def look(connection: psycopg.Connection, people: People) -> int:
        if not people.profiles or not has_consents(connection, people.database):
            return 0
        query = sql.SQL("WITH theirs AS ({} FROM {} WHERE {} = ANY(%s) {}) SELECT count(*) FROM theirs").format(
            verb, subscriptions_name(people.database), sql.Identifier(PROFILE_ID),
            sql.SQL("RETURNING 1" if "DELETE" in verb.as_string() else ""),
        )  # fmt: skip
        return int(scalar(connection, query, (people.numbers,)))

    return look


def _ledgers(look: Callable[..., int], **options: Any) -> Look:
    """A look at a table of the ledger, whose own functions have no idea of profiles."""

    def of_people(connection: psycopg.Connection, people: People) -> int:
        keys = list(dict.fromkeys([*people.keys, *(profile.key for profile in people.profiles)]))
        traces = ledger.Traces(people.imports, keys, people.numbers, people.rejects, people.cursors)
        return look(connection, traces, **options)

    return of_people


_WAITING = sql.SQL(
    """
    FROM ingest.unmatched w WHERE w.target = %(target)s AND (
        EXISTS (
            SELECT FROM jsonb_array_elements_text(w.found_by) WITH ORDINALITY v (value, n)
            JOIN unnest(%(kinds)s::text[], %(names)s::text[], %(texts)s::text[]) i (kind, name, text)
                ON i.text = v.value AND w.match -> 'lookups' -> (n - 1)::int -> i.kind ? i.name)
        OR EXISTS (SELECT FROM jsonb_each_text(w.fields) f
                   WHERE f.value = ANY(%(words)s) OR lower(f.value) = ANY(%(addresses)s)))
    """
)
"""Rows that wait for one of the people, and rows of others in which a field has what identifies them."""


def _of_waiting_rows(erase: bool) -> Look:
    """Rows that wait for a profile of the table; as with rejects, also those of others that name one of the people."""

    def look(connection: psycopg.Connection, people: People) -> int:
        known = {*people.known_by, *((KEY_KIND, profile.key) for profile in people.profiles)}
        waiting = [
            (*place, text)
            for kind, text in sorted(known)
            for place in places_of_values(people.database, people.bound, kind)
        ]
        kinds, names, texts = map(list, zip(*waiting, strict=True)) if waiting else ([], [], [])
        statement = sql.SQL("WITH gone AS (DELETE {} RETURNING 1) SELECT count(*) FROM gone" if erase
                            else "SELECT count(*) {}")  # fmt: skip
        values = {
            "target": ".".join(people.database.schema_and_table), "kinds": kinds, "names": names, "texts": texts,
            "words": people.words, "addresses": [word for word in people.words if is_address(word)],
        }  # fmt: skip
        return int(scalar(connection, statement.format(_WAITING), values))

    return look


def _of_history(erase: bool) -> Look:
    """Old values of the people's profiles, also of one that another application has deleted: its events name it."""

    def look(connection: psycopg.Connection, people: People) -> int:
        if not has_history(connection, people.database):
            return 0
        numbers = {*people.numbers, *ledger.profiles_of_keys(connection, people.imports, people.keys)}
        statement = sql.SQL(
            "WITH gone AS (DELETE FROM {} WHERE profile_id = ANY(%s) RETURNING 1) SELECT count(*) FROM gone" if erase
            else "SELECT count(*) FROM {} WHERE profile_id = ANY(%s)"
        )  # fmt: skip
        return int(scalar(connection, statement.format(history_name(people.database)), (sorted(numbers),)))

    return look


def _history_table(people: People) -> str:
    return f"{people.database.schema_and_table[0]}.{name_beside(people.database, HISTORY)}"


def _named(name: str) -> Callable[[People], str]:
    return lambda people: name


def _consents_name(people: People) -> str:
    return f"{people.database.schema_and_table[0]}.{name_beside(people.database, SUBSCRIPTIONS)}"


PLACES: tuple[Place, ...] = (
    Place("consent", _consents_name, _consents(sql.SQL("SELECT 1")), _consents(sql.SQL("DELETE")), guarded=True),
    Place("old value", _history_table, _of_history(erase=False), _of_history(erase=True), guarded=True),
    Place("waiting row", _named("ingest.unmatched"), _of_waiting_rows(erase=False), _of_waiting_rows(erase=True)),
    Place("profile", lambda people: people.database.qualified_table, _count_profiles, _erase_profiles, guarded=True),
    Place("event", _named("ingest.event_batches"), _ledgers(ledger.count_traced_events), _ledgers(ledger.erase_events)),
    Place("rejected row", _named("ingest.rejects"), _ledgers(ledger.count_traced_rejects),
          _ledgers(ledger.erase_rejects)),
    Place("cursor", _named("ingest.cursors"), _ledgers(ledger.count_traced_cursors), _ledgers(ledger.erase_cursors)),
    Place("cursor of a load", _named("ingest.loads"), _ledgers(ledger.count_traced_loads),
          _ledgers(ledger.erase_load_cursors)),
    Place("audit entry", _named("ingest.audit"), _ledgers(ledger.count_traced_audit), _ledgers(ledger.erase_audit)),
)  # fmt: skip
"""In the order in which they are erased: consents go before the profile that they refer to."""
