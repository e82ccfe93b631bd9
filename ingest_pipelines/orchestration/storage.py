"""Dagster's runs, events and ticks in Postgres; named by `dagster.yaml`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

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
        """The storage that the environment names."""
        return cls(postgres_url=storage_url(read_settings()), inst_data=inst_data)


def storage_url(settings: Settings) -> str:
    """The storage's URL with the driver that Dagster installs. Holds the password."""
    url = settings.dagster_url or embedded_server(settings).ensure_database(DAGSTER_DATABASE)
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", url)
