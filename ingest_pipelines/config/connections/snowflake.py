"""Type `snowflake`: an account of Snowflake's."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from ingest_pipelines.config.base import Secret
from ingest_pipelines.config.connections.base import QueryConnection
from ingest_pipelines.config.connections.dialect import Dialect, Lexicon


class SnowflakeConnection(QueryConnection):
    """A Snowflake account."""

    source: ClassVar[str] = "ingest_pipelines.sources.snowflake:Snowflake"
    asked: ClassVar[tuple[str, ...]] = ("account", "user", "password", "role", "warehouse", "database", "schema")
    protection: ClassVar[str] = (
        "Snowflake has no read-only sessions: give the user a role with SELECT, and USAGE on no procedure"
    )
    dialect: ClassVar[Dialect] = Dialect(
        "snowflake",
        Lexicon(backslash="'", line_comments=r"--|//", dollar=r"\$\$"),
        first_words=frozenset({"SELECT", "WITH", "FROM"}),
    )

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

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.password is None) == (self.private_key is None):
            raise ValueError("give password or private_key, exactly one of them")
        return self
