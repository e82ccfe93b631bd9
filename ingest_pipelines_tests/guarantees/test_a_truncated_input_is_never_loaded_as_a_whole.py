"""An input that is cut at any byte: refused where its format can tell, on disk and on the network; else no row is half.

Gzip and zip end with a trailer, so every cut is seen. Plain CSV has none: a cut within quotes, in the header or in a
row with fewer cells is seen. A cut at a row's end, or within the last cell, leaves a valid file:
docs/loading.md says it.
"""

from __future__ import annotations

import csv
import gzip
import io
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused
from ingest_pipelines.landing import read_csv
from ingest_pipelines.model import LINE, TRIM
from ingest_pipelines_tests.guarantees.projects import Project, new_project
from ingest_pipelines_tests.landing.files import landed
from ingest_pipelines_tests.servers.cut_proxy import CutProxy, Fault
from ingest_pipelines_tests.sources.test_s3 import S3Place
from ingest_pipelines_tests.sources.test_sftp import SftpPlace

HEADER = ["id", "note", "points"]
ROWS = [["1", "Zoë, the first", "10"], ["2", 'two\r\nlines "quoted"', ""], ["3", "", "30"], ["4", "plain", "40"]]


def written(rows: list[list[str]], end: str = "\r\n") -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end).writerows([HEADER, *rows])
    return text.getvalue().encode()


def zipped(content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as file:
        file.writestr("people.csv", content)
    return archive.getvalue()


PACKED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("people.csv.gz", lambda content: gzip.compress(content, mtime=0)),
    "gzip, stored": ("people.csv.gz", lambda content: gzip.compress(content, 0, mtime=0)),
    "zip": ("people.csv.zip", zipped),
    "zip, stored": ("people.csv.zip", lambda content: zipped(content, zipfile.ZIP_STORED)),
}


def read(content: bytes, folder: Path, name: str = "people.csv") -> list[list[str]] | None:
    """The rows that would be validated; None where the item is refused."""
    try:
        _, frames = read_csv(landed(content, folder, name=name), HEADER, Limits())
        return [[cell or "" for cell in row] for frame in frames for row in frame.drop(LINE, TRIM).rows()]
    except ItemRefused:
        return None


def remains(content: bytes) -> list[list[str]] | None:
    """What is left of a CSV file by Python's own reader; None where it shows that something is missing."""
    try:
        text = content.decode()
        header, *rows = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    except (UnicodeDecodeError, csv.Error):
        return None
    rows = [row for row in rows if row]
    return rows if header == HEADER and all(len(row) == len(HEADER) for row in rows) else None


def check_plain(content: bytes, rows: list[list[str]], cut: int, folder: Path) -> None:
    """Refused, or the first rows: whole, but for the last cell of a last row that does not end."""
    found, expected = read(content[:cut], folder), remains(content[:cut])
    assert found == expected, content[:cut]
    for whole, loaded in zip(rows, found or [], strict=False):
        if loaded != whole:
            assert loaded is (found or [])[-1], "only the last row may be cut"
            assert loaded[:-1] == whole[:-1], "only its last cell"
            assert whole[-1].startswith(loaded[-1])
            assert not content[:cut].endswith((b"\n", b"\r"))
            assert content[cut - 1 : cut] != b'"' or content[cut : cut + 1] == b'"', "only between two quotes of a cell"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_csv_file_that_is_cut_at_any_byte_loads_no_half_row_but_its_last_cell(end: str, tmp_path: Path) -> None:
    content = written(ROWS, end)
    for cut in range(len(content)):
        check_plain(content, ROWS, cut, tmp_path)
    assert read(content, tmp_path) == ROWS


@pytest.mark.parametrize("packing", PACKED)
def test_a_packed_file_that_is_cut_at_any_byte_is_refused(packing: str, tmp_path: Path) -> None:
    name, pack = PACKED[packing]
    content = pack(written(ROWS))
    assert read(content, tmp_path, name) == ROWS
    for cut in range(len(content)):
        assert read(content[:cut], tmp_path, name) is None, f"cut at byte {cut} of {len(content)}"
    assert [path for path in (tmp_path / "spool").iterdir() if path.suffix != ".csv"] == []


