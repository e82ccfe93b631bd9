"""JSON lines, Parquet and Excel workbooks: rows, row numbers, values, caps."""

# ruff: noqa: E501

from __future__ import annotations

import contextlib
import datetime
import io
import json
import re
import tempfile
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingest_pipelines.config.file_format import Format
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused
from ingest_pipelines.landing import jsonl_reader, land_file, open_rows, parquet_reader, xlsx_reader
from ingest_pipelines.landing.arrow_types import plain_batch, plain_schema
from ingest_pipelines.landing.parquet_pages import bytes_of_pages
from ingest_pipelines.model import Item, ItemKey
from ingest_pipelines.sources import open_upload
from ingest_pipelines_tests.landing.test_dialects import opened
from ingest_pipelines_tests.landing.workbooks import Cell, workbook

JSONL, PARQUET, XLSX = Format(type="jsonl"), Format(type="parquet"), Format(type="xlsx")

_NUMBER = st.one_of(
    st.integers(-(2**70), 2**70).map(str), st.decimals(-1000, 1000, places=3).map(str),
    st.sampled_from(["0", "-0", "1.0", "1.50", "1e3", "-2.5E-3", "0.1", "1234567890123456789.123456789"]),
)  # fmt: skip
_TEXT = st.text(
    st.one_of(st.sampled_from(list('a"\\,{}: \n\té\u2028')), st.characters(exclude_categories=["Cs"])), max_size=6
)
_VALUES = {
    "text": _TEXT.map(json.dumps), "number": _NUMBER, "int": st.integers(-9, 9).map(str), "nothing": st.just("null"),
    "truth": st.sampled_from(["true", "false"]),
    "nested": st.sampled_from(['{"a": 1.50}', "[]", '["x", null, 2]']),
}  # fmt: skip


@st.composite
def _lines(draw: st.DrawFn) -> list[dict[str, str]]:
    """Rows of keys with JSON values, as they are written; most columns are of one kind."""
    kinds = {name: draw(st.sets(st.sampled_from(sorted(_VALUES)), min_size=1, max_size=2)) for name in "abc"}
    rows = []
    for _ in range(draw(st.integers(1, 12))):
        row = {"id": str(draw(st.integers(0, 99)))}
        for name in draw(st.permutations("abc"))[: draw(st.integers(0, 3))]:
            row[name] = draw(st.one_of(*(_VALUES[kind] for kind in sorted(kinds[name]))))
        rows.append(row)
    return rows


def _expected(written: str | None) -> str | None:
    """The cell of a JSON value."""
    if written is None or written == "null":
        return None
    if written[0] in '"tf':
        value = json.loads(written)
        return value if isinstance(value, str) else written
    if written[0] in "{[":
        return written.replace("1.50", "1.5")
    plain = format(Decimal(written), "f")
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return "0" if plain in {"-0", ""} else plain


@pytest.mark.parametrize("block", [4 << 20, 16])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=_lines(), blank=st.sampled_from(["", "\n", " \n"]), end=st.sampled_from(["\n", "\r\n"]))
def test_json_values_are_read_as_they_are_written(rows: list[dict[str, str]], blank: str, end: str, block: int) -> None:
    texts = ["{" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in row.items()) + "}" for row in rows]
    content = (end + blank).join(texts).encode()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    step = 1 + blank.count("\n")
    expected = [(number * step + 1, *(_expected(row.get(key)) for key in columns)) for number, row in enumerate(rows)]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(jsonl_reader, "BLOCK", block)
        if block < 100:  # the columns are those of the first block: all are mapped
            names, read = opened(content, Path(folder), JSONL, *columns)
            places = [names.index(column) + 1 for column in columns]
            assert [(row[0], *(row[place] for place in places)) for row in read] == expected
        else:
            assert opened(content, Path(folder), JSONL, *columns) == (tuple(columns), expected)


