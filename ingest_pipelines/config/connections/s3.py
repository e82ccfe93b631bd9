"""Type `s3`: a bucket of Amazon's, or of any server that speaks S3."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from ingest_pipelines.config.base import Secret
from ingest_pipelines.config.connections.base import FileConnection


class S3Connection(FileConnection):
    """An S3 bucket. Without keys the default AWS chain applies."""

    source: ClassVar[str] = "ingest_pipelines.sources.s3:S3"
    asked: ClassVar[tuple[str, ...]] = ("bucket", "prefix", "region", "access_key_id", "secret_access_key")

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