CELLS = st.text(st.sampled_from('a1,"\r\n é李\0'), max_size=6)


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=6),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_any_file_that_is_cut_at_any_byte_is_no_other_file(rows: list[list[str]], end: str, tmp_path: Path) -> None:
    rows = [row for row in rows if any(row)]
    content = io.StringIO(newline="")
    csv.writer(content, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([HEADER, *rows])
    plain = content.getvalue().encode()
    for cut in range(len(plain)):
        check_plain(plain, rows, cut, tmp_path)
    for name, pack in PACKED.values():
        packed = pack(plain)
        for cut in range(len(packed)):
            assert read(packed[:cut], tmp_path, name) is None


@pytest.fixture(scope="module")
def project(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with new_project(postgres_url, tmp_path_factory.mktemp("truncated")) as project:
        assert project.deliver(written(ROWS)).code == 0
        yield project


LOADED = [("1", "Zoë, the first", 10), ("2", 'two\r\nlines "quoted"', None), ("3", None, 30), ("4", "plain", 40)]
NEXT = [[key, note, str(100 + int(key))] for key, note, _ in ROWS]


@pytest.mark.parametrize("packing", ["csv", "gzip", "zip"])
def test_a_cut_delivery_leaves_the_table_as_it_was(project: Project, packing: str) -> None:
    name, pack = PACKED.get(packing, ("people.csv", bytes))
    content = pack(written(NEXT))
    # Before the last cell of the second row; a packed file right before its end.
    plain = written(NEXT).index(b"quoted")
    answer = project.deliver(content[: plain + 9 if packing == "csv" else len(content) - 1], name=name)
    assert answer.code == 1
    assert answer.json[0]["status"] == "refused"
    assert project.table() == LOADED


SOURCES = {"sftp": 2000, "s3": 400}
"""Bytes that a session has received at least before the file's first byte, roughly."""


@pytest.mark.parametrize("kind", SOURCES)
def test_a_network_that_ends_in_the_middle_of_a_file_loads_nothing_of_it(
    kind: str, postgres_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The server closes in good order, over and over: no error but too few bytes, which only their number shows."""
    (tmp_path / "secrets").mkdir()
    if kind == "sftp":
        folder = request.getfixturevalue("sftp_folder")
        server = request.getfixturevalue("sftp_server")
        shutil.chown(folder, server.username)
        place: Any = SftpPlace(server, folder, tmp_path / "secrets")
    else:
        place = S3Place(request.getfixturevalue("s3_bucket"), tmp_path / "secrets")
    rows = [[str(number), f"note {number}", str(number)] for number in range(3_000)]
    content = written(rows, "\n")
    place.put("in/People.csv", content)
    with CutProxy("127.0.0.1", place.port()) as proxy, new_project(postgres_url, tmp_path / "project") as project:
        connection = place.connection(retries=0, timeout_seconds=20, **_behind(kind, proxy))
        plain = connection.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        project.write("connections", {"connections": {"vendor": plain}})
        project.write_import(source={"connection": "vendor", "file": "in/People", "settle": "0s"})
        for part in (2, 30):
            proxy.break_with(Fault(cut_after_received=SOURCES[kind] + len(content) // part, reset=False))
            answer = project.terminal.ingest("run", "people", "--json")
            assert answer.code in {0, 3}, answer.err
            if answer.code:
                assert project.table() == []
            else:  # each resumed read brought some more
                assert len(project.table()) == len(rows)
                project.execute("TRUNCATE crm.people")
        proxy.mend()
        answer = project.terminal.ingest("run", "people", "--force", "--json")
        assert answer.code == 0, answer.err
        assert sorted(project.table("id, points::text")) == sorted((key, points) for key, _, points in rows)


def _behind(kind: str, proxy: CutProxy) -> dict[str, Any]:
    if kind == "sftp":
        return {"host": proxy.host, "port": proxy.port}
    return {"endpoint_url": f"http://{proxy.host}:{proxy.port}"}
