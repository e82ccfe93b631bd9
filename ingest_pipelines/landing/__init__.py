"""Copies an item's bytes to local disk, and reads its rows as text frames with line numbers."""

from ingest_pipelines.landing.arrow_reader import read_arrow
from ingest_pipelines.landing.csv_reader import read_csv
from ingest_pipelines.landing.file_reader import open_rows
from ingest_pipelines.landing.land import land_file
from ingest_pipelines.landing.parts import ListedPart, land_parts, open_parts
from ingest_pipelines.landing.query_lander import land_query

__all__ = [
    "ListedPart", "land_file", "land_parts", "land_query", "open_parts", "open_rows", "read_arrow", "read_csv",
]  # fmt: skip
