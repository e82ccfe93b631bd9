"""Where data comes from: one file per type of connection, imported when a connection of it is opened."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from ingest_pipelines.config.connections import Connection, FileConnection
from ingest_pipelines.config.file_parts import Parts
from ingest_pipelines.config.nearest import no_such_file
from ingest_pipelines.errors import InternalError, ItemGone, UsageError, printable
from ingest_pipelines.model import Item, ItemKind, SourceFile
from ingest_pipelines.sources.base import Client, FileSource, QuerySource


def open_files(connection: Connection, client: Client | None = None) -> FileSource:
    """The connection's files; enter it to connect.

    Args:
        client: makes the client of an S3 or GCS connection; the source itself if it is not given.

    Raises:
        UsageError: connections of this type have tables and queries, not files.
    """
    if not isinstance(connection, FileConnection):
        raise UsageError(f"a {connection.type} connection has no files; its imports take a query or a table")
    return cast(FileSource, _open(connection, client))


def open_query(connection: Connection, client: Client | None = None) -> QuerySource:
    """The connection's tables and queries; enter it to connect.

    Args:
        client: opens a Snowflake connection; the source itself if it is not given.

    Raises:
        UsageError: connections of this type have files.
        MissingDriver: an optional package is not installed.
    """
    if isinstance(connection, FileConnection):
        raise UsageError(f"a {connection.type} connection has files, not tables and queries")
    return cast(QuerySource, _open(connection, client))


def open_upload(path: Path, *, with_folder: bool = False) -> FileSource:
    """One local file that a person names, such as `ingest run NAME --file F`, or a file of corrected rejects.

    Args:
        with_folder: it may be one of several parts, which lie beside it.
    """
    from ingest_pipelines.sources.csv_directory import Upload

    return Upload(path, with_folder=with_folder)


def open_item(item: Item, connection: Connection, client: Client | None = None) -> FileSource:
    """Where the item's bytes are: the local file of an upload or a replay, else the import's connection."""
    if item.kind in {"upload", "replay"}:
        return open_upload(Path(item.path), with_folder=item.kind == "upload")
    return open_files(connection, client)


def upload_item(import_name: str, file: Path, parts: Parts | None, kind: ItemKind = "upload") -> Item:
    """The local file as an item; with `parts` the delivery that it belongs to, whole.

    Raises:
        UsageError, ItemGone: there is no such file; its delivery is not complete.
    """
    from ingest_pipelines.sources.files import item_of
    from ingest_pipelines.sources.parts import file_set_with, file_sets, require_whole

    path = str(file.absolute())
    with open_upload(file, with_folder=parts is not None and kind == "upload") as source:
        try:
            listed = source.stat(path)
        except ItemGone as error:
            if not file.exists():
                raise no_such_file(file.absolute()) from None
            raise UsageError(error.message, hint=error.hint or "nothing ran; name a file") from None
        if parts is None or kind == "replay":
            return item_of(import_name, listed, source.uri(path), kind=kind)
        folder = listed.path.rpartition("/")[0]
        delivery = file_set_with(listed.path, file_sets(source.listing(), folder, parts))
        if delivery is None:
            raise UsageError(
                f"{printable(path)} is no part, marker or manifest of import {import_name}",
                hint="source.parts says how they are called",
            )
        require_whole(delivery, source, import_name)
        return delivery.item(import_name, source.uri(delivery.parts[0].path), kind)


def archive_item(item: Item, connection: Connection, folder: str, client: Client | None = None) -> None:
    """The item's file is in `folder` of its connection, if it is still the one that was loaded. Twice is safe.

    Only files are moved: an upload belongs to the person who named it.

    Raises:
        ItemChanged: another file has its name by now; that one stays where it is, to be loaded.
        ItemGone, SourceUnavailable, SourceDenied: nothing was moved.
    """
    if item.kind != "file":
        return
    if item.size is None or item.modified_at is None:
        raise InternalError(f"item {item.key} of {item.import_name} is a file without size or time")
    with open_files(connection, client) as source:
        source.move(item.path, folder, SourceFile(item.path, item.size, item.modified_at, item.version))


def _open(connection: Connection, client: Client | None) -> object:
    module, name = connection.source.split(":")
    return getattr(import_module(module), name)(connection, *((client,) if client else ()))
