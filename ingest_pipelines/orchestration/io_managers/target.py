"""The IO manager that merges: a validated item goes in, the target and the ledger have it, whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from dagster import AssetMaterialization, InputContext, IOManager, OutputContext

from ingest_pipelines import pipeline
from ingest_pipelines.errors import IngestError, ItemGone
from ingest_pipelines.merge import read_shape, row_count
from ingest_pipelines.model import Item, LoadReport, Validated
from ingest_pipelines.orchestration.assets.lineage import table_key, table_schema
from ingest_pipelines.orchestration.assets.metadata import in_one, report_metadata, table_metadata
from ingest_pipelines.orchestration.assets.replacement import replacement_loaded, settle_replaced
from ingest_pipelines.orchestration.assets.step_errors import failures_told, search_told
from ingest_pipelines.orchestration.io_managers.step_outputs import forget_rows, read_report, write_report
from ingest_pipelines.orchestration.resources.connections import client_of
from ingest_pipelines.orchestration.runs.run_context import Work, find_work
from ingest_pipelines.orchestration.runs.tags import STATUS_TAG
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.sources import archive_item
from ingest_pipelines.sources.base import Client


class TargetIOManager(IOManager):
    """Merges what the merge step hands over, in one transaction with everything the ledger keeps about it."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def handle_output(self, context: OutputContext, obj: Validated) -> None:
        """The item is applied, and the materialization says how.

        Raises:
            RetryRequested, Failure: see `failures_told`. The target is as it was.
        """
        work = self._work(context)
        self._site.watch("merge")
        reports: list[LoadReport] = []
        client = client_of(context.step_context.resources, work.bound)
        with failures_told(work, context.log, obj):
            for report in _loads(work, obj, client):
                reports.append(report)
                if work.item.kind == "cursor":
                    context.log.info("Chunk up to %s: %d rows.", report.cursor_to, report.counts.read)
            report = (
                in_one(reports)
                if obj.landing.replaced is None
                else settle_replaced(next(iter(reports), None), obj, work)
            )
        status = "completed_with_rejects" if report.counts.rejected else "completed"
        context.step_context.instance.add_run_tags(context.run_id, {STATUS_TAG: status})
        write_report(self._site.settings.spill, context.run_id, report)
        forget_rows(obj)
        if obj.landing.replaced is not None and reports:
            context.log_event(replacement_loaded(report, work))
        self._archive(context, work, report, obj.landing.item, client)
        if report.counts.inserted or report.counts.updated:
            with suppress(IngestError):  # the load is committed; its table's page can wait for the next one
                context.log_event(self._table_changed(work, report))
        context.add_output_metadata(
            {
                **report_metadata(report, work.bound),
                **table_metadata(report, work.bound, work.item.uri),
                **({"chunks": len(reports)} if work.item.kind == "cursor" else {}),
            }
        )

    def forget(self, validated: Validated) -> None:
        """The rows of a plan are gone, wherever they lay."""
        forget_rows(validated)

    def _archive(
        self, context: OutputContext, work: Work, report: LoadReport, item: Item, client: Client | None
    ) -> None:
        """The loaded file lies in the archive folder, if there is one; the load stands whether that works or not."""
        folder = work.bound.spec.source.archive
        if folder is None or report.status not in {"committed", "skipped"}:
            return
        try:
            archive_item(item, work.bound.connection, folder, client)
        except ItemGone:
            context.log.info("The file is no longer where it was read; nothing to archive.")
        except IngestError as error:
            context.log.warning("The item is loaded, and its file stays where it is: it was not archived. %s", error)

    def _table_changed(self, work: Work, report: LoadReport) -> AssetMaterialization:
        """What the page of the profile table shows."""
        with self._site.target.session() as connection:
            rows = row_count(connection, *work.bound.database.schema_and_table)
            shape = read_shape(connection, *work.bound.database.schema_and_table)
        types = {name: column.type for name, column in shape.columns.items()}
        table = table_key(work.bound.database)
        writers = [bound for bound in self._site.project.imports.values() if table_key(bound.database) == table]
        return AssetMaterialization(
            table,
            metadata={
                "dagster/row_count": rows,
                "dagster/column_schema": table_schema(writers, types),
                "inserted": report.counts.inserted,
                "updated": report.counts.updated,
                "import": work.bound.name,
                "item": str(report.item_key),
            },
        )

    def load_input(self, context: InputContext) -> LoadReport:
        """What the load did, for the checks after it."""
        upstream = context.upstream_output
        assert upstream is not None
        report = read_report(self._site.settings.spill, upstream.run_id)
        assert report is not None
        return report

    def _work(self, context: OutputContext) -> Work:
        step = context.step_context
        attempt = step.previous_attempt_count + 1
        with search_told(attempt, context.log):
            return find_work(
                self._site,
                context.step_key,
                context.partition_key,
                step.dagster_run,
                attempt,
                step.instance,
                context.log,
            )


def _loads(work: Work, validated: Validated, client: Client | None = None) -> Iterator[LoadReport]:
    """The item's load; of a cursor's drain the first chunk, as the steps before made it, then all the others.

    A re-execution may bring a first chunk that an earlier run has committed. It is left alone, and the drain goes on
    from what is committed.
    """
    bound, target, now, early_loads = work.bound, work.site.target, work.site.clock(), work.site.early_loads
    if validated.landing.settled_by is not None:
        return
    if work.item.kind != "cursor":
        yield pipeline.load(validated, bound, target, work.run, now, early_loads.take(bound.name))
        return
    overtaken = pipeline.is_overtaken(validated, work.item, bound, target, work.run)
    if overtaken:
        early_loads.discard(bound.name)
    else:
        yield pipeline.load(validated, bound, target, work.run, now, early_loads.take(bound.name))
    item = work.item if overtaken else validated.landing.item
    yield from pipeline.drain(item, bound, work.workspace, target, work.run, now, started=not overtaken, client=client)
