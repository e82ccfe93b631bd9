"""`ingest history`: what loads have changed in a profile, and what was known of it at a time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import Json
from ingest_pipelines.errors import UsageError

if TYPE_CHECKING:
    from ingest_pipelines.config import Project
    from ingest_pipelines.config.databases import Database

MASK = "***"
"""In the place of a value whose field is marked `pii: true`."""


def history(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A database, or an import into it.")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="The profile's key.")],
    at: Annotated[
        str | None, typer.Option("--at", metavar="DATE", help="Show the profile as it was then: 2026-11-22, or a time.")
    ] = None,
    last: Annotated[int, typer.Option("--last", min=1, max=1000, help="At most this many changes.")] = 20,
    json: Json = False,
) -> None:
    """Show what loads have changed in a profile, newest first; with --at, the profile as it was known then.

    The database needs `history: true`. Fields marked `pii: true` are masked.
    """
    import psycopg

    from ingest_pipelines.actions.target import ledger_of
    from ingest_pipelines.config import read_project, read_settings
    from ingest_pipelines.merge.history import has_history, list_history, profile_at

    settings = read_settings()
    database_name, database = _database(read_project(settings.home), name)
    moment = None if at is None else _moment(at)
    with ledger_of(settings) as connection:
        if not has_history(connection, database):
            raise UsageError(f"{database_name}: no load with a history yet", hint="the next load of it begins one")
        try:
            profile = None if moment is None else profile_at(connection, database, key, moment)
            changes = list_history(connection, database, key, last) if moment is None else []
        except psycopg.DataError:
            raise UsageError(f"{database_name}: such a key cannot be; it is a {_key_type(database)}") from None
    if moment is not None:
        _show_profile(database, profile, moment, json=json)
        return
    masked = [(past.valid_from, past.valid_to, _masked(database, past.old)) for past in changes]
    if json:
        screen.as_json([{"valid_from": since, "valid_to": until, "old": old} for since, until, old in masked])
        return
    if not masked:
        screen.say(f"{database_name}: no load has changed a profile with this key")
    for since, until, old in masked:
        screen.say(f"{screen.moment(since) if since else 'before'} to {screen.moment(until)}")
        for field, value in old.items():
            screen.say(f"  {field}: {screen.wrapped(_text(value), len(field) + 4)}")


def _database(project: Project, name: str) -> tuple[str, Database]:
    bound = project.imports.get(name)
    chosen = bound.database_name if bound is not None and name not in project.databases else name
    database = project.databases.get(chosen)
    if database is None:
        project.require(name)
        raise UsageError(f"there is no database '{name}'")
    if not database.history:
        raise UsageError(
            f"{chosen}: its loads keep no old values", hint="write history: true into databases.yaml, below its table"
        )
    return chosen, database


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--at: '{text}' is no time", hint="write 2026-11-22, or 2026-11-22T09:15") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _key_type(database: Database) -> str:
    return database.fields[database.key].type_name


def _show_profile(database: Database, profile: Mapping[str, Any] | None, at: datetime, *, json: bool) -> None:
    known = None if profile is None else _masked(database, profile)
    if json:
        screen.as_json(known)
    elif known is None:
        screen.say(f"{screen.moment(at)}: nothing was known of this key")
    else:
        for field, value in known.items():
            screen.say(f"{field}: {screen.wrapped(_text(value), len(field) + 2)}")


def _masked(database: Database, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, without those of private fields."""
    private = {name for name, field in database.fields.items() if field.pii}
    return {name: MASK if name in private and value is not None else value for name, value in values.items()}


def _text(value: object) -> str:
    from ingest_pipelines.errors import printable

    return "-" if value is None else printable(str(value))
