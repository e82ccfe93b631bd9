"""What Dagster's storage has of tables and columns, read once per process instead of two dozen times per run.

Dagster works with tables of earlier versions, so it asks the catalog which tables and columns there are, again and
again: 26 statements in a run of ten rows. Where every table and column that this version knows is there, the answer is
always yes.

Waits for: a storage that remembers what it has found out about its own tables.
If a question goes: it is skipped, and runs read the catalog more often. If the metadata of the tables move: the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from sqlalchemy import Engine, MetaData, text
from sqlalchemy.exc import SQLAlchemyError

_SCHEMAS = {
    "dagster._core.storage.runs.schema": "RunStorageSqlMetadata",
    "dagster._core.storage.event_log.schema": "SqlEventLogStorageMetadata",
    "dagster._core.storage.schedules.schema": "ScheduleStorageSqlMetadata",
}
"""Where Dagster declares its tables."""

_QUESTIONS = (
    "has_asset_key_col",
    "has_asset_key_index_cols",
    "has_backfill_id_column",
    "has_backfill_tags_table",
    "has_bulk_action_job_name_column",
    "has_bulk_actions_selector_cols",
    "has_run_stats_index_cols",
)
"""Methods that say whether there are columns or tables of later versions."""

_PROPERTIES = ("has_default_pool_limit_col", "has_concurrency_limits_table", "supports_global_concurrency_limits")
"""The same, as cached properties."""

_COLUMNS = text(
    "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')"
    " AND a.attnum > 0 AND NOT a.attisdropped"
)


def read_columns(engine: Engine) -> set[tuple[str, str]]:
    """Every (table, column) of the storage; none where no server answers, so that Dagster's own attempt reports it."""
    try:
        with engine.connect() as connection:
            return {(table, column) for table, column in connection.execute(_COLUMNS)}
    except SQLAlchemyError:
        return set()


def is_current(columns: set[tuple[str, str]]) -> bool:
    """Whether the storage has every table and column of this version of Dagster."""
    declared = set(_declared())
    return bool(declared) and declared <= columns


def answer_yes(*parts: Any) -> None:
    """The parts of a current storage answer yes, and ask nothing.

    Args:
        parts: run storage, event log and schedule storage.
    """
    tables = {table for table, _ in _declared()}
    for part in parts:
        for question in _QUESTIONS:
            if hasattr(type(part), question):
                setattr(part, question, _yes)
        for name in _PROPERTIES:
            if hasattr(type(part), name):
                part.__dict__[name] = True
        if hasattr(type(part), "has_table"):
            part.has_table = _has_one_of(tables, part.has_table)


def _declared() -> Iterator[tuple[str, str]]:
    for module, name in _SCHEMAS.items():
        metadata = getattr(import_module(module), name, None)
        if not isinstance(metadata, MetaData):
            return
        for table in metadata.tables.values():
            yield from ((table.name, column.name) for column in table.columns)


def _yes(*_: object) -> bool:
    return True


def _has_one_of(tables: set[str], ask: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda table_name: table_name in tables or ask(table_name)