JSONL_REFUSED: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"\n\n", 1, "is empty"),
    "a list": (b'[{"id": 1}]\n', 1, "a JSON list"),
    "CSV": (b"id,tier\n1,x\n", 1, "not JSON Lines"),
    "a line that is cut off": (b'{"id": 1}\n{"id": 2, "ti', 2, "no JSON object"),
    "two objects on a line": (b'{"id": 1}\n{"id": 2}{"id": 3}\n', 2, "text behind the object"),
    "a comma behind an object": ('{"id": 1}\n{"id": "é"}, \n{"id": 3}\n'.encode(), 2, "a comma behind the object"),
    "an object on several lines": (b'{"id": 1}\n{\n  "id": 2\n}\n', 2, "an object that ends on another line"),
    "a number": (b'{"id": 1}\n\n17\n', 3, "no JSON object"),
    "NaN": (b'{"id": 1}\n{"id": NaN}\n', 2, "no JSON object"),
    "a key twice": (b'{"id": 1}\n{"id": 1, "id": 2}\n', 2, "repeats a key"),
    "half of a pair": (b'{"id": "1"}\n{"id": "\\ud800"}\n', 2, "surrogate"),
    "Latin-1": (b'{"id": "1"}\n{"id": "\xe9"}\n', 2, "not valid UTF-8"),
    "a key of a value only": (b'{"tier": "1", "more": {"id": "1"}}\n', 1, "lacks 'id'"),
    "a value like a key": (b'{"tier": "id"}\n', 1, "lacks 'id'"),
    "no such key": (b'{"ID": "1"}\n', 1, r"lacks 'id' \(there is 'ID'\)"),
    "a large cell": (b'{"id": "1"}\n{"id": "%s"}\n' % (b"x" * 2000), 2, "larger than 1,000 bytes"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "before"),
    [(case, before) for case, (_, line, _) in JSONL_REFUSED.items() for before in (0, 1500) if line > 1 or not before],
)
def test_what_is_no_json_line_is_refused_with_its_line(case: str, before: int, tmp_path: Path) -> None:
    content, line, message = JSONL_REFUSED[case]
    good = content[: content.find(b"\n") + 1] * before
    with pytest.raises(ItemRefused, match=message) as refused:
        opened(good + content, tmp_path, JSONL, "id", limits=Limits(max_cell_bytes=1000))
    assert refused.value.line == line + before


def test_of_two_bad_blocks_the_first_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl_reader, "BLOCK", 16)
    content = b'{"id": "1"}\n' * 5 + b'{"id": NaN}\n' + b'{"id": "\xe9"}\n' * 3
    with pytest.raises(ItemRefused, match="no JSON object") as refused:
        opened(content, tmp_path, JSONL, "id")
    assert refused.value.line == 6


def test_a_nested_value_that_nothing_maps_is_left_out(tmp_path: Path) -> None:
    content = b'{"id": 1, "address": {"city": "B"}}\n{"id": 2}\n'
    assert opened(content, tmp_path, JSONL, "id") == (("id",), [(1, "1"), (2, "2")])


def test_cells_stay_when_the_memory_of_their_block_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl_reader, "BLOCK", 4096)
    rows = [(n, f"C{n}", f"{'é' * (n % 40)}{n}", str(n)) for n in range(1, 2001)]
    content = "".join(f'{{"id": "{key}", "name": "{name}", "n": {n}}}\n' for _, key, name, n in rows).encode()
    used: list[bool] = []
    make = jsonl_reader._memory

    def make_noted(spare: list[jsonl_reader.Letters], size: int) -> jsonl_reader.Letters:
        used.append(bool(spare))
        return make(spare, size)

    monkeypatch.setattr(jsonl_reader, "_memory", make_noted)
    assert opened(content, tmp_path, JSONL, "id", "name", "n") == (("id", "name", "n"), rows)
    assert sum(used) > 10


def test_a_key_that_comes_late_is_read(tmp_path: Path) -> None:
    content = b'{"id": 1}\n' * 2000 + b'{"id": 2, "tier": "x"}\n'
    columns, rows = opened(content, tmp_path, JSONL, "id", "tier")
    assert (columns, rows[0], rows[-1]) == (("id", "tier"), (1, "1", None), (2001, "2", "x"))


