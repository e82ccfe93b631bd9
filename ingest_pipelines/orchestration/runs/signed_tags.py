"""What a run's tags say of it, and what of that is believed.

Whoever reaches the UI can launch a run with any tags, and a re-execution copies those of its parent. So who asked for a
run, whether it is forced, and which item it works on if not its partition's, counts where it is proven:

- `ingest run` executes the run that it launched in its own process, and knows (`Asked`, in the process's `Site`).
- A run that a sensor or a schedule requests carries a seal of its import, its item and who requested it. The secret for
  it lies in Dagster's storage, where nothing shows it, and nobody can write who could not write runs as well.
- What a re-execution works on is in the ledger, under its parent's id.

Any other run is one that a person launched: by `dagster`, of its partition's item, not forced. A copied seal proves
what it proved before, and of that item only; a re-execution is a person's even so. `ingest/dry_run` anybody may set.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass

from dagster import DagsterInstance, DagsterRun

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import UsageError
from ingest_pipelines.model import ItemKey
from ingest_pipelines.orchestration.dagster_internals.tags import RETRY_NUMBER_TAG
from ingest_pipelines.orchestration.runs.tags import BY_TAG, FORCED_TAG, ITEM_TAG, SEAL_TAG
from ingest_pipelines.orchestration.site import Site

_SECRET = "ingest/seal"  # noqa: S105  # where it lies, not what it is
"""Key of the secret in the key-value table of Dagster's storage."""


@dataclass(frozen=True)
class Proven:
    """What is known of a run.

    Attributes:
        item: the key of the item that it works on.
        unproven: tags that say something else, and are not believed.
    """

    by: str
    item: ItemKey
    forced: bool = False
    unproven: tuple[str, ...] = ()


def sealed(bound: BoundImport, item: str, by: str, instance: DagsterInstance) -> dict[str, str]:
    """Tags by which a run of the item proves that a sensor or a schedule, `by`, requested it."""
    return {BY_TAG: by, SEAL_TAG: _seal(bound.name, item, by, instance)}


def proven(run: DagsterRun, bound: BoundImport, partition: str, site: Site, instance: DagsterInstance) -> Proven:
    """What is known of a run of the import, at that partition.

    Raises:
        UsageError: it runs another run again whose item nobody knows: its partition's item is not what was asked for.
    """
    asked, tags = site.asked, run.tags
    if asked is not None and asked.run_id == run.run_id:
        return Proven(asked.by, asked.item, asked.forced)
    item, by = ItemKey(partition), "dagster"
    again = run.parent_run_id is not None and RETRY_NUMBER_TAG not in tags
    if not again and SEAL_TAG in tags:
        claimed = tags.get(BY_TAG, "")
        if hmac.compare_digest(tags[SEAL_TAG].encode(), _seal(bound.name, partition, claimed, instance).encode()):
            by = claimed
    wanted = tags.get(ITEM_TAG)
    if wanted is not None and run.parent_run_id is not None:
        if not _worked_on(run.parent_run_id, bound, wanted, site):
            raise UsageError(
                f"import {bound.name}: this run repeats run {run.parent_run_id[:8]}, and no load tells that its item "
                f"was {wanted}; nothing was read",
                hint=f"run: ingest run {bound.name} --item {wanted}",
            )
        item = ItemKey(wanted)
    believed = {BY_TAG: by, ITEM_TAG: str(item), FORCED_TAG: "false"}
    return Proven(by, item, unproven=tuple(tag for tag, value in believed.items() if tags.get(tag, value) != value))


def _worked_on(run_id: str, bound: BoundImport, item: str, site: Site) -> bool:
    """Whether the ledger has a load of the item by that run."""
    with site.target.session() as connection:
        loads = ledger.loads_of_run(connection, run_id)
    return any((load.import_name, load.item) == (bound.name, item) for load in loads)


def _seal(import_name: str, item: str, by: str, instance: DagsterInstance) -> str:
    text = json.dumps([import_name, item, by])
    return hmac.new(_secret(instance), text.encode(), hashlib.sha256).hexdigest()


def _secret(instance: DagsterInstance) -> bytes:
    """This installation's secret, made when it is asked for first."""
    storage = instance.daemon_cursor_storage
    if not storage.get_cursor_values({_SECRET}):
        storage.set_cursor_values({_SECRET: secrets.token_hex(32)})
    return bytes.fromhex(storage.get_cursor_values({_SECRET})[_SECRET])
