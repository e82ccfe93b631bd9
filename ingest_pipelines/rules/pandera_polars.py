"""Pandera for Polars alone: a run starts sooner and uses less memory.

Pandera imports pandas, PySpark and Hypothesis if they are installed, for frames that none of our rules uses: a second
of every run, and 80 MB. It works without them, so they are hidden while it is imported. A process that has imported
pandas already keeps it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder

import polars as pl

_NOT_NEEDED = frozenset({"pandas", "pyspark", "dask", "modin", "geopandas", "hypothesis"})


class _NotInstalled(MetaPathFinder):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.partition(".")[0] in _NOT_NEEDED:
            raise ModuleNotFoundError(f"No module named '{fullname}'", name=fullname)


@contextmanager
def _without_the_others() -> Iterator[None]:
    if _NOT_NEEDED & sys.modules.keys():
        yield
        return
    finder = _NotInstalled()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


with _without_the_others():
    import pandera.polars as pa

    # The first validation imports the rest.
    pa.DataFrameSchema({"a": pa.Column(pl.Int64, pa.Check.ge(0))}).validate(pl.DataFrame({"a": [0]}), lazy=True)

__all__ = ["pa"]
