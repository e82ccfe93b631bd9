"""Type `hive`: HiveServer2, of Hive or Spark."""

from __future__ import annotations

from typing import ClassVar, Literal

from ingest_pipelines.config.connections.base import HostConnection, Port
from ingest_pipelines.config.connections.dialect import Dialect, Lexicon


class HiveConnection(HostConnection):
    """A HiveServer2 to query."""

    source: ClassVar[str] = "ingest_pipelines.sources.hive:Hive"
    protection: ClassVar[str] = "HiveServer2 has no read-only sessions: give the user SELECT alone"
    dialect: ClassVar[Dialect] = Dialect(
        "hive",
        Lexicon(texts="'\"", names={"`": "`"}, backslash="'\"", nested_comments=True, raw=r"[rR]['\"]"),
        first_words=frozenset({"SELECT", "WITH", "FROM", "TABLE"}),  # TABLE is Spark's
        insert_after_from=True,
        unreadable_is_null=True,
    )

    type: Literal["hive"]
    port: Port = 10000
