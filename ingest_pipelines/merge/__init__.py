"""Merges accepted rows into the target, all of them or none.

Its modules are imported when a name is asked for: who only looks at the ledger needs neither Polars nor Arrow.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingest_pipelines.merge.catalog import read_shape, row_count
    from ingest_pipelines.merge.column_types import column_type
    from ingest_pipelines.merge.failures import record_failure, record_replaced
    from ingest_pipelines.merge.faults import FAULT_POINTS
    from ingest_pipelines.merge.load_transaction import apply
    from ingest_pipelines.merge.mapping import mapping_changes
    from ingest_pipelines.merge.preconditions import verdict
    from ingest_pipelines.merge.preflight import probe, refuse_early
    from ingest_pipelines.merge.table_order import TableOrder, read_table_order
    from ingest_pipelines.merge.target import Target
    from ingest_pipelines.merge.window_end import earlier_time, require_ended_window

_MODULES = {
    "FAULT_POINTS": "faults",
    "TableOrder": "table_order",
    "Target": "target",
    "apply": "load_transaction",
    "column_type": "column_types",
    "earlier_time": "window_end",
    "mapping_changes": "mapping",
    "probe": "preflight",
    "read_shape": "catalog",
    "read_table_order": "table_order",
    "record_failure": "failures",
    "record_replaced": "failures",
    "refuse_early": "preflight",
    "require_ended_window": "window_end",
    "row_count": "catalog",
    "verdict": "preconditions",
}

__all__ = [
    "FAULT_POINTS",
    "TableOrder",
    "Target",
    "apply",
    "column_type",
    "earlier_time",
    "mapping_changes",
    "probe",
    "read_shape",
    "read_table_order",
    "record_failure",
    "record_replaced",
    "refuse_early",
    "require_ended_window",
    "row_count",
    "verdict",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(name)
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
