"""`ingest audit`: who did what by hand, and when."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ingest_pipelines.actions.audit_words import action_words
from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import Json, import_names
from ingest_pipelines.errors import UsageError

if TYPE_CHECKING:
    from ingest_pipelines.ledger import AuditEntry


def audit(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Only this import; default: all.", autocompletion=import_names),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="Since this day or time, or this long ago: 2026-11-22, 7d, 24h."),
    ] = None,
    last: Annotated[int, typer.Option("--last", min=1, help="At most this many entries.")] = 50,
    json: Json = False,
) -> None:
    """List who activated, paused, forced, replayed, unlocked, purged or set a cursor, and when; newest first."""
    from ingest_pipelines import ledger
    from ingest_pipelines.actions.target import ledger_of, now
    from ingest_pipelines.config import read_settings

    begin = _moment(since, now()) if since is not None else None
    with ledger_of(read_settings()) as connection:
        entries = ledger.list_audit(connection, import_name=name, since=begin, last=last + 1)
    shown, more = entries[:last], len(entries) > last
    if json:
        screen.as_json([_as_json(entry) for entry in shown])
    elif not shown:
        screen.say("no manual actions" + (f" since {screen.moment(begin)}" if begin else " yet"))
    else:
        rows = [(screen.moment(entry.at), entry.who, action_words(entry)) for entry in shown]
        for line in screen.columns(("when", "who", "what"), rows):
            screen.say(line)
    if more:
        screen.note(f"more entries: ingest audit {f'{name} ' if name else ''}--last {last * 10}")


def _moment(text: str, now: datetime) -> datetime:
    """`2026-11-22`, `2026-11-22T09:15` in local time, or `7d` before now."""
    from ingest_pipelines.config.base import parse_duration

    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        pass
    try:
        return now - parse_duration(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since {text} is neither a date nor a duration", hint="for example 2026-11-22, or 7d"
        ) from None


def _as_json(entry: AuditEntry) -> dict[str, object]:
    return {
        "id": entry.id, "at": entry.at, "who": entry.who, "what": entry.what, "import": entry.import_name,
        "item": entry.item, "detail": dict(entry.detail),
    }  # fmt: skip
