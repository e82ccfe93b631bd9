"""Who is to be erased: their profiles in the table, and everything there that identifies them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from ingest_pipelines.merge.shape import TableColumn
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
        bound: those of them that the project has.
        profiles: what the table has of them.
        keys: their keys as text, also of those who are not in the table.
        known_by: (kind, text) of everything that identifies them, in the form in which rows are compared.
        rejects: (load, line) of their rejected rows.
        cursors: (import, value, the value just before it): cursors that stand at one of their keys.
        identities: their entries, for comparison.
    """

    database: Database
    imports: Sequence[str] = ()
    bound: Sequence[BoundImport] = ()
    profiles: Sequence[FoundProfile] = ()
    keys: Sequence[str] = ()
    known_by: Sequence[tuple[str, str]] = ()
    rejects: Sequence[tuple[int, int]] = ()
    cursors: Sequence[tuple[str, str, str]] = ()
    identities: Suppressed = field(default=NOBODY)

    @property
    def numbers(self) -> list[int]:
        """The numbers of their profiles."""
        return [profile.profile_id for profile in self.profiles]

    @property
    def words(self) -> list[str]:
        """What identifies them, as far as it stands nowhere by chance."""
        return sorted({text for _, text in self.known_by if is_distinctive(text)})


_LONG_TEXT, _LONG_NUMBER = 6, 9
"""Characters of a text, or digits, from which on it is searched for in every cell and log."""


def is_distinctive(text: str) -> bool:
    """Whether the text is long enough not to stand anywhere by chance: 42 is a count, too."""
    return len(text) >= (_LONG_NUMBER if text.isdigit() else _LONG_TEXT)


def is_address(text: str) -> bool:
    """Whether it is an address, which is the same in upper and lower case."""
    return "@" in text


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
        where.append(_is(columns, database.key, ignores_case=_ignores_case(database, database.key)))
    elif kind == PROFILE_ID:
        where.append(_is(columns, PROFILE_ID))
    for of_kind, name, one in identifying_fields(database, imports):
        if of_kind == kind and name in columns:
            where.append(_is(columns, name, ignores_case=FIELD_TYPES[one.type].ignores_case))
    if has_consents(connection, database):
        where.append(
            sql.SQL("EXISTS (SELECT FROM {} u WHERE u.{id} = t.{id} AND u.channel = ANY(%(channels)s)"
                    " AND btrim(CASE WHEN u.channel = 'email' THEN lower(u.contact) ELSE u.contact END) = %(text)s)"
            ).format(subscriptions_name(database), id=sql.Identifier(PROFILE_ID))
        )  # fmt: skip
    if not where:
        return []
    query = sql.SQL("SELECT t.{id}, {key} FROM {} t WHERE {} ORDER BY 1").format(
        table_name(database), sql.SQL(" OR ").join(where), id=sql.Identifier(PROFILE_ID),
        key=text_of(columns, database.key),
    )  # fmt: skip
    channels = [channel for channel in _CHANNELS if contact_kind(channel) == kind]
    return [FoundProfile(*row) for row in connection.execute(query, {"text": text, "channels": channels})]


_CHANNELS = ("email", "sms", "push", "whatsapp", "viber", "telegram", "web_push")


def text_of(columns: Mapping[str, TableColumn], name: str) -> sql.Composable:
    """The text of a column of `t`, as identities are compared: a team's own column may write the number 42 as 42.00."""
    is_numeric = name in columns and columns[name].type.startswith("numeric")
    return sql.SQL("trim_scale(t.{})::text" if is_numeric else "t.{}::text").format(sql.Identifier(name))


def _is(columns: Mapping[str, TableColumn], name: str, *, ignores_case: bool = False) -> sql.Composable:
    folded = "lower({}) = %(text)s" if ignores_case else "{} = %(text)s"
    return sql.SQL(folded).format(text_of(columns, name))


def _ignores_case(database: Database, name: str) -> bool:
    return FIELD_TYPES[database.fields[name].type].ignores_case


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
                "SELECT t.{id}, {text} FROM {table} t WHERE t.{id} = ANY(%(numbers)s) AND t.{name} IS NOT NULL"
                " AND NOT EXISTS (SELECT FROM {table} o WHERE o.{name} = t.{name} AND o.{id} <> ALL(%(numbers)s))"
            ).format(
                id=sql.Identifier(PROFILE_ID), name=sql.Identifier(name), text=text_of(columns, name),
                table=table_name(database),
            )  # fmt: skip
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


def places_of_values(database: Database, imports: Iterable[BoundImport], kind: str) -> Iterator[tuple[str, str]]:
    """Where values of that kind are: ("fields", a field) and ("channels", a channel), as matches name them."""
    if kind == KEY_KIND:
        yield "fields", database.key
    elif kind == PROFILE_ID:
        yield "fields", PROFILE_ID
    yield from (("fields", name) for of_kind, name, _ in identifying_fields(database, imports) if of_kind == kind)
    yield from (("channels", channel) for channel in _CHANNELS if contact_kind(channel) == kind)


def has_consents(connection: psycopg.Connection, database: Database) -> bool:
    """Whether the table of the database's consent records exists."""
    schema, _ = database.schema_and_table
    return read_shape(connection, schema, name_beside(database, SUBSCRIPTIONS)).oid is not None
