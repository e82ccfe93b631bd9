"""Every wrong file is said to be what it is, with what to do; a column's name is never mistaken for one."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest

from ingest_pipelines.config.connections.csv import CsvConnection
from ingest_pipelines.detection import detect_file
from ingest_pipelines.errors import ItemRefused, UsageError
from ingest_pipelines.file_content import content_of
from ingest_pipelines.sources import open_files
from ingest_pipelines.sources.browse import FileHead, sample_file
from ingest_pipelines_tests.landing.files import read

CSV = "id,tier\n1,Gold\n2,Größe\n"
_TABLE = pa.table({"id": [1], "tier": ["Gold"]})


def zipped(*members: str, content: bytes = b"id,tier\n1,2\n") -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for member in members:
            file.writestr(member, content)
    return archive.getvalue()


def _written(write: object, *rest: object) -> bytes:
    out = io.BytesIO()
    write(_TABLE, out, *rest)  # type: ignore[operator]
    return out.getvalue()


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.csv"), io.BytesIO())
    return out.getvalue()


def _sqlite(folder: Path) -> bytes:
    with sqlite3.connect(folder / "a.db") as database:
        database.execute("CREATE TABLE a (id)")
    return (folder / "a.db").read_bytes()


def _avro_orc(kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "avro":
        pl.DataFrame({"id": [1]}).write_avro(out)
    else:
        pyarrow.orc.write_table(_TABLE, out)
    return out.getvalue()


def _arrow() -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_file(out, _TABLE.schema) as writer:
        writer.write_table(_TABLE)
    return out.getvalue()


WRONG: dict[str, tuple[bytes, str]] = {
    "xlsx": (zipped("[Content_Types].xml", "_rels/.rels", "xl/workbook.xml"), "an Excel workbook"),
    "docx": (zipped("word/document.xml", "[Content_Types].xml"), "a Word document"),
    "ods": (zipped("mimetype", "content.xml", "META-INF/manifest.xml"), "an OpenDocument file"),
    "numbers": (zipped("Index/Document.iwa", "Data/a.png"), "an Apple Numbers"),
    "zip": (zipped("a.csv"), "a zip archive"),
    "empty zip": (zipped(), "a zip archive"),
    "gzip": (gzip.compress(CSV.encode(), mtime=0), "gzip data"),
    "bzip2": (bz2.compress(CSV.encode()), "bzip2 data"),
    "xz": (lzma.compress(CSV.encode()), "xz data"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\x00", "Zstandard data"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\x04", "a 7-Zip archive"),
    "rar": (b"Rar!\x1a\x07\x01\0", "a RAR archive"),
    "tar": (_tar(), "a tar archive"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "an old Office file"),
    "parquet": (_written(pyarrow.parquet.write_table), "a Parquet file"),
    "avro": (_avro_orc("avro"), "an Avro file"),
    "orc": (_avro_orc("orc"), "an ORC file"),
    "arrow": (_arrow(), "an Arrow file"),
    "utf-16": (CSV.encode("utf-16"), "UTF-16, not UTF-8"),
    "utf-16 be": (b"\xfe\xff" + CSV.encode("utf-16-be"), "UTF-16"),
    "utf-16 without a mark": (CSV.encode("utf-16-le"), "UTF-16"),
    "utf-16 be without": (CSV.encode("utf-16-be"), "UTF-16"),
    "utf-32": (CSV.encode("utf-32"), "UTF-32"),
    "utf-32 be": (b"\0\0\xfe\xff" + CSV.encode("utf-32-be"), "UTF-32"),
    "utf-32 without a mark": (CSV.encode("utf-32-le"), "UTF-32"),
    "utf-7": (b"+/v8-id,tier\n", "UTF-7"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", "a PDF"),
    "rtf": (b"{\\rtf1\\ansi", "an RTF document"),
    "html": (b"\r\n<!DOCTYPE html>\n<html>", "a web page"),
    "table": (b"<table border=1><tr>", "a web page"),
    "html with a mark": (b"\xef\xbb\xbf<HTML lang=en>", "a web page"),
    "xml": (b'<?xml version="1.0"?>\n<rows>', "XML"),
    "spreadsheet as xml": (
        b'<?xml version="1.0"?>\n<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet">',
        "an Excel",
    ),
    "xml without a prolog": (b'<rows count="1">\n<row/>', "XML or HTML"),
    "svg": (b"<svg>", "XML or HTML"),
    "json": (b'{"id": 1}\n', "JSON"),
    "json lines": (b'{"id":1}\n{"id":2}\n', "JSON"),
    "json array": (b'[\n  {"id": 1}\n]', "JSON"),
    "json arrays": (b"[[1,2],[3,4]]", "JSON"),
    "empty json": (b"[]", "JSON"),
    "sep line": (b"sep=;\nid;tier\n1;2\n", "CSV with a first line 'sep=;'"),
    "sep line of commas": (b'"sep=,"\r\nid,tier\n', "CSV with a first line 'sep=,'"),
    "pgp": (b"-----BEGIN PGP MESSAGE-----\n", "an OpenPGP message"),
    "binary pgp": (b"\x85\x01\x0c\x03\x11\x22", "encrypted with OpenPGP"),
    "pem": (b"-----BEGIN CERTIFICATE-----\n", "a certificate"),
    "a list of revoked certificates": (b"-----BEGIN X509 CRL-----\n", "a certificate"),
    "pkcs 7": (b"-----BEGIN PKCS7-----\n", "encrypted or signed with S/MIME"),
    "png": (b"\x89PNG\r\n\x1a\n\0\0", "an image (PNG)"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "an image (JPEG)"),
    "gif": (b"GIF89a\x01\0", "an image (GIF)"),
    "tiff": (b"II*\0\x08\0", "an image (TIFF)"),
    "webp": (b"RIFF\x24\0\0\0WEBPVP8 ", "an image (WebP)"),
    "heic": (b"\0\0\0\x18ftypheic", "an image or video"),
    "program": (b"\x7fELF\x02\x01", "a program"),
    "exe": (b"MZ\x90\0\x03", "a program"),
    "script": (b"#!/bin/sh\n", "a script"),
    "dump": (b"-- MySQL dump 10.13\n", "an SQL dump"),
    "statements": (b"INSERT INTO customers VALUES (1);\n", "SQL statements"),
    "e-mail": (b"Received: from a\r\n", "an e-mail"),
    "saved e-mail": (b"From: a@x.org\nSubject: your export\n\nid,tier\n1,a\n", "an e-mail"),
    "multipart": (
        b'------x12345\r\nContent-Disposition: form-data; name="f"\r\n\r\nid,tier\r\n',
        "an upload as a browser",
    ),
    "ldif": (b"version: 1\n\ndn: uid=1,ou=people\nid: 1\ntier: Gold\n", "an LDIF file"),
    "vcard": (b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ann\r\nEND:VCARD\r\n", "a vCard"),
    "calendar": (b"BEGIN:VCALENDAR\nVERSION:2.0\n", "a calendar"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
    "zeros": (b"\0" * 4096, "nothing but zero bytes"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_is_named_and_what_to_do(kind: str, tmp_path: Path) -> None:
    content, what = WRONG[kind]
    with pytest.raises(ItemRefused) as refused:
        read(content, tmp_path, "id", "tier")
    assert f"the file is {what}" in refused.value.message
    assert refused.value.line == 1
    assert refused.value.hint
    head = FileHead("browsed.csv", content, is_whole=True)
    if kind.startswith(("utf-16", "utf-32", "sep line")) or kind in {"parquet", "json", "json lines"}:
        assert detect_file(head, lambda question, options: 0).keys  # a declared format reads it
        return
    with pytest.raises(UsageError) as browsed:
        detect_file(head, lambda question, options: 0)
    assert what in browsed.value.message


def test_a_database_is_named(tmp_path: Path) -> None:
    with pytest.raises(ItemRefused, match="the file is an SQLite database"):
        read(_sqlite(tmp_path), tmp_path, "id")


HEADERS = (
    "id|ORC,x|ORCID,x|PAR1,x|BMI,x|MZ,x|ID3,x|BZhours,x|RDX,x|[id],x|{id},x|<id>,x|sep,x|separator=;,x|#id,x|-id,x|%PD,x|PK,x"
    "|GIF,x|Größe,x|Ä,x|顧客,x|\ufeffid,x|Id: x,y|II,x|Created,x|INSERT,x|Received,x|<,x|version,x|xar,x|$FL,x|Rar!,x"
).split("|")


@pytest.mark.parametrize("header", [*HEADERS, '"{""a"": 1}",x'])
def test_the_name_of_a_column_is_no_mark(header: str) -> None:
    assert content_of(f"{header}\n1,2\n".encode()) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv.gz", CSV.encode(), "its name ends in .gz, but it is not gzip data"),
        ("a.csv.gz", zipped("a.csv"), "its name ends in .gz, but it is a zip archive"),
        ("a.csv.gz", zipped("xl/workbook.xml"), "its name ends in .gz, but it is an Excel workbook"),
        ("a.csv.gz", gzip.compress(gzip.compress(CSV.encode(), mtime=0), mtime=0), "the file is gzip data"),
        ("a.csv.gz", gzip.compress(zipped("xl/workbook.xml"), mtime=0), "the file is an Excel workbook"),
        ("a.csv.zip", CSV.encode(), "its name ends in .zip, but it is not zip data"),
        ("a.csv.zip", gzip.compress(CSV.encode(), mtime=0), "its name ends in .zip, but it is gzip data"),
        ("a.csv.zip", zipped("[Content_Types].xml", "xl/workbook.xml"), "the .zip is an Excel workbook"),
        ("a.csv.zip", zipped("a.csv", "b.csv"), "holds 2 files; it must hold exactly one: a.csv, b.csv"),
        ("a.csv.zip", zipped(*(f"{n}.csv" for n in range(8))), "0.csv, 1.csv, 2.csv, 3.csv, 4.csv and 3 more"),
        ("a.csv.zip", zipped(".DS_Store", "__MACOSX/._a.csv"), "the .zip holds no file"),
        ("a.csv.zip", zipped("a.xlsx", content=zipped("xl/workbook.xml")), "the file is an Excel workbook"),
    ],
)
def test_a_packed_file_that_is_something_else_is_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    from ingest_pipelines.config.imports import Limits
    from ingest_pipelines.landing import read_csv
    from ingest_pipelines_tests.landing.files import landed

    with pytest.raises(ItemRefused) as refused:
        read_csv(landed(content, tmp_path, name=name), ("id",), Limits())
    assert message in refused.value.message


LITTER = [
    ".DS_Store", "data/.DS_Store", "__MACOSX/._a.csv", "__MACOSX/data/._a.csv", "._a.csv", "Thumbs.db",
    "data/thumbs.db",     "desktop.ini", "~$a.csv", ".Trashes/501/a.csv", "ehthumbs.db", "data\\Thumbs.db",
]  # fmt: skip


@pytest.mark.parametrize("litter", LITTER)
def test_what_systems_leave_in_an_archive_does_not_count(litter: str, tmp_path: Path) -> None:
    from ingest_pipelines.config.imports import Limits
    from ingest_pipelines.landing import read_csv
    from ingest_pipelines_tests.landing.files import landed

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(litter, b"\0\0\0\1Bud1")
        file.writestr("data/a.csv", b"id,tier\n1,2\n")
    header, _ = read_csv(landed(archive.getvalue(), tmp_path, name="a.csv.zip"), ("id",), Limits())
    assert header == ("id", "tier")
    with open_files(CsvConnection(type="csv", directory=str(tmp_path))) as source:
        assert sample_file(source, "a.csv.zip").content == b"id,tier\n1,2\n"
