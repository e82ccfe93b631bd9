"""Type `postgresql`: PostgreSQL as a source."""

from __future__ import annotations

from typing import ClassVar, Literal

from ingest_pipelines.config.connections.base import HostConnection, Port
from ingest_pipelines.config.connections.dialect import TAGGED_DOLLAR, Dialect, Lexicon


class PostgresqlConnection(HostConnection):
    """A PostgreSQL database to query."""

    source: ClassVar[str] = "ingest_pipelines.sources.postgresql:Postgresql"
    dialect: ClassVar[Dialect] = Dialect(
        "postgres",
        Lexicon(nested_comments=True, dollar=TAGGED_DOLLAR, prefixed=r"[eE]'"),
        first_words=frozenset({"SELECT", "WITH", "TABLE"}),
        reserves_verbs=False,
        bare_name=r"[a-z_][a-z0-9_]*",
    )

    type: Literal["postgresql"]
    port: Port = 5432
