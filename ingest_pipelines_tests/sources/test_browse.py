"""A look at a file's or a table's columns, from its head alone."""

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
from ingest_pipelines.sources.browse import HEAD, ColumnSample, sample_file

CSV = (
    b'\xef\xbb\xbfid,name,joined,"last, seen",note\r\n'
    b'7,"Ann ""A"" Lee",2020-01-02,,\r\n\r\n8,"two\nlines",2021-01-02,2026-11-22T09:15:00Z,\r\n'
)
COLUMNS = [
    ColumnSample("id", "7", "int"),
    ColumnSample("name", 'Ann "A" Lee', "string"),
    ColumnSample("joined", "2020-01-02", "date"),
    ColumnSample("last, seen", "2026-11-22T09:15:00Z", "datetime"),
    ColumnSample("note", "", "string"),
]


def sampled(content: bytes, folder: Path, name: str = "a.csv") -> list[ColumnSample]:
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
def test_columns_have_their_first_value_and_a_type(name: str, content: bytes, tmp_path: Path) -> None:
    assert sampled(content, tmp_path, name) == COLUMNS


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_row_that_the_head_cuts_through_does_not_count(name: str, tmp_path: Path) -> None:
    content = b"id,name\n" + b"1,%s\n" % ("é" * (HEAD // 4)).encode() + b"2,%s\n" % ("é" * HEAD).encode()
    samples = sampled(gzip.compress(content) if name.endswith(".gz") else content, tmp_path, name)
    assert [sample.suggested for sample in samples] == ["int", "string"]
    assert samples[0].first == "1"


def test_a_header_alone_is_columns_without_values(tmp_path: Path) -> None:
    assert sampled(b"id,name", tmp_path) == [ColumnSample("id", "", "string"), ColumnSample("name", "", "string")]


def test_rows_of_the_wrong_width_are_passed_over(tmp_path: Path) -> None:
    assert sampled(b"id,name\n1\nx,y,z\n2,b\n", tmp_path)[0] == ColumnSample("id", "2", "int")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\n\n", "is empty"),
        ("one/two/three/a.csv", b"id,name\n", "lies more than two folders deep: no import can read it"),
        ("one/.hidden/a.csv", b"id,name\n", "is hidden, or not whole yet"),
        ("a.csv.part", b"id,name\n", "is hidden, or not whole yet"),
        ("a.csv", b"id;name\n1;2\n", "separates its columns with semicolons"),
        ("a.csv", b"id\tname\n", "separates its columns with tabs"),
        ("a.csv", "id,name\n".encode("utf-16"), "is UTF-16"),
        ("a.csv", "id,name\n".encode("utf-16-le"), "is UTF-16"),
        ("a.csv", "id,größe\n".encode("cp1252"), "looks like Windows-1252"),
        ("a.csv", b'id,"%s' % (b"x" * 140_000), "has no whole line in its first 65536 bytes"),
        ("a.csv.gz", b"id,name\n", "is not what its name says"),
        ("a.csv.zip", b"id,name\n", "is not what its name says"),
        ("a.csv.zip", zipped(zipfile.ZIP_BZIP2, ("a.csv", CSV)), "is not what its name says"),
    ],
)
def test_what_has_no_columns_says_why(name: str, content: bytes, message: str, tmp_path: Path) -> None:
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
