"""`ingest events`: what changed in which profile, for people and for downstream triggers."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import Json, import_names

if TYPE_CHECKING:
    from ingest_pipelines.ledger import Event
    from ingest_pipelines.merge import Target

PAGE = 1_000
"""How many events one query reads."""

WAIT_SECONDS = 5.0
"""How long to wait for a commit's notification before querying anyway."""


def events(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Only this import; default: all.", autocompletion=import_names),
    ] = None,
    after: Annotated[
        int | None,
        typer.Option("--after", metavar="ID", help="Only events after this id: the last one that you have read."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="At most this many events; --follow has no limit.")
    ] = PAGE,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing new events until Ctrl-C; without --after start now.")
    ] = False,
    json: Json = False,
) -> None:
    """List created and updated profiles, oldest first: which fields changed, never their values. JSON: one per line."""
    from ingest_pipelines.actions.target import target_of
    from ingest_pipelines.config import read_project, read_settings

    settings = read_settings()
    if name is not None:
        read_project(settings.home).require(name)
    target = target_of(settings)
    selected = _follow(target, name, after) if follow else _page(target, name, after or 0, limit)
    for event in selected:
        screen.say(_as_line(event) if json else _as_text(event))


def _page(target: Target, name: str | None, after: int, limit: int) -> Iterator[Event]:
    from ingest_pipelines import ledger

    with target.ledger() as connection:
        page = ledger.list_events(connection, after=after, import_name=name, limit=limit + 1)
    yield from page[:limit]
    if len(page) > limit:
        screen.note(f"more events: ingest events {f'{name} ' if name else ''}--after {page[limit - 1].id}")


def _follow(target: Target, name: str | None, after: int | None) -> Iterator[Event]:
    """Events as their loads commit: a notification wakes it, and it also polls in case one was lost.

    A pooler or a broken connection may lose a notification, so each poll opens a session of its own.
    """
    from psycopg import sql

    from ingest_pipelines import ledger
    from ingest_pipelines.merge.events import CHANNEL
    from ingest_pipelines.merge.session import UNLIMITED

    with target.connect(UNLIMITED) as listener:
        listener.autocommit = True  # a notification arrives between transactions only
        listener.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
        seen = after
        while True:
            with target.ledger() as connection:
                if seen is None:
                    seen = ledger.last_event(connection)
                page = ledger.list_events(connection, after=seen, import_name=name, limit=PAGE)
            yield from page
            if page:
                seen = page[-1].id
            else:
                for _ in listener.notifies(timeout=WAIT_SECONDS, stop_after=1):
                    pass


def _as_line(event: Event) -> str:
    return jsonlib.dumps(
        {
            "id": event.id, "kind": event.kind, "profile_id": event.profile_id, "key": event.key,
            "fields": list(event.fields), "import": event.import_name, "load": event.load,
            "at": event.at.isoformat() if event.at else None,
        },
        ensure_ascii=False,
    )  # fmt: skip


def _as_text(event: Event) -> str:
    head = f"{event.id:>10}  {event.kind:<15}  {event.key:<16}"
    return f"{head}  {screen.wrapped(', '.join(event.fields), len(head) + 2)}".rstrip()
