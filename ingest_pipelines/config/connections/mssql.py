"""Type `mssql`: SQL Server."""

from __future__ import annotations

from typing import ClassVar, Literal

from ingest_pipelines.config.connections.base import HostConnection, Port
from ingest_pipelines.config.connections.dialect import Dialect, Lexicon

_STATEMENT_WORDS = frozenset(
    "ALTER BACKUP BEGIN CHECKPOINT COMMIT CREATE DBCC DECLARE DELETE DENY DROP EXEC EXECUTE GRANT INSERT KILL MERGE"
    " RAISERROR RECONFIGURE RESTORE REVERT REVOKE ROLLBACK SETUSER SHUTDOWN TRUNCATE UPDATE UPDATETEXT WAITFOR"
    " WRITETEXT".split()
)
"""Reserved words of SQL Server that begin a statement; statements there need no semicolon between them."""


class MssqlConnection(HostConnection):
    """A SQL Server database to query."""

    source: ClassVar[str] = "ingest_pipelines.sources.mssql:Mssql"
    protection: ClassVar[str] = "SQL Server has no read-only sessions: give the user SELECT, and EXECUTE on nothing"
    dialect: ClassVar[Dialect] = Dialect(
        "tsql",
        Lexicon(names={'"': '"', "[": "]"}, nested_comments=True),
        statement_words=_STATEMENT_WORDS,
        ordered_subqueries=False,
    )

    type: Literal["mssql"]
    port: Port = 1433
