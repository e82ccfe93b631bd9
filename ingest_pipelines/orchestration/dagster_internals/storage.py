"""Dagster's runs, events and ticks in Postgres, over one connection a process; dagster.yaml names the class.

Waits for: a storage in dagster.yaml whose address may come from the environment or not be set, and its pool settings
(dagster issue 33935, pull request 33936; 20325 counts the connections).
If `_engine` or the three storages go: `ingest` commands and the daemon fail at their start.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from contextlib import closing
from threading import Lock
from time import monotonic
from typing import Any, Self
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary, ref

import psycopg2
from dagster._core.storage.runs import RunStorage as DagsterRunStorage
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DisconnectionError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from ingest_pipelines.config import Settings, read_settings
from ingest_pipelines.orchestration.dagster_internals.event_writes import write_in_batches
from ingest_pipelines.orchestration.dagster_internals.pool_limits import limit_each_pool_once
from ingest_pipelines.orchestration.dagster_internals.pool_wait import rest_between_claims
from ingest_pipelines.orchestration.dagster_internals.retry_order import count_retries_as_active
from ingest_pipelines.orchestration.dagster_internals.run_lock_hook import hold_lock_while_running
from ingest_pipelines.orchestration.dagster_internals.storage_schema import answer_yes, is_current, read_columns
from ingest_pipelines.orchestration.site import DAGSTER_DATABASE, embedded_server

_REST_SECONDS = 0.1
"""A connection that was idle for longer is tested before its use. A test before each of some hundred uses would cost a
tenth of a second per run."""

_TABLES = {"runs", "instance_info", "event_logs", "jobs"}
"""A table of each part of the storage; where one is missing, Dagster creates and stamps all of them."""


class RunStorage(DagsterPostgresStorage):
    """Storage in INGEST_DAGSTER_URL, or in a database of the embedded server, which it starts if it is not running."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """No settings: the address is a secret, and comes from the environment."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """The storage that the environment names, all of it over one connection that is kept open.

        Dagster by itself opens a connection for every event, some 150 times in a run of ten rows, and each of its
        three parts reads the catalog as it opens. It opens a storage for every tick, and several for every run that
        it launches: those of a process share the connection, and the last one that is disposed of closes it.
        """
        logging.getLogger().addFilter(_in_our_words)
        settings = read_settings()
        url = storage_url(settings)
        engine = _shared_engine(url)
        columns = read_columns(engine)
        has_tables = {table for table, _ in columns} >= _TABLES
        storage = cls(postgres_url=url, should_autocreate_tables=not has_tables, inst_data=inst_data)
        _close_with_the_last_user(storage._run_storage, engine)
        for part in (storage._run_storage, storage._event_log_storage, storage._schedule_storage):
            part._engine = engine
        if is_current(columns):
            answer_yes(storage._run_storage, storage._event_log_storage, storage._schedule_storage)
        write_in_batches(storage._event_log_storage)
        count_retries_as_active(storage._run_storage)
        hold_lock_while_running(storage._run_storage, settings.state)
        limit_each_pool_once(storage._event_log_storage)
        rest_between_claims(storage._event_log_storage, settings.state)
        return storage


def _in_our_words(record: logging.LogRecord) -> bool:
    """Dagster logs each attempt to connect that fails, in the driver's words, which hold the server's."""
    if "dagster_postgres" in record.pathname:
        record.msg, record.args = "Dagster's storage does not answer; it is asked again", None
    return True


_ENGINES: WeakValueDictionary[tuple[int, str], Engine] = WeakValueDictionary()
"""The engines in use, by process (a forked one must not talk over its parent's connection) and URL."""

_USERS: WeakKeyDictionary[Engine, WeakSet[DagsterRunStorage]] = WeakKeyDictionary()
"""The storages that use each engine, until they are disposed of."""

_ENGINES_LOCK = Lock()


def _shared_engine(url: str) -> Engine:
    with _ENGINES_LOCK:
        engine = _ENGINES.get((os.getpid(), url))
        if engine is None:
            engine = _ENGINES[os.getpid(), url] = _engine(url)
            _USERS[engine] = WeakSet()
        return engine


def _close_with_the_last_user(part: DagsterRunStorage, engine: Engine) -> None:
    """Closes the idle connection once no instance of the process uses it: Dagster disposes of an instance's storage.

    Args:
        part: the storage's run storage, which an instance keeps.
    """
    _USERS[engine].add(part)
    reference = ref(part)

    def dispose() -> None:
        with _ENGINES_LOCK:
            if (disposed := reference()) is not None:
                _USERS[engine].discard(disposed)
            if not _USERS[engine]:
                engine.dispose()

    part.dispose = dispose  # type: ignore[method-assign]


def _engine(url: str) -> Engine:
    """One connection, more while several threads ask; replaced after a minute, as a firewall may have dropped it."""
    engine = create_engine(
        url, isolation_level="AUTOCOMMIT", pool_size=1, max_overflow=60, pool_recycle=60, use_native_hstore=False
    )
    event.listen(engine, "handle_error", _in_plain_words)
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", _test_after_rest)
    return engine


class StorageBrokeOff(OperationalError):
    """A connection that cannot be had, or broke: without the driver's words, the statement and what it would write."""

    def __str__(self) -> str:
        return "Dagster's storage does not answer"


def _in_plain_words(context: ExceptionContext) -> StorageBrokeOff | None:
    """The error to raise instead of the driver's: Dagster prints what it catches."""
    error = context.original_exception
    if not context.is_disconnect and (context.connection is not None or not isinstance(error, psycopg2.Error)):
        return None
    return StorageBrokeOff(None, None, error, connection_invalidated=context.is_disconnect)


def _note_use(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    record.info["used"] = monotonic()


def _test_after_rest(connection: DBAPIConnection, record: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
    """Raises DisconnectionError where a connection that was idle is dead; SQLAlchemy then opens another."""
    if monotonic() - record.info.get("used", monotonic()) < _REST_SECONDS:
        return
    try:
        with closing(connection.cursor()) as cursor:
            cursor.execute("SELECT 1")
    except psycopg2.Error:
        raise DisconnectionError from None


def storage_url(settings: Settings) -> str:
    """The storage's URL with the driver that Dagster installs. Holds the password."""
    url = settings.dagster_url or embedded_server(settings).ensure_database(DAGSTER_DATABASE)
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", url)
