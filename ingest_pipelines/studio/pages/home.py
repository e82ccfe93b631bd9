"""Home: every import in a row, what needs a person first; live."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ingest_pipelines.actions.status import ORDER
from ingest_pipelines.studio.charts import BarPart, Sparkline, count_bar, sparkline
from ingest_pipelines.studio.live import BARS, Seen
from ingest_pipelines.studio.render import fragment, pushed, render
from ingest_pipelines.studio.state import studio_of

BUSY = frozenset({"running", "waiting"})
URGENT = frozenset({"invalid", "removed", "failed"})
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

    @property
    def order(self) -> str:
        """The place as text that sorts like it."""
        return f"{self.place[0]:02d} {self.place[1]:015.3f} {self.place[2]}"


def rows_of(seen: Seen) -> list[HomeRow]:
    """Home's rows, what needs a person first: by status, then the oldest open item first."""
    rows = [_row(seen, line) for line in seen.lines]
    return sorted(rows, key=lambda row: row.place)


def _row(seen: Seen, line: Mapping[str, Any]) -> HomeRow:
    name = str(line["import"])
    bound = seen.project.imports.get(name) or seen.project.partial.get(name)
    database = bound.database_name if bound is not None else ""
    description = bound.spec.description if bound is not None else ""
    labels = tuple(bound.spec.labels) if bound is not None else ()
    oldest = line["open"][0]["since"].timestamp() if line["open"] else 99_999_999_999.0
    return HomeRow(
        name, database, description, labels, line, TONES.get(line["status"], "quiet"),
        (ORDER.index(line["status"]), oldest, name), count_bar(line), sparkline(seen.bars.get(name, ()), BARS),
        " ".join((name, database, description, *labels, line["status"])).lower(),
    )  # fmt: skip


def home(request: Request) -> Response:
    """The page. `q`, `status` and `group` choose rows also where the script does not run."""
    seen = studio_of(request).lookout.seen()
    rows = rows_of(seen)
    search, status = request.query_params.get("q", ""), request.query_params.get("status", "")
    grouped = request.query_params.get("group") == "database"
    return render(
        request, "home.html", title="Home", seen=seen, groups=_grouped(rows) if grouped else [("", rows)],
        counts=_counts(rows), search=search, status=status, grouped=grouped, total=len(rows),
        visible={row.name for row in rows if search.lower() in row.searched and status in {"", row.line["status"]}},
    )  # fmt: skip


def _grouped(rows: Sequence[HomeRow]) -> list[tuple[str, list[HomeRow]]]:
    groups: dict[str, list[HomeRow]] = {}
    for row in rows:
        groups.setdefault(row.database, []).append(row)
    return sorted(groups.items(), key=lambda group: (group[0] == "", group[0]))


def _counts(rows: Sequence[HomeRow]) -> list[tuple[str, str, int]]:
    """Status, its tone and how many imports have it, the most urgent first."""
    counts = Counter(row.line["status"] for row in rows)
    return [(status, TONES.get(status, "quiet"), counts[status]) for status in ORDER if counts[status]]


async def changes(request: Request) -> Response:
    """The rows that change, as server-sent events, for as long as the page is open."""
    lookout, jobs = studio_of(request).lookout, studio_of(request).jobs

    async def events() -> AsyncIterator[str]:
        sent: dict[str, HomeRow] = {}
        last: Seen | None = None
        under_way = {job.id for job in jobs.all() if job.state == "running"}
        async for seen in lookout.changes():
            if await request.is_disconnected():
                return
            for job in jobs.all():
                if job.state == "running":
                    under_way.add(job.id)
                elif job.id in under_way:
                    under_way.discard(job.id)
                    what = {"said": job.said, "hint": job.hint, "bad": job.state == "failed"}
                    yield f"event: said\ndata: {json.dumps(what)}\n\n"
            if seen is last:
                continue
            rows = {row.name: row for row in await run_in_threadpool(rows_of, seen)}
            # The page has just been made at the first look; what changed meanwhile comes with the next one.
            changed = [row for name, row in rows.items() if sent.get(name) != row] if last is not None else []
            gone = [name for name in sent if name not in rows]
            if changed or gone or last is None:
                html = await run_in_threadpool(_rendered, request, changed)
                news = {"rows": html, "gone": gone, "counts": _counts(list(rows.values()))}
                yield f"event: rows\ndata: {json.dumps(news)}\n\n"
            last, sent = seen, rows

    return pushed(events())


def _rendered(request: Request, rows: Sequence[HomeRow]) -> list[str]:
    return [fragment(request, "row.html", row=row, hidden=False) for row in rows]


ROUTES = (Route("/", home), Route("/changes", changes))
