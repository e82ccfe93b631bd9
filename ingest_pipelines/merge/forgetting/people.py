"""Who is to be erased: their profiles in the table, and everything there that identifies them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import psycopg
from psycopg import sql

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.databases import Database
from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines.config.identities import KEY_KIND, contact_kind, identifying_fields
from ingest_pipelines.merge.catalog import read_shape
from ingest_pipelines.merge.names import PROFILE_ID, SUBSCRIPTIONS, name_beside, subscriptions_name, table_name
from ingest_pipelines.suppression import NOBODY, Suppressed


class FoundProfile(NamedTuple):
    """A profile: its number and its key, as text."""

    profile_id: int
    key: str


@dataclass(frozen=True)
class People:
    """Those who are to be erased from one database.

    Attributes:
        imports: imports of the database, and removed ones of which nobody knows the database.
        profiles: what the table has of them.
        keys: their keys as text, also of those who are not in the table.
        texts: everything that identifies them, in the form in which rows are compared.
        rejects: (load, line) of their rejected rows.
        cursors: (import, value, the value just before it): cursors that stand at one of their keys.
        identities: their entries, for comparison.
    """

    database: Database
    imports: Sequence[str] = ()
    profiles: Sequence[FoundProfile] = ()
    keys: Sequence[str] = ()
    texts: Sequence[str] = ()
    rejects: Sequence[tuple[int, int]] = ()
    cursors: Sequence[tuple[str, str, str]] = ()
    identities: Suppressed = field(default=NOBODY)

    @property
    def numbers(self) -> list[int]:
        """The numbers of their profiles."""
        return [profile.profile_id for profile in self.profiles]


class ProfileValue(NamedTuple):
    """A value of a profile that identifies its person.

    Attributes:
        name: the field; "" for the contact of a consent, and for the profile's number.
    """

    kind: str
    name: str
    text: str


def find_profiles(
    connection: psycopg.Connection, database: Database, imports: Iterable[BoundImport], kind: str, text: str
) -> list[FoundProfile]:
    """The profiles that have the identity, by number."""
    columns = read_shape(connection, *database.schema_and_table).columns
    if PROFILE_ID not in columns:
        return []
    where: list[sql.Composable] = []
    if kind == KEY_KIND:
        where.append(_is(database.key, ignores_case=FIELD_TYPES[database.fields[database.key].type].ignores_case))
    elif kind == PROFILE_ID:
        where.append(_is(PROFILE_ID))
    for of_kind, name, one in identifying_fields(database, imports):
        if of_kind == kind and name in columns:
            where.append(_is(name, ignores_case=FIELD_TYPES[one.type].ignores_case))
    if has_consents(connection, database):
        where.append(
            sql.SQL("EXISTS (SELECT FROM {} u WHERE u.{id} = t.{id} AND u.channel = ANY(%(channels)s)"
                    " AND btrim(CASE WHEN u.channel = 'email' THEN lower(u.contact) ELSE u.contact END) = %(text)s)"
            ).format(subscriptions_name(database), id=sql.Identifier(PROFILE_ID))
        )  # fmt: skip
    if not where:
        return []
    query = sql.SQL("SELECT t.{id}, t.{key}::text FROM {} t WHERE {} ORDER BY 1").format(
        table_name(database), sql.SQL(" OR ").join(where), id=sql.Identifier(PROFILE_ID),
        key=sql.Identifier(database.key),
    )  # fmt: skip
    channels = [channel for channel in _CHANNELS if contact_kind(channel) == kind]
    return [FoundProfile(*row) for row in connection.execute(query, {"text": text, "channels": channels})]


_CHANNELS = ("email", "sms", "push", "whatsapp", "viber", "telegram", "web_push")


def _is(name: str, *, ignores_case: bool = False) -> sql.Composable:
    column = sql.SQL("t.{}").format(sql.Identifier(name))
    return sql.SQL("lower({}::text) = %(text)s" if ignores_case else "{}::text = %(text)s").format(column)


def values_of(
    connection: psycopg.Connection, database: Database, imports: Sequence[BoundImport], profiles: Sequence[FoundProfile]
) -> dict[int, list[ProfileValue]]:
    """By profile: its values that identify the person. A value that another profile has, too, identifies nobody."""
    numbers = [profile.profile_id for profile in profiles]
    found = {
        profile.profile_id: [
            ProfileValue(KEY_KIND, database.key, profile.key), ProfileValue(PROFILE_ID, "", str(profile.profile_id))
        ] for profile in profiles
    }  # fmt: skip
    columns = read_shape(connection, *database.schema_and_table).columns
    for kind, name, _ in identifying_fields(database, imports) if numbers else ():
        if name in columns:
            own = sql.SQL(
                "SELECT t.{id}, t.{name}::text FROM {table} t WHERE t.{id} = ANY(%(numbers)s) AND t.{name} IS NOT NULL"
                " AND NOT EXISTS (SELECT FROM {table} o WHERE o.{name} = t.{name} AND o.{id} <> ALL(%(numbers)s))"
            ).format(id=sql.Identifier(PROFILE_ID), name=sql.Identifier(name), table=table_name(database))
            for number, text in connection.execute(own, {"numbers": numbers}):
                found[number].append(ProfileValue(kind, name, text))
    if numbers and has_consents(connection, database):
        contacts = sql.SQL(
            """
            SELECT u.{id}, u.channel, u.contact FROM {table} u WHERE u.{id} = ANY(%(numbers)s) AND NOT EXISTS (
                SELECT FROM {table} o
                WHERE o.channel = u.channel AND o.contact = u.contact AND o.{id} <> ALL(%(numbers)s))
            """
        ).format(id=sql.Identifier(PROFILE_ID), table=subscriptions_name(database))
        for number, channel, contact in connection.execute(contacts, {"numbers": numbers}):
            found[number].append(ProfileValue(contact_kind(channel), "", contact))
    return found


def has_consents(connection: psycopg.Connection, database: Database) -> bool:
    """Whether the table of the database's consent records exists."""
    schema, _ = database.schema_and_table
    return read_shape(connection, schema, name_beside(database, SUBSCRIPTIONS)).oid is not None