def _parquet(table: pa.Table, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def test_parquet_values_keep_their_types(tmp_path: Path) -> None:
    day, moment = datetime.date(2001, 2, 3), datetime.datetime(2001, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
    table = pa.table({
        "id": pa.array([1, None], pa.int64()), "name": pa.array(["", None]).dictionary_encode(), "day": [day, None],
        "at": pa.array([moment, None], pa.timestamp("ns", "UTC")), "sum": pa.array([Decimal("1.50"), None]),
        "tags": [["a"], None], "yes": [True, None],
    })  # fmt: skip
    columns, rows = opened(_parquet(table, row_group_size=1), tmp_path, PARQUET, "id")
    assert columns == tuple(table.schema.names)
    assert rows[0] == (1, 1, "", day, moment, Decimal("1.50"), ["a"], True)
    assert rows[1] == (2, *[None] * 7)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,tier\n1,x\n", "cannot be read as a Parquet file"),
        (_parquet(pa.table({"id": [1]}))[:-9], "cannot be read as a Parquet file"),
        (_parquet(pa.table({"ID": [1]})), r"lacks 'id' \(there is 'ID'\)"),
        (_parquet(pa.Table.from_arrays([pa.array([1]), pa.array([1])], names=["id", "id"])), "several columns are named 'id'"),
        (_parquet(pa.table({"id": ["x" * 2000]})), "line 1: the cell in 'id' is larger than 1,000 bytes"),
        (_parquet(pa.table({"id": pa.array([b"\xff"]).view(pa.string())})), "cannot be read as a Parquet file"),
    ],
)  # fmt: skip
def test_a_parquet_file_that_cannot_be_read_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ItemRefused, match=message):
        opened(content, tmp_path, PARQUET, "id", limits=Limits(max_cell_bytes=1000))


