"""Dagster's runs, events and ticks in Postgres; named by `dagster.yaml`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import closing
from time import monotonic
from typing import Any, Self

import psycopg2
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from ingest_pipelines.config import Settings, read_settings
from ingest_pipelines.orchestration.dagster_internals.pool_wait import wait_in_turn
from ingest_pipelines.orchestration.dagster_internals.retry_order import keep_places
from ingest_pipelines.orchestration.runs.run_locks import lock_runs
from ingest_pipelines.orchestration.site import DAGSTER_DATABASE, embedded_server

_REST_SECONDS = 0.1
_TABLES = ("runs", "instance_info", "event_logs", "jobs")
"""What each part of the storage asks for; where one is missing, Dagster makes and stamps them."""

_COUNT_TABLES = text("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = ANY(:names)")

_COLUMN_QUESTIONS = (
    "has_run_stats_index_cols",
    "has_backfill_id_column",
    "has_asset_key_col",
)
"""Whether the storage has columns of later versions: Dagster reads the catalog each time, a dozen times in a run."""


class RunStorage(DagsterPostgresStorage):
    """INGEST_DAGSTER_URL, or a database of the embedded server, started where it is not running."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """No settings: the address is a secret, and the environment has it."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """The storage that the environment names, all of it over one connection that is kept open.

        Dagster by itself connects anew for every event, some 150 times in a run of ten rows, and each of its three
        parts reads the catalog as it opens.
        """
        settings = read_settings()
        url = storage_url(settings)
        engine = _engine(url)
        storage = cls(postgres_url=url, should_autocreate_tables=not _has_tables(engine), inst_data=inst_data)
        for part in (storage._run_storage, storage._event_log_storage, storage._schedule_storage):
            part._engine = engine
            for question in _COLUMN_QUESTIONS:
                if hasattr(part, question):
                    setattr(part, question, _yes_for_good(getattr(part, question)))
        keep_places(storage._run_storage)
        lock_runs(storage._run_storage, settings.state)
        wait_in_turn(storage._event_log_storage, settings.state)
        return storage


def _yes_for_good(ask: Callable[..., bool]) -> Callable[..., bool]:
    """The same question, not put again once the answer was yes: Dagster's migrations add columns and drop none."""
    known: set[tuple[Any, ...]] = set()

    def asked(*about: Any) -> bool:
        if about not in known and ask(*about):
            known.add(about)
        return about in known

    return asked


def _engine(url: str) -> Engine:
    """One connection, more when several threads ask; given up after a minute, for a firewall may have dropped it."""
    engine = create_engine(
        url, isolation_level="AUTOCOMMIT", pool_size=1, max_overflow=20, pool_recycle=60, use_native_hstore=False
    )
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", _ask_the_idle)
    return engine


def _note_use(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    record.info["used"] = monotonic()


def _ask_the_idle(connection: DBAPIConnection, record: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
    """Whether a connection that had a rest still lives; to ask at each of some hundred uses is a tenth of a second."""
    if monotonic() - record.info.get("used", monotonic()) < _REST_SECONDS:
        return
    try:
        with closing(connection.cursor()) as cursor:
            cursor.execute("SELECT 1")
    except psycopg2.Error:
        raise DisconnectionError from None


def _has_tables(engine: Engine) -> bool:
    """Whether Dagster made its tables here before; False where nothing answers, so that its own attempts say so."""
    try:
        with engine.connect() as connection:
            return bool(connection.scalar(_COUNT_TABLES, {"names": list(_TABLES)}) == len(_TABLES))
    except SQLAlchemyError:
        return False


def storage_url(settings: Settings) -> str:
    """The storage's URL with the driver that Dagster installs. Holds the password."""
    url = settings.dagster_url or embedded_server(settings).ensure_database(DAGSTER_DATABASE)
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", url)
