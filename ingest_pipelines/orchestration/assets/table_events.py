"""Materializations of the profile tables, `table/<schema>/<table>`: the assets that other assets hang on.

A table is materialized by each run that changed rows of it, also by one that fails afterwards: the chunks of a drain
that it had committed stay. It has no partitions, so an item that failed or was refused does not hold back what hangs on
it. A run whose process died after its commit says nothing; housekeeping then says it, by comparing the ledger with the
table's last materialization.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import psycopg
from dagster import AssetMaterialization, DagsterInstance, EventLogRecord

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.databases import Database
from ingest_pipelines.merge import read_shape, row_count
from ingest_pipelines.model import LoadReport
from ingest_pipelines.orchestration.assets.lineage import grouped, table_key, table_schema
from ingest_pipelines.orchestration.site import Site

LOAD = "load"
"""Key of the metadata with the number of the table's last load that changed rows."""

UNTOLD_AFTER = timedelta(minutes=1)
"""So long after its commit a run has to say what it changed; then housekeeping does."""


def table_changed(site: Site, connection: psycopg.Connection, report: LoadReport) -> AssetMaterialization:
    """The table's materialization by a load that changed it: its rows and columns as they are now."""
    database = site.project.imports[report.import_name].database
    rows = row_count(connection, *database.schema_and_table)
    shape = read_shape(connection, *database.schema_and_table)
    types = {name: column.type for name, column in shape.columns.items()}
    return AssetMaterialization(
        table_key(database, site.project.placement),
        metadata={
            "dagster/row_count": rows,
            "dagster/column_schema": table_schema(_writers(site, database), types),
            "inserted": report.counts.inserted,
            "updated": report.counts.updated,
            "import": report.import_name,
            "item": str(report.item_key),
            **({LOAD: report.load_id} if report.load_id is not None else {}),
        },
    )


def report_untold_changes(site: Site, instance: DagsterInstance) -> int:
    """Materializes the tables that a load changed whose run did not say so; how many. One query each per table."""
    placement = site.project.placement
    tables = grouped((table_key(bound.database, placement), bound) for bound in site.project.imports.values())
    reported = 0
    with site.target.session() as connection:
        for key, writers in tables:
            told = next(iter(instance.fetch_materializations(key, limit=1).records), None)
            load = ledger.last_change(
                connection, [bound.name for bound in writers], after=_load_of(told),
                until=site.clock() - UNTOLD_AFTER, since=_time_of(told),
            )  # fmt: skip
            if load is not None:
                instance.report_runless_asset_event(table_changed(site, connection, load.report))
                reported += 1
    return reported


def _writers(site: Site, database: Database) -> Sequence[BoundImport]:
    table = database.schema_and_table
    return [bound for bound in site.project.imports.values() if bound.database.schema_and_table == table]


def _load_of(told: EventLogRecord | None) -> int:
    """The number of the last load that a materialization told of; 0 where none did."""
    materialization = told.asset_materialization if told is not None else None
    number = materialization.metadata.get(LOAD) if materialization is not None else None
    return int(str(number.value)) if number is not None else 0


def _time_of(told: EventLogRecord | None) -> datetime | None:
    """When a materialization that names no load was told: earlier versions, and people, report such."""
    return datetime.fromtimestamp(told.timestamp, UTC) if told is not None and not _load_of(told) else None
