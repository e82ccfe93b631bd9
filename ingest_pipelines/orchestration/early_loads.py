"""Loads that begin before their last row is validated: opened by one op of a run, committed by a later one.

The validate op opens such a load and hands it to `pipeline.validate`, which feeds it; the IO manager takes it from here
and hands it to `pipeline.load`, which commits it. Only where both are one process: `RunContext.destination`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ingest_pipelines.config import BoundImport
from ingest_pipelines.model import Landing

if TYPE_CHECKING:
    from ingest_pipelines.merge.early_load import Destination, EarlyLoad

LARGE = 16 << 20
"""Landed bytes from which a load begins early; a smaller item is validated before a load would have begun."""


class EarlyLoads:
    """The open early loads of this process, at most one per import."""

    def __init__(self) -> None:
        self._open: dict[str, EarlyLoad] = {}

    @contextmanager
    def begin(
        self, landing: Landing, bound: BoundImport, destination: Destination | None
    ) -> Iterator[EarlyLoad | None]:
        """The item's early load, for the block to feed. After the block it waits for `take`.

        Yields:
            None where the load is to begin after the last row: the item is small, another process loads it, or the
            import has `geo`, which fills fields after the search for possible duplicates.

        An error in the block rolls the early load back. So does the next one of the import: an earlier attempt must
        not hold the table's lock.
        """
        large = landing.bytes >= LARGE and landing.settled_by is None
        if destination is None or not large or bound.spec.geo is not None:
            yield None
            return
        from ingest_pipelines.merge.early_load import EarlyLoad

        self.discard(bound.name)
        early = EarlyLoad(landing, bound, destination)
        try:
            yield early
        except BaseException:
            early.discard()
            raise
        self._open[bound.name] = early

    def take(self, import_name: str) -> EarlyLoad | None:
        """The import's early load, which is the caller's from now on; None if there is none."""
        return self._open.pop(import_name, None)

    def discard(self, import_name: str) -> None:
        """The import's early load is rolled back and holds no lock."""
        early = self.take(import_name)
        if early is not None:
            early.discard()
