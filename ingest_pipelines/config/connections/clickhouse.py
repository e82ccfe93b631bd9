"""Type `clickhouse`: ClickHouse over HTTP."""

from __future__ import annotations

from typing import ClassVar, Literal

from ingest_pipelines.config.connections.base import HostConnection, Port
from ingest_pipelines.config.connections.dialect import TAGGED_DOLLAR, Dialect, Lexicon


class ClickhouseConnection(HostConnection):
    """A ClickHouse server to query over HTTP."""

    source: ClassVar[str] = "ingest_pipelines.sources.clickhouse:Clickhouse"
    dialect: ClassVar[Dialect] = Dialect(
        "clickhouse",
        Lexicon(
            names={'"': '"', "`": "`"}, backslash="'\"`", line_comments=r"--|//|#[ !]", dollar=TAGGED_DOLLAR
        ),
        first_words=frozenset({"SELECT", "WITH", "FROM"}),
        reserves_verbs=False,
        into_is_a_name=True,
        format_clause=True,
        aliases_in_where=True,
    )  # fmt: skip

    type: Literal["clickhouse"]
    port: Port = 8123
