"""The file of exported rejects comes back as it went out, whatever it holds and whatever a person's tool made of it."""

from __future__ import annotations

import csv
import io
import random
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingest_pipelines.actions.reject_file import (
    OWN,
    check_of,
    read_export,
    unescape_cell,
    write_export,
    write_source,
)
from ingest_pipelines.errors import UsageError
from ingest_pipelines.formulas import escape_formula
from ingest_pipelines.ledger import Load, RejectedRow
from ingest_pipelines.model import ItemKey
from ingest_pipelines.rules.raw_cells import display_cell
from ingest_pipelines_tests.landing.files import read
from ingest_pipelines_tests.memory import resident

ODD = [
    "=1", "'=1", "''+1", "-", "@a", "\tb", "\rc", "'", "''", "\nd", "\uff1dx",
    "a\rb", "a\r\nb", "a\nb", "\u0085", "\u2028",
    "\x0b\x0c", 'q"q', '"', ",", "a\0b", "\u2400", "\u241b", "\u241b\u2400\0", "", " ", "\ufeff", "007", "1e5",
]  # fmt: skip
NAMES = [
    *OWN,
    "line",
    "codes",
    "reasons",
    "load",
    "'ingest.line",
    "ingest.",
    "ingest.other",
    "=a",
    "'=a",
    "",
    "a\rb",
    'a"b',
]
CELLS = st.sampled_from(ODD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
HEADERS = st.lists(
    st.sampled_from(NAMES) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4),
    min_size=1, max_size=6, unique=True,
)  # fmt: skip


def load(number: int, run: str = "run-1", cursor_from: str | None = None) -> Load:
    return Load(
        number, "loyalty", ItemKey("k"), run, 1, "ann", False, "", "", "committed", 9, 0, 0, 0, 0, 0, 9, {}, (), (), {},
        cursor_from, None, datetime(2026, 1, 1, tzinfo=UTC), None, "",
    )  # fmt: skip


def kept(cell: str) -> str:
    """The cell as the ledger keeps it."""
    return str(pl.DataFrame({"c": [cell]}).select(display_cell(pl.col("c"), pl.String())).item())


def rejected(line: int, columns: list[str], cells: list[str]) -> RejectedRow:
    row = dict(zip(columns, map(kept, cells), strict=True))
    return RejectedRow(7, line, "k", row, ["points"], ["bad_int"], ["not a whole number"])


@given(CELLS)
def test_a_cell_of_an_export_is_no_formula_and_comes_back_whole(cell: str) -> None:
    exported = escape_formula(kept(cell))
    assert not exported.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"))
    assert "\0" not in exported
    assert unescape_cell(exported) == cell


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    columns = draw(HEADERS)
    width = len(columns)
    return columns, draw(st.lists(st.lists(CELLS, min_size=width, max_size=width), max_size=5))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tables(), st.randoms(use_true_random=False), st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
@example((list(OWN), [["1", "2", "3", "4", "5"]]), random.Random(1), "\r", True, True, True, True)
@example((["id", "name"], [["1", "a\rb"], ["", ""]]), random.Random(1), "\r\n", True, False, True, True)
def test_an_export_that_any_tool_saved_again_names_the_same_rejects_and_cells(
    table: tuple[list[str], list[list[str]]], chance: random.Random, end: str,
    bom: bool, quote_all: bool, move_columns: bool, trim: bool,
) -> None:  # fmt: skip
    columns, rows = table
    first_line = chance.randint(2, 90)
    lines = [first_line + at for at in range(len(rows))]
    text = io.StringIO(newline="")
    records = (rejected(line, columns, cells) for line, cells in zip(lines, rows, strict=True))
    assert write_export(text, load(7), columns, records) == len(rows)

    exported = list(csv.reader(io.StringIO(text.getvalue(), newline=""), strict=True))
    assert all(len(row) == len(columns) + len(OWN) for row in exported)
    order = list(range(len(exported[0])))
    if move_columns:
        chance.shuffle(order)
    body = exported[1:]
    chance.shuffle(body)
    body = body[: chance.randint(0, len(body))]
    saved = [[row[at] for at in order] for row in [exported[0], *body]]
    if trim:  # empty cells at a line's end go; so that the header keeps its own, only below it
        saved[1:] = [row[: max((at for at, cell in enumerate(row) if cell), default=-1) + 1] for row in saved[1:]]
    else:  # or a spreadsheet adds some, and rows of nothing
        saved = [[*row, "", ""] for row in saved] + [[""] * len(order)]
    out = io.StringIO(newline="")
    everything = csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL)
    some = csv.writer(out, lineterminator=end)
    for row in saved:
        broken = any("\r" in cell or "\n" in cell for cell in row)
        (everything if quote_all or broken else some).writerow(row)

    expected = {}
    for row in body:
        line = int(row[len(columns) + 1])
        expected[line] = tuple(rows[line - first_line])
    position = [order.index(at) for at in range(len(columns))]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "saved.csv"
        file.write_bytes((b"\xef\xbb\xbf" if bom else b"") + out.getvalue().encode())
        export = read_export(file, "points")
        ranked = sorted(range(len(columns)), key=lambda at: position[at])
        assert export.columns == tuple(columns[at] for at in ranked)
        found_rows = list(export.rows())
        assert export.row_count == len(found_rows)
        assert {row.line: row.cells for row in found_rows} == {
            line: tuple(cells[at] for at in ranked) for line, cells in expected.items()
        }
        assert all(row.load == 7 and row.check == check_of(load(7), row.line) for row in found_rows)

        again = io.StringIO(newline="")
        written = write_source(again, export, {row.place for row in found_rows})
        assert written == {row.place: row.place for row in found_rows}
        if columns != [""] and "_line" not in columns:
            header, frames = read(again.getvalue().encode(), Path(folder))
            assert header == export.columns
            found = [(row[0], tuple(cell or "" for cell in row[1:])) for frame in frames for row in frame.rows()]
            assert found == [(row.place, row.cells) for row in found_rows]


