"""Copies an item's bytes to local disk, and reads its rows as text frames with line numbers.

Its modules are imported when a name is asked for: the names of files need neither Polars nor Arrow.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingest_pipelines.landing.arrow_reader import read_arrow
    from ingest_pipelines.landing.csv_reader import read_csv
    from ingest_pipelines.landing.file_reader import open_rows
    from ingest_pipelines.landing.land import land_file
    from ingest_pipelines.landing.parts import ListedPart, land_parts, open_parts
    from ingest_pipelines.landing.query_lander import land_query

_MODULES = {
    "ListedPart": "parts",
    "land_file": "land",
    "land_parts": "parts",
    "land_query": "query_lander",
    "open_parts": "parts",
    "open_rows": "file_reader",
    "read_arrow": "arrow_reader",
    "read_csv": "csv_reader",
}

__all__ = [
    "ListedPart", "land_file", "land_parts", "land_query", "open_parts", "open_rows", "read_arrow", "read_csv",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(name)
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
