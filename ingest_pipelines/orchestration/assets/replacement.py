"""A file was replaced under its name: re-running the old item loads the replacement, so its partition turns green.

The new file is an item of its own, which the sensor finds. But a person who fixes a file and re-runs its failed
partition means the fixed file: the old one no longer exists, and without this its partition would stay red for ever. So
that run loads the new item under its own key, unless it is loaded already. The ledger then has the old item as
`skipped: replaced by ...`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from dagster import AssetMaterialization, DagsterInstance

from ingest_pipelines import ledger, pipeline
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.file_parts import Parts
from ingest_pipelines.errors import ItemGone, UsageError
from ingest_pipelines.merge import record_replaced
from ingest_pipelines.model import Item, Landing, LoadReport, SourceFile, Validated
from ingest_pipelines.orchestration.assets.metadata import report_metadata
from ingest_pipelines.orchestration.assets.partitions import add_partitions, asset_key
from ingest_pipelines.orchestration.runs.run_context import RunContext
from ingest_pipelines.orchestration.runs.tags import REQUESTED_BY_ITSELF
from ingest_pipelines.owner_only import private_file
from ingest_pipelines.sources import open_files
from ingest_pipelines.sources.base import Client, FileSource
from ingest_pipelines.sources.files import item_of
from ingest_pipelines.sources.parts import file_set_with, file_sets, require_whole


def land_replacement(
    gone: ItemGone, run_context: RunContext, client: Client | None, instance: DagsterInstance
) -> Landing:
    """Lands the file that now has the name of the run's item, as an item of its own.

    If that item is settled already, the landing is empty and names the load: `settled_by`.

    Raises:
        ItemGone: there is no other file with that name, or it may still be changing, or older items wait before it, and
            the sensor loads it later. Or the run is a dry run, which is about its own item only.
    """
    if run_context.item.kind != "file" or run_context.run.dry_run:
        raise gone
    file, item = _replacement(run_context, client)
    if item is None or item.key == run_context.item.key:
        raise gone
    with run_context.site.target.session() as connection:
        settled = ledger.last_settled_load(connection, item)
    if settled is not None:
        path = run_context.workspace.spool / "replaced.csv"
        private_file(path)
        return Landing(item, path, "csv", settled.content_sha256, 0, replaced=run_context.item, settled_by=settled.id)
    if file is None or _may_change(file, run_context):
        raise gone
    _refuse_to_overtake(item, run_context)
    with run_context.site.target.session() as connection:
        ledger.register_items(connection, [item], run_context.site.clock())
    add_partitions(run_context.bound, [str(item.key)], instance)
    landing = pipeline.land(item, run_context.bound, run_context.workspace, run_context.site.clock(), client=client)
    return replace(landing, replaced=run_context.item)


def _refuse_to_overtake(replacement: Item, run_context: RunContext) -> None:
    """Raises ItemGone if older items of an import that loads every file wait: after the replacement they were stale."""
    bound = run_context.bound
    if bound.spec.source.pick != "all" or replacement.modified_at is None:
        return
    with run_context.site.target.session() as connection:
        waiting = [each.item for each in ledger.waiting_items(connection) if each.item.import_name == bound.name]
    before = [
        item
        for item in waiting
        if item.key not in {replacement.key, run_context.item.key}
        and item.modified_at is not None
        and (item.modified_at, item.serial or 0) < (replacement.modified_at, replacement.serial or 0)
    ]
    if before:
        items = "1 older item waits" if len(before) == 1 else f"{len(before):,} older items wait"
        raise ItemGone(
            f"import {bound.name}, item {run_context.item.key}: its file was replaced, and {items} before the new one",
            hint=f"nothing was merged; the new file is loaded in its turn, as {replacement.key}",
        )


def settle_replaced(report: LoadReport | None, validated: Validated, run_context: RunContext) -> LoadReport:
    """The run's report, under the item that it loaded. The replaced item is `skipped` in the ledger.

    Args:
        report: of the replacement's load, if this run loaded it.
    """
    item = validated.landing.item
    by = report.load_id if report is not None else validated.landing.settled_by
    skipped = record_replaced(
        run_context.item,
        f"replaced by {item.key}, which load {by} settled",
        run_context.bound,
        run_context.site.target,
        run_context.run,
        run_context.site.clock(),
    )
    if report is None:
        return skipped
    return replace(
        report, reason="; ".join(filter(None, [report.reason, f"{run_context.item.key} was replaced by it"]))
    )


def replacement_loaded(report: LoadReport, run_context: RunContext) -> AssetMaterialization:
    """The materialization that turns the replacement's own partition green, too."""
    return AssetMaterialization(
        asset_key(run_context.bound),
        partition=str(report.item_key),
        metadata=report_metadata(report, run_context.bound),
    )


def _replacement(run_context: RunContext, client: Client | None) -> tuple[SourceFile | None, Item | None]:
    """The file that has the item's name at the source now; else the newest item with it, which may be archived."""
    bound, path = run_context.bound, run_context.item.path
    try:
        with open_files(bound.connection, client) as source:
            named = bound.spec.source
            if named.parts is not None:
                return _whole_file_set(bound, named.parts, path, source)
            file = source.stat(path)
            return file, item_of(
                bound.name,
                file,
                source.uri(path),
                source=str(named.file),
                pattern=named.pattern,
                endings=named.endings,
            )
    except ItemGone:
        with run_context.site.target.session() as connection:
            return None, ledger.newest_of_path(connection, run_context.item)


def _whole_file_set(
    bound: BoundImport, parts: Parts, path: str, source: FileSource
) -> tuple[SourceFile | None, Item | None]:
    """The delivery of several files that the path belongs to now, if it is whole."""
    folder = path.rpartition("/")[0]
    delivery = file_set_with(path, file_sets(source.listing(folder, nested=False), folder, parts))
    if delivery is None:
        raise ItemGone(f"{source.uri(path)} does not exist")
    with suppress(UsageError):
        require_whole(delivery, source, bound.name)
        return delivery.as_file, delivery.item(bound.name, source.uri(delivery.parts[0].path))
    return None, None


def _may_change(file: SourceFile, run_context: RunContext) -> bool:
    """Whether the file may still be changing. A person who runs the item by hand says that it is not."""
    if run_context.run.by not in REQUESTED_BY_ITSELF:
        return False
    return run_context.site.clock() - file.modified_at < run_context.bound.settle
