"""`renamed_from`: an import takes over the history of the name that it had before, and its partitions in Dagster."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from dagster import AssetMaterialization, DagsterInstance

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import UsageError
from ingest_pipelines.orchestration.assets.partitions import add_partitions, asset_key
from ingest_pipelines.orchestration.site import Site

MOST_PARTITIONS = 500
"""The newest items of the old name get a partition of the new one; the ledger has all of them."""

_LOG = logging.getLogger(__name__)


def earlier_names(imports: Mapping[str, BoundImport]) -> dict[str, str]:
    """Per name that an import had before, and that none has now, the import's name now."""
    old_names = {bound.spec.renamed_from: name for name, bound in imports.items()}
    return {old: name for old, name in old_names.items() if old is not None and old not in imports}


def take_over_history(site: Site, bound: BoundImport, instance: DagsterInstance, who: str) -> bool:
    """Whether history moved to the import from its old name. One query where there is nothing to move.

    Partitions are added before the ledger's rows move: if this is interrupted, the next call does the rest. A process
    that read the project before the old name got its history, by another rename, knows an older one: it moves nothing.

    Args:
        who: for the audit trail: a person, or `sensor`, `schedule` or `housekeeping`.

    Raises:
        UsageError: the import has a history of its own, which cannot be told apart from that of the old name.
    """
    old = bound.spec.renamed_from
    if old is None:
        return False
    with site.target.session() as connection:
        if not ledger.has_history(connection, old) or ledger.is_renamed_since(connection, old, site.read_at):
            return False
        states = ledger.item_states(connection, old)[:MOST_PARTITIONS]
    add_partitions(bound, [str(state.key) for state in reversed(states)], instance)
    with site.target.session() as connection:
        outcome = ledger.rename_import(connection, old, bound.name, who, site.clock())
    if outcome == "has a history of its own":
        raise UsageError(
            f"import {bound.name}: renamed_from: both '{old}' and '{bound.name}' have loads in the ledger, and two "
            "histories cannot become one",
            hint=f"nothing was moved; delete the line renamed_from from imports/{bound.name}.yaml",
        )
    for state in reversed(states):
        if state.status in {"committed", "skipped"}:
            moved = AssetMaterialization(asset_key(bound), partition=str(state.key), metadata={"loaded as": old})
            instance.report_runless_asset_event(moved)
    _LOG.info("import %s has the history of %s", bound.name, old)
    return outcome == "renamed"