NESTED: dict[str, tuple[pa.Array, str]] = {
    "a decimal in a struct": (pa.array([{"a": Decimal("1.50")}]), '{"a": 1.50}'),
    "a list of decimals": (pa.array([[Decimal("1.50"), None]]), "[1.50, null]"),
    "bytes in a struct": (pa.array([{"a": b"x\xc3\xa9"}]), '{"a": "xé"}'),
    "bytes that are no text": (pa.array([[b"\xff"]]), '["\\u0000\\\\xff"]'),
    "a UUID": (pa.array([{"a": b"0123456789abcdef"}], pa.struct({"a": pa.binary(16)})), '{"a": "0123456789abcdef"}'),
    "words of a dictionary": (pa.array([["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))), '["a"]'),
    "a map of lists": (pa.array([[("k", [1.5, float("nan")])]], pa.map_(pa.string(), pa.list_(pa.float64()))),
                       '{"k": [1.5, null]}'),
    "views": (pa.array([["x"]], pa.list_(pa.string_view())), '["x"]'),
    "half floats": (pa.array([[1.5]], pa.list_(pa.float16())), "[1.5]"),
    "a day in a list in a struct": (pa.array([{"a": [datetime.date(2020, 1, 2)], "b": Decimal(7)}]),
                                    '{"a": ["2020-01-02"], "b": 7}'),
}  # fmt: skip


@pytest.mark.parametrize("kind", NESTED)
def test_a_nested_value_of_any_type_is_json(kind: str, tmp_path: Path) -> None:
    array, expected = NESTED[kind]
    with contextlib.suppress(pa.ArrowNotImplementedError):  # what Parquet cannot hold, a query's result can
        _, rows = opened(_parquet(pa.table({"id": ["1"], "more": array})), tmp_path, PARQUET, "id", "more")
        assert rows == [(1, "1", expected)]
    batch = pa.record_batch({"more": array})
    assert plain_batch(batch, plain_schema(batch.schema))["more"].to_pylist() == [expected]


@pytest.mark.parametrize(
    "options", [{}, {"use_dictionary": False}, {"data_page_version": "2.0"}, {"compression": "none"}, {"row_group_size": 7},
                {"write_page_checksum": True, "write_page_index": True}],
)  # fmt: skip
def test_the_pages_of_a_parquet_file_are_found_whoever_wrote_them(options: dict[str, Any], tmp_path: Path) -> None:
    names = [f"name {n} " + "x" * 5000 for n in range(40)]
    table = pa.table({"id": range(40), "name": names, "tags": [["a", "b"]] * 40, "sum": [Decimal("1.5")] * 40})
    path = tmp_path / "pages.parquet"
    path.write_bytes(_parquet(table, **options))
    rows = options.get("row_group_size", 40)
    # The names' page is nearly all: each has its text, and four bytes for its length.
    assert rows * 5004 < bytes_of_pages(path, pq.ParquetFile(path).metadata) < rows * 5004 + 3000


def test_the_pages_of_a_file_that_polars_wrote_are_found(tmp_path: Path) -> None:
    names = [f"{n} " + "x" * 5000 for n in range(40)]
    frame = pl.DataFrame({"name": names, "id": range(40), "tags": [["a", "b"]] * 40, "nothing": [None] * 40})
    for compression in ("zstd", "snappy", "gzip", "lz4", "uncompressed"):
        frame.write_parquet(tmp_path / "p", compression=compression, statistics="full")
        assert 200_000 < bytes_of_pages(tmp_path / "p", pq.ParquetFile(tmp_path / "p").metadata) < 210_000


def test_a_mapped_list_that_is_nested_too_deep_is_refused_with_its_line(tmp_path: Path) -> None:
    deep = "[" * 600 + "]" * 600
    content = f'{{"id": "1", "a": [1]}}\n{{"id": "2", "a": {deep}}}\n'.encode()
    with pytest.raises(ItemRefused, match=r"line 2: .*nested too deep") as refused:
        opened(content, tmp_path, JSONL, "id", "a")
    assert refused.value.line == 2


@pytest.mark.parametrize("kind", [pa.decimal128(20, 9), pa.decimal256(50, 9)])
def test_a_small_decimal_has_all_of_its_digits(kind: pa.DataType) -> None:
    batch = pa.record_batch({"n": pa.array([Decimal("0.000000001"), Decimal(0), None], kind)})
    frame = pl.DataFrame(pl.from_arrow(plain_batch(batch, plain_schema(batch.schema))))
    assert frame["n"].cast(pl.String).to_list() == ["0.000000001", "0.000000000", None]


@pytest.mark.parametrize("levels", [101, 600])
@pytest.mark.parametrize("kind", ["list", "struct"])
def test_a_parquet_column_that_is_nested_too_deep_is_refused(kind: str, levels: int, tmp_path: Path) -> None:
    deep = pa.int64()
    for _ in range(levels):
        deep = pa.list_(deep) if kind == "list" else pa.struct({"a": deep})
    content = _parquet(pa.table({"id": ["1"], "more": pa.array([None], deep)}))
    with pytest.raises(ItemRefused, match="nested too deep: 100 levels can be read"):
        opened(content, tmp_path, PARQUET, "id")


def test_a_workbook_that_was_cut_off_is_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(ItemRefused, match="the workbook is damaged or was cut off"):
        opened(workbook([["id"], ["1"]])[:-50], tmp_path, XLSX, "id")


def test_a_duration_in_a_sheet_is_hours_minutes_and_seconds() -> None:
    durations = [datetime.timedelta(days=1.5), -datetime.timedelta(minutes=90), datetime.timedelta(0, 5, 1500)]
    assert [xlsx_reader._text(each) for each in durations] == ["36:00:00", "-01:30:00", "00:00:05.001500"]


def test_a_parquet_file_without_rows_is_read(tmp_path: Path) -> None:
    for table in (pa.table({"id": pa.array([], pa.string())}), pa.table({"id": pa.array([], pa.int64())})):
        assert opened(_parquet(table), tmp_path, PARQUET, "id") == (("id",), [])


def test_a_parquet_file_whose_pages_do_not_fit_into_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_reader, "LARGEST_PAGES", 2 << 20)
    table = pa.table({"id": ["x" * 1000] * 4000})
    options = {"use_dictionary": False, "data_page_size": 1 << 30}  # zeros, so to speak: 4 MB from a few kB
    with pytest.raises(ItemRefused, match="need 3 MB of memory together; at most 2 MB") as refused:
        opened(_parquet(table, max_rows_per_page=4000, write_batch_size=4000, **options), tmp_path, PARQUET, "id")
    assert "pages of 1 MB" in str(refused.value.hint)
    assert len(opened(_parquet(table, max_rows_per_page=500, **options), tmp_path, PARQUET, "id")[1]) == 4000


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 5000), byte=st.integers(0, 255))
def test_a_damaged_parquet_file_is_read_or_refused(place: int, byte: int, tmp_path: Path) -> None:
    content = bytearray(_parquet(pa.table({"id": [f"C{n}" for n in range(300)], "n": range(300)})))
    content[place % len(content)] = byte
    with contextlib.suppress(ItemRefused):
        opened(bytes(content), tmp_path, PARQUET, "id")


def test_cells_of_a_workbook_are_read_as_excel_shows_them(tmp_path: Path) -> None:
    content = workbook(
        [
            [], ["id", "sum", "day", "at", "yes", "note", None], [1, 0.1 + 0.2, ("date", "36925"), ("moment", "36925.25"), True, "x"],
            [], ["007", 1234567890123456, None, None, False, " "], [12345.5, -3, None, None, None, None],
        ]
    )  # fmt: skip
    columns, rows = opened(content, tmp_path, XLSX, "id", "sum")
    assert columns == ("id", "sum", "day", "at", "yes", "note")
    assert [row[:3] for row in rows] == [(3, "1", "0.3"), (5, "007", "1234567890123456"), (6, "12345.5", "-3")]
    assert rows[0][3:5] == ("2001-02-03T00:00:00", "2001-02-03T06:00:00")
    assert rows[0][5:] == ("true", "x")


def test_an_error_in_a_cell_is_no_empty_cell(tmp_path: Path) -> None:
    content = workbook([["id", "tier"], [1, "x"], [2, "y"]], error={"B3": "#N/A"})
    assert opened(content, tmp_path, XLSX, "id")[1][1] == (3, "2", "#N/A")


NO_RESULT = ("<c><f>1+1</f></c>", "<c><f>1+1</f><v></v></c>", "<c><f>1+1</f><v/></c>", '<c s="1"><f t="shared" si="0"/></c>',
             '<c t="n"><f>A2&amp;"x"</f>\n<v></v></c>')  # fmt: skip
RESULTS = {
    "<c><f>1+1</f><v>2</v></c>": "2", '<c t="str"><f>A2</f><v>x</v></c>': "x", '<c t="str"><f>""</f><v></v></c>': None,
    '<c t="b"><f>TRUE()</f><v>1</v></c>': "true", '<c><f t="shared" si="0"/><v>0.5</v></c>': "0.5",
    '<c t="e"><f>1/0</f><v>#DIV/0!</v></c>': "#DIV/0!",
}  # fmt: skip


@pytest.mark.parametrize("far", ["XFD100000", "XFD1048576", "AAA99999", "ZZ1048576"])
def test_a_stray_cell_far_away_is_refused_and_not_the_end_of_the_process(far: str, tmp_path: Path) -> None:
    row = int(far.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    content = workbook([["id", "tier"], ["1", "x"]], beyond=f'<row r="{row}"><c r="{far}" s="1"><v>1</v></c></row>')
    with pytest.raises(ItemRefused, match=f"reaches to row {row:,} and column [0-9,]+, and almost all of it is empty"):
        opened(content, tmp_path, XLSX, "id", "tier")


def test_a_stray_cell_further_down_is_a_row_or_empty(tmp_path: Path) -> None:
    far = '<row r="300000"><c r="A300000"><v>7</v></c></row><row r="1000000"><c r="B1000000" s="1"/></row>'
    content = workbook([["id", "tier"], ["1", "x"]], beyond=far)
    assert opened(content, tmp_path, XLSX, "id", "tier")[1] == [(2, "1", "x"), (300_000, "7", None)]


@pytest.mark.parametrize("cell", NO_RESULT)
def test_a_formula_that_nobody_calculated_is_no_empty_cell(cell: str, tmp_path: Path) -> None:
    rows: list[list[Cell]] = [["id", "tier", "n"], ["1", "x", 5], ["2", "y", 6]]
    with pytest.raises(ItemRefused, match="line 3: the formula in 'tier' has no result") as refused:
        opened(workbook(rows, formula={"B3": cell}), tmp_path, XLSX, "id", "tier")
    assert refused.value.line == 3
    assert "Excel" in (refused.value.hint or "")
    _, read = opened(workbook(rows, formula={"B3": cell}), tmp_path, XLSX, "id")  # no field is filled from it
    assert read[1][:3] == (3, "2", None)


@pytest.mark.parametrize("style", ["date", "moment"])
def test_the_29th_of_february_1900_of_excel_is_no_day(style: str, tmp_path: Path) -> None:
    rows: list[list[Cell]] = [["id", "day"], ["1", (style, "59")], ["2", (style, "61")]]
    read = opened(workbook(rows), tmp_path, XLSX, "id", "day")[1]
    assert [row[2] for row in read] == ["1900-02-28T00:00:00", "1900-03-01T00:00:00"]
    for number in ("60", "60.25"):
        content = workbook([*rows, ["3", (style, number)]])
        with pytest.raises(ItemRefused, match="line 4: the date in 'day' is 29 February 1900") as refused:
            opened(content, tmp_path, XLSX, "id", "day")
        assert refused.value.line == 4
        assert len(opened(content, tmp_path, XLSX, "id")[1]) == 3  # no field is filled from it


def test_the_days_of_a_workbook_may_begin_with_1904(tmp_path: Path) -> None:
    rows: list[list[Cell]] = [["id", "day"], ["1", ("date", "60")], ["2", ("date", "1")]]
    read = opened(workbook(rows, since_1904=True), tmp_path, XLSX, "id", "day")[1]
    assert [row[2] for row in read] == ["1904-03-01T00:00:00", "1904-01-02T00:00:00"]


def test_a_column_of_a_sheet_may_have_another_name(tmp_path: Path) -> None:
    path = tmp_path / "C.xlsx"
    for name in ("id", "CID"):
        path.write_bytes(workbook([[name, "tier"], ["1", "x"]]))
        with open_upload(path) as source:
            item = Item("loyalty", ItemKey("k"), "upload", uri="f", path=str(path))
            landing = land_file(item, source, tmp_path / "spool", Limits())
        with open_rows(landing, ("id", "tier"), XLSX, Limits(), {"id": ["CID"]}) as (columns, frames):
            assert (columns, [len(frame) for frame in frames]) == ((name, "tier"), [1])
    path.write_bytes(workbook([["id", "CID", "tier"], ["1", "1", "x"]]))
    with open_upload(path) as source:
        landing = land_file(item, source, tmp_path / "spool", Limits())
    with (
        pytest.raises(ItemRefused, match="are names of one column"),
        open_rows(landing, ("id", "tier"), XLSX, Limits(), {"id": ["CID"]}),
    ):
        pass


@pytest.mark.parametrize("first", [[], [["about this file"]], [["ID", "x"], ["1", "2"]]])
def test_the_sheet_that_has_the_columns_is_named(first: list[list[Cell]], tmp_path: Path) -> None:
    content = workbook(first, [["other"]], [["id", "tier"], ["1", "x"]])
    with pytest.raises(ItemRefused) as refused:
        opened(content, tmp_path, XLSX, "id", "tier")
    assert refused.value.hint == "write in the import's source: format: {type: xlsx, sheet: Sheet3}"
    with pytest.raises(ItemRefused) as refused:
        opened(content, tmp_path, XLSX, "id", "points")
    assert "Sheet3" not in str(refused.value.hint)


def test_tags_may_have_a_prefix(tmp_path: Path) -> None:
    rows: list[list[Cell]] = [["id", "tier", "n"], ["1", "x", 5], ["2", "y", 6]]
    cells = {"C2": "<c><f>1+1</f></c>", "C3": "<c><f>1+1</f><v>7</v></c>"}
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(workbook(rows, formula=cells, error={"B3": "#N/A"}))) as plain,
        zipfile.ZipFile(out, "w") as archive,
    ):
        for name in plain.namelist():
            xml = plain.read(name).decode()
            if "worksheets/" in name:
                xml = re.sub(r"<(/?)(?=\w)", r"<\1x:", xml).replace("xmlns=", "xmlns:x=")
            archive.writestr(name, xml)
    assert opened(out.getvalue(), tmp_path, XLSX, "id", "tier")[1] == [(2, "1", "x", None), (3, "2", "#N/A", "7")]
    with pytest.raises(ItemRefused, match="line 2: the formula in 'n' has no result"):
        opened(out.getvalue(), tmp_path, XLSX, "id", "n")


