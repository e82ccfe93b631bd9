"""`ingest rejects`: the rows that were not applied; listed, exported, corrected and replayed."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from ingest_pipelines.cli import replay, screen
from ingest_pipelines.cli.naming import ImportName, Json
from ingest_pipelines.errors import UsageError

if TYPE_CHECKING:
    import psycopg

    from ingest_pipelines.config import BoundImport
    from ingest_pipelines.ledger import Load, Reject, RejectedRow

SHOWN = 50
"""Rejects that `list` prints where nobody says how many; JSON is never cut."""

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""What a spreadsheet would run, or what already looks like a neutralised cell."""

group = typer.Typer(help="Rows that were not applied: list, export, correct, replay.", no_args_is_help=True)

LoadNumber = Annotated[
    int | None, typer.Option("--load", metavar="N", help="Of this load; else of the last one with rejects.")
]


@group.command("list")
def list_(
    name: ImportName,
    load: LoadNumber = None,
    code: Annotated[str | None, typer.Option("--code", metavar="CODE", help="Only rows that broke this rule.")] = None,
    every: Annotated[bool, typer.Option("--all", help=f"All of them, not only the first {SHOWN}.")] = False,
    json: Json = False,
) -> None:
    """Every rejected row: its line in the file, its key, the rules it breaks and why."""
    from ingest_pipelines import ledger
    from ingest_pipelines.cli.target import ledger_of
    from ingest_pipelines.config import read_project, read_settings

    settings = read_settings()
    bound = read_project(settings.home).require(name)
    with ledger_of(settings) as connection:
        _known_load(connection, bound, load)
        limit = None if json or every else SHOWN
        found = ledger.list_rejects(connection, bound.name, load=load, code=code, limit=limit)
        chosen = ledger.get_load(connection, found[0].load) if found else None
    if json:
        screen.as_json([_reject_json(reject) for reject in found])
        return
    if chosen is None:
        what = f" with code {code}" if code else ""
        screen.say(f"{name}: no rejects{what}{f' in load {load}' if load else ''}")
        return
    _print_rejects(bound, chosen, found, cut=len(found) == limit)


@group.command()
def export(
    name: ImportName,
    load: LoadNumber = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="F", help="Write this file instead of stdout.")
    ] = None,
) -> None:
    """Rejected rows as CSV: the file's own columns first, then line, codes, reasons. Correct and replay it.

    Cells that a spreadsheet would run as a formula get a leading apostrophe; replay takes it off again.
    """
    from ingest_pipelines import ledger
    from ingest_pipelines.cli.target import ledger_of
    from ingest_pipelines.config import read_project, read_settings

    settings = read_settings()
    bound = read_project(settings.home).require(name)
    with ledger_of(settings) as connection:
        chosen = load_with_rejects(connection, bound, load)
        rows = ledger.rejected_rows(connection, bound.name, chosen)
        if output is None:
            written = _write_csv(_utf8(sys.stdout), rows)
        else:
            draft = output.with_name(f"{output.name}.part")
            with draft.open("w", encoding="utf-8", newline="") as file:
                written = _write_csv(file, rows)
            draft.replace(output)
    if output is not None:
        screen.note(f"{screen.plural(written, 'row')} of load {chosen} in {output}")
        screen.note(f"  correct them there, then run: ingest rejects replay {name} {output}")


group.command()(replay.replay)


def load_with_rejects(connection: psycopg.Connection, bound: BoundImport, load: int | None) -> int:
    """The load's number; the import's last one with unresolved rejects where none is named.

    Raises:
        UsageError: there is none.
    """
    from ingest_pipelines import ledger

    _known_load(connection, bound, load)
    found = ledger.list_rejects(connection, bound.name, load=load, limit=1, unresolved=True)
    if not found:
        where = f"load {load}" if load is not None else "any load"
        raise UsageError(f"import {bound.name}: no unresolved rejects in {where}", hint=f"ingest report {bound.name}")
    return found[0].load


def neutral(cell: str) -> str:
    """The cell with an apostrophe in front, if a spreadsheet would run it; `restored` takes exactly that off."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def restored(cell: str) -> str:
    """The cell as it was before `neutral`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _known_load(connection: psycopg.Connection, bound: BoundImport, load: int | None) -> None:
    from ingest_pipelines import ledger

    found = ledger.get_load(connection, load) if load is not None else None
    if load is not None and (found is None or found.import_name != bound.name):
        raise UsageError(f"import {bound.name} has no load {load}", hint=f"its loads: ingest report {bound.name}")


def _write_csv(file: TextIO, rows: Iterable[RejectedRow]) -> int:
    """Writes the rows, streamed; returns how many."""
    writer = csv.writer(file, lineterminator="\r\n")
    header: Sequence[str] | None = None
    written = 0
    for row in rows:
        cells = row.row or {}
        if header is None:
            header = list(cells)
            writer.writerow([*map(neutral, header), *replay.ADDED])
        codes, reasons = " ".join(dict.fromkeys(row.codes)), "; ".join(row.reasons)
        writer.writerow([*(neutral(cells.get(column) or "") for column in header), row.line, codes, neutral(reasons)])
        written += 1
    return written


def _utf8(stream: TextIO) -> TextIO:
    """The stream with its newlines left alone and every character written."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8", newline="")
    return stream


def _reject_json(reject: Reject) -> dict[str, object]:
    return {
        "line": reject.line,
        "key": reject.key,
        "field": reject.field,
        "code": reject.code,
        "reason": reject.reason,
        "load": reject.load,
        "resolved_at": reject.resolved_at,
    }


def _print_rejects(bound: BoundImport, load: Load, found: Sequence[Reject], *, cut: bool) -> None:
    from ingest_pipelines.cli.reports import item_name

    merged = "the others are merged" if load.status == "committed" else "nothing was merged"
    screen.say(f"{screen.painted(bound.name, 'strong')}, load {load.id}, {item_name(load.item)}")
    screen.say(f"{screen.plural(load.rejected, 'row')} rejected of {screen.number(load.read)}; {merged}")
    screen.say()
    rows = [
        (
            str(reject.line),
            reject.code,
            screen.why(reject.field, reject.reason) + (" (resolved)" if reject.resolved_at else ""),
        )
        for reject in found
    ]
    for line in screen.columns(("line", "code", "why"), rows, right=[0]):
        screen.say(line)
    screen.say()
    if cut:
        screen.say(f"  ingest rejects list {bound.name} --load {load.id} --all")
    screen.say(f"  ingest rejects export {bound.name} --load {load.id} --output rejects.csv")