def test_the_check_differs_for_every_row_of_every_load_of_every_ledger() -> None:
    loads = [load(1), load(2), load(1, "run-2"), load(1, cursor_from="5")]
    checks = {check_of(each, line) for each in loads for line in range(2, 500)}
    assert len(checks) == len(loads) * 498
    assert all(check.isalpha() for check in checks), "a spreadsheet makes a number of no other text"


OWN_NAMES = ",".join(OWN)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,pts\n1,2\n", "has no columns ingest.load, ingest.line and ingest.check, so it does not"),
        ("", "has no columns ingest.load, ingest.line and ingest.check"),
        ("id,ingest.load,ingest.line\n", "has no column ingest.check, so it does not say which rejects its rows"),
        ("id,ingest.load\n", "ingest rejects export points --output F"),
        (f"id,{OWN_NAMES}\n1,1,x,bcdf,bad_int,why\n", "line 2: the column 'ingest.line' holds no number"),
        (f"id,{OWN_NAMES}\n\n1,,3,bcdf,bad_int,why\n", "line 3: the column 'ingest.load' holds no number"),
        (f"id,{OWN_NAMES}\n1,1,3,bcdf,bad_int,why,9\n", "line 2: 7 cells, and the header has 6"),
        (f"id,{OWN_NAMES},ingest.line\n1,1,3,bcdf,bad_int,why,3\n", "the column 'ingest.line' occurs 2 times"),
        (f"id;{OWN_NAMES.replace(',', ';')}\n1;1;3;bcdf;bad_int;why\n", "is separated by semicolons, not by commas"),
        (f"id\t{OWN_NAMES.replace(',', chr(9))}\n", "is separated by tabs, not by commas"),
        (f'id,{OWN_NAMES}\n"1', "is not a comma-separated file"),
        ("id,line,codes,reasons\n1,x,bad_int,why\n", "line 2: the column 'line' holds no number"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_export_is_refused_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "other.csv"
    file.write_text(content, newline="")
    with pytest.raises(UsageError) as refusal:
        read_export(file, "points")
    assert message in f"{refusal.value}\n{refusal.value.hint}"


def test_an_export_in_another_encoding_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.csv"
    file.write_bytes(f"id,name,{OWN_NAMES}\n1,J\xfcrgen,1,2,bcdf,bad_int,why\n".encode("latin-1"))
    with pytest.raises(UsageError, match="is not UTF-8"):
        read_export(file, "points")


@pytest.mark.parametrize("own", ["line,codes,reasons", "line,codes"])
def test_an_older_versions_export_is_read_by_position(tmp_path: Path, own: str) -> None:
    file = tmp_path / "old.csv"
    file.write_text(f"id,line,codes,{own}\n1,a,b,3,bad_int min{',why' if 'reasons' in own else ''}\n")
    export = read_export(file, "points")
    assert export.columns == ("id", "line", "codes")
    [row] = export.rows()
    assert (row.cells, row.load, row.line, row.codes) == (("1", "a", "b"), None, 3, frozenset({"bad_int", "min"}))


def test_a_cell_of_a_megabyte_is_read(tmp_path: Path) -> None:
    file = tmp_path / "large.csv"
    file.write_text(f"id,{OWN_NAMES}\n{'x' * (1 << 20)},1,2,bcdf,bad_int,why\n")
    [row] = read_export(file, "points").rows()
    assert len(row.cells[0]) == 1 << 20


def test_an_export_of_wide_rows_is_read_and_written_some_at_a_time(tmp_path: Path) -> None:
    file, rows, mega = tmp_path / "wide.csv", 60, 1 << 20
    with file.open("w") as opened:
        opened.write(f"id,{OWN_NAMES}\n")
        for number in range(rows):
            opened.write(f"{'x' * mega},1,{number},bcdf,bad_int,why\n")
    before, most = resident(), 0
    export = read_export(file, "points")
    for _ in export.rows():
        most = max(most, resident() - before)
    with (tmp_path / "source.csv").open("w", newline="") as source:
        written = write_source(source, export, range(2, rows + 2))
    assert len(written) == export.row_count == rows
    assert max(most, resident() - before) < rows * mega / 2


def test_an_export_that_changes_while_it_is_read_corrects_nothing(tmp_path: Path) -> None:
    """A row may be another reject's then."""
    file = tmp_path / "saved.csv"
    file.write_text(f"id,{OWN_NAMES}\n1,1,2,bcdf,bad_int,why\n")
    export = read_export(file, "points")
    file.write_text(f"id,{OWN_NAMES}\n1,1,3,bcdf,bad_int,why\n12,1,2,bcdf,bad_int,why\n")
    with pytest.raises(UsageError, match=r"saved\.csv changed while it was read") as refusal:
        write_source(io.StringIO(), export, {2})
    assert "nothing was loaded" in refusal.value.hint
