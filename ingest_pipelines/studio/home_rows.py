"""Home's rows: what each import's row shows, made again only where something has changed."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ingest_pipelines.actions.status import ORDER
from ingest_pipelines.ledger import LoadBar
from ingest_pipelines.studio.charts import BarPart, Sparkline, count_bar, sparkline
from ingest_pipelines.studio.live import BARS, Seen
from ingest_pipelines.studio.uploads import takes_uploads

TONES: Mapping[str, str] = {
    **dict.fromkeys(("invalid", "removed", "failed"), "bad"), "running": "busy",
    **dict.fromkeys(("waiting", "completed_with_rejects"), "warn"), **dict.fromkeys(("completed", "scheduled"), "good"),
}  # fmt: skip
"""The colour of a status; the word stands beside it. Others are quiet."""


@dataclass(frozen=True)
class HomeRow:
    """An import on Home.

    Attributes:
        line: as `ingest status --json` prints it.
        place: rows with a lower one come first.
        searched: what the search looks in.
        uploads: whether a person may upload its next file.
        changed_at: the look that saw it first as it is.
        html: it, by whether its reader may act, once it has been rendered.
    """

    name: str
    database: str
    description: str
    labels: Sequence[str]
    line: Mapping[str, Any]
    tone: str
    place: tuple[int, float, str]
    bar: Sequence[BarPart]
    loads: Sparkline
    searched: str
    uploads: bool
    changed_at: datetime = field(compare=False)
    html: dict[bool, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def order(self) -> str:
        """The place as text that sorts like it."""
        return f"{self.place[0]:02d} {self.place[1]:015.3f} {self.place[2]}"


class HomeRows:
    """The rows of the last look. A row is the same object for as long as it shows the same."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: Seen | None = None
        self._rows: list[HomeRow] = []
        self._kept: dict[str, tuple[Mapping[str, Any], Sequence[LoadBar], object, HomeRow]] = {}

    def of(self, seen: Seen) -> list[HomeRow]:
        """Each import's row, what needs a person first: by status, then the oldest open item first."""
        with self._lock:
            if self._seen is not seen:
                self._kept = {str(line["import"]): self._row(seen, line) for line in seen.lines}
                self._rows = sorted((kept[-1] for kept in self._kept.values()), key=lambda row: row.place)
                self._seen = seen
            return self._rows

    def _row(self, seen: Seen, line: Mapping[str, Any]) -> tuple[Mapping[str, Any], Sequence[LoadBar], object, HomeRow]:
        name = str(line["import"])
        bars, bound = seen.bars.get(name, ()), seen.project.imports.get(name) or seen.project.partial.get(name)
        kept = self._kept.get(name)
        if kept is not None and kept[1] is bars and kept[2] is bound and kept[0] == line:
            return kept
        database = bound.database_name if bound is not None else ""
        description = bound.spec.description if bound is not None else ""
        labels = tuple(bound.spec.labels) if bound is not None else ()
        oldest = line["open"][0]["since"].timestamp() if line["open"] else 99_999_999_999.0
        row = HomeRow(
            name, database, description, labels, line, TONES.get(line["status"], "quiet"),
            (ORDER.index(line["status"]), oldest, name), count_bar(line), sparkline(bars, BARS),
            " ".join((name, database, description, *labels, line["status"])).lower(),
            bound is not None and takes_uploads(bound), seen.at,
        )  # fmt: skip
        return line, bars, bound, row if kept is None or kept[-1] != row else kept[-1]
