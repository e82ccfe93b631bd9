"""THE STORY: an item is landed, its rows are judged, the accepted ones are merged.

    Item -> land -> Landing -> validate -> Validated -> load -> LoadReport

Dagster's ops, its IO manager and `ingest plan` call these functions. Each can be repeated at any time:
only `load` changes the target, in one transaction, and it asks the ledger first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import RejectsAboveLimit
from ingest_pipelines.landing import land_file, read_csv
from ingest_pipelines.merge import Target, apply, record_failure
from ingest_pipelines.model import Item, Landing, LoadReport, Run, Validated
from ingest_pipelines.rules import compile_rules, judge
from ingest_pipelines.sources import open_item


@dataclass(frozen=True)
class Workspace:
    """Local folders of one run: `spool` for landed bytes, `spill` for judged rows."""

    spool: Path
    spill: Path


def land(item: Item, bound: BoundImport, workspace: Workspace) -> Landing:
    """The item's bytes on local disk, hashed, proven unchanged while they were read.

    Raises:
        SourceUnavailable, ItemChanged (retryable), SourceDenied, ItemGone, ItemRefused.
    """
    with open_item(item, bound.connection) as source:
        return land_file(item, source, workspace.spool, bound.spec.source.limits)


def validate(landing: Landing, bound: BoundImport, workspace: Workspace) -> Validated:
    """Every row judged: accepted rows sorted and cast on disk, rejects with every rule they break.

    Raises:
        ItemRefused: the item as a whole cannot be read.
        InternalError: an accepted row breaks the import's own schema.
    """
    header, frames = read_csv(landing, bound.required_columns, bound.spec.source.limits)
    return judge(landing, header, frames, compile_rules(bound), workspace.spill)


def check_rejects(validated: Validated, bound: BoundImport) -> None:
    """The item's rejects are within the import's limit.

    Raises:
        RejectsAboveLimit: nothing is to be merged. `load` would say the same, later.
    """
    if not bound.spec.rejects.allows(validated.rejected_rows, validated.read):
        raise RejectsAboveLimit(
            f"{validated.rejected_rows} of {validated.read} rows were rejected, and the import allows "
            f"{bound.spec.rejects}",
            hint=f"nothing was merged; see them with: ingest rejects list {bound.name}",
        )


def load(validated: Validated, bound: BoundImport, target: Target, run: Run, now: datetime) -> LoadReport:
    """The accepted rows merged, with rejects, load record, cursor and events, in one transaction.

    Raises:
        TargetUnavailable, TargetBusy (retryable); LoadError and its kinds: nothing was committed.
    """
    return apply(validated, bound, target, run, now)


__all__ = ["Workspace", "check_rejects", "land", "load", "record_failure", "validate"]
