"""People forgotten: erased from a database's table and from the ledger in one transaction, and kept out from then on.

    keys -> the form in which rows are compared -> profiles -> all that identifies them -> every place that has it

A key is read as the import's rows are, or as the database's key. Rows that hold an identity of a forgotten person are
left out by `validate`, before any other rule, and `load` notices if somebody was forgotten after that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

import polars as pl
import psycopg

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.databases import Database, Field
from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines.config.identities import KEY_KIND
from ingest_pipelines.cursor.values import cursor_text, just_before, parse_cursor
from ingest_pipelines.errors import TargetRefused, UsageError
from ingest_pipelines.merge import Target
from ingest_pipelines.merge.forgetting import (
    PLACES,
    FoundProfile,
    People,
    ProfileValue,
    find_profiles,
    is_address,
    values_of,
)
from ingest_pipelines.merge.target import lock_rejects, lock_table, problem
from ingest_pipelines.model import LINE
from ingest_pipelines.rules import compile_rules, identity_texts
from ingest_pipelines.suppression import Suppressed, SuppressedEntry, SuppressionSecret

FORGET_POINTS = ("locked", "found", "kept out", "erased", "noted", "committed")
"""Where a test may kill it: `erased` comes once per place, `noted` is the last one before COMMIT, `committed` after."""


@dataclass(frozen=True)
class Scope:
    """Whose keys they are.

    Attributes:
        imports: the project's imports of the database.
        others: names of the project's imports of other databases.
        by: the import as whose rows' keys they are read; None: they are the database's keys.
    """

    database_name: str
    database: Database
    imports: Sequence[BoundImport] = ()
    others: Sequence[str] = ()
    by: BoundImport | None = None

    @property
    def table(self) -> str:
        """The table's name, with its schema."""
        return self.database.qualified_table


@dataclass(frozen=True)
class Forgotten:
    """What was erased, or would be.

    Attributes:
        people: how many keys were named.
        profiles: how many of them the table had.
        already: how many were kept out before.
        rows: by what they are, rows that are gone, or that a plan found.
    """

    people: int
    profiles: int
    already: int = 0
    rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Person:
    """One named key: its identities, and the profile that has it."""

    identities: Sequence[tuple[str, str]]
    profiles: Sequence[FoundProfile]
    entries: Sequence[SuppressedEntry]

    @property
    def hash(self) -> bytes:
        return self.entries[0].hash


def forget(
    keys: Sequence[str],
    scope: Scope,
    target: Target,
    by: str,
    now: datetime,
    *,
    plan: bool = False,
    fault: Callable[[str], None] = lambda point: None,
) -> Forgotten:
    """The people erased and kept out, all of them or none. Calling it again is safe.

    Takes turns with loads of the table.

    Args:
        by: who asked for it, as user@host.
        plan: only count what would be erased.

    Raises:
        UsageError: a key is none of the field's type, or several profiles have it; nothing was changed.
        TargetUnavailable, TargetBusy (retryable): nothing was changed, or the commit was not acknowledged.
        TargetForbids: the role may not delete.
        TargetRefused: a constraint or a trigger of the table keeps a row; nothing was changed.
    """
    read = _read_keys(keys, scope)
    with _transaction(scope, target) as connection:
        fault("locked")
        secret = ledger.suppression_secret(connection)
        people = [_person(connection, identities, scope, secret) for identities in read]
        found = _people(connection, people, scope, secret)
        entries = [entry for person in people for entry in person.entries]
        already = len(ledger.suppressed_people(connection, scope.table, entries))
        fault("found")
        if plan:
            rows = {place.what: place.count(connection, found) for place in PLACES}
            connection.rollback()
        else:
            for person in people:
                ledger.add_suppressed(connection, scope.table, person.hash, person.entries, now)
            fault("kept out")
            rows = {}
            for place in PLACES:
                rows[place.what] = place.erase(connection, found)
                if place.guarded and (left := place.count(connection, found)):
                    raise TargetRefused(
                        f"database {scope.database_name}: a trigger of {place.table(found)} kept {left:,} rows",
                        hint="nothing was erased; an administrator disables the trigger, or changes it, and calls "
                        "ingest forget again",
                    )
                fault("erased")
            for person in people:
                detail = {"database": scope.database_name, "person": person.hash.hex()}
                ledger.record_audit(connection, by, "forgot", now, detail=detail)
            fault("noted")
            connection.commit()
            fault("committed")
    return Forgotten(len(people), len(found.profiles), already, {what: count for what, count in rows.items() if count})


