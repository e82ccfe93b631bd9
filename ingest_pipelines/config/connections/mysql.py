"""Type `mysql`: MySQL and MariaDB."""

from __future__ import annotations

from typing import ClassVar, Literal

from ingest_pipelines.config.connections.base import HostConnection, Port
from ingest_pipelines.config.connections.dialect import Dialect, Lexicon


class MysqlConnection(HostConnection):
    """A MySQL or MariaDB database to query."""

    source: ClassVar[str] = "ingest_pipelines.sources.mysql:Mysql"
    dialect: ClassVar[Dialect] = Dialect(
        "mysql",
        Lexicon(
            texts="'\"", names={"`": "`"}, backslash="'\"", line_comments=r"#|--(?=[\s\x00-\x1f]|\Z)",
            executable_comments=True,
        ),
        first_words=frozenset({"SELECT", "WITH", "TABLE"}),
        unreadable_is_null=True,
    )  # fmt: skip

    type: Literal["mysql"]
    port: Port = 3306
