"""Local uploads: the contract, and what only a local directory can do wrong."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from ingest_pipelines.config.connections.csv import CsvConnection
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemChanged, ItemGone, SourceDenied
from ingest_pipelines.landing import land_file
from ingest_pipelines.model import Item, ItemKey
from ingest_pipelines.sources import archive_item, open_files, open_item, open_upload
from ingest_pipelines.sources.base import FileSource
from ingest_pipelines_tests.sources.contract import SourceContract, item_in


class LocalPlace:
    """A directory."""

    secrets = ()
    unkept: frozenset[str] = frozenset()

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def source(self) -> FileSource:
        return open_files(CsvConnection(type="csv", directory=str(self.folder)))

    def put(self, path: str, content: bytes) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(content)

    def put_many(self, paths: Iterable[str], content: bytes) -> None:
        for path in paths:
            self.put(path, content)

    def get(self, path: str) -> bytes | None:
        return (self.folder / path).read_bytes() if (self.folder / path).exists() else None


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> LocalPlace:
    return LocalPlace(tmp_path_factory.mktemp("uploads"))


class TestCsvDirectory(SourceContract):
    """The contract."""


def test_symbolic_links_are_not_followed(place: LocalPlace, tmp_path: Path) -> None:
    (tmp_path / "outside.csv").write_text("secret")
    (place.folder / "link.csv").symlink_to(tmp_path / "outside.csv")
    (place.folder / "folder").symlink_to(tmp_path)
    (place.folder / "loop").symlink_to(place.folder)
    (place.folder / "real").mkdir()
    (place.folder / "real" / "a.csv").write_bytes(b"1")
    (place.folder / "linked").symlink_to(place.folder / "real")
    with place.source() as source:
        assert [file.path for file in source.listing().files] == ["real/a.csv"]
        assert source.listing().links == ("folder", "link.csv", "linked", "loop")
        with pytest.raises(SourceDenied, match="linked is a symbolic link, and links are not followed"):
            source.listing("linked")
        for path in ("link.csv", "folder/outside.csv", "linked/a.csv"):
            with pytest.raises(ItemGone):
                source.stat(path)
            with pytest.raises(ItemGone):
                list(source.read(path))


def test_a_name_that_is_not_utf8_does_not_hide_the_others(place: LocalPlace) -> None:
    place.put("a.csv", b"1")
    os.close(os.open(os.fsencode(place.folder) + b"/caf\xe9.csv", os.O_CREAT | os.O_WRONLY))
    with place.source() as source:
        assert [file.path for file in source.listing().files] == ["a.csv"]


def test_a_missing_directory_is_named_with_what_to_do(tmp_path: Path) -> None:
    source = open_files(CsvConnection(type="csv", directory=str(tmp_path / "no")))
    with pytest.raises(SourceDenied, match="no does not exist"), source:
        pass
    (step,) = source.probe()
    assert (step.name, step.ok) == ("folder", False)
    assert step.hint


def test_a_path_is_named_without_dots_unless_a_link_gives_them_a_meaning(tmp_path: Path) -> None:
    (tmp_path / "feeds" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "feeds" / "deep")
    (tmp_path / "a.csv").write_text("above")
    (tmp_path / "feeds" / "a.csv").write_text("in feeds")
    upload = open_upload(tmp_path / "feeds" / ".." / "a.csv")
    assert (upload.uri(""), b"".join(upload.read(""))) == (f"file://{tmp_path}/a.csv", b"above")
    linked = open_upload(tmp_path / "link" / ".." / "a.csv")
    assert b"".join(linked.read("")) == b"in feeds"
    for directory in ("../feeds/deep", "./../feeds/deep/.", "../link"):
        connection = CsvConnection.model_validate(
            {"type": "csv", "directory": directory}, context={"home": tmp_path / "feeds"}
        )
        assert ".." not in connection.directory
        assert Path(connection.directory).samefile(tmp_path / "feeds" / "deep")


def test_a_missing_folder_of_an_import_is_an_error_and_not_an_empty_listing(place: LocalPlace) -> None:
    with place.source() as source, pytest.raises(SourceDenied, match="loyalty does not exist"):
        source.listing("loyalty")


def test_a_file_that_a_person_names_lands_from_wherever_it_is(place: LocalPlace, tmp_path: Path) -> None:
    path = tmp_path / "fixed rejects.csv"
    path.write_bytes(b"id\n1\n")
    item = Item("loyalty", ItemKey("k"), "replay", uri=open_upload(path).uri(""), path=str(path))
    assert item.uri == f"file://{path}"
    with open_item(item, CsvConnection(type="csv", directory=str(place.folder))) as source:
        assert land_file(item, source, tmp_path / "spool", Limits()).path.read_bytes() == b"id\n1\n"
        (step,) = source.probe()
        assert step.ok
        source.move(str(path), "archive")
    assert path.exists()
    path.unlink()
    with pytest.raises(ItemGone):
        open_upload(path).stat("")
    assert not next(iter(open_upload(path).probe())).ok


def test_a_loaded_item_is_archived_and_its_successor_is_not(place: LocalPlace) -> None:
    connection = CsvConnection(type="csv", directory=str(place.folder))
    place.put("drop/a.csv", b"1")
    with place.source() as source:
        item = item_in(source, "drop/a.csv")
    archive_item(item, connection, "done")
    archive_item(item, connection, "done")
    assert place.get("done/a.csv") == b"1"
    place.put("drop/a.csv", b"22")
    with pytest.raises(ItemChanged, match="stays where it is"):
        archive_item(item, connection, "done")
    assert place.get("drop/a.csv") == b"22"


def test_an_upload_is_never_archived(place: LocalPlace, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1")
    item = Item("loyalty", ItemKey("k"), "upload", uri="", path=str(tmp_path / "a.csv"))
    archive_item(item, CsvConnection(type="csv", directory=str(place.folder)), "done")
    assert (tmp_path / "a.csv").exists()