def remember(keys: Sequence[str], scope: Scope, target: Target, by: str, now: datetime) -> int:
    """Lets these people in again: how many were kept out. What was erased stays erased."""
    read = _read_keys(keys, scope)
    with _transaction(scope, target) as connection:
        secret = ledger.suppression_secret(connection)
        entries = [entry for identities in read for entry in _entries(identities, scope, secret)]
        people = ledger.suppressed_people(connection, scope.table, entries)
        ledger.remove_suppressed(connection, scope.table, [person.person for person in people])
        for person in people:
            detail = {"database": scope.database_name, "person": person.person.hex()}
            ledger.record_audit(connection, by, "remembered", now, detail=detail)
        connection.commit()
    return len(people)


def look_for(keys: Sequence[str], scope: Scope, target: Target) -> list[tuple[str, str, int]]:
    """For `--proof`: (what, table, rows) of each place in the target that may have something of the people."""
    read = _read_keys(keys, scope)
    with _transaction(scope, target, locked=False) as connection:
        secret = ledger.suppression_secret(connection)
        people = [_person(connection, identities, scope, secret) for identities in read]
        found = _people(connection, people, scope, secret)
        looked = [(place.what, place.table(found), place.count(connection, found)) for place in PLACES]
        connection.rollback()
    return looked


def spellings(keys: Sequence[str], scope: Scope) -> list[str]:
    """The keys as they were typed, and in the form in which rows are compared."""
    read = [text for identities in _read_keys(keys, scope) for _, text in identities]
    return list(dict.fromkeys([*(key.strip() for key in keys), *read]))


@contextmanager
def _transaction(scope: Scope, target: Target, *, locked: bool = True) -> Iterator[psycopg.Connection]:
    """A transaction that no load of the table runs beside; the block commits it."""
    schema, table = scope.database.schema_and_table
    where = f"database {scope.database_name}"
    connection = target.begin(f"forget {scope.database_name}")
    try:
        if locked:
            lock_table(connection, schema, table)
            lock_rejects(connection, schema, table, shared=False)
        yield connection
    except psycopg.Error as error:
        raise problem(connection, error, where, schema, [table]) from None
    finally:
        connection.close()


def _read_keys(keys: Sequence[str], scope: Scope) -> list[list[tuple[str, str]]]:
    """Per key the identities (kind, text) that it may be: one, or several where rows match by one of two cells.

    Raises:
        UsageError: one is no value of its type. The message has its place, never the key.
    """
    if scope.by is not None and scope.by.match is not None:
        cells = [each for each in compile_rules(scope.by).identities if each.kind != KEY_KIND]
        columns = [(cell.kind, identity_texts(cell.cell.field, keys)) for cell in cells]
        wanted = " or ".join(str(cell.cell.field.type) for cell in cells)
    else:
        own = scope.by.key.field if scope.by is not None and scope.by.key else scope.database.fields[scope.database.key]
        columns, wanted = [(KEY_KIND, identity_texts(own, keys))], str(own.type)
    read = [[(kind, str(texts[row])) for kind, texts in columns if texts[row] is not None] for row in range(len(keys))]
    for place, identities in enumerate(read, 1):
        if not identities:
            which = "the key" if len(keys) == 1 else f"key {place}"
            raise UsageError(
                f"{which} is no {wanted}, as database {scope.database_name} tells people apart",
                hint="nothing was changed; write it as a source does",
            )
    return read


def _person(
    connection: psycopg.Connection, identities: Sequence[tuple[str, str]], scope: Scope, secret: SuppressionSecret
) -> _Person:
    profiles = {
        profile
        for kind, text in identities
        for profile in find_profiles(connection, scope.database, scope.imports, kind, text)
    }
    if len(profiles) > 1:
        raise UsageError(
            f"{len(profiles)} profiles of database {scope.database_name} have that value",
            hint=f"nothing was changed; name the one you mean by its key: ingest forget {scope.database_name} KEY",
        )
    found = sorted(profiles)
    every = dict.fromkeys(identities)
    for values in values_of(connection, scope.database, scope.imports, found).values():
        for value in values:
            text = _comparable(value, scope)
            if text is not None:
                every[value.kind, str(text)] = None
    return _Person(list(every), found, _entries(list(every), scope, secret))


def _comparable(value: ProfileValue, scope: Scope) -> str | None:
    """The value as rows are compared by it; None if its type does not accept it."""
    field_of = _field_of(value.name, scope) if value.name else None
    if (
        field_of is None and value.kind in FIELD_TYPES and FIELD_TYPES[value.kind].ignores_case
    ):  # the contact of a consent
        field_of = Field.model_validate({"type": value.kind})
    if field_of is None:
        return value.text
    text = identity_texts(field_of, [value.text])[0]
    return None if text is None else str(text)


def _field_of(name: str, scope: Scope) -> Field | None:
    known = {mapped.name: mapped.field for bound in scope.imports for mapped in bound.fields}
    return scope.database.fields.get(name) or known.get(name)


def _entries(identities: Sequence[tuple[str, str]], scope: Scope, secret: SuppressionSecret) -> list[SuppressedEntry]:
    return [entry for kind, text in identities for entry in secret.entries(scope.table, kind, [text])]


