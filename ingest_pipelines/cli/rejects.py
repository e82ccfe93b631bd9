"""`ingest rejects`: list and export rejected rows, correct them and load them again."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from ingest_pipelines.actions.reject_file import write_export
from ingest_pipelines.actions.rejected_loads import load_with_rejects, require_load
from ingest_pipelines.cli import replay, screen
from ingest_pipelines.cli.boundary import Command, Group
from ingest_pipelines.cli.naming import ImportName, Json
from ingest_pipelines.errors import UsageError, printable
from ingest_pipelines.owner_only import open_private

if TYPE_CHECKING:
    from ingest_pipelines.ledger import Load, Reject

SHOWN = 50
"""How many rejects `list` prints without --all; JSON has all of them."""

group = typer.Typer(cls=Group, help="Rejected rows: list, export, correct, replay.", no_args_is_help=True)

LoadNumber = Annotated[
    int | None, typer.Option("--load", metavar="N", help="The load; default: the last one with open rejects.")
]


@group.command("list", cls=Command)
def list_(
    name: ImportName,
    load: LoadNumber = None,
    code: Annotated[str | None, typer.Option("--code", metavar="CODE", help="Only rows that broke this rule.")] = None,
    every: Annotated[bool, typer.Option("--all", help=f"Print all, not only the first {SHOWN}.")] = False,
    json: Json = False,
) -> None:
    """List rejected rows: line in the file, key, the rules they break and why. Open ones come first."""
    from ingest_pipelines import ledger
    from ingest_pipelines.actions.target import ledger_of, require_known
    from ingest_pipelines.config import read_settings
    from ingest_pipelines.config.nearest import nearest
    from ingest_pipelines.rules.codes import CODES

    settings = read_settings()
    require_known(settings, name)
    with ledger_of(settings) as connection:
        require_load(connection, name, load)
        limit = None if json or every else SHOWN
        rejects = ledger.list_rejects(connection, name, load=load, code=code, limit=limit, open_first=True)
        if code is not None and not rejects and code not in CODES:
            raise UsageError(f"there is no code '{code}'", hint=nearest(code, CODES))
        chosen = ledger.get_load(connection, rejects[0].load) if rejects else None
        waiting = ledger.count_open(connection, chosen.id) if chosen else 0
        item = ledger.find_item(connection, name, chosen.item) if chosen else None
    if json:
        screen.as_json([_reject_json(reject) for reject in rejects])
        return
    if chosen is None:
        what = f" with code {code}" if code else ""
        screen.say(f"{name}: no rejects{what}{f' in load {load}' if load else ''}")
        return
    is_replay = item is not None and item.kind == "replay"
    _print_rejects(name, chosen, rejects, waiting, cut=len(rejects) == limit, is_replay=is_replay)


@group.command(cls=Command)
def export(
    name: ImportName,
    load: LoadNumber = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="F", help="Write this file instead of stdout.")
    ] = None,
) -> None:
    """Export rejected rows as CSV, to correct and replay: the source's columns, then our own `ingest.*` columns.

    The `ingest.*` columns name each row's load and line, and why it was rejected; do not change them. Cells that a
    spreadsheet would run as a formula get a leading apostrophe; replay removes it.
    """
    from ingest_pipelines import ledger
    from ingest_pipelines.actions.target import ledger_of
    from ingest_pipelines.config import read_project, read_settings

    settings = read_settings()
    bound = read_project(settings.home).require(name)
    with ledger_of(settings) as connection:
        chosen = load_with_rejects(connection, bound, load)
        columns = ledger.rejected_columns(connection, chosen.id)
        rows = ledger.rejected_rows(connection, bound.name, chosen.id)
        if output is None:
            written = write_export(_utf8(sys.stdout), chosen, columns, rows)
        else:
            draft = output.with_name(f"{output.name}.part")
            with open_private(draft, "w", newline="") as file:
                written = write_export(file, chosen, columns, rows)
            draft.replace(output)
    if output is not None:
        screen.note(f"{screen.plural(written, 'row')} of load {chosen.id} in {printable(str(output))}")
        screen.note(f"  correct them, then run: ingest rejects replay {name} {screen.quoted(output)}")


group.command(cls=Command)(replay.replay)


def _utf8(stream: TextIO) -> TextIO:
    """The stream, set to write every character and to leave newlines unchanged."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8", newline="")
    return stream


def _reject_json(reject: Reject) -> dict[str, object]:
    from ingest_pipelines.model import part_and_line

    part, line = part_and_line(reject.line)
    return {
        "line": line,
        **({"part": part} if part is not None else {}),
        "key": reject.key,
        "field": reject.field,
        "code": reject.code,
        "reason": reject.reason,
        "load": reject.load,
        "resolved_at": reject.resolved_at,
    }


def _print_rejects(
    name: str, load: Load, rejects: Sequence[Reject], waiting: int, *, cut: bool, is_replay: bool
) -> None:
    from ingest_pipelines.model import item_name, spelled_line

    merged = "the others were merged" if load.status == "committed" else "nothing was merged"
    screen.say(f"{screen.painted(name, 'strong')}, load {load.id}, {item_name(load.item)}")
    resolved = load.rejected - waiting
    since = f", {screen.number(resolved)} resolved, {screen.number(waiting)} open" if resolved and not is_replay else ""
    screen.say(f"{screen.number(load.rejected)} of {screen.plural(load.read, 'row')} rejected{since}; {merged}")
    screen.say()
    rows = [
        (
            spelled_line(reject.line).removeprefix("line "),
            reject.code,
            screen.why(reject.field, reject.reason) + (" (resolved)" if reject.resolved_at and not is_replay else ""),
        )
        for reject in rejects
    ]
    for line in screen.columns(("line", "code", "why"), rows, right=[0]):
        screen.say(line)
    screen.say()
    if cut:
        screen.say(f"  ingest rejects list {name} --load {load.id} --all")
    if waiting:
        screen.say(f"  ingest rejects export {name} --load {load.id} --output rejects.csv")
    elif is_replay:
        screen.say(f"  they are open in the load that rejected them first: ingest rejects list {name}")
    elif load.rejected:
        screen.say("  all of them are resolved")
