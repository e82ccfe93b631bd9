"""Every import as an asset: shared ops in a graph of its own, whose output the target IO manager merges.

Ops are shared by all imports; a step finds its import by the graph it stands in. There is one validate op and one merge
op per target table, because pools hang on ops, and ops of their own for connections that are Dagster resources. (No
`from __future__ import annotations` here: Dagster reads the annotations of ops.)
"""

import functools
import re
from collections.abc import Iterator
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetIn,
    AssetObservation,
    AssetsDefinition,
    AssetSpec,
    FreshnessPolicy,
    In,
    MetadataValue,
    Nothing,
    OpDefinition,
    OpExecutionContext,
    Out,
    Output,
    apply_freshness_policy,
    graph_asset,
    op,
)

from ingest_pipelines import pipeline
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import ConfigError, ItemGone, RejectsAboveLimit, UsageError
from ingest_pipelines.merge import refuse_early
from ingest_pipelines.model import Item, Landing, Validated
from ingest_pipelines.orchestration.assets.dry_run import answered, rehearse
from ingest_pipelines.orchestration.assets.lineage import description_of, source_key
from ingest_pipelines.orchestration.assets.markdown import block
from ingest_pipelines.orchestration.assets.partitions import asset_key, partitions_of
from ingest_pipelines.orchestration.assets.replacement import land_replacement
from ingest_pipelines.orchestration.assets.step_errors import failures_told, search_told
from ingest_pipelines.orchestration.checks.anomaly_checks import due_within
from ingest_pipelines.orchestration.checks.asset_checks import (
    delivery_verdict,
    families_of,
    findings_of_refused,
    verdict,
)
from ingest_pipelines.orchestration.resources.connections import client_of, resource_keys
from ingest_pipelines.orchestration.runs.run_context import Work, find_work
from ingest_pipelines.orchestration.runs.tags import CONNECTION_TAG, IMPORT_TAG, is_dry_run
from ingest_pipelines.orchestration.site import Site

INVALID = "invalid"
"""Kind and group of the placeholder of an import whose YAML has mistakes."""


@functools.cache
def land_op(connection: frozenset[str]) -> OpDefinition:
    """The first step; one for each connection that is a resource, whose client it takes, and one for all others."""

    @op(
        name="__".join([*connection, "land"]),
        ins={"source": In(Nothing)},
        out=Out(Landing, io_manager_key="handles", is_required=False),
        required_resource_keys={"site", *connection},
    )
    def land(context: OpExecutionContext) -> Iterator[Output[Landing]]:
        """The item's bytes on local disk, hashed, proven unchanged while they were read."""
        with answered(context):
            work = _work(context)
            work.site.watch("land")
            item = work.item
            client = client_of(context.resources, work.bound)
            with failures_told(work, context.log):
                refuse_early(
                    work.site.target, work.bound
                )  # before the first byte is read for a table that cannot take it
                if item.kind == "cursor":
                    item = pipeline.next_chunk(item, work.bound, work.site.target, work.run)
            with failures_told(work, context.log, item):
                try:
                    landing = pipeline.land(item, work.bound, work.workspace, work.site.clock(), client=client)
                except ItemGone as gone:
                    landing = land_replacement(gone, work, client, context.instance)
            context.log_event(AssetObservation(source_key(work.bound), metadata=_seen(landing.item, landing)))
            facts: dict[str, Any] = {"bytes": landing.bytes, "sha256": landing.content_sha256, "uri": work.item.uri}
            yield Output(landing, metadata=facts)

    return land


def _pool(schema: str, table: str) -> str:
    """One step at a time per table. Who holds the lock of the table must not wait for it, so one step has it."""
    return f"target_{schema}_{table}"


@functools.cache
def validate_op(schema: str, table: str, *, pooled: bool) -> OpDefinition:
    """The step that judges the rows for the table; a large item's are merged meanwhile, so one at a time per table."""

    @op(
        name=f"validate_{schema}_{table}",
        pool=_pool(schema, table) if pooled else None,
        out=Out(Validated, io_manager_key="handles", is_required=False),
        required_resource_keys={"site"},
    )
    def validate(context: OpExecutionContext, landing: Landing) -> Iterator[Output[Validated]]:
        """Every row judged. More rejects than the import allows fail the run here, before anything is committed."""
        with answered(context):
            work = _work(context)
            work.site.watch("validate")
            early_load = work.site.early_loads.begin(landing, work.bound, work.destination)
            with failures_told(work, context.log, landing), early_load as early:
                validated = pipeline.validate(landing, work.bound, work.workspace, early)
            with failures_told(work, context.log, validated):
                _check_rejects(context, work, validated)
            facts = {"read": validated.read, "accepted": validated.accepted_rows, "rejected": validated.rejected_rows}
            yield Output(validated, metadata=facts)

    return validate


