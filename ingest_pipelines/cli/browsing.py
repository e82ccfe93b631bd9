"""`ingest browse`: the files, tables and columns of a connection, with the first value of each column."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import Json
from ingest_pipelines.errors import UsageError, printable

if TYPE_CHECKING:
    from ingest_pipelines.config.connections import Connection
    from ingest_pipelines.detection import Choose, Option, Reading, Suggestion
    from ingest_pipelines.model import SourceFile
    from ingest_pipelines.sources.base import FileSource, Listing
    from ingest_pipelines.sources.browse import FileHead

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
        reading = read_columns(chosen, path, _noting(doubts))
        if json:
            screen.as_json(
                {
                    "format": dict(reading.keys),
                    "columns": [_column_json(name, ways) for name, ways in _suggested(reading)],
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


def read_columns(
    connection: Connection,
    path: str,
    choose: Choose,
    fields: Collection[str] = (),
    decrypt: Mapping[str, Mapping[str, str]] | None = None,
) -> Reading:
    """The columns and first rows of a file or table, as an import would read them.

    Args:
        choose: decides wherever two formats read the file differently.
        fields: names of fields, by which a header is known.
        decrypt: `source.decrypt` of a file that is encrypted.

    Raises:
        SourceUnavailable, SourceDenied, ItemGone; UsageError: no columns can be read there.
    """
    from ingest_pipelines.cli.draft import member_pattern
    from ingest_pipelines.config.connections import FileConnection
    from ingest_pipelines.detection import Option, Reading, detect_file
    from ingest_pipelines.sources import open_files, open_query
    from ingest_pipelines.sources.browse import sample_file, sample_table, zip_members

    if isinstance(connection, FileConnection):
        with open_files(connection) as files:
            if decrypt is not None:
                return detect_file(_decrypted(files, path, decrypt), choose, fields)
            members = zip_members(files, path)
            chosen = ""
            if len(members) > 1:
                chosen = members[choose("which file of the archive", [Option(member) for member in members])]
            head = sample_file(files, path, chosen)
        reading = detect_file(head, choose, fields)
        return replace(reading, member=member_pattern(members, chosen)) if chosen else reading
    with open_query(connection) as tables:
        return Reading.of_batch(sample_table(tables, path))


def _decrypted(source: FileSource, path: str, decrypt: Mapping[str, Mapping[str, str]]) -> FileHead:
    """The beginning of what an encrypted file holds; nothing of it is written to disk."""
    from ingest_pipelines.config.decryption import Decrypt
    from ingest_pipelines.landing.openpgp import Decryption
    from ingest_pipelines.sources.browse import encrypted_file, head_of

    message = encrypted_file(source, path)
    with Decryption(source.uri(path), Decrypt.model_validate(dict(decrypt)).keys()) as decryption:
        content = b"".join([*decryption.feed(message), *decryption.finish()])
    return head_of(path.rpartition(".")[0], content)


def _noting(doubts: list[str]) -> Choose:
    """Takes the likeliest reading, and notes that there are others."""

    def choose(question: str, options: Sequence[Option]) -> int:
        others = "; ".join(f"{option.label} ({option.preview})" for option in options[1:])
        doubts.append(f"{question}? Shown is {options[0].label}; it may also be {printable(others, 400)}")
        return 0

    return choose


def _suggested(reading: Reading) -> Iterator[tuple[str, list[Suggestion]]]:
    from ingest_pipelines.detection import suggestions

    for name, cells in zip(reading.columns, reading.cells, strict=True):
        yield name, suggestions(name, cells, reading.keys)


def _column_json(name: str, ways: list[Suggestion]) -> dict[str, object]:
    suggested, *others = ways
    return {
        "column": name,
        "first": suggested.first,
        "suggested": suggested.type_name,
        "rules": suggested.more,
        **({"or": [{"suggested": other.type_name, "rules": other.more} for other in others]} if others else {}),
    }


def list_files(connection: Connection, folder: str = "") -> Listing:
    """The files below the folder, two folders deep."""
    from ingest_pipelines.sources import open_files

    with open_files(connection) as source:
        return source.listing(folder.strip("/"))


def list_tables(connection: Connection, part: str = "") -> list[str]:
    """The tables and views whose name contains `part`."""
    from ingest_pipelines.sources import open_query

    with open_query(connection) as source:
        return [name for name in source.tables() if part.lower() in name.lower()]


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
    from ingest_pipelines.cli.mapping import yaml_rules

    screen.say(f"{screen.painted(printable(path), 'strong')}: {screen.plural(len(reading.columns), 'column')}")
    if is_file:
        screen.say(f"  {screen.wrapped(reading.label, 2)}")
    if reading.member:
        screen.say(f"  member: {printable(reading.member)}")
    screen.say()
    rows = [
        (printable(name), " or ".join(map(yaml_rules, ways)), printable(ways[0].first, 60))
        for name, ways in _suggested(reading)
    ]
    for line in screen.columns(("column", "suggested type", "first value"), rows):
        screen.say(line)
