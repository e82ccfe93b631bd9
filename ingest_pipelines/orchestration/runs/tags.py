"""Tags of runs: ours, by which runs are found, held back and explained. Dagster's own: `dagster_internals.tags`.

A run that a person launches in the UI has none of ours: all that a load depends on is in the ledger. What a run's tags
prove: `signed_tags`.
"""

from __future__ import annotations

from collections.abc import Mapping

from dagster import DagsterRun

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.placement import Placement

IMPORT_TAG = "ingest/import"
CONNECTION_TAG = "ingest/connection"
"""On every run of an import: the run queue limits both."""

PROJECT_TAG = "ingest/project"
"""On every run of an import whose project has a key prefix: the prefix. Another project's import may have its name."""

STATUS_TAG = "ingest/status"
"""How the load ended, for the list of runs."""

DRY_RUN_TAG = "ingest/dry_run"
"""A run with it plans: it does all that a load does, and rolls it back."""

PLAN_TAG = "ingest/plan"
"""What a plan found, in two words, for the list of runs."""

BY_TAG = "ingest/by"
"""Who requested the run."""

REQUESTED_BY_ITSELF = frozenset({"sensor", "schedule", "housekeeping", "check_now"})
"""Who requests runs of what is new; everybody else is a person, who names an item."""

FORCED_TAG = "ingest/forced"
"""The item is applied although it is stale, shrunk or brings nothing new."""

ITEM_TAG = "ingest/item"
"""The item that the run works on, where it is not its partition's."""

CHECK_TAG = "ingest/check"
"""On a run without a partition, which looked for what is new: what came of it. See `orchestration.check_now`."""

TURN_TAG, GAVE_WAY = "ingest/turn", "gave way"
"""On a run that ended without a load, because items come before its own. See `runs.turns`."""

SIGNATURE_TAG = "ingest/seal"
"""The signature of `signed_tags`."""


def run_tags(bound: BoundImport) -> dict[str, str]:
    """Tags that every run of the import has, by which runs are found and held back."""
    return {**import_tags(bound.placement, bound.name), CONNECTION_TAG: bound.connection_name}


def import_tags(placement: Placement, name: str) -> dict[str, str]:
    """Tags that say which import a run is of."""
    return {IMPORT_TAG: name, **project_tags(placement)}


def project_tags(placement: Placement) -> dict[str, str]:
    """The tag that says which project a run is of; none for one without a key prefix."""
    return {PROJECT_TAG: placement.tag} if placement.tag else {}


def is_run_of(run: DagsterRun, placement: Placement) -> bool:
    """Whether it is a run of an import of the project there, and not another project's run, or a run of a team's own.

    A run that another queue than ours launched for the UI has no tags; then its assets tell.
    """
    if IMPORT_TAG in run.tags or CHECK_TAG in run.tags:
        return run.tags.get(PROJECT_TAG, "") == placement.tag
    prefix = list(placement.key_prefix)
    keys = [list(key.path) for key in run.asset_selection or ()]
    return any(key[:-2] == prefix for key in keys if len(key) > 1)


def gave_way(tags: Mapping[str, str]) -> bool:
    """Whether a run with these tags ended before its item's turn, and loaded nothing."""
    return tags.get(TURN_TAG) == GAVE_WAY


def is_dry_run(tags: Mapping[str, str]) -> bool:
    """Whether a run with these tags plans. Any value of the tag but `false` means that it does."""
    return tags.get(DRY_RUN_TAG, "false").strip().lower() != "false"
