"""`ingest browse`: the files, tables and columns of a connection, with the first value of each column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ingest_pipelines.actions.browsing import list_files, list_tables, noting, read_columns, with_suggestions
from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import Json
from ingest_pipelines.errors import UsageError, printable

if TYPE_CHECKING:
    from ingest_pipelines.detection import Reading, Suggestion
    from ingest_pipelines.model import SourceFile
    from ingest_pipelines.sources.base import Listing

SHOWN = 200
"""How many files or tables are printed; JSON has all of them."""


def browse(
    connection: Annotated[str, typer.Argument(metavar="CONNECTION", help="A name in connections.yaml.")],
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="A folder, file or table; default: everything.")] = "",
    columns: Annotated[
        bool, typer.Option("--columns", help="Show the columns of PATH, their first values and suggested types.")
    ] = False,
    json: Json = False,
) -> None:
    """List files (two folders deep) or tables, or with --columns the columns of one. Reads only the start of a file."""
    from ingest_pipelines.config import read_project, read_settings
    from ingest_pipelines.config.connections import FileConnection
    from ingest_pipelines.config.nearest import nearest

    project = read_project(read_settings().home)
    if connection not in project.connections:
        raise UsageError(f"there is no connection '{connection}'", hint=nearest(connection, project.connections))
    chosen = project.connections[connection]
    if columns and not path:
        raise UsageError("--columns needs a file or a table", hint=f"ingest browse {connection} PATH --columns")
    if columns:
        doubts: list[str] = []
        reading = read_columns(chosen, path, noting(doubts))
        if json:
            screen.as_json(
                {
                    "format": dict(reading.keys),
                    "columns": [_column_json(name, ways) for name, ways in with_suggestions(reading)],
                    "doubts": doubts,
                }
            )
        else:
            print_columns(path, reading, is_file=isinstance(chosen, FileConnection))
            for doubt in doubts:
                screen.say(f"  {screen.painted('not certain', 'warn')}: {screen.wrapped(doubt, 15)}")
    elif isinstance(chosen, FileConnection):
        _print_files(connection, list_files(chosen, path), as_json=json)
    else:
        _print_tables(connection, list_tables(chosen, path), as_json=json)


def _column_json(name: str, ways: list[Suggestion]) -> dict[str, object]:
    suggested, *others = ways
    return {
        "column": name,
        "first": suggested.first,
        "suggested": suggested.type_name,
        "rules": suggested.more,
        **({"or": [{"suggested": other.type_name, "rules": other.more} for other in others]} if others else {}),
    }


def _print_files(connection: str, listing: Listing, *, as_json: bool) -> None:
    if as_json:
        screen.as_json(
            {
                "files": [
                    {"path": file.path, "size": file.size, "modified_at": file.modified_at} for file in listing.files
                ],
                "too_deep": listing.too_deep,
            }
        )
        return
    screen.say(f"{screen.painted(connection, 'strong')}: {screen.plural(len(listing.files), 'file')}")
    screen.say()
    newest = sorted(listing.files, key=lambda file: file.modified_at, reverse=True)[:SHOWN]
    for line in screen.columns(("modified", "bytes", "file"), map(_file_row, newest), right=[1]):
        screen.say(line)
    if len(listing.files) > SHOWN:
        screen.say(f"  ... and {screen.number(len(listing.files) - SHOWN)} older files; name a folder, or use --json")
    if listing.too_deep:
        screen.say(f"  {screen.plural(listing.too_deep, 'file')} more than two folders deep; imports cannot read them")
    if newest:
        screen.say()
        screen.say(f"  ingest browse {connection} '{printable(newest[0].path)}' --columns")


def _file_row(file: SourceFile) -> tuple[str, str, str]:
    return screen.moment(file.modified_at), screen.number(file.size), printable(file.path)


def _print_tables(connection: str, tables: list[str], *, as_json: bool) -> None:
    if as_json:
        screen.as_json({"tables": tables})
        return
    screen.say(f"{screen.painted(connection, 'strong')}: {screen.plural(len(tables), 'table')}")
    screen.say()
    for name in tables[:SHOWN]:
        screen.say(f"  {printable(name)}")
    if len(tables) > SHOWN:
        screen.say(f"  ... and {screen.number(len(tables) - SHOWN)} more tables; type a part of the name")
    if tables:
        screen.say()
        screen.say(f"  ingest browse {connection} '{printable(tables[0])}' --columns")


def print_columns(path: str, reading: Reading, *, is_file: bool) -> None:
    """Prints the file's format, and each column with its suggested type and its first value as it is read."""
    from ingest_pipelines.actions.mapping import yaml_rules

    screen.say(f"{screen.painted(printable(path), 'strong')}: {screen.plural(len(reading.columns), 'column')}")
    if is_file:
        screen.say(f"  {screen.wrapped(reading.label, 2)}")
    if reading.member:
        screen.say(f"  member: {printable(reading.member)}")
    screen.say()
    rows = [
        (printable(name), " or ".join(map(yaml_rules, ways)), printable(ways[0].first, 60))
        for name, ways in with_suggestions(reading)
    ]
    for line in screen.columns(("column", "suggested type", "first value"), rows):
        screen.say(line)
