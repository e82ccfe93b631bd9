"""The IO manager that merges: a validated item goes in, the target and the ledger have it, whole."""

from __future__ import annotations

from dagster import InputContext, IOManager, OutputContext

from ingest_pipelines import pipeline
from ingest_pipelines.model import LoadReport, Validated
from ingest_pipelines.orchestration.failures import failures_told, search_told
from ingest_pipelines.orchestration.handles import forget_rows, read_report, write_report
from ingest_pipelines.orchestration.metadata import report_metadata, table_metadata
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.orchestration.work import Work, find_work


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
        with failures_told(work, context.log, obj):
            report = pipeline.load(obj, work.bound, self._site.target, work.run, self._site.clock())
        write_report(self._site.settings.spill, context.run_id, report)
        forget_rows(obj)
        context.add_output_metadata(
            {**report_metadata(report, work.bound), **table_metadata(report, work.bound, work.item.uri)}
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
                self._site, context.step_key, context.partition_key, context.run_id, attempt, step.dagster_run.tags
            )
