"""A dry run (tag `ingest/dry_run`): the real load, rolled back. Its result is an observation, not a materialization.

The run succeeds whatever its result is, because Dagster shows a partition as failed if a run of it fails. The result is
on the observation, in the run's log and in the run's tag `ingest/plan`. Later steps and the checks are skipped, so the
checks keep the result of the last load.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from dagster import AssetObservation, Failure, MetadataValue, OpExecutionContext

from ingest_pipelines import pipeline
from ingest_pipelines.errors import IngestError
from ingest_pipelines.merge import verdict
from ingest_pipelines.model import Counts, ItemKey, LoadReport, LoadStatus, Validated
from ingest_pipelines.orchestration.assets.metadata import plan_metadata
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.orchestration.assets.step_errors import recording_errors
from ingest_pipelines.orchestration.io_managers.step_outputs import write_report
from ingest_pipelines.orchestration.io_managers.target import TargetIOManager
from ingest_pipelines.orchestration.runs.run_context import RunContext
from ingest_pipelines.orchestration.runs.run_files import forget_run
from ingest_pipelines.orchestration.runs.tags import PLAN_TAG, is_dry_run
from ingest_pipelines.orchestration.site import Site

_WORDS: Mapping[LoadStatus, str] = {
    "committed": "would commit",
    "skipped": "nothing new",
    "failed": "would fail",
    "refused": "would be refused",
}


@contextmanager
def answering_dry_run(context: OpExecutionContext, site: Site) -> Iterator[None]:
    """An error of the block fails the step. In a dry run it is the result, and the step ends without an output."""
    try:
        yield
    except Failure as failure:
        error = failure.__cause__
        if not (is_dry_run(context.run.tags) and context.has_partition_key and isinstance(error, IngestError)):
            raise
        bound = site.bound(str(context.op_handle).partition(".")[0])
        asked = site.asked
        key = asked.item if asked is not None and asked.run_id == context.run_id else ItemKey(context.partition_key)
        _answer(
            context,
            site,
            LoadReport(
                bound.name, key, None, verdict(error), Counts(), reason=failure.description or str(error), dry_run=True
            ),
        )


def dry_run_merge(
    context: OpExecutionContext, run_context: RunContext, validated: Validated, target: TargetIOManager
) -> None:
    """Merges and counts the item, rolls it back, and reports the result.

    Raises:
        RetryRequested, Failure: see `recording_errors`; the ledger has no entry for it.
    """
    run_context.site.watch("merge")
    with recording_errors(run_context, context, validated):
        report = pipeline.load(
            validated, run_context.bound, run_context.site.target, run_context.run, run_context.site.clock(),
            workspace=run_context.workspace,
        )  # fmt: skip
    target.forget(validated)
    _answer(context, run_context.site, report)


def _answer(context: OpExecutionContext, site: Site, report: LoadReport) -> None:
    """Reports the plan: on the asset's page, in the list of runs, in the log, and to the command that runs it."""
    bound = site.project.imports[report.import_name]
    forget_run(site.settings.spool, site.settings.spill, context.run_id)
    write_report(site.settings.spill, context.run_id, report)
    words = _WORDS[report.status]
    context.log.info("This load %s; everything was rolled back. %s", words, report.reason)
    context.instance.add_run_tags(context.run_id, {PLAN_TAG: words})
    context.log_event(
        AssetObservation(
            asset_key(bound),
            partition=context.partition_key,
            description=f"Plan: this load {words}; everything was rolled back",
            metadata={"plan": MetadataValue.text(words), **plan_metadata(report, bound)},
        )
    )
