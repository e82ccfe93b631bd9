"""Starts and stops an import's schedule and sensor; the audit trail says who did it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

from ingest_pipelines.errors import UsageError

if TYPE_CHECKING:
    from ingest_pipelines.config import BoundImport, Settings
    from ingest_pipelines.ledger import ImportState

Steering = Literal["activated", "paused", "resumed"]
"""Actions as the audit trail names them."""


def steer(settings: Settings, bound: BoundImport, action: Steering, by: str, now: datetime) -> None:
    """Sets the import's status in the ledger, which overrides the YAML's.

    Args:
        by: who requests it, as user@host.

    Raises:
        UsageError: the import already has that status.
    """
    from ingest_pipelines import ledger
    from ingest_pipelines.actions.target import ledger_of

    status: Literal["active", "paused"] = "paused" if action == "paused" else "active"
    with ledger_of(settings, writes=True) as connection:
        refuse_same(bound, ledger.find_import(connection, bound.name), status)
        ledger.set_import_status(connection, bound.name, bound.database_name, status, now)
        ledger.record_audit(connection, by, action, now, import_name=bound.name)


def refuse_same(bound: BoundImport, state: ImportState | None, status: str) -> None:
    """Refuses a change of status that is none.

    Raises:
        UsageError: the import already has that status.
    """
    from ingest_pipelines.orchestration.automation import status_of

    if status_of(state, bound.spec.status) == status:
        raise UsageError(f"import {bound.name} is already {status}; nothing was changed", hint="ingest status")
