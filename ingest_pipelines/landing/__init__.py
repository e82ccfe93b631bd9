"""An item's bytes on local disk, and its rows as text frames with line numbers."""

from ingest_pipelines.landing.csv_reader import read_csv
from ingest_pipelines.landing.land import land_file

__all__ = ["land_file", "read_csv"]
