"""Every file of two public suites is read as its suite means it, asked about, or refused as the readers refuse it."""

from __future__ import annotations

import json

import pytest

from ingest_pipelines.detection.reading import read_sample
from ingest_pipelines.errors import UsageError
from ingest_pipelines_tests.detection.detected import detected
from ingest_pipelines_tests.landing.test_suites import CSVKIT_READ, CSVKIT_REFUSED, CSVKIT_TYPED, SUITES

TEXT_OVER_NUMBERS = "join_no_header_row.csv"
"""Its first row has a letter above whole numbers: nobody would tell it from a header."""


@pytest.mark.parametrize("name", sorted(path.stem for path in (SUITES / "csv_spectrum" / "csvs").iterdir()))
def test_every_file_of_csv_spectrum_is_read_without_a_question(name: str) -> None:
    reading, asked = detected((SUITES / "csv_spectrum" / "csvs" / f"{name}.csv").read_bytes())
    assert asked == []
    assert reading.keys == ({"quote": "none"} if name == "location_coordinates" else {})
    expected = json.loads((SUITES / "csv_spectrum" / "json" / f"{name}.json").read_text("utf-8"))
    assert len(reading.rows) == (len(expected) if isinstance(expected, list) else 1)


@pytest.mark.parametrize("name", [name for name in (*CSVKIT_READ, *CSVKIT_TYPED) if name != TEXT_OVER_NUMBERS])
def test_a_file_of_csvkit_is_read_as_it_is_meant_or_asked_about(name: str) -> None:
    content = (SUITES / "csvkit" / name).read_bytes()
    keys = CSVKIT_READ[name] if name in CSVKIT_READ else CSVKIT_TYPED[name][0]
    reading, asked = detected(content, name=name)
    meant = read_sample(content, name, keys)
    assert asked or (reading.columns, reading.rows) == (meant.columns, meant.rows)


@pytest.mark.parametrize("name", CSVKIT_REFUSED)
def test_a_file_of_csvkit_that_is_no_table_is_refused_or_asked_about(name: str) -> None:
    try:
        _, asked = detected((SUITES / "csvkit" / name).read_bytes(), name=name)
    except UsageError:
        return
    assert asked


@pytest.mark.parametrize("name", ["test.xlsx", "test_skip_lines.xlsx"])
def test_cells_of_a_workbook_without_a_name_are_left_out_only_if_a_person_says_so(name: str) -> None:
    content = (SUITES / "csvkit" / name).read_bytes()
    reading, asked = detected(content, name=name)
    assert reading.keys == {"type": "xlsx", "range": "A1:G"}
    assert reading.columns[0] == "text"
    assert [question for question, _ in asked] == ["cells beside the named columns have no name; leave them out"]
    with pytest.raises(UsageError, match="cells without a column's name"):
        detected(content, name=name, wants=lambda option: option.label == "no")


def test_the_sheet_of_a_workbook_that_has_several_tables_is_asked_about() -> None:
    reading, asked = detected((SUITES / "csvkit" / "sheets.xlsx").read_bytes(), name="sheets.xlsx")
    assert asked[-1][0] == "which sheet is the table"
    assert reading.keys["sheet"]
