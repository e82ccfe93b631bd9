"""Two public suites of CSV files, whole: each file is read as its suite means it, or refused with the reason.

`csv_spectrum`: the npm package csv-spectrum 2.0.0 (BSD-2-Clause), with the values of each file as JSON. `csvkit`: the
example files of csvkit 2.2.0 (MIT) from PyPI; Python's own csv module says what is in them.
"""

# ruff: noqa: E501  a line per file

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, Literal

import pytest

from ingest_pipelines.config.file_format import Format
from ingest_pipelines.errors import ItemRefused
from ingest_pipelines_tests.landing.test_dialects import opened

SUITES = Path(__file__).parent / "suites"


@pytest.mark.parametrize("name", sorted(path.stem for path in (SUITES / "csv_spectrum" / "csvs").iterdir()))
def test_every_file_of_csv_spectrum_is_read(name: str, tmp_path: Path) -> None:
    content = (SUITES / "csv_spectrum" / "csvs" / f"{name}.csv").read_bytes()
    expected = json.loads((SUITES / "csv_spectrum" / "json" / f"{name}.json").read_text("utf-8"))
    declared = Format()
    if name == "location_coordinates":  # quotes inside cells; the suite's own JSON has another phone number
        declared, expected = Format(quote="none"), [{**expected, "Contact Phone Number": "2095257564"}]
        with pytest.raises(ItemRefused, match="a quote inside a cell"):
            opened(content, tmp_path, Format(), *expected[0])
    columns, rows = opened(content, tmp_path, declared, *expected[0])
    read = [{column: cell or "" for column, cell in zip(columns, row[1:], strict=True)} for row in rows]
    assert read == expected


COMMAS: dict[str, Any] = {}
CSVKIT_READ: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("blanks.csv", "blanks_converted.csv", "date_like_number.csv", "dummy.csv", "dummy2.csv", "dummy3.csv", "dummy_col_shuffled.csv", "dummy_col_shuffled_ragged.csv", "foo1.csv", "foo2.csv", "iris.csv", "irismeta.csv", "join_a.csv", "join_b.csv", "join_short.csv", "mac_newlines.csv", "null_byte.csv", "optional_quote_characters.csv", "sheetsxls_converted.csv", "sheetsxlsx_converted.csv", "sort_ints_nulls.csv", "test_date_format.csv", "test_date_format_converted.csv", "test_geo.csv", "test_geojson.csv", "test_header_newline.csv", "test_ignore_case.csv", "test_literal_order.csv", "test_locale.csv", "test_locale_converted.csv", "test_no_leading_zeroes.csv", "test_numeric_date_format.csv", "test_precision.csv", "test_utf8.csv", "test_utf8_bom.csv", "testdbf_converted.csv", "testfixed_converted.csv", "testfixed_schema.csv", "testfixed_schema_no_inference.csv", "testjson_converted.csv", "testjson_multiline_converted.csv", "testjson_nested_converted.csv", "testxls_converted.csv", "testxls_unicode_converted.csv", "testxlsx_converted.csv", "testxlsx_noinference_converted.csv", "testxlsx_unicode_converted.csv", "test.sql"), COMMAS),
    **{f"{name}.csv": {"header": "none"} for name in ("join_no_header_row", "no_header_row", "no_header_row2", "no_header_row3")},
    "dummy.tsv": {"delimiter": "tab"},
    "sniff_limit.csv": {"delimiter": ";"},
    "test_latin1.csv": {"encoding": "latin-1"},
    "test_latin1.sql": {"encoding": "latin-1", "quote": "none", "delimiter": "\x1f", "header": "none"},
    "test_query.sql": {"delimiter": "\x1f"},
    "test_skip_lines.csv": COMMAS,
    "test_utf16_big.csv": {"encoding": "utf-16"},
    "test_utf16_little.csv": {"encoding": "utf-16"},
    "COPYING": {"delimiter": "\x1f", "quote": "none"},
}  # fmt: skip
_READER = ("Chicago Reader", "1971-01-01T00:00:00", "40", "true", "1", "1971-01-01T04:14:00", None)
CSVKIT_TYPED: dict[str, tuple[dict[str, Any], list[tuple[object, ...]]]] = {
    "dummy.xlsx": ({"type": "xlsx"}, [(2, "1", "2", "3")]),
    "test.xlsx": ({"type": "xlsx", "range": "A1:G"}, [(2, *_READER)]),
    "sheets.xlsx": ({"type": "xlsx", "sheet": 2, "range": "A1:G"}, [(2, *_READER)]),
    "test_skip_lines.xlsx": ({"type": "xlsx", "range": "A4:G"}, [(5, *_READER)]),
    "testjson_multiline.json": ({"type": "jsonl"}, [(1, "2", "3", None), (2, None, "2", "4")]),
}
CSVKIT_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "bad.csv": (COMMAS, "line 2: 4 cells\n  line 3: 2 cells"),
    "bad_skip_lines.csv": ({"skip_lines": 3}, "line 5: 4 cells\n  line 6: 2 cells"),
    "dummy.csv.bz2": (COMMAS, "is bzip2 data"),
    "dummy.csv.gz": (COMMAS, "is gzip data"),  # its name is not .gz here
    "dummy.xls": (COMMAS, "an old Office file"),
    "sheets.xls": (COMMAS, "an old Office file"),
    "test.xls": (COMMAS, "an old Office file"),
    "test_skip_lines.xls": (COMMAS, "an old Office file"),
    "empty.csv": (COMMAS, "the file is empty"),
    "join_a_short.csv": (COMMAS, "line 2: 2 cells\n  line 3: 1 cell"),
    "test_empty_columns.csv": (COMMAS, "columns 4, 5 have no name"),
    "test_empty_columns_long_row.csv": (COMMAS, "line 2: 4 cells"),
    "test_empty_columns_short_row.csv": (COMMAS, "line 2: 2 cells"),
    "test_extra_header.csv": (COMMAS, "line 2: 3 cells"),
    "test_join_short_rows.csv": (COMMAS, "line 2: 2 cells"),
    "test_geojson.json": ({"type": "jsonl"}, "an object that ends on another line"),
    "testdbf.dbf": (COMMAS, "not valid UTF-8; its encoding is unknown"),
    "testfixed": (COMMAS, "line 3: 2 cells"),  # columns of fixed width
    "testfixed_skip_lines": ({"skip_lines": 3}, "line 6: 2 cells"),
    "testjson.json": ({"type": "jsonl"}, "a JSON list"),
    "testjson_nested.json": ({"type": "jsonl"}, "a JSON list"),
}  # fmt: skip


