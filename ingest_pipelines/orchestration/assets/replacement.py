"""A file was replaced under its name: the run of the old item sees to it that the new one is loaded, and ends well.

The new bytes are an item of their own, which the sensor finds by itself. Somebody who mended a file and runs its
failed partition again means the mended file, though: the old item's bytes are gone for good, and without this its
partition would stay red for ever. So that run loads the new item, in its own name, unless it is loaded already; then
the ledger has the old one as `skipped: replaced by ...`, and its partition is green.
"""

from __future__ import annotations

from dataclasses import replace

from dagster import AssetMaterialization, DagsterInstance

from ingest_pipelines import ledger, pipeline
from ingest_pipelines.errors import ItemGone
from ingest_pipelines.merge import record_replaced
from ingest_pipelines.model import Item, Landing, LoadReport, SourceFile, Validated
from ingest_pipelines.orchestration.assets.metadata import report_metadata
from ingest_pipelines.orchestration.assets.partitions import add_partitions, asset_key
from ingest_pipelines.orchestration.runs.run_context import Work
from ingest_pipelines.sources import open_files
from ingest_pipelines.sources.base import Client
from ingest_pipelines.sources.files import item_of


def land_replacement(gone: ItemGone, work: Work, client: Client | None, instance: DagsterInstance) -> Landing:
    """The file that has the name of the run's item now, landed as the item that it is.

    Where that one is loaded already, the landing is empty and says by which load: `settled_by`.

    Raises:
        ItemGone: no other file came under the name, or one that may still be growing: the sensor takes it later. Or
            the run is a plan, which is of the item that it names.
    """
    if work.item.kind != "file" or work.run.dry_run:
        raise gone
    file, item = _replacement(work, client)
    if item is None or item.key == work.item.key:
        raise gone
    with work.site.target.session() as connection:
        settled = ledger.last_settled_load(connection, item)
    if settled is not None:
        path = work.workspace.spool / "replaced.csv"
        path.touch()
        return Landing(item, path, "csv", settled.content_sha256, 0, replaced=work.item, settled_by=settled.id)
    if file is None or _may_grow(file, work):
        raise gone
    with work.site.target.session() as connection:
        ledger.register_items(connection, [item], work.site.clock())
    add_partitions(work.bound, [str(item.key)], instance)
    landing = pipeline.land(item, work.bound, work.workspace, work.site.clock(), client=client)
    return replace(landing, replaced=work.item)


def settle_replaced(report: LoadReport | None, validated: Validated, work: Work) -> LoadReport:
    """What the run did, told under the item that it loaded; the replaced item is `skipped` in the ledger.

    Args:
        report: of the replacement's load, if it was loaded by this run.
    """
    item = validated.landing.item
    by = report.load_id if report is not None else validated.landing.settled_by
    skipped = record_replaced(
        work.item, f"replaced by {item.key}, which load {by} settled", work.bound, work.site.target, work.run,
        work.site.clock(),
    )  # fmt: skip
    if report is None:
        return skipped
    return replace(report, reason="; ".join(filter(None, [report.reason, f"{work.item.key} was replaced by it"])))


def replacement_loaded(report: LoadReport, work: Work) -> AssetMaterialization:
    """The replacement's own partition is green too."""
    return AssetMaterialization(
        asset_key(work.bound), partition=str(report.item_key), metadata=report_metadata(report, work.bound)
    )


def _replacement(work: Work, client: Client | None) -> tuple[SourceFile | None, Item | None]:
    """What has the item's name at the source now; else the last item that had it, for that may be archived."""
    bound, path = work.bound, work.item.path
    try:
        with open_files(bound.connection, client) as source:
            file = source.stat(path)
            return file, item_of(bound.name, file, source.uri(path), source=str(bound.spec.source.file))
    except ItemGone:
        with work.site.target.session() as connection:
            return None, ledger.newest_of_path(connection, work.item)


def _may_grow(file: SourceFile, work: Work) -> bool:
    """Whether the file may not be whole yet. Who runs an item by hand says that it is."""
    if work.run.by not in {"sensor", "schedule", "housekeeping"}:
        return False
    return work.site.clock() - file.modified_at < work.bound.settle
