"""Every import as an asset: a graph of shared ops, whose output the target IO manager merges.

All imports share the ops; a step finds its import by the name of its graph. There is one validate op and one merge op
per target table, because a pool belongs to an op, and separate ops per connection that is a Dagster resource. (No
`from __future__ import annotations` here: Dagster reads the annotations of ops.)
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from dagster import (
    AssetKey,
    AssetObservation,
    AssetsDefinition,
    AssetSpec,
    Failure,
    FreshnessPolicy,
    GraphDefinition,
    GraphIn,
    GraphOut,
    In,
    MetadataValue,
    Nothing,
    OpDefinition,
    OpExecutionContext,
    Out,
    Output,
    graph,
    graph_asset,
    op,
)

from ingest_pipelines import pipeline
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.outline import Outline
from ingest_pipelines.config.placement import Placement
from ingest_pipelines.errors import ConfigError, ItemGone, RejectsAboveLimit, UsageError
from ingest_pipelines.merge import earlier_time, refuse_early, require_ended_window
from ingest_pipelines.model import Item, Landing, Validated
from ingest_pipelines.orchestration.assets.dry_run import answering_dry_run, dry_run_merge
from ingest_pipelines.orchestration.assets.lineage import description_of, group_of, source_key
from ingest_pipelines.orchestration.assets.markdown import block
from ingest_pipelines.orchestration.assets.metadata import definition_metadata
from ingest_pipelines.orchestration.assets.partitions import asset_key, partitions_of, partitions_of_outline
from ingest_pipelines.orchestration.assets.replacement import land_replacement
from ingest_pipelines.orchestration.assets.step_errors import recording_errors, recording_look, retrying_errors
from ingest_pipelines.orchestration.automation import looks_before_it_reads
from ingest_pipelines.orchestration.check_now import check_now
from ingest_pipelines.orchestration.checks.anomaly_checks import expected_within
from ingest_pipelines.orchestration.io_managers.target import TargetIOManager
from ingest_pipelines.orchestration.resources.connections import HANDLES, SITE, TARGET, client_of, resource_keys
from ingest_pipelines.orchestration.runs.ended_runs import stop_if_ended
from ingest_pipelines.orchestration.runs.pools import target_pool
from ingest_pipelines.orchestration.runs.run_context import RunContext, find_run_context
from ingest_pipelines.orchestration.runs.tags import import_tags, is_dry_run, run_tags
from ingest_pipelines.orchestration.runs.turns import has_turn
from ingest_pipelines.orchestration.site import Site

SOURCE, RESULT = "source", "result"
"""The input and the output of an import's graph."""

INVALID = "invalid"
"""Kind and group of the placeholder for an import whose YAML has mistakes."""


@functools.cache
def land_op(placement: Placement, connection: frozenset[str]) -> OpDefinition:
    """The first step: one op per connection that is a resource, whose client it uses, and one for all others."""

    @op(
        name=_op_name(placement, connection, "land"),
        ins={"source": In(Nothing)},
        out=Out(Landing, io_manager_key=placement.named(HANDLES), is_required=False),
        required_resource_keys={placement.named(SITE), *connection},
    )
    def land(context: OpExecutionContext) -> Iterator[Output[Landing]]:
        """Copies the item to local disk and hashes it; an item that changes meanwhile is refused.

        A run without a partition looks for new items instead, and the later steps are skipped.
        """
        site = _site(context, placement)
        if not context.has_partition_key and not context.has_partition_key_range:
            bound = _bound(context, site)
            check_now(context, site, bound, client_of(context.resources, bound))
            return
        with answering_dry_run(context, site):
            run_context = _run_context(context, site, "land")
            if not _has_turn(context, run_context, "land"):
                return
            site.watch("land")
            item = run_context.item
            client = client_of(context.resources, run_context.bound)
            with recording_errors(run_context, context):
                refuse_early(run_context.site.target, run_context.bound)  # before the first byte is read
                require_ended_window(run_context.site.target, item, run_context.site.clock())
                read_at = earlier_time(run_context.site.target, item, run_context.site.clock())
                if item.kind == "cursor":
                    item = pipeline.next_chunk(item, run_context.bound, run_context.site.target, run_context.run)
            with recording_errors(run_context, context, item), recording_look(run_context):
                try:
                    landing = pipeline.land(item, run_context.bound, run_context.workspace, read_at, client=client)
                except ItemGone as gone:
                    landing = land_replacement(gone, run_context, client, context.instance)
            if run_context.bound.spec.source.asset_key is None:  # the events of a team's own asset are theirs
                context.log_event(
                    AssetObservation(source_key(run_context.bound), metadata=_item_metadata(landing.item, landing))
                )
            facts: dict[str, Any] = {
                "bytes": landing.bytes,
                "sha256": landing.content_sha256,
                "uri": run_context.item.uri,
            }
            yield Output(landing, metadata=facts)

    return land


