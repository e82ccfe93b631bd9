"""What the types of connections share. A type is a subclass in a file of its own: its settings, and facts about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator

from ingest_pipelines.config.base import Secret, Strict
from ingest_pipelines.config.connections.dialect import Dialect

Port = Annotated[int, Field(ge=1, le=65535)]

DRIVERS_NAMES: Mapping[str, str] = {
    "user": "username",
    "uid": "username",
    "passwd": "password",
    "pwd": "password",
    "db": "database",
    "dbname": "database",
    "server": "host",
}
"""What drivers call the keys that every connection has."""


class BaseConnection(Strict):
    """What every connection says. Use FileConnection, QueryConnection or HostConnection as the base of a type.

    Attributes:
        source: `module:Class` of what reads from it. It is imported when a connection is opened, with its client.
        asked: settings that `ingest new` asks for; all others can be added to the YAML later.
        type: a Literal with the type's name.
    """

    source: ClassVar[str]
    asked: ClassVar[tuple[str, ...]]

    type: str
    timeout_seconds: float = Field(default=30.0, gt=0, le=3600)
    retries: int = Field(default=3, ge=0, le=20)


class FileConnection(BaseConnection):
    """A place of files.

    Attributes:
        settle: how long a file must hold still before it is read. Object stores show only whole objects: no time.
        one_time: its files are loaded on demand only, never by a schedule or a sensor.
    """

    settle: ClassVar[timedelta] = timedelta(0)
    one_time: ClassVar[bool] = False


class QueryConnection(BaseConnection):
    """What is queried. A query that is silent for `query_timeout_seconds`, before or between rows, is given up.

    Attributes:
        dialect: the SQL that it understands.
        protection: what keeps a query from writing that is sent unread, because the parser does not understand it.
    """

    dialect: ClassVar[Dialect]
    protection: ClassVar[str] = "its session is read-only"

    query_timeout_seconds: float = Field(default=600.0, gt=0, le=86_400)
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("options")
    @classmethod
    def _adds_only(cls, options: dict[str, Any]) -> dict[str, Any]:
        for name in options:
            lowered = name.lower()
            key = lowered if lowered in cls.model_fields else DRIVERS_NAMES.get(lowered, "")
            if key in cls.model_fields:
                raise ValueError(f"'{name}' is a key of the connection itself; write it there, as {key}")
        return options


class HostConnection(QueryConnection):
    """A database with a host, a port and a user."""

    asked: ClassVar[tuple[str, ...]] = ("host", "port", "database", "username", "password")

    host: str
    port: Port
    database: str
    username: str
    password: Secret | None = None
