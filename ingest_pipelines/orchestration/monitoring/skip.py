"""Items that a person decided never to load. The ledger has them as `skipped`, so nothing requests their runs."""

from __future__ import annotations

from collections.abc import Sequence

from ingest_pipelines import ledger
from ingest_pipelines.errors import UsageError
from ingest_pipelines.model import Item, ItemKey
from ingest_pipelines.orchestration.monitoring.open_item import OpenItem
from ingest_pipelines.orchestration.runs.run_context import find_item
from ingest_pipelines.orchestration.runs.run_files import forget_run
from ingest_pipelines.orchestration.runs.run_locks import life_of
from ingest_pipelines.orchestration.site import Site


def skip_items(
    site: Site, name: str, keys: Sequence[str], *, by: str, reason: str, open_now: Sequence[OpenItem]
) -> None:
    """Marks the import's items as skipped, all of them or none, and notes it in the audit trail.

    What the runs that failed for them had landed and validated is deleted: no run will go on with it.

    Args:
        name: of an import, also of one that the project no longer has.
        open_now: the import's open items.

    Raises:
        UsageError: an item is in the table already, its run is under way, or there is no such item.
    """
    now, states = site.clock(), {item.item: item.state for item in open_now}
    bound = site.project.imports.get(name)
    with site.target.session() as connection:
        for key in keys:
            if states.get(key) in {"running", "queued"}:
                raise UsageError(
                    f"import {name}: a run of item {key} is {states[key]}",
                    hint="nothing was changed; end the run in the Dagster UI first, or wait for it",
                )
            item = ledger.find_item(connection, name, key)
            if item is None and bound is not None:
                item = find_item(site, bound, key)
                if item is not None:
                    ledger.register_items(connection, [item], now)
            if item is None and bound is None and key in states:  # a window that only its run knew
                item = Item(name, ItemKey(key), "window", "")
                ledger.register_items(connection, [item], now)
            if item is None:
                raise UsageError(
                    f"import {name}: there is no item {key}", hint=f"list its open items: ingest status {name}"
                )
            before = ledger.skip_item(connection, item)
            if before == "committed":
                raise UsageError(
                    f"import {name}: item {key} is in the table", hint=f"nothing was changed; see: ingest report {name}"
                )
            detail = {"reason": reason, "status": before}
            ledger.record_audit(connection, by, "skipped", now, import_name=name, item=key, detail=detail)
    settings = site.settings
    for entry in open_now:
        is_skipped = entry.import_name == name and entry.item in keys
        if is_skipped and entry.run_id and life_of(settings.state, entry.run_id) != "alive":
            forget_run(settings.spool, settings.spill, entry.run_id)
