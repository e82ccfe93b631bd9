"""The load whose rejects a person corrects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest_pipelines.errors import UsageError

if TYPE_CHECKING:
    import psycopg

    from ingest_pipelines.config import BoundImport
    from ingest_pipelines.ledger import Load


def load_with_rejects(connection: psycopg.Connection, bound: BoundImport, load: int | None) -> Load:
    """The load with that number; without a number the import's last load with unresolved rejects.

    Raises:
        UsageError: there is no such load.
    """
    from ingest_pipelines import ledger

    require_load(connection, bound.name, load)
    rejects = ledger.list_rejects(connection, bound.name, load=load, limit=1, unresolved=True)
    if not rejects:
        where = f"load {load}" if load is not None else "any load"
        raise UsageError(f"import {bound.name}: no unresolved rejects in {where}", hint=f"ingest report {bound.name}")
    chosen = ledger.get_load(connection, rejects[0].load)
    assert chosen is not None
    return chosen


def require_load(connection: psycopg.Connection, name: str, load: int | None) -> None:
    """Refuses a load that the import does not have.

    Raises:
        UsageError: there is no such load.
    """
    from ingest_pipelines import ledger

    ledger_load = ledger.get_load(connection, load) if load is not None else None
    if load is not None and (ledger_load is None or ledger_load.import_name != name):
        raise UsageError(f"import {name} has no load {load}", hint=f"its loads: ingest report {name}")