@pytest.mark.parametrize("number", ["9007199254740992", "-9007199254740993", "12345678901234567", "1E+300", "1e999"])
def test_a_number_of_which_a_workbook_has_lost_digits_is_refused(number: str, tmp_path: Path) -> None:
    rows: list[list[Cell]] = [["id", "n"], ["1", 9007199254740991.0], ["2", "x"]]
    content = workbook(rows, formula={"B3": f"<c><v>{number}</v></c>"})
    with pytest.raises(ItemRefused, match=r"line 3: the number in 'n' is above 2\^53") as refused:
        opened(content, tmp_path, XLSX, "id", "n")
    assert refused.value.line == 3
    assert "as text" in (refused.value.hint or "")
    assert opened(content, tmp_path, XLSX, "id")[1][0] == (2, "1", "9007199254740991")  # no field is filled from n


@pytest.mark.parametrize("cell", RESULTS)
def test_a_formula_has_its_last_result(cell: str, tmp_path: Path) -> None:
    content = workbook([["id", "tier"], ["1", "x"], ["2", "y"]], formula={"B3": cell})
    assert opened(content, tmp_path, XLSX, "id", "tier")[1][1] == (3, "2", RESULTS[cell])


def test_a_zero_that_waits_to_be_calculated_is_no_result(tmp_path: Path) -> None:
    rows: list[list[Cell]] = [["id", "sum"], ["1", 0], ["2", 7]]
    cells = {"B3": "<c><f>SUM(B2)</f><v>0</v></c>"}
    assert opened(workbook(rows, formula=cells), tmp_path, XLSX, "id", "sum")[1][1] == (3, "2", "0")
    with pytest.raises(ItemRefused, match="line 3: the formula in 'sum' has no result"):
        opened(workbook(rows, formula=cells, to_calculate=True), tmp_path, XLSX, "id", "sum")
    assert opened(workbook(rows, to_calculate=True), tmp_path, XLSX, "id", "sum")[1][0] == (2, "1", "0")