def _people(
    connection: psycopg.Connection, people: Sequence[_Person], scope: Scope, secret: SuppressionSecret
) -> People:
    """All of them together, with what the ledger has of them."""
    imports = ledger.imports_of_database(connection, scope.database_name, scope.others)
    everybody = People(
        scope.database, imports, scope.imports,
        profiles=[profile for person in people for profile in person.profiles],
        keys=[text for person in people for kind, text in person.identities if kind == KEY_KIND],
        known_by=[identity for person in people for identity in person.identities],
        identities=Suppressed.of(scope.table, secret, [entry for person in people for entry in person.entries]),
    )  # fmt: skip
    return replace(
        everybody,
        rejects=sorted(set(_rejects(connection, everybody, scope))),
        cursors=sorted(set(_cursors(connection, everybody, scope))),
    )


def _rejects(connection: psycopg.Connection, people: People, scope: Scope) -> Iterator[tuple[int, int]]:
    """(load, line) of their rejected rows: those that `validate` would leave out now."""
    known = {bound.name: bound for bound in scope.imports}
    mappings = ledger.list_imports(connection)
    for some in ledger.reject_cells(connection, people.imports):
        by_import: dict[str, list[ledger.RejectCells]] = {}
        for reject in some:
            by_import.setdefault(reject.import_name, []).append(reject)
        for name, rejects in by_import.items():
            state = mappings.get(name)
            key_columns = [
                column for column, pair in ((state.mapping if state else None) or {}).items()
                if pair[0] == scope.database.key
            ]  # fmt: skip
            found = (
                _of_import(known[name], rejects, people)
                if name in known
                else _of_removed(key_columns, rejects, people.identities, scope)
            )
            for reject, theirs in zip(rejects, found, strict=True):
                if theirs:
                    yield reject.load, reject.line


def _of_import(bound: BoundImport, rejects: Sequence[ledger.RejectCells], people: People) -> pl.Series:
    """By what identifies the row's person; and by any cell that holds a key or an address of these people."""
    rules, theirs = compile_rules(bound), people.identities
    spellings = bound.spellings
    cells = [json.loads(reject.row) if reject.row is not None else {} for reject in rejects]
    columns = {
        column: pl.Series([_cell(row, (column, *spellings.get(column, ()))) for row in cells], dtype=pl.String)
        for column in rules.identifying_columns
    }
    frame = pl.DataFrame({LINE: pl.int_range(len(rejects), eager=True), **columns})
    found = rules.suppressed(rules.identify(frame), theirs)
    for identity in rules.identities:
        found |= theirs.among(identity.kind, identity_texts(identity.cell.field, [reject.key for reject in rejects]))
    texts = frozenset(people.words)
    addresses = frozenset(text for text in texts if is_address(text))
    holds = [any(cell in texts or cell.lower() in addresses for cell in _texts(row)) for row in cells]
    return found | pl.Series(holds, dtype=pl.Boolean)


def _texts(row: Mapping[str, object]) -> list[str]:
    return [str(cell).strip() for cell in row.values() if cell is not None]


def _cell(row: Mapping[str, object], names: Sequence[str]) -> str | None:
    given = next((row[name] for name in names if name in row), None)
    return None if given is None else str(given)


def _of_removed(
    key_columns: Sequence[str], rejects: Sequence[ledger.RejectCells], theirs: Suppressed, scope: Scope
) -> pl.Series:
    """For an import that the project no longer has: by the columns of its key; by every cell if nobody knows them."""
    own = scope.database.fields[scope.database.key]
    places: list[int] = []
    texts: list[str | None] = []
    for place, reject in enumerate(rejects):
        row = json.loads(reject.row) if reject.row is not None else {}
        for text in (reject.key, *(row.get(column) for column in key_columns or row)):
            places.append(place)
            texts.append(None if text is None else str(text))
    found = theirs.among(KEY_KIND, identity_texts(own, texts))
    hits = {place for place, hit in zip(places, found, strict=True) if hit}
    return pl.Series([place in hits for place in range(len(rejects))], dtype=pl.Boolean)


def _cursors(connection: psycopg.Connection, people: People, scope: Scope) -> Iterator[tuple[str, str, str]]:
    """(import, value, value before) of values of cursors that are keys of these people."""
    for bound in scope.imports:
        cursor, key = bound.spec.source.cursor, bound.key
        if cursor is None or key is None or key.column != cursor.column:
            continue
        values = ledger.cursor_values(connection, bound.name)
        theirs = people.identities.among(KEY_KIND, identity_texts(key.field, values))
        for value, hit in zip(values, theirs, strict=True):
            if hit:
                before = cursor_text(just_before(parse_cursor(value, cursor.kind)))
                yield bound.name, value, before or cursor_text(cursor.initial)
