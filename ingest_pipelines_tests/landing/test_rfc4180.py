"""Whatever a correct writer writes is read back: the same cells, on the right lines."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingest_pipelines.landing import survey
from ingest_pipelines_tests.landing.files import read, rows

_CELL = st.text(
    st.one_of(st.sampled_from(list('ab,"\n\r \t;|0é\0\ufeff😀')), st.characters(exclude_categories=["Cs"])), max_size=12
)
_ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def _tables(draw: st.DrawFn) -> list[list[str]]:
    width = draw(st.integers(1, 5))
    return draw(st.lists(st.lists(_CELL, min_size=width, max_size=width), max_size=15))


@pytest.fixture(params=["whole", "tiny pieces"], autouse=True)
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as in production, once with pieces so small that every boundary falls somewhere awkward."""
    if request.param == "tiny pieces":
        monkeypatch.setattr(survey, "PIECE", 24)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=_tables(), end=_ENDS, quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), bom=st.booleans())
@example(table=[["x\r\n\r\ny", ""], ["", 'a"b'], [",", "\n\n"]], end="\r\n", quoting=csv.QUOTE_MINIMAL, bom=True)
def test_rows_written_by_another_writer_come_back_with_their_lines(
    table: list[list[str]], end: str, quoting: Literal[0, 1], bom: bool
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end, quoting=quoting)
    always = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL)
    width = len(table[0]) if table else 2
    header = [f"column {index}" for index in range(width)]
    writer.writerow(header)
    expected: list[tuple[object, ...]] = []
    for row in table:
        line = _line_at_end(text.getvalue())
        if any("\r" in cell or "\n" in cell for cell in row):
            always.writerow(row)  # csv quotes only the line ends that it writes itself
        else:
            writer.writerow(row)
        # Unquoted nothing is NULL. csv quotes the nothing of a row of one cell, which would be a blank line.
        quoted = quoting == csv.QUOTE_ALL or width == 1 or any("\r" in cell or "\n" in cell for cell in row)
        null = "" if quoted else None
        expected.append((line, *(cell or null for cell in row)))
    content = (b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode()
    with tempfile.TemporaryDirectory() as folder:
        found_header, frames = read(content, Path(folder), batch_rows=7)
    assert found_header == tuple(header)
    assert [row for frame in frames for row in frame.rows()] == expected


def _line_at_end(text: str) -> int:
    """The physical line on which the next character would stand."""
    return 1 + text.count("\n") + text.count("\r") - text.count("\r\n")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.sampled_from(["a,b", "", ",", '"",', '"x\n\ny",2', '"""",""']), max_size=25),
    end=_ENDS,
)
def test_blank_lines_are_no_rows_and_still_count_as_lines(lines: list[str], end: str) -> None:
    expected: list[tuple[object, ...]] = []
    cells = {
        "a,b": ("a", "b"), ",": (None, None), '"",': ("", None), '"x\n\ny",2': ("x\n\ny", "2"),
        '"""",""': ('"', ""),
    }  # fmt: skip
    line = 2
    for each in lines:
        if each:
            expected.append((line, *cells[each]))
        line += 1 + each.count("\n")
    with tempfile.TemporaryDirectory() as folder:
        assert rows("".join(each + end for each in ["p,q", *lines]).encode(), Path(folder)) == expected


def test_a_last_line_without_an_end_is_a_row(tmp_path: Path) -> None:
    assert rows(b"a,b\n1,2\n3,", tmp_path) == [(2, "1", "2"), (3, "3", None)]


def test_blank_lines_before_the_header_are_skipped(tmp_path: Path) -> None:
    assert rows(b"\n\r\na,b\n\n1,2\n", tmp_path) == [(5, "1", "2")]


def test_a_header_with_line_breaks_moves_the_lines_of_the_rows(tmp_path: Path) -> None:
    header, frames = read(b'"Customer\nNumber",b\n1,2\n', tmp_path, "Customer\nNumber")
    assert header == ("Customer\nNumber", "b")
    assert frames[0].rows() == [(3, "1", "2")]


def test_a_file_with_nothing_but_a_header_has_no_rows(tmp_path: Path) -> None:
    assert read(b"a,b", tmp_path, "a") == (("a", "b"), [])
    assert read(b"a,b\n", tmp_path, "b") == (("a", "b"), [])
    assert read(b"a,b\n\n\r\n\n", tmp_path, "b") == (("a", "b"), [])


def test_numbers_dates_and_leading_zeros_stay_text(tmp_path: Path) -> None:
    assert rows(b"a,b,c,d\n007,1e5,2001-12-31,NULL\n", tmp_path) == [(2, "007", "1e5", "2001-12-31", "NULL")]


def test_spaces_around_cells_are_part_of_them(tmp_path: Path) -> None:
    assert rows(b"a,b\n x , \n", tmp_path) == [(2, " x ", " ")]
