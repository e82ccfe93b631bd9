"""Where the next chunk of a query import starts, set by a person."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ingest_pipelines.errors import UsageError

if TYPE_CHECKING:
    from ingest_pipelines.config import BoundImport, Settings
    from ingest_pipelines.ledger import CursorState


def require_cursor(bound: BoundImport) -> None:
    """Refuses an import without a cursor.

    Raises:
        UsageError: it has none.
    """
    if bound.spec.source.cursor is None:
        raise UsageError(
            f"import {bound.name} has no cursor", hint="only queries can have one: source: {query, cursor: {column}}"
        )


def parse_cursor_of(bound: BoundImport, value: str) -> str:
    """The value as the ledger keeps it.

    Raises:
        UsageError: the import has no cursor, or its column cannot hold the value.
    """
    from ingest_pipelines.cursor.values import cursor_text, parse_cursor

    require_cursor(bound)
    cursor = bound.spec.source.cursor
    assert cursor is not None
    try:
        return cursor_text(parse_cursor(value, cursor.kind))
    except ValueError as error:
        raise UsageError(
            f"import {bound.name}: {error}", hint=f"its first chunk started after {cursor.start}"
        ) from None


def set_cursor(
    settings: Settings, bound: BoundImport, text: str, by: str, now: datetime, *, expected: CursorState | None
) -> None:
    """Starts the next chunk after `text`; the audit trail says who set it.

    Args:
        text: from `parse_cursor_of`.
        by: who requests it, as user@host.
        expected: the cursor as the person saw it.

    Raises:
        UsageError: a load or another person has moved the cursor since.
    """
    from ingest_pipelines import ledger
    from ingest_pipelines.actions.target import ledger_of

    with ledger_of(settings, writes=True) as connection:
        before = ledger.find_cursor(connection, bound.name)
        seen, found = expected.value if expected else None, before.value if before else None
        if seen != found:
            raise UsageError(
                f"import {bound.name}: the cursor was moved meanwhile; nothing was changed",
                hint=f"look again: ingest cursor show {bound.name}",
            )
        ledger.set_cursor(connection, bound.name, text, now)
        detail = {"from": found, "to": text}
        ledger.record_audit(connection, by, "cursor set", now, import_name=bound.name, detail=detail)
