"""`connections.yaml`: where data comes from. One file per type, named in TYPES; design 3.1."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from ingest_pipelines.config.base import Name, Strict
from ingest_pipelines.config.connections.base import BaseConnection, FileConnection, QueryConnection
from ingest_pipelines.config.connections.dialect import Dialect

_MODULES: Mapping[str, str] = {
    "csv": "csv:CsvConnection",
    "sftp": "sftp:SftpConnection",
    "s3": "s3:S3Connection",
    "gcs": "gcs:GcsConnection",
    "azure": "azure:AzureConnection",
    "snowflake": "snowflake:SnowflakeConnection",
    "postgresql": "postgresql:PostgresqlConnection",
    "mysql": "mysql:MysqlConnection",
    "mssql": "mssql:MssqlConnection",
    "oracle": "oracle:OracleConnection",
    "hive": "hive:HiveConnection",
    "clickhouse": "clickhouse:ClickhouseConnection",
}
"""The registry: type -> `module:Class` in this package."""


def _model(place: str) -> type[BaseConnection]:
    module, name = place.split(":")
    model: type[BaseConnection] = getattr(import_module(f"{__name__}.{module}"), name)
    return model


TYPES: Mapping[str, type[BaseConnection]] = {name: _model(place) for name, place in _MODULES.items()}
"""Every type of connection, by the name that YAML has for it."""

DIALECTS: Mapping[str, Dialect] = {
    model.dialect.name: model.dialect for model in TYPES.values() if issubclass(model, QueryConnection)
}
"""The SQL of all databases, by sqlglot's name."""

if TYPE_CHECKING:
    Connection = BaseConnection
else:
    Connection = Annotated[Union[tuple(TYPES.values())], Field(discriminator="type")]  # noqa: UP007  # of a tuple


class Connections(Strict):
    """The whole of `connections.yaml`."""

    connections: dict[Name, Connection]


__all__ = ["DIALECTS", "TYPES", "Connection", "Connections", "Dialect", "FileConnection", "QueryConnection"]