def test_every_file_of_csvkit_is_in_one_of_the_tables() -> None:
    names = sorted([*CSVKIT_READ, *CSVKIT_TYPED, *CSVKIT_REFUSED])
    assert names == sorted(path.name for path in (SUITES / "csvkit").iterdir())


@pytest.mark.parametrize("name", CSVKIT_READ)
def test_a_file_of_csvkit_is_read_as_python_reads_it(name: str, tmp_path: Path) -> None:
    content, declared = (SUITES / "csvkit" / name).read_bytes(), Format.model_validate(CSVKIT_READ[name])
    columns, rows = opened(content, tmp_path, declared)
    text = content.decode(declared.encoding).removeprefix("\ufeff")
    if declared.comment:
        text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(declared.comment))
    quoting: Literal[0, 3] = csv.QUOTE_NONE if declared.quote == "none" else csv.QUOTE_MINIMAL
    expected = [
        row for row in csv.reader(io.StringIO(text, newline=""), delimiter=declared.delimiter, quoting=quoting) if row
    ]
    assert list(columns) == (
        expected.pop(0) if declared.header is None else [f"column_{n + 1}" for n in range(len(columns))]
    )
    assert [[cell or "" for cell in row[1:]] for row in rows] == expected


@pytest.mark.parametrize("name", CSVKIT_TYPED)
def test_a_file_of_another_type_is_read(name: str, tmp_path: Path) -> None:
    keys, expected = CSVKIT_TYPED[name]
    _, rows = opened((SUITES / "csvkit" / name).read_bytes(), tmp_path, Format.model_validate(keys))
    assert rows[: len(expected)] == expected


@pytest.mark.parametrize("name", CSVKIT_REFUSED)
def test_a_file_that_is_no_table_is_refused(name: str, tmp_path: Path) -> None:
    keys, message = CSVKIT_REFUSED[name]
    with pytest.raises(ItemRefused, match=message):
        opened((SUITES / "csvkit" / name).read_bytes(), tmp_path, Format.model_validate(keys))
