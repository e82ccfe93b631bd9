"""Type `azure`: a container of Azure Blob Storage."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from ingest_pipelines.config.base import Secret
from ingest_pipelines.config.connections.base import FileConnection


class AzureConnection(FileConnection):
    """An Azure Blob Storage container. Without a key or a token only a public one can be read."""

    source: ClassVar[str] = "ingest_pipelines.sources.azure:AzureBlobs"
    asked: ClassVar[tuple[str, ...]] = ("account", "container", "prefix", "account_key")

    type: Literal["azure"]
    account: str
    container: str
    prefix: str = ""
    account_key: Secret | None = None
    sas_token: Secret | None = None
    endpoint_url: str | None = None

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if self.account_key is not None and self.sas_token is not None:
            raise ValueError("give account_key or sas_token, not both")
        return self