@given(st.lists(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**17), 10**17).map(float),
                          st.decimals(-10_000, 10_000, places=4).map(float), st.just("")), min_size=1, max_size=60))  # fmt: skip
@example(
    [
        0.1 + 0.2,
        -0.0,
        1e15,
        2.0**53 - 1,
        -(2.0**53),
        1234567890123456.0,
        999999999999999.9,
        1e-7,
        123456789012.345,
        -123456789012.3456,
        5e-324,
        1e308,
        "",
    ]
)
def test_numbers_of_a_column_have_the_digits_that_each_has_by_itself(cells: list[float | str]) -> None:
    one_by_one = [None if cell == "" else xlsx_reader._number(float(cell)) for cell in cells]
    together = xlsx_reader._numbers(cells)
    assert together is not None
    assert together.to_pylist() == one_by_one


def test_the_first_sheet_that_a_person_sees_is_read(tmp_path: Path) -> None:
    content = workbook([["id"], ["lists"]], [["id"], ["A1"]], hidden=[1])
    assert opened(content, tmp_path, XLSX, "id") == (("id",), [(2, "A1")])
    assert opened(content, tmp_path, Format(type="xlsx", sheet="Sheet1"), "id") == (("id",), [(2, "lists")])


@pytest.mark.parametrize(("merged", "line"), [("A2:A3", 2), ("A3:B3", 3), ("B3:B9", 3)])
def test_merged_cells_are_refused_where_rows_would_have_empty_ones(merged: str, line: int, tmp_path: Path) -> None:
    rows: list[list[Cell]] = [["id", "tier", "n"], ["1", "x", "5"], ["2", None, "6"]]
    with pytest.raises(ItemRefused, match="merged cells") as refused:
        opened(workbook(rows, merged=[merged]), tmp_path, XLSX, "id")
    assert refused.value.line == line
    for harmless in ("A1:B1", "E2:F3"):  # the header's names, and cells outside of the range
        declared = Format(type="xlsx", range="A1:C")
        assert len(opened(workbook(rows, merged=[harmless]), tmp_path, declared, "id")[1]) == 2