@functools.cache
def validate_op(placement: Placement, schema: str, table: str, *, pooled: bool) -> OpDefinition:
    """The step that validates rows for the table. It may load a large item meanwhile, so it has the table's pool."""

    @op(
        name=placement.named(f"validate_{schema}__{table}"),
        pool=target_pool(schema, table) if pooled else None,
        out=Out(Validated, io_manager_key=placement.named(HANDLES), is_required=False),
        required_resource_keys={placement.named(SITE)},
    )
    def validate(context: OpExecutionContext, landing: Landing) -> Iterator[Output[Validated]]:
        """Validates every row. More rejects than the import allows fail the run here, before anything is committed."""
        site = _site(context, placement)
        with answering_dry_run(context, site):
            run_context = _run_context(context, site, "validate", with_suppressed=True)
            if not _has_turn(context, run_context, "validate"):
                return
            site.watch("validate")
            early_load = site.early_loads.begin(landing, run_context.bound, run_context.destination)
            with recording_errors(run_context, context, landing), early_load as early:
                expected = landing.newlines if landing.rows is None else landing.rows
                validated = pipeline.validate(
                    landing, run_context.bound, run_context.workspace, early, run_context.suppressed,
                    lambda rows: site.watch_rows(rows, expected),
                )  # fmt: skip
            with recording_errors(run_context, context, validated):
                _check_rejects(context, run_context, validated)
            facts = {"read": validated.read, "accepted": validated.accepted_rows, "rejected": validated.rejected_rows}
            yield Output(validated, metadata=facts)

    return validate


@functools.cache
def merge_op(
    placement: Placement, schema: str, table: str, connection: frozenset[str], *, pooled: bool
) -> OpDefinition:
    """The step whose output the target IO manager merges into the table.

    It also reads the rest of a drain and archives a loaded file, with the client of the connection's resource.
    """

    @op(
        name=_op_name(placement, connection, f"merge_{schema}__{table}"),
        pool=target_pool(schema, table) if pooled else None,
        out=Out(Validated, io_manager_key=placement.named(TARGET), is_required=False),
        required_resource_keys={placement.named(SITE), placement.named(TARGET), *connection},
    )
    def merge(context: OpExecutionContext, validated: Validated) -> Iterator[Output[Validated]]:
        """Hands the accepted rows to the IO manager, which merges them in one transaction; a dry run merges none."""
        site = _site(context, placement)
        if not is_dry_run(context.run.tags):
            if not _begins_with(context, "merge") or _has_turn(context, _run_context(context, site, "merge"), "merge"):
                yield Output(validated)
            return
        target: TargetIOManager = getattr(context.resources, placement.named(TARGET))
        with answering_dry_run(context, site):
            dry_run_merge(context, _run_context(context, site), validated, target)

    return merge


def import_asset(bound: BoundImport, *, in_process: bool) -> AssetsDefinition:
    """The import as a partitioned asset made of ops.

    Args:
        in_process: a run is one process, which may load an item while it validates it.
    """
    key, source = asset_key(bound), source_key(bound)
    schema, table = bound.database.schema_and_table
    placement = replace(bound.placement, group=None)  # ops are shared, whatever the group
    steps = _steps(placement, schema, table, resource_keys(bound), in_process=in_process)
    graph_of_import = GraphDefinition(
        name=key.to_python_identifier(),
        description=description_of(bound),
        node_defs=steps.node_defs,
        dependencies=steps.dependencies,
        input_mappings=steps.input_mappings,
        output_mappings=steps.output_mappings,
    )
    due = expected_within(bound)
    if looks_before_it_reads(bound):  # Dagster counts runs only, and a quiet source needs none
        due = None
    spec = AssetSpec(
        key,
        deps=[source],
        description=graph_of_import.description,
        partitions_def=partitions_of(bound),
        group_name=group_of(bound),
        kinds={"postgres"} | ({bound.connection.type} - {"postgresql"}),
        owners=list(bound.spec.owners),
        tags=_tags(bound),
        metadata=definition_metadata(bound),
        freshness_policy=FreshnessPolicy.time_window(fail_window=due) if due is not None else None,
    )
    return AssetsDefinition(
        node_def=graph_of_import,
        keys_by_input_name={SOURCE: source},
        keys_by_output_name={RESULT: key},
        specs=[spec],
    )


@functools.cache
def _steps(
    placement: Placement, schema: str, table: str, connection: frozenset[str], *, in_process: bool
) -> GraphDefinition:
    """The three steps, composed once: the graphs of imports differ in names and descriptions only."""
    land = land_op(placement, connection).alias("land")
    validate = validate_op(placement, schema, table, pooled=in_process).alias("validate")
    merge = merge_op(placement, schema, table, connection, pooled=not in_process).alias(f"merge_{schema}_{table}")

    @graph(ins={SOURCE: GraphIn()}, out={RESULT: GraphOut()})
    def steps(source: Any) -> Any:
        return merge(validate(land(source=source)))

    return steps


def _tags(bound: BoundImport) -> dict[str, str]:
    """The import's names and labels. Not its status, which changes without a reload: see `ingest status`."""
    tags = run_tags(bound)
    return tags | {re.sub(r"[^A-Za-z0-9_.-]+", "_", label)[:63]: "" for label in bound.spec.labels}


