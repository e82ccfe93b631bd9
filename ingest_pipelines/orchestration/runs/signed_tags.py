"""Which of a run's tags are true: who requested it, whether it is forced, and its item.

Everybody who reaches the UI can launch a run with any tags, and a re-execution copies its parent's tags. So these three
facts count only where they are proven:

- `ingest run` executes its run in its own process, and so knows them (`Site.asked`).
- A sensor or a schedule signs the import, the item and its own name. The key of the signature is in Dagster's storage:
  the UI does not show it, and a user who can read it there could write runs anyway.
- The item of a re-execution is in the ledger, under its parent's id.

Every other run counts as launched by a person: by `dagster`, for its partition's item, not forced. A copied signature
proves the same facts about the same item only, and a re-execution counts as a person's in any case. `ingest/dry_run`
needs no proof.

Dagster+ keeps no key for us, so its runs have no signature, and all of them count as launched by `dagster`.
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
from ingest_pipelines.orchestration.dagster_plus import is_dagster_plus
from ingest_pipelines.orchestration.runs.tags import BY_TAG, FORCED_TAG, ITEM_TAG, SIGNATURE_TAG
from ingest_pipelines.orchestration.site import Site

_SEALS_NAME = "ingest/seal"
"""Name of the signature's key in the key-value table of Dagster's storage."""


@dataclass(frozen=True)
class RunOrigin:
    """A run's item, who requested it, and whether it is forced.

    Attributes:
        item: the key of the item that it works on.
        untrusted_tags: names of tags that say something else, and are ignored.
    """

    by: str
    item: ItemKey
    forced: bool = False
    untrusted_tags: tuple[str, ...] = ()


def signed_tags(bound: BoundImport, item: str, by: str, instance: DagsterInstance) -> dict[str, str]:
    """Tags that prove that a sensor or a schedule, `by`, requested a run of the item; in Dagster+ they say it only."""
    if is_dagster_plus(instance):
        return {BY_TAG: by}
    return {BY_TAG: by, SIGNATURE_TAG: _signature(bound.name, item, by, instance)}


def verified_origin(
    run: DagsterRun, bound: BoundImport, partition: str, site: Site, instance: DagsterInstance
) -> RunOrigin:
    """The proven facts about a run of the import, at that partition.

    Raises:
        UsageError: it re-executes a run whose item the ledger does not have.
    """
    asked, tags = site.asked, run.tags
    if asked is not None and asked.run_id == run.run_id:
        return RunOrigin(asked.by, asked.item, asked.forced)
    item, by = ItemKey(partition), "dagster"
    again = run.parent_run_id is not None and RETRY_NUMBER_TAG not in tags
    signs = not is_dagster_plus(instance)
    if signs and not again and SIGNATURE_TAG in tags:
        claimed = tags.get(BY_TAG, "")
        if hmac.compare_digest(
            tags[SIGNATURE_TAG].encode(), _signature(bound.name, partition, claimed, instance).encode()
        ):
            by = claimed
    wanted = tags.get(ITEM_TAG)
    if wanted is not None and run.parent_run_id is not None:
        if not _worked_on(run.parent_run_id, bound, wanted, site):
            raise UsageError(
                f"import {bound.name}: this run re-executes run {run.parent_run_id[:8]}, and no load of that run has "
                f"item {wanted}; nothing was read",
                hint=f"run: ingest run {bound.name} --item {wanted}",
            )
        item = ItemKey(wanted)
    believed = {ITEM_TAG: str(item), FORCED_TAG: "false", **({BY_TAG: by} if signs else {})}
    return RunOrigin(
        by, item, untrusted_tags=tuple(tag for tag, value in believed.items() if tags.get(tag, value) != value)
    )


def _worked_on(run_id: str, bound: BoundImport, item: str, site: Site) -> bool:
    """Whether the ledger has a load of the item by that run."""
    with site.target.session() as connection:
        loads = ledger.loads_of_run(connection, run_id)
    return any((load.import_name, load.item) == (bound.name, item) for load in loads)


def _signature(import_name: str, item: str, by: str, instance: DagsterInstance) -> str:
    text = json.dumps([import_name, item, by])
    return hmac.new(_secret(instance), text.encode(), hashlib.sha256).hexdigest()


def _secret(instance: DagsterInstance) -> bytes:
    """This installation's key for signatures, created at its first use."""
    storage = instance.daemon_cursor_storage
    if not storage.get_cursor_values({_SEALS_NAME}):
        storage.set_cursor_values({_SEALS_NAME: secrets.token_hex(32)})
    return bytes.fromhex(storage.get_cursor_values({_SEALS_NAME})[_SEALS_NAME])
