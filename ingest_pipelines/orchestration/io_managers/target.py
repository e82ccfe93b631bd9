"""The target IO manager: it merges a validated item into the table, together with the ledger's records of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

import psycopg
from dagster import InputContext, IOManager, OutputContext

from ingest_pipelines import pipeline
from ingest_pipelines.errors import IngestError, ItemGone
from ingest_pipelines.model import Item, LoadReport, Validated
from ingest_pipelines.orchestration.assets.metadata import combined_report, report_metadata, table_metadata
from ingest_pipelines.orchestration.assets.receipts import write_answer
from ingest_pipelines.orchestration.assets.replacement import replacement_loaded, settle_replaced
from ingest_pipelines.orchestration.assets.step_errors import recording_errors, retrying_errors
from ingest_pipelines.orchestration.assets.table_events import table_changed
from ingest_pipelines.orchestration.io_managers.step_outputs import read_report, write_report
from ingest_pipelines.orchestration.resources.connections import client_of
from ingest_pipelines.orchestration.runs.ended_runs import stop_if_ended
from ingest_pipelines.orchestration.runs.run_context import RunContext, find_run_context
from ingest_pipelines.orchestration.runs.run_files import forget_rows
from ingest_pipelines.orchestration.runs.tags import STATUS_TAG
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.orchestration.value_shape import printable_cursor
from ingest_pipelines.sources import archive_item
from ingest_pipelines.sources.base import Client


class TargetIOManager(IOManager):
    """Merges the merge step's output, in one transaction with the ledger's records."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def handle_output(self, context: OutputContext, obj: Validated) -> None:
        """Merges the item, and adds the result to the materialization.

        Raises:
            ExpectedRetry, ExpectedFailure: see `recording_errors`. The target is as it was.
        """
        run_context = self._run_context(context)
        self._site.watch("merge")
        reports: list[LoadReport] = []
        client = client_of(context.step_context.resources, run_context.bound)
        report = self._settled_before(context, obj)
        if report is None:
            try:
                with recording_errors(run_context, context, obj):
                    confirm = partial(stop_if_ended, context.step_context.instance, context.run_id)
                    for chunk in _loads(run_context, obj, confirm, client):
                        reports.append(chunk)
                        if run_context.item.kind == "cursor":
                            cursor_to = printable_cursor(chunk.cursor_to or "")
                            context.log.info("Chunk up to %s: %d rows.", cursor_to, chunk.counts.read)
                    report = (
                        combined_report(reports)
                        if obj.landing.replaced is None
                        else settle_replaced(next(iter(reports), None), obj, run_context)
                    )
            except Exception:
                self._report_change(context, reports)  # the chunks before the one that failed are committed
                raise
        status = "completed_with_rejects" if report.counts.rejected else "completed"
        context.step_context.instance.add_run_tags(context.run_id, {STATUS_TAG: status})
        write_report(self._site.settings.spill, context.run_id, report)
        forget_rows(obj)
        if obj.landing.replaced is not None and reports:
            context.log_event(replacement_loaded(report, run_context))
        answered = report if obj.landing.replaced is None else next(iter(reports), None)
        receipt = write_answer(run_context, context, obj.landing.item, answered, client)
        self._archive(context, run_context, report, obj.landing.files, client)
        self._report_change(context, reports or [report])
        context.add_output_metadata(
            {
                **report_metadata(report, run_context.bound),
                **table_metadata(report, run_context.bound, run_context.item.uri),
                **({"receipt": receipt} if receipt else {}),
                **({"chunks": len(reports)} if run_context.item.kind == "cursor" else {}),
            }
        )

    def forget(self, validated: Validated) -> None:
        """Deletes the rows of a dry run."""
        forget_rows(validated)

    def _settled_before(self, context: OutputContext, validated: Validated) -> LoadReport | None:
        """The report of an earlier run that died between its commit and its end; else None.

        That run deleted its rows after it had written its report, so there is nothing left to merge.
        """
        if validated.landing.path.exists():
            return None
        run = context.step_context.dagster_run
        for earlier in dict.fromkeys((run.parent_run_id, run.root_run_id)):
            report = read_report(self._site.settings.spill, earlier) if earlier is not None else None
            if report is not None:
                context.log.info(
                    "Run %s had committed load %s before it died; nothing is left to do.", earlier, report.load_id
                )
                return report
        return None

    def _archive(
        self,
        context: OutputContext,
        run_context: RunContext,
        report: LoadReport,
        files: Sequence[Item],
        client: Client | None,
    ) -> None:
        """Moves what was loaded to the archive folder, if the import has one. An error there does not undo the load."""
        folder = run_context.bound.spec.source.archive
        if folder is None or report.status not in {"committed", "skipped"}:
            return
        for file in files:
            try:
                archive_item(file, run_context.bound.connection, folder, client)
            except ItemGone:
                context.log.info("The file is no longer where it was read; nothing to archive.")
            except IngestError as error:
                context.log.warning("The item is loaded. Its file was not archived, and stays where it is: %s", error)

    def _report_change(self, context: OutputContext, loads: Sequence[LoadReport]) -> None:
        """Materializes the table, if a load changed rows of it."""
        changes = [load for load in loads if load.counts.inserted or load.counts.updated]
        if changes:
            with suppress(IngestError, psycopg.Error), self._site.target.session() as connection:
                context.log_event(table_changed(self._site, connection, combined_report(changes)))

    def load_input(self, context: InputContext) -> LoadReport:
        """The load's report, for the checks."""
        upstream = context.upstream_output
        assert upstream is not None
        report = read_report(self._site.settings.spill, upstream.run_id)
        assert report is not None
        return report

    def _run_context(self, context: OutputContext) -> RunContext:
        step = context.step_context
        attempt = step.previous_attempt_count + 1
        bound = self._site.bound(context.step_key.partition(".")[0])
        with retrying_errors(self._site, bound, step.dagster_run, attempt, context):
            return find_run_context(
                self._site,
                context.step_key,
                context.partition_key,
                step.dagster_run,
                attempt,
                step.instance,
                context.log,
            )


def _loads(
    run_context: RunContext,
    validated: Validated,
    confirm: Callable[[], None] = lambda: None,
    client: Client | None = None,
) -> Iterator[LoadReport]:
    """The item's load; of a cursor's drain the first chunk, as the steps before made it, then all the others.

    A re-execution may bring a first chunk that an earlier run has committed. It is left alone, and the drain goes on
    from what is committed.
    """
    bound, target, now, early_loads = (
        run_context.bound,
        run_context.site.target,
        run_context.site.clock(),
        run_context.site.early_loads,
    )
    if validated.landing.settled_by is not None:
        return

    def first_load() -> LoadReport:
        early = early_loads.take(bound.name)
        return pipeline.load(validated, bound, target, run_context.run, now, early, confirm, run_context.workspace)

    if run_context.item.kind != "cursor":
        yield first_load()
        return
    overtaken = pipeline.is_overtaken(validated, run_context.item, bound, target, run_context.run)
    if overtaken:
        early_loads.discard(bound.name)
    else:
        yield first_load()
    item = run_context.item if overtaken else validated.landing.item
    yield from pipeline.drain(
        item,
        bound,
        run_context.workspace,
        target,
        run_context.run,
        now,
        started=not overtaken,
        client=client,
        confirm=confirm,
    )
