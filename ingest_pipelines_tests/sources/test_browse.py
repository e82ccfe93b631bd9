"""A look at a file's head, as far as it is needed."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from ingest_pipelines.config.connections.csv import CsvConnection
from ingest_pipelines.errors import UsageError
from ingest_pipelines.sources import open_files
from ingest_pipelines.sources.base import CHUNK, FileSource
from ingest_pipelines.sources.browse import HEAD, FileHead, sample_file

CSV = (
    b'\xef\xbb\xbfid,name,joined,"last, seen",note\r\n'
    b'7,"Ann ""A"" Lee",2020-01-02,,\r\n\r\n8,"two\nlines",2021-01-02,2026-11-22T09:15:00Z,\r\n'
)


def sampled(content: bytes, folder: Path, name: str = "a.csv") -> FileHead:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    with open_files(CsvConnection(type="csv", directory=str(folder))) as source:
        return sample_file(source, name)


def zipped(compression: int, *members: tuple[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)
    return archive.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.csv.gz", gzip.compress(CSV, mtime=0)),
        ("a.csv.zip", zipped(zipfile.ZIP_DEFLATED, ("a.csv", CSV))),
        ("a.csv.zip", zipped(zipfile.ZIP_STORED, ("folder/", b""), ("folder/a.csv", CSV))),
    ],
)
def test_a_small_file_is_looked_at_whole(name: str, content: bytes, tmp_path: Path) -> None:
    assert sampled(content, tmp_path, name) == FileHead(name, CSV, is_whole=True)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_of_a_large_file_only_its_head_is(name: str, tmp_path: Path) -> None:
    content = b"id,name\n" + b"1,%s\n" % ("é" * HEAD).encode()
    head = sampled(gzip.compress(content, mtime=0) if name.endswith(".gz") else content, tmp_path, name)
    assert head == FileHead(name, content[:HEAD], is_whole=False)


def test_a_file_that_is_read_from_its_end_is_looked_at_whole(tmp_path: Path) -> None:
    content = zipped(zipfile.ZIP_STORED, ("xl/workbook.xml", b"x" * 2 * HEAD))
    assert sampled(content, tmp_path, "a.xlsx") == FileHead("a.xlsx", content, is_whole=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("one/two/three/a.csv", b"id,name\n", "lies more than two folders deep: no import can read it"),
        ("one/.hidden/a.csv", b"id,name\n", "is hidden, or not whole yet"),
        ("a.csv.part", b"id,name\n", "is hidden, or not whole yet"),
        ("a.csv.gz", b"id,name\n", "is not what its name says"),
        ("a.csv.zip", b"id,name\n", "is not what its name says"),
        ("a.csv.zip", zipped(zipfile.ZIP_BZIP2, ("a.csv", CSV)), "is not what its name says"),
    ],
)
def test_what_is_no_file_of_an_import_says_why(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        sampled(content, tmp_path, name)


def test_only_the_head_is_read_and_the_transfer_ended(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,name\n" + b"1,2\n" * (4 * CHUNK))
    taken: list[str] = []

    class Watched:
        def __init__(self, source: FileSource) -> None:
            self._source = source

        def read(self, path: str) -> Generator[bytes, None, None]:
            chunks: Iterator[bytes] = self._source.read(path)
            try:
                for chunk in chunks:
                    taken.append("chunk")
                    yield chunk
            finally:
                taken.append("closed")

    with open_files(CsvConnection(type="csv", directory=str(tmp_path))) as source:
        sample_file(Watched(source), "a.csv")  # type: ignore[arg-type]  # reading is all it is asked for
        assert taken == ["chunk", "closed"]