def _item_metadata(item: Item, landing: Landing) -> dict[str, Any]:
    """Metadata for the source's page: the last item that was read from it."""
    metadata: dict[str, Any] = {"item": str(item.key), "uri": item.uri, "bytes": landing.bytes}
    if item.modified_at is not None:
        metadata["modified"] = MetadataValue.timestamp(item.modified_at)
    return metadata


def broken_asset(
    name: str, error: ConfigError, outline: Outline | None, placement: Placement
) -> AssetsDefinition | AssetSpec:
    """A placeholder that shows what is wrong with an import's YAML.

    It stands in the import's own place, with its partitions, so that a backfill goes on, and runs that are queued fail
    with the mistakes of the YAML. Without an outline it stands among the invalid ones, and cannot be run.
    """
    looks: dict[str, Any] = {
        "group_name": placement.group or INVALID,
        "kinds": {INVALID},
        "description": block(str(error)),
    }
    if outline is None:
        return AssetSpec(key=[*placement.key_prefix, INVALID, name], **looks)
    read_yaml = read_yaml_op(replace(placement, group=None)).alias("read_yaml")

    def compose() -> Any:
        return read_yaml()

    return graph_asset(
        key=AssetKey([*placement.key_prefix, outline.database, name]),
        partitions_def=partitions_of_outline(name, outline, placement),
        tags=import_tags(placement, name),
        **looks,
    )(compose)


@functools.cache
def read_yaml_op(placement: Placement) -> OpDefinition:
    """The only step of an import whose YAML has mistakes."""

    @op(name=placement.named("read_yaml"), required_resource_keys={placement.named(SITE)})
    def read_yaml(context: OpExecutionContext) -> None:
        """Fails with the mistakes of the import's YAML."""
        name = next(key.path[-1] for key in context.selected_asset_keys)
        error = _site(context, placement).project.broken.get(name)
        mistakes = str(error) if error is not None else f"the YAML of import {name} has mistakes"
        raise Failure(
            f"import {name}: its YAML has mistakes, so nothing was loaded. A run is requested again after they are "
            f"corrected.\n{mistakes}",
            allow_retries=False,
        )

    return read_yaml


def _op_name(placement: Placement, connection: frozenset[str], step: str) -> str:
    """The name of a step's op, which no op of another connection, project or team has."""
    return "__".join([*(connection or [placement.namespace]), step])


def _site(context: OpExecutionContext, placement: Placement) -> Site:
    site: Site = getattr(context.resources, placement.named(SITE))
    return site


def _bound(context: OpExecutionContext, site: Site) -> BoundImport:
    return site.bound(str(context.op_handle).partition(".")[0])


def _begins_with(context: OpExecutionContext, step: str) -> bool:
    """Whether it is the import's first step in this run. A re-execution may begin with a later one than `land`."""
    steps = context.run.step_keys_to_execute
    if not steps:
        return step == "land"
    graph = str(context.op_handle).partition(".")[0]
    own = [key.removeprefix(f"{graph}.") for key in steps if key.startswith(f"{graph}.")]
    return step == next((first for first in ("land", "validate") if first in own), "merge")


def _has_turn(context: OpExecutionContext, run_context: RunContext, step: str) -> bool:
    """Whether the run may load its item now: all items before it are settled. Its first step waits for that."""
    if not _begins_with(context, step):
        return True
    with retrying_errors(run_context.site, run_context.bound, context.run, context.retry_number + 1, context):
        return has_turn(run_context, context.run, context.instance, context.log)


def _run_context(
    context: OpExecutionContext, site: Site, step: str = "", *, with_suppressed: bool = False
) -> RunContext:
    """The context of a step.

    Args:
        step: where the run may have to wait for its turn, if it begins with that step.
        with_suppressed: read whom the table keeps out.
    """
    attempt = context.retry_number + 1
    stop_if_ended(context.instance, context.run_id)
    bound = _bound(context, site)
    with retrying_errors(site, bound, context.run, attempt, context):
        if not context.has_partition_key:
            raise UsageError(
                f"import {bound.name}: this run has a range of partitions; a run loads one item",
                hint="launch a backfill with a run per partition, or choose one partition; nothing was loaded",
            )
        selected = context.run.asset_selection or ()
        imports = sorted(each.name for each in site.project.imports.values() if asset_key(each) in selected)
        if len(imports) > 1:
            raise UsageError(
                f"this run has {len(imports)} imports: {', '.join(imports)}; a run loads one item of one import",
                hint="launch a run for each of them on its asset's page; nothing was loaded",
            )
        return find_run_context(
            site,
            str(context.op_handle),
            context.partition_key,
            context.run,
            attempt,
            context.instance,
            context.log,
            in_line=_begins_with(context, step),
            with_suppressed=with_suppressed,
        )


def _check_rejects(context: OpExecutionContext, run_context: RunContext, validated: Validated) -> None:
    """Fails the run if it has more rejects than the import allows. A dry run goes on, to show the rest as well."""
    if run_context.run.dry_run:
        return
    try:
        pipeline.check_rejects(validated, run_context.bound)
    except RejectsAboveLimit:
        run_context.site.early_loads.discard(run_context.bound.name)
        raise