def test_a_second_header_in_a_sheet_is_refused(tmp_path: Path) -> None:
    rows = [["id", "tier"], ["1", "x"], ["tier ", "id"], ["2", "y"]]
    with pytest.raises(ItemRefused, match="a second header") as refused:
        opened(workbook(rows), tmp_path, XLSX, "id", "tier")
    assert refused.value.line == 3


@pytest.mark.parametrize(
    ("rows", "declared", "cells"),
    [
        ([["Customers"], ["id", "tier"], ["1", "x"]], {}, "A2"),
        ([["Customers", "of 2026"], [], ["id", "tier"], ["1", "x"]], {}, "A3"),
        ([[None, "Customers"], [None, "id", "tier"], [None, "1", "x"]], {"range": "B1"}, "B2"),
    ],
)
def test_a_header_below_a_title_is_found_and_its_range_is_named(
    rows: list[list[Cell]], declared: dict[str, Any], cells: str, tmp_path: Path
) -> None:
    with pytest.raises(ItemRefused) as refused:
        opened(workbook(rows), tmp_path, Format(type="xlsx", **declared), "id", "tier")
    assert refused.value.hint == f"write in the import's source: format: {{type: xlsx, range: {cells}}}"
    (row,) = opened(workbook(rows), tmp_path, Format(type="xlsx", range=cells), "id", "tier")[1]
    assert row[1:] == ("1", "x")


