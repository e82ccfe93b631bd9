"""What a connection has: its files, tables and columns. Reads only the start of a file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from ingest_pipelines.errors import ConfigError, ItemGone, printable

if TYPE_CHECKING:
    from ingest_pipelines.config.connections import Connection
    from ingest_pipelines.detection import Choose, Option, Reading, Suggestion
    from ingest_pipelines.sources.base import FileSource, Listing
    from ingest_pipelines.sources.browse import FileHead


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
    from ingest_pipelines.actions.draft import member_pattern
    from ingest_pipelines.config.connections import FileConnection
    from ingest_pipelines.detection import Option, Reading, detect_file
    from ingest_pipelines.sources import open_files, open_query
    from ingest_pipelines.sources.browse import sample_file, sample_table, zip_members
    from ingest_pipelines.sources.near_misses import files_like

    if isinstance(connection, FileConnection):
        with open_files(connection) as files:
            if decrypt is not None:
                return detect_file(_decrypted(files, path, decrypt), choose, fields)
            chosen = ""
            try:
                members = zip_members(files, path)
                if len(members) > 1:
                    chosen = members[choose("which file of the archive", [Option(member) for member in members])]
                head = sample_file(files, path, chosen)
            except ItemGone as gone:
                alike = files_like(files.listing(path.strip("/").rpartition("/")[0], nested=False), path)
                raise ItemGone(gone.message, hint=f"a whole name is wanted, such as {alike}" if alike else "") from None
        reading = detect_file(head, choose, fields)
        return replace(reading, member=member_pattern(members, chosen)) if chosen else reading
    with open_query(connection) as tables:
        return Reading.of_batch(sample_table(tables, path))


def read_own_query(connection: Connection, source: Mapping[str, object], now: datetime) -> Reading:
    """The columns and first rows of an own SELECT.

    Args:
        source: the import's `source` as YAML has it; a cursor begins at its start, and of windows the first ones are
            read, until now.

    Raises:
        ConfigError: it is no SELECT, or its chunks could lose rows.
        SourceUnavailable, SourceDenied; UsageError: the database does not understand it.
    """
    import yaml
    from pydantic import ValidationError

    from ingest_pipelines.config.connections import QueryConnection
    from ingest_pipelines.config.imports import SourceOfImport
    from ingest_pipelines.config.mistakes import mistakes_of
    from ingest_pipelines.config.yaml_lines import read_yaml
    from ingest_pipelines.detection import Reading
    from ingest_pipelines.sources import open_query
    from ingest_pipelines.sources.browse import sample_query
    from ingest_pipelines.sources.request import query_mistakes

    assert isinstance(connection, QueryConnection)
    given = {"connection": "source", **source}
    try:
        spec = SourceOfImport.model_validate(given)
    except ValidationError as error:
        document = read_yaml(yaml.safe_dump(given))
        raise ConfigError([mistake.what for mistake in mistakes_of(error, document, SourceOfImport)]) from None
    if mistakes := query_mistakes(spec, connection):
        raise ConfigError([mistake.removeprefix("source.") for mistake in mistakes])
    with open_query(connection) as tables:
        return Reading.of_batch(sample_query(tables, spec, now))


def _decrypted(source: FileSource, path: str, decrypt: Mapping[str, Mapping[str, str]]) -> FileHead:
    """The beginning of what an encrypted file holds; nothing of it is written to disk."""
    from ingest_pipelines.config.decryption import Decrypt
    from ingest_pipelines.landing.openpgp import Decryption
    from ingest_pipelines.sources.browse import encrypted_file, head_of

    message = encrypted_file(source, path)
    with Decryption(source.uri(path), Decrypt.model_validate(dict(decrypt)).keys()) as decryption:
        content = b"".join([*decryption.feed(message), *decryption.finish()])
    return head_of(path.rpartition(".")[0], content)


def noting(doubts: list[str]) -> Choose:
    """A choice that takes the likeliest reading, and notes that there are others."""

    def choose(question: str, options: Sequence[Option]) -> int:
        others = "; ".join(f"{option.label} ({option.preview})" for option in options[1:])
        doubts.append(f"{question}? Shown is {options[0].label}; it may also be {printable(others, 400)}")
        return 0

    return choose


def with_suggestions(reading: Reading) -> Iterator[tuple[str, list[Suggestion]]]:
    """Each column with the ways in which its cells can be read, the likeliest first."""
    from ingest_pipelines.detection import suggestions

    for name, cells in zip(reading.columns, reading.cells, strict=True):
        yield name, suggestions(name, cells, reading.keys)