@functools.cache
def merge_op(schema: str, table: str, connection: frozenset[str], *, pooled: bool) -> OpDefinition:
    """The step whose output the target IO manager merges into the table.

    The rest of a drain is read here, and a loaded file archived: with the client of the connection's resource.
    """

    @op(
        name="__".join([*connection, f"merge_{schema}_{table}"]),
        pool=_pool(schema, table) if pooled else None,
        out=Out(Validated, io_manager_key="target", is_required=False),
        required_resource_keys={"site", "target", *connection},
    )
    def merge(context: OpExecutionContext, validated: Validated) -> Iterator[Output[Validated]]:
        """The accepted rows, handed to the IO manager, which merges them in one transaction; a plan's go nowhere."""
        if not is_dry_run(context.run.tags):
            yield Output(validated)
            return
        with answered(context):
            rehearse(context, _work(context), validated)

    return merge


def import_asset(bound: BoundImport, *, in_process: bool) -> AssetsDefinition:
    """The import as a partitioned asset made of ops.

    Args:
        in_process: a run is one process, which may load an item while it validates it.
    """
    key = asset_key(bound)
    connection = resource_keys(bound)
    schema, table = bound.database.schema_and_table
    land = land_op(connection).alias("land")
    validate = validate_op(schema, table, pooled=in_process).alias("validate")
    merge = merge_op(schema, table, connection, pooled=not in_process).alias(f"merge_{schema}_{table}")

    def compose(source: Any) -> Any:
        return merge(validate(land(source=source)))

    asset = graph_asset(
        key=key,
        ins={"source": AssetIn(source_key(bound), dagster_type=Nothing)},
        description=description_of(bound),
        partitions_def=partitions_of(bound),
        group_name=bound.database_name,
        kinds={"postgres"} | ({bound.connection.type} - {"postgresql"}),
        owners=list(bound.spec.owners),
        tags=_tags(bound),
    )(compose)
    due = due_within(bound)
    if due is None:
        return asset
    policy = FreshnessPolicy.time_window(fail_window=due)
    return asset.map_asset_specs(lambda spec: apply_freshness_policy(spec, policy))


def _tags(bound: BoundImport) -> dict[str, str]:
    """The import's names and its labels. Its status changes without a new definition: `ingest status` has it."""
    tags = {IMPORT_TAG: bound.name, CONNECTION_TAG: bound.connection_name}
    return tags | {re.sub(r"[^A-Za-z0-9_.-]+", "_", label)[:63]: "" for label in bound.spec.labels}


def _seen(item: Item, landing: Landing) -> dict[str, Any]:
    """What the source's page shows: the last thing that was read from it."""
    seen: dict[str, Any] = {"item": str(item.key), "uri": item.uri, "bytes": landing.bytes}
    if item.modified_at is not None:
        seen["modified"] = MetadataValue.timestamp(item.modified_at)
    return seen


def broken_asset(name: str, error: ConfigError) -> AssetSpec:
    """A placeholder that shows what is wrong with an import's YAML."""
    return AssetSpec(key=[INVALID, name], group_name=INVALID, kinds={INVALID}, description=block(str(error)))


def _work(context: OpExecutionContext) -> Work:
    site: Site = context.resources.site
    attempt = context.retry_number + 1
    with search_told(attempt, context.log):
        if not context.has_partition_key:
            name = site.bound(str(context.op_handle).partition(".")[0]).name
            raise UsageError(
                f"import {name}: this run names no item, so there was nothing to load",
                hint=f"choose its partition on the asset's page, or run: ingest run {name}",
            )
        return find_work(
            site, str(context.op_handle), context.partition_key, context.run, attempt, context.instance, context.log
        )


def _check_rejects(context: OpExecutionContext, work: Work, validated: Validated) -> None:
    """Stops where more rows are rejected than the import allows; a plan goes on, to show what else there is."""
    if work.run.dry_run:
        return
    try:
        pipeline.check_rejects(validated, work.bound)
    except RejectsAboveLimit:
        work.site.early_loads.discard(work.bound.name)
        _record_verdicts(context, work, validated)
        raise


def _record_verdicts(context: OpExecutionContext, work: Work, validated: Validated) -> None:
    """The import's checks, for their own step will not run, and Dagster calls failed what nobody evaluated."""
    key = asset_key(work.bound)
    with work.site.target.session() as connection:
        found = findings_of_refused(connection, work.bound, validated, work.site)
    results = [verdict(key, family, validated.codes, failed=True) for family in families_of(work.bound)]
    for result in [*results, *(delivery_verdict(key, name, finding) for name, finding in found.items())]:
        evaluation = AssetCheckEvaluation(
            asset_key=key,
            check_name=result.check_name or "",
            passed=result.passed,
            severity=result.severity,
            description=result.description,
            metadata=dict(result.metadata),
        )
        context.log_event(evaluation)  # type: ignore[arg-type]  # stored and shown; Dagster's annotation is too narrow
