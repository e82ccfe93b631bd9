"""Type `csv`: a folder on this machine."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Literal

from ingest_pipelines.config.base import LocalPath
from ingest_pipelines.config.connections.base import FileConnection


class CsvConnection(FileConnection):
    """A local directory of uploads, for one-time imports."""

    source: ClassVar[str] = "ingest_pipelines.sources.csv_directory:CsvDirectory"
    asked: ClassVar[tuple[str, ...]] = ("directory",)
    settle: ClassVar[timedelta] = timedelta(seconds=30)
    one_time: ClassVar[bool] = True

    type: Literal["csv"]
    directory: LocalPath
