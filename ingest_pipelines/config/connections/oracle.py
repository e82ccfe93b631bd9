"""Type `oracle`: Oracle Database."""

from __future__ import annotations

from typing import ClassVar, Literal

from ingest_pipelines.config.connections.base import HostConnection, Port
from ingest_pipelines.config.connections.dialect import Dialect, Lexicon


class OracleConnection(HostConnection):
    """An Oracle database to query; `database` is the service name."""

    source: ClassVar[str] = "ingest_pipelines.sources.oracle:Oracle"
    dialect: ClassVar[Dialect] = Dialect(
        "oracle", Lexicon(q_quotes=True), routines_in_with=True, limit_clause="FETCH FIRST 1000 ROWS ONLY"
    )

    type: Literal["oracle"]
    port: Port = 1521
