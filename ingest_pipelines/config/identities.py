"""Kinds of identities: what tells one person of a database from another. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ingest_pipelines.config.databases import Database, Field
from ingest_pipelines.config.imports import CONTACT_CHANNELS

if TYPE_CHECKING:
    from ingest_pipelines.config.bound import BoundImport

KEY_KIND = "key"
"""The database's key. The other kinds are `profile_id`, `email`, `phone`, `push`, `channel:NAME` and `field:NAME`."""


def contact_kind(channel: str) -> str:
    """The kind of a channel's contacts: those of all channels for phones are one kind."""
    return next((kind for kind, channels in CONTACT_CHANNELS.items() if channel in channels), f"channel:{channel}")


def field_kind(name: str) -> str:
    """The kind of a field that an import matches by."""
    return f"field:{name}"


def identifying_fields(database: Database, imports: Iterable[BoundImport]) -> Iterator[tuple[str, str, Field]]:
    """(kind, name, field) of the profile's fields that imports of the database match by, or might.

    Addresses and numbers, because many modes match by them, and the fields that an import names.
    """
    known = dict(database.fields)
    for bound in imports:
        for mapped in bound.fields:
            known.setdefault(mapped.name, mapped.field)
    matched = {bound.match.field for bound in imports if bound.match is not None and bound.match.by == "field"}
    for name, field in known.items():
        if name == database.key:
            continue
        if field.type in CONTACT_CHANNELS:  # push tokens have no type
            yield field.type, name, field
        if name in matched:
            yield field_kind(name), name, field