def test_sheet_and_range_choose_the_cells(tmp_path: Path) -> None:
    content = workbook([["x"]], [["Report"], [None, "id", "tier"], [None, 1, "x"], [None, 2, "y"], ["", "Total", 2]])
    declared = Format(type="xlsx", sheet="Sheet2", range="B2:C4")
    assert opened(content, tmp_path, declared, "id") == (("id", "tier"), [(3, "1", "x"), (4, "2", "y")])
    declared = Format(type="xlsx", sheet=2, range="B3:C4", header=("key", "level"))
    assert opened(content, tmp_path, declared, "key") == (("key", "level"), [(3, "1", "x"), (4, "2", "y")])
    with pytest.raises(ItemRefused, match="no sheet Customers; it has 'Sheet1', 'Sheet2'"):
        opened(content, tmp_path, Format(type="xlsx", sheet="Customers"), "id")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,tier\n1,x\n", "not an Excel workbook"),
        (workbook([]), "the sheet is empty"),
        (workbook([["id", "id"], [1, 2]]), "several columns are named 'id'"),
        (workbook([["id", None], [1, 2]]), "cells without a column's name, in column 2"),
        (workbook([["id"], ["x" * 2000]]), "line 2: the cell in 'id' is larger"),
        (workbook([["id"], ["x" * 9_000_000]]), "expands to more than 200 times"),
    ],
)  # fmt: skip
def test_a_workbook_that_cannot_be_read_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ItemRefused, match=message):
        opened(content, tmp_path, XLSX, "id", limits=Limits(max_cell_bytes=1000))
