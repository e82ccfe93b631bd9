"""`connections.yaml`: where data comes from. One model per type; design 3.1."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ingest_pipelines.config.base import LocalPath, Name, Secret, Strict

FILE_TYPES = frozenset({"csv", "sftp", "s3", "gcs"})
"""Connection types whose imports read files; all others take a query or a table."""

Port = Annotated[int, Field(ge=1, le=65535)]


class _Connection(Strict):
    timeout_seconds: float = Field(default=30.0, gt=0, le=3600)
    retries: int = Field(default=3, ge=0, le=20)


class CsvConnection(_Connection):
    """A local directory of uploads, for one-time imports."""

    type: Literal["csv"]
    directory: LocalPath


class SftpConnection(_Connection):
    """An SFTP server. Its host key must be known: unknown hosts are refused."""

    type: Literal["sftp"]
    host: str
    port: Port = 22
    username: str
    password: Secret | None = None
    private_key: Secret | None = None
    passphrase: Secret | None = None
    host_key: str | None = None
    known_hosts: LocalPath | None = None
    root: str = "."

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.password is None) == (self.private_key is None):
            raise ValueError("give password or private_key, exactly one of them")
        if self.passphrase is not None and self.private_key is None:
            raise ValueError("passphrase belongs to private_key, which is not given")
        if (self.host_key is None) == (self.known_hosts is None):
            raise ValueError(
                "give host_key ('ssh-ed25519 AAAA...') or known_hosts (a file): unknown hosts are refused. "
                f"`ssh-keyscan -p {self.port} {self.host}` prints the server's keys"
            )
        return self


class S3Connection(_Connection):
    """An S3 bucket. Without keys the default AWS chain applies."""

    type: Literal["s3"]
    bucket: str
    prefix: str = ""
    region: str | None = None
    endpoint_url: str | None = None
    path_style: bool = False
    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key go together")
        return self


class GcsConnection(_Connection):
    """A Google Cloud Storage bucket. Without credentials the application default applies."""

    type: Literal["gcs"]
    bucket: str
    prefix: str = ""
    project: str | None = None
    credentials: Secret | None = None
    endpoint_url: str | None = None


class _QueryConnection(_Connection):
    """What is queried. A query that is silent for `query_timeout_seconds`, before or between rows, is given up."""

    query_timeout_seconds: float = Field(default=600.0, gt=0, le=86_400)


class SnowflakeConnection(_QueryConnection):
    """A Snowflake account."""

    type: Literal["snowflake"]
    account: str
    user: str
    password: Secret | None = None
    private_key: Secret | None = None
    passphrase: Secret | None = None
    role: str | None = None
    warehouse: str | None = None
    database: str | None = None
    schema_: str | None = Field(default=None, alias="schema")
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.password is None) == (self.private_key is None):
            raise ValueError("give password or private_key, exactly one of them")
        return self


class _SqlConnection(_QueryConnection):
    host: str
    database: str
    username: str
    password: Secret | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class PostgresqlConnection(_SqlConnection):
    """A PostgreSQL database to query."""

    type: Literal["postgresql"]
    port: Port = 5432


class MysqlConnection(_SqlConnection):
    """A MySQL or MariaDB database to query."""

    type: Literal["mysql"]
    port: Port = 3306


class MssqlConnection(_SqlConnection):
    """A SQL Server database to query."""

    type: Literal["mssql"]
    port: Port = 1433


class OracleConnection(_SqlConnection):
    """An Oracle database to query; `database` is the service name."""

    type: Literal["oracle"]
    port: Port = 1521


class HiveConnection(_SqlConnection):
    """A HiveServer2 to query."""

    type: Literal["hive"]
    port: Port = 10000


class ClickhouseConnection(_SqlConnection):
    """A ClickHouse server to query over HTTP."""

    type: Literal["clickhouse"]
    port: Port = 8123


SqlConnection = (
    PostgresqlConnection | MysqlConnection | MssqlConnection | OracleConnection | HiveConnection | ClickhouseConnection
)
"""Databases with a host, a port and a user."""

Connection = Annotated[
    CsvConnection
    | SftpConnection
    | S3Connection
    | GcsConnection
    | SnowflakeConnection
    | PostgresqlConnection
    | MysqlConnection
    | MssqlConnection
    | OracleConnection
    | HiveConnection
    | ClickhouseConnection,
    Field(discriminator="type"),
]


class Connections(Strict):
    """The whole of `connections.yaml`."""

    connections: dict[Name, Connection]
