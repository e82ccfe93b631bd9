"""`ingest purge`: deletes rejects and events that are older than their database's retention, and rows that waited."""

from __future__ import annotations

from typing import Annotated

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import Json


def purge(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
    json: Json = False,
) -> None:
    """Delete rejects, events and old values older than their database's `retention`, and rows that waited in vain.

    Loads and their counts stay.
    """
    from ingest_pipelines import ledger
    from ingest_pipelines.actions.launcher import user
    from ingest_pipelines.actions.target import ledger_of, now
    from ingest_pipelines.config import read_project, read_settings
    from ingest_pipelines.merge.history import purge_history

    settings = read_settings()
    project = read_project(settings.home)
    purged: list[dict[str, object]] = []
    with ledger_of(settings, writes=True) as connection:
        today = min(now(), ledger.target_time(connection))  # a clock that is ahead deletes nothing early
        for name, database in project.databases.items():
            imports = [bound.name for bound in project.imports.values() if bound.database_name == name]
            rejects = ledger.purge_rejects(connection, today - database.retention.rejects, imports)
            events = ledger.purge_events(connection, today - database.retention.events, imports)
            unmatched = ledger.purge_unmatched(connection, today, ".".join(database.schema_and_table))
            history = purge_history(connection, database, today - database.retention.history)
            purged.append(
                {"database": name, "rejects": rejects, "events": events, "unmatched": unmatched, "history": history}
            )
        if dry_run:
            connection.rollback()
        elif any(counts[what] for counts in purged for what in counts if what != "database"):
            ledger.record_audit(connection, user(), "purged", now(), detail={"databases": purged})
    if json:
        screen.as_json(purged)
        return
    verb = "would be deleted" if dry_run else "deleted"
    for counts in purged:
        retention = project.databases[str(counts["database"])].retention
        screen.say(
            f"{counts['database']}: {screen.plural(int(str(counts['rejects'])), 'reject')} older than "
            f"{retention.rejects.days} days and {screen.plural(int(str(counts['events'])), 'event')} older than "
            f"{retention.events.days} days {verb}"
        )
        if counts["unmatched"]:
            rows = screen.plural(int(str(counts["unmatched"])), "unmatched row")
            screen.say(f"{counts['database']}: {rows} that waited for a profile in vain {verb}")
        if counts["history"]:
            changes = screen.plural(int(str(counts["history"])), "change")
            screen.say(f"{counts['database']}: the old values of {changes} before {retention.history.days} days {verb}")
