"""Type `gcs`: a bucket of Google Cloud Storage."""

from __future__ import annotations

from typing import ClassVar, Literal

from ingest_pipelines.config.base import Secret
from ingest_pipelines.config.connections.base import FileConnection


class GcsConnection(FileConnection):
    """A Google Cloud Storage bucket. Without credentials the application default applies."""

    source: ClassVar[str] = "ingest_pipelines.sources.gcs:Gcs"
    asked: ClassVar[tuple[str, ...]] = ("bucket", "prefix", "project", "credentials")

    type: Literal["gcs"]
    bucket: str
    prefix: str = ""
    project: str | None = None
    credentials: Secret | None = None
    endpoint_url: str | None = None
