"""Names of the tables, indexes and sequences that a load makes beside a profile table. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from ingest_pipelines.config.databases import Database

PROFILE_ID = "profile_id"
"""The number every profile has besides its key."""

SUBSCRIPTIONS = "subscriptions"
KEY_SEQUENCE = "key_seq"
HISTORY = "history"

_LONGEST = 63
"""Most bytes of a Postgres name; Postgres silently cuts longer ones."""


def short_name(*parts: str) -> str:
    """The parts as one name. If it is too long, its end is a hash of the whole."""
    name = "_".join(parts)
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def names_beside(database: Database, matched: Iterable[str], *, consents: bool) -> Iterator[tuple[str, str]]:
    """What a load makes besides the table, each name with what it is.

    Args:
        matched: fields that imports find profiles by; each has an index.
        consents: imports write consent records, or find profiles by them.
    """
    table = database.schema_and_table[1]
    yield _made_by_postgres(table, PROFILE_ID, "seq"), "the numbers of its profiles"
    yield _made_by_postgres(table, "", "pkey"), "the index of its key"
    if database.key_default == "sequence":
        yield short_name(table, KEY_SEQUENCE), "the sequence of its keys"
    for field in matched:
        yield short_name(table, field, "folded"), f"an index on '{field}'"
        yield short_name(table, field, "match"), f"an index on '{field}'"
    if consents:
        records = short_name(table, SUBSCRIPTIONS)
        yield records, "its consent records"
        yield _made_by_postgres(records, "", "pkey"), "the index of its consent records"
        yield short_name(table, SUBSCRIPTIONS, "contact"), "an index of its consent records"
        yield short_name(table, PROFILE_ID, "match"), f"an index on '{PROFILE_ID}'"
    if database.history:
        yield short_name(table, HISTORY), "its old values"
        yield short_name(table, HISTORY, "profile"), "an index of its old values"
        yield short_name(table, HISTORY, "until"), "an index of its old values"


def _made_by_postgres(table: str, column: str, label: str) -> str:
    """The name that Postgres itself gives to an index or a sequence: the longer part is cut until it fits."""
    room = _LONGEST - len(label) - 1 - (1 if column else 0)
    while len(table) + len(column) > room:
        if len(table) > len(column):
            table = table[:-1]
        else:
            column = column[:-1]
    return "_".join(filter(None, (table, column, label)))
