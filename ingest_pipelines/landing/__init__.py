"""An item's bytes on local disk, and its rows as text frames with line numbers."""

from ingest_pipelines.landing.arrow_reader import read_arrow
from ingest_pipelines.landing.csv_reader import read_csv
from ingest_pipelines.landing.cursor import Chunk, cursor_cap, largest_value
from ingest_pipelines.landing.land import land_file
from ingest_pipelines.landing.query_lander import land_query

__all__ = ["Chunk", "cursor_cap", "land_file", "land_query", "largest_value", "read_arrow", "read_csv"]
