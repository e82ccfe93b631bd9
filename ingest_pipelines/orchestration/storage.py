"""Dagster's runs, events and ticks in Postgres; named by `dagster.yaml`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import create_engine

from ingest_pipelines.config import Settings, read_settings
from ingest_pipelines.orchestration.site import DAGSTER_DATABASE, embedded_server


class RunStorage(DagsterPostgresStorage):
    """INGEST_DAGSTER_URL, or a database of the embedded server, started where it is not running."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """No settings: the address is a secret, and the environment has it."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """The storage that the environment names, all of it over one connection that is kept open.

        Dagster by itself connects anew for every event, some 150 times in a run of ten rows. Here a connection is
        asked whether it still lives before it is used, and given up after a minute: a firewall may have dropped it.
        """
        url = storage_url(read_settings())
        storage = cls(postgres_url=url, inst_data=inst_data)
        engine = create_engine(
            url, isolation_level="AUTOCOMMIT", pool_size=1, max_overflow=20, pool_pre_ping=True, pool_recycle=60
        )
        for part in (storage._run_storage, storage._event_log_storage, storage._schedule_storage):
            part._engine = engine
        return storage


def storage_url(settings: Settings) -> str:
    """The storage's URL with the driver that Dagster installs. Holds the password."""
    url = settings.dagster_url or embedded_server(settings).ensure_database(DAGSTER_DATABASE)
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", url)
