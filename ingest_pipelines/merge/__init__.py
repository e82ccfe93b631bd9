"""Merges accepted rows into the target, all of them or none."""

from ingest_pipelines.merge.apply import apply
from ingest_pipelines.merge.catalog import read_shape, row_count
from ingest_pipelines.merge.column_types import column_type
from ingest_pipelines.merge.failures import record_failure, record_replaced
from ingest_pipelines.merge.faults import FAULT_POINTS
from ingest_pipelines.merge.mapping import mapping_changes
from ingest_pipelines.merge.preconditions import verdict
from ingest_pipelines.merge.preflight import probe, refuse_early
from ingest_pipelines.merge.target import Target
from ingest_pipelines.merge.window_end import earlier_time, require_ended_window

__all__ = [
    "FAULT_POINTS",
    "Target",
    "apply",
    "column_type",
    "earlier_time",
    "mapping_changes",
    "probe",
    "read_shape",
    "record_failure",
    "record_replaced",
    "refuse_early",
    "require_ended_window",
    "row_count",
    "verdict",
]
