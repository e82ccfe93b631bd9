"""The rejects bench: rejected rows as a grid, corrected in place, judged by the import's own rules, replayed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ingest_pipelines import ledger
from ingest_pipelines.actions.judging import BrokenRule, judge
from ingest_pipelines.actions.reject_file import write_export
from ingest_pipelines.actions.rejected_loads import load_with_rejects, require_load
from ingest_pipelines.actions.run_apart import WantedRun
from ingest_pipelines.actions.target import now
from ingest_pipelines.actions.wording import number, plural
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import UsageError, printable
from ingest_pipelines.model import item_name, spelled_line
from ingest_pipelines.studio.people import PERSONAL, Forbidden, Person, acting, person_of
from ingest_pipelines.studio.render import done, fields_of, post, render
from ingest_pipelines.studio.state import studio_of

PAGE = 100
"""Rows of a page."""

MOST_ROWS, LONGEST_CELL = 1_000, 65_536
"""What one request may correct."""

SPELLED = 160
"""Characters of a cell that are spelled out below it."""

_BREAKS = str.maketrans("\r\n\t", "   ")
"""Breaks and tabs, which a cell shows itself."""

LOADS = 50
"""Loads that the page offers."""


@dataclass(frozen=True)
class GridCell:
    """A cell of the grid.

    Attributes:
        masked: the value is personal, and this page does not show it.
    """

    column: str
    value: str
    masked: bool
    broken: Sequence[BrokenRule]

    @property
    def lines(self) -> int:
        """Lines of the value; several need a field that keeps their breaks."""
        return 1 + self.value.replace("\r\n", "\n").replace("\r", "\n").count("\n")

    @property
    def spelled(self) -> str:
        """The value with its characters that turn or hide words spelled out; "" if it has none."""
        plain = self.value.translate(_BREAKS)
        return "" if plain.isprintable() else printable(plain, SPELLED)


@dataclass(frozen=True)
class GridRow:
    """A rejected row. `general`: rules about no single cell."""

    line: int
    place: str
    cells: Sequence[GridCell]
    general: Sequence[BrokenRule]
    editable: bool


def bench(request: Request) -> Response:
    """The page."""
    studio, name, person = studio_of(request), request.path_params["name"], person_of(request)
    bound, asked = studio.project.require(name), request.query_params
    code, field = asked.get("code") or None, asked.get("field") or None
    after, load = _number(asked.get("after")) or 0, _number(asked.get("load"))
    personal = asked.get("personal") == "1"
    if personal:
        _require_personal(person)
    with studio.ledger(writes=personal) as connection:
        require_load(connection, name, load)
        offered = [one for one in ledger.recent_loads(connection, name, LOADS) if one.rejected]
        chosen = _chosen(connection, bound, load, offered)
        rows = (
            ledger.reject_page(connection, chosen.id, code=code, field=field, after=after, limit=PAGE) if chosen else []
        )
        waiting = ledger.count_open(connection, chosen.id) if chosen else 0
        if personal and chosen and rows:
            detail = {"load": chosen.id, "rows": len(rows)}
            ledger.record_audit(connection, person.name, "personal data shown", now(), import_name=name, detail=detail)
    columns = _columns(bound)
    query = {key: value for key, value in asked.items() if key in {"load", "code", "field", "personal"} and value}
    return render(
        request, "rejects.html", title=f"Rejects of {name}", name=name, load=chosen, loads=offered, waiting=waiting,
        columns=columns, rows=[_grid_row(bound, row, columns, personal=personal) for row in rows], rule=code or "",
        field=field or "", fields=[mapped.name for mapped in bound.fields], personal=personal, item_name=item_name,
        has_personal=bool(_personal(bound)), start=f"/imports/{name}/rejects?{urlencode(query)}" if after else "",
        more=f"/imports/{name}/rejects?{urlencode({**query, 'after': rows[-1].line})}" if len(rows) == PAGE else "",
    )  # fmt: skip


def _chosen(
    connection: Any, bound: BoundImport, load: int | None, offered: Sequence[ledger.Load]
) -> ledger.Load | None:
    """The load that is asked for; else the last one with open rejects, else the last one that had any."""
    if load is not None:
        return ledger.get_load(connection, load)
    try:
        return load_with_rejects(connection, bound, None)
    except UsageError:
        return offered[0] if offered else None


def _columns(bound: BoundImport) -> list[str]:
    """The mapped source columns. The others are kept as they are, and may hold anything, so no page shows them."""
    return list(dict.fromkeys(mapped.column for mapped in bound.fields))


def _personal(bound: BoundImport) -> set[str]:
    """Source columns of fields that are marked `pii: true`."""
    return {mapped.column for mapped in bound.fields if mapped.field.pii}


def _grid_row(bound: BoundImport, row: ledger.RejectedRow, columns: Sequence[str], *, personal: bool) -> GridRow:
    column_of = {mapped.name: mapped.column for mapped in bound.fields}
    broken = [
        BrokenRule(column_of.get(field, ""), field, code, reason)
        for field, code, reason in zip(row.fields, row.codes, row.reasons, strict=True)
    ]
    private, values = _personal(bound), row.row or {}
    cells = []
    for column in columns:
        masked = column in private and not personal
        about = [rule for rule in broken if rule.column == column]
        cells.append(GridCell(column, "" if masked else values.get(column) or "", masked, about))
    general = [rule for rule in broken if rule.column not in columns]
    return GridRow(row.line, spelled_line(row.line).removeprefix("line "), cells, general, row.row is not None)


def judged(request: Request) -> Response:
    """The rules that the corrected rows break, by line; `gone`: those whose rejects are resolved."""
    acting(request)
    _, broken, gone = _judged(request)
    shown = {
        str(line): [{"column": rule.column, "field": rule.field, "reason": rule.reason} for rule in rules]
        for line, rules in broken.items()
    }
    return JSONResponse({"broken": shown, "gone": [str(line) for line in gone]})


def replay(request: Request) -> Response:
    """Loads the corrected rows that pass; the others stay on the page."""
    person = acting(request)
    bound, broken, gone = _judged(request)
    corrected, load = _corrected(request), _load(request)
    passing = {str(line): corrected[line] for line, rules in broken.items() if not rules}
    if not passing:
        resolved = f"; {plural(len(gone), 'row')} were resolved by another load" if gone else ""
        raise UsageError(
            f"no corrected row passes{resolved}; nothing was loaded", hint="the cells that are marked break a rule"
        )
    studio_of(request).jobs.start(WantedRun(bound.name, person.name, load=load, corrections=passing))
    facts = [f"{plural(len(passing), 'corrected row')} of load {load} is on the way"]
    if left := len(broken) - len(passing):
        facts.append(f"{number(left)} did not pass and stay on the page")
    if gone:
        facts.append(f"{number(len(gone))} were resolved by another load meanwhile")
    return done("; ".join(facts))


def _judged(request: Request) -> tuple[BoundImport, Mapping[int, Sequence[BrokenRule]], list[int]]:
    """The import, the rules that each corrected row breaks, and the rows whose rejects are resolved meanwhile."""
    studio, name = studio_of(request), request.path_params["name"]
    bound, corrected, load = studio.project.require(name), _corrected(request), _load(request)
    with studio.ledger() as connection:
        require_load(connection, name, load)
        stored = ledger.open_rejected_rows(connection, load, corrected)
    gone = sorted(corrected.keys() - {row.line for row in stored})
    return bound, judge(bound, {row.line: {**(row.row or {}), **corrected[row.line]} for row in stored}), gone


def _corrected(request: Request) -> dict[int, dict[str, str]]:
    """The changed cells by line, as the page sent them.

    Raises:
        UsageError: they are too many, too long, or of no mapped column.
    """
    bound, sent = studio_of(request).project.require(request.path_params["name"]), fields_of(request).get("rows")
    columns = set(_columns(bound))
    rows: dict[int, dict[str, str]] = {}
    for line, cells in sent.items() if isinstance(sent, dict) else ():
        place = _number(line)
        is_row = isinstance(cells, dict) and all(isinstance(value, str) for value in cells.values())
        if place is None or not is_row or not cells.keys() <= columns:
            raise UsageError("the page sent a row that this import does not have", hint="reload it and try again")
        if any(len(value) > LONGEST_CELL for value in cells.values()):
            raise UsageError(f"a cell has more than {LONGEST_CELL:,} characters", hint="correct it in a file instead")
        rows[place] = dict(cells)
    if not 0 < len(rows) <= MOST_ROWS:
        raise UsageError(f"between 1 and {MOST_ROWS:,} rows can be corrected at once", hint="nothing was loaded")
    return rows


def _load(request: Request) -> int:
    load = _number(str(fields_of(request).get("load")))
    if load is None:
        raise UsageError("the page sent no load", hint="reload it and try again")
    return load


def _number(text: object) -> int | None:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 19 else None


def _require_personal(person: Person) -> None:
    if not person.sees_personal:
        raise Forbidden("you may not see personal data", hint=f"ask for the group {PERSONAL}")


def download(request: Request) -> Response:
    """The open rejects as CSV, as `ingest rejects export` writes it, to correct in a spreadsheet and replay."""
    studio, name, person = studio_of(request), request.path_params["name"], person_of(request)
    bound = studio.project.require(name)
    if _personal(bound):
        _require_personal(person)
    file = tempfile.TemporaryFile("w+", encoding="utf-8", newline="")  # noqa: SIM115 - closed when it has been sent
    with studio.ledger(writes=True) as connection:
        load = load_with_rejects(connection, bound, _number(request.query_params.get("load")))
        columns = ledger.rejected_columns(connection, load.id)
        written = write_export(file, load, columns, ledger.rejected_rows(connection, name, load.id))
        detail = {"load": load.id, "rows": written}
        ledger.record_audit(connection, person.name, "rejects exported", now(), import_name=name, detail=detail)
    file.seek(0)

    def pieces() -> Iterator[str]:
        with file:
            while piece := file.read(65_536):
                yield piece

    headers = {"Content-Disposition": f'attachment; filename="rejects_{name}_{load.id}.csv"'}
    return StreamingResponse(pieces(), media_type="text/csv; charset=utf-8", headers=headers)


ROUTES = (
    Route("/imports/{name}/rejects", bench),
    Route("/imports/{name}/rejects.csv", download),
    post("/imports/{name}/rejects/judge", judged),
    post("/imports/{name}/rejects/replay", replay),
)
